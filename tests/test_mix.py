"""Oracles: golden-section search, planted mixtures whose best weights are known, KKT conditions, SRILM's lines."""

import gzip
import io
import json
import math
import sys
from functools import partial

import numpy as np
import pytest

from nplm.errors import InputError
from nplm.toolkits.mix import best_mix, read_scores

# What `ngram -debug 2 -ppl` writes: the sentence, a line a word, the sums; with an OOV, and a zeroprob.
SRILM = """\
warning: something on stderr
p( a trap
\tp( p( | <s> ) \t= [2gram] 0.1 [ -1 ]
\tp( a | p( ...) \t= [3gram] 0.01 [ -2 ]
\tp( trap | a ...) \t= [OOV] 0 [ -inf ]
\tp( </s> | trap ...) \t= [1gram] 0.316228 [ -0.5 ]
1 sentences, 3 words, 1 OOVs
0 zeroprobs, logprob= -3.5 ppl= 14.678 ppl1= 56.2341

| = )
\tp( | | <s> ) \t= [2gram] 0.1 [ -1 ]
\tp( = | | ...) \t= [2gram][post 0.5] 0.001 [ -3 ] / 0.999998
\tp( ) | = ...) \t= [2gram] 0 [ -1.#INF ]
\tp( </s> | ) ...) \t=  0.0316228 [ -1.5 ]
1 sentences, 3 words, 0 OOVs
1 zeroprobs, logprob= -5.5 ppl= 68.1292 ppl1= 562.341

file t: 2 sentences, 6 words, 1 OOVs
1 zeroprobs, logprob= -9 ppl= 31.6228 ppl1= 177.828
"""


@pytest.fixture
def call(nplm):
    """Runs `nplm mix` in this process."""
    return partial(nplm, "mix")


def place(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def output(words, log10_probs):
    """A -debug 2 output with these words and log10 probabilities."""
    lines = (
        f"\tp( {w} | c ...) \t= [2gram] {10**x:.6g} [ {x:.9g} ]\n" for w, x in zip(words, log10_probs, strict=True)
    )
    return "a sentence\n" + "".join(lines)


def scores(models=3, n=500, seed=1):
    """Random log10 probabilities (n,M), each model the best somewhere, a tenth of them zero."""
    rng = np.random.default_rng(seed)
    log10_probs = -6 * rng.random((n, models))
    log10_probs[rng.random((n, models)) < 0.1] = -np.inf
    return log10_probs


def nats(log10_probs, weights, counts=1.0):
    """Mean log-likelihood of the mixture in nats, over words with a probability: the definition, naively."""
    mixed = (10.0**log10_probs) @ np.asarray(weights)
    counts = np.where(mixed > 0, counts, 0.0)
    return float(counts @ np.log(np.where(mixed > 0, mixed, 1)) / counts.sum())


def golden(function, low=0.0, high=1.0):
    """Where a concave function of one variable is highest."""
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-10:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if function(left) > function(right) else (left, high)
    return (low + high) / 2


# ---- EM


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_models_agree_with_golden_section_search(seed):
    """Golden-section search over lambda, with the likelihood as defined; and a grid finds nothing better."""
    log10_probs = scores(models=2, seed=seed) - [0, 0.3]
    got = best_mix(log10_probs, precision=1e-10)
    best = golden(lambda x: nats(log10_probs, [x, 1 - x]))
    np.testing.assert_allclose(got.weights, [best, 1 - best], atol=1e-6)
    found = -math.log(got.perplexity)
    assert abs(found - nats(log10_probs, got.weights)) < 1e-12
    assert all(found >= nats(log10_probs, [x, 1 - x]) - 1e-12 for x in np.linspace(0.01, 0.99, 99))


@pytest.mark.parametrize("planted", [[0.3, 0.7], [0.02, 0.98], [0.2, 0.5, 0.3]])
def test_planted_mixtures_are_found(planted):
    """A text in which words are as frequent as in the mixture: by Gibbs' inequality no other weights are better."""
    rng = np.random.default_rng(4)
    models = rng.dirichlet(np.full(12, 0.5), len(planted)).T + 1e-4  # (V,M)
    models /= models.sum(axis=0)
    mixed = models @ planted
    got = best_mix(np.log10(models), mixed * 1000, precision=1e-12)
    np.testing.assert_allclose(got.weights, planted, atol=1e-6)
    np.testing.assert_allclose(got.perplexity, math.exp(-mixed @ np.log(mixed)), rtol=1e-9)


@pytest.mark.parametrize("useless", [False, True])
def test_three_models_fulfil_the_kkt_conditions(useless):
    """Gradient 1 where the weight is positive, at most 1 where it is zero: necessary and sufficient."""
    log10_probs = scores()
    if useless:
        log10_probs[:, 1] = log10_probs[:, [0, 2]].min(axis=1) - 1  # never the better one
    got = best_mix(log10_probs, precision=1e-12)
    probs = 10.0**log10_probs
    mixed = probs @ got.weights
    gradient = (probs[mixed > 0] / mixed[mixed > 0, None]).mean(axis=0)
    assert (got.weights[1] < 1e-6) == useless
    np.testing.assert_allclose(gradient[got.weights > 1e-6], 1, atol=1e-6)
    assert (gradient <= 1 + 1e-6).all()
    assert abs(got.weights.sum() - 1) < 1e-12


def test_the_start_makes_no_difference_and_every_step_is_an_ascent():
    """The likelihood as defined; the likelihood is concave, so all starts lead to one place."""
    log10_probs = scores()
    ends = [best_mix(log10_probs, start=s, precision=1e-10).weights for s in ([0.9, 0.05], [0.01, 0.01, 0.98], None)]
    np.testing.assert_allclose(ends[1:], [ends[0]] * 2, atol=1e-5)
    weights, before = [0.9, 0.05, 0.05], -math.inf
    probs = 10.0 ** log10_probs[np.isfinite(log10_probs).any(axis=1)]
    for _ in range(5):
        shares = probs * weights / (probs @ weights)[:, None]  # [M2], word by word
        got = best_mix(log10_probs, start=weights, precision=2)  # one step
        assert got.iterations == 1 and nats(log10_probs, got.weights) > before
        np.testing.assert_allclose(got.weights, shares.mean(axis=0))
        weights, before = list(got.weights), nats(log10_probs, got.weights)


def test_the_gain_bounds_what_is_left():
    """[M3] against the likelihood at the best weights; it is small where EM has converged."""
    log10_probs = scores()
    top = nats(log10_probs, best_mix(log10_probs, precision=1e-12).weights)
    for steps_until in (2.0, 1e-2, 1e-4):
        got = best_mix(log10_probs, start=[0.9, 0.05, 0.05], precision=steps_until)
        assert 0 <= top - nats(log10_probs, got.weights) <= got.gain
    assert got.gain < 1e-2


def test_counts_are_repetitions():
    """Every line as often as it counts."""
    log10_probs = scores(n=40)
    log10_probs[2] = -np.inf  # left out, three times
    counts = np.arange(40) % 4 + 1
    one, other = best_mix(log10_probs, counts), best_mix(np.repeat(log10_probs, counts, axis=0))
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9)
    np.testing.assert_allclose([one.perplexity, *one.perplexities], [other.perplexity, *other.perplexities])
    assert (one.words, one.zeros, list(one.model_zeros)) == (other.words, other.zeros, list(other.model_zeros))


def test_probabilities_too_small_for_floating_point():
    """The same scores, 10^-500 times as likely: the same weights, 10^500 times the perplexity, which is inf."""
    log10_probs = scores()
    one, other = best_mix(log10_probs), best_mix(log10_probs - 500)
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9)
    assert other.perplexity == math.inf


def test_fixed_weights_stay():
    """The likelihood as defined, at the weights given."""
    got = best_mix(scores(), start=[0.5, 0.2, 0.3], fixed=True)
    assert got.iterations == 0
    np.testing.assert_allclose(got.weights, [0.5, 0.2, 0.3])
    np.testing.assert_allclose(got.perplexity, math.exp(-nats(scores(), [0.5, 0.2, 0.3])))


@pytest.mark.parametrize("start", [[0.5, 0.6], [1, 0], [-0.5, 1.5], [0.2] * 3, [0.5, math.nan], [1.0], [0.2, 0.2]])
def test_weights_that_are_none_are_refused(start):
    """Planted mistakes."""
    with pytest.raises(InputError, match="must be above 0 and sum to 1"):
        best_mix(scores(models=2), start=start)


def test_nothing_to_mix_is_refused():
    """No word with a probability; a precision that is none."""
    with pytest.raises(InputError, match="no word has a probability"):
        best_mix(np.full((3, 2), -np.inf))
    for precision in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="must be above 0"):
            best_mix(scores(), precision=precision)


# ---- SRILM's lines


def test_srilm_lines_are_read(tmp_path):
    """The log10 probabilities that stand in SRILM, and the perplexity in its last line: a file mixed with itself."""
    path = place(tmp_path, "t.ppl", SRILM)
    crlf = place(tmp_path, "t.ppl.gz", gzip.compress(b"\xef\xbb\xbf" + SRILM.replace("\n", "\r\n").encode()))
    log10_probs, counts = read_scores([path, crlf])
    zero = -math.inf
    assert log10_probs[:, 0].tolist() == [-1, -2, zero, -0.5, -1, -3, zero, -1.5]
    assert (log10_probs[:, 0] == log10_probs[:, 1]).all() and counts.tolist() == [1] * 8
    got = best_mix(log10_probs)
    np.testing.assert_allclose([got.perplexity, *got.perplexities], 31.6228, rtol=1e-5)
    assert (got.words, got.zeros, got.model_zeros.tolist()) == (6, 2, [2, 2])


def test_counts_in_the_lines(tmp_path):
    """What `ngram -counts` writes: *N within the brackets."""
    text = "\tp( a | b ) \t= [2gram] 0.1 [ -1 *2.5 ]\n\tp( b | b ) \t= [2gram] 0.01 [ -2 ] / 1\n"
    path = place(tmp_path, "a", text)
    log10_probs, counts = read_scores([path, path])
    assert counts.tolist() == [2.5, 1] and log10_probs.tolist() == [[-1, -1], [-2, -2]]
    np.testing.assert_allclose(best_mix(log10_probs, counts).perplexity, 10 ** ((2.5 + 2) / 3.5))


def test_unk_agrees_with_any_word(tmp_path):
    """By hand: a model with a smaller vocabulary writes <unk> where another has the word."""
    a = place(tmp_path, "a", output(["x", "<unk>", "z"], [-1, -2, -3]))
    b = place(tmp_path, "b", output(["x", "y", "<unk>"], [-1, -2, -3]))
    c = place(tmp_path, "c", output(["x", "y", "z"], [-1, -2, -3]))
    assert read_scores([a, b, c])[0].shape == (3, 3)
    d = place(tmp_path, "d", output(["x", "Y", "z"], [-1, -2, -3]))
    with pytest.raises(InputError, match=f"d, line 3: 'Y', but {b}, line 3 has 'y'"):
        read_scores([a, b, d])


LINE = "\tp( b | x ...) \t= [2gram] 0.1 [ -1 ]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINE + "\n" + LINE.replace("p( b", "p( c"), "b, line 3: 'c', but {a}, line 2 has 'b'"),
        (LINE, "b: ends after 1 words, but {a}, line 2 has 'b' next"),
        (LINE * 3, "a: ends after 2 words, but {b}, line 3 has 'b' next"),
        (LINE + LINE.replace("-1 ]", "-1 *2 ]"), "b, line 2: 'b' * 2, but {a}, line 2 has 'b'"),
        (LINE + LINE.replace("-1", "nan"), "b, line 2: log10 'nan' is not a number"),
        (LINE + LINE.replace("-1", "x"), "b, line 2: log10 'x' is not a number"),
        (LINE + LINE.replace("-1", "0.5"), "b, line 2: log10 0.5 is a probability above 1"),
        (LINE + LINE.replace("-1", "inf"), "b, line 2: log10 inf is a probability above 1"),
        (LINE + LINE.replace("-1", "-1 *0"), "b, line 2: the word counts 0 times"),
        (LINE + LINE.replace("-1", "-1 *x"), "b, line 2: count 'x' is not a number"),
        (LINE + LINE[:-4], "b, line 2: not `p( word | context ...)"),
        (LINE + "\tp( b\n", "b, line 2: not `p( word | context ...)"),
        (LINE + LINE.replace("=", ":"), "b, line 2: not `p( word | context ...)"),
        (b"\xff", "b, line 1: byte 0xff"),
        ("", "b: has no line `p( word | context ...)"),
    ],
)
def test_files_that_do_not_agree_are_named(tmp_path, text, said):
    """Planted mistakes."""
    a, b = place(tmp_path, "a", LINE * 2), place(tmp_path, "b", text)
    with pytest.raises(InputError) as caught:
        read_scores([a, b])
    assert said.format(a=a, b=b) in str(caught.value) and "\n" not in str(caught.value)


# ---- the command


def test_the_command_prints_weights_and_perplexities(call, tmp_path):
    """best_mix; SRILM's line, which its users' scripts look for; the same figures in JSON."""
    log10_probs = scores(models=2, n=60)
    words = [f"w{k}" for k in range(60)]
    paths = [place(tmp_path, f"{m}.ppl", output(words, log10_probs[:, m])) for m in range(2)]
    expected = best_mix(log10_probs)
    got = call(*paths)
    table, last = got.out.rstrip().rsplit("\n", 1)
    assert got.code == 0 and got.err == ""
    assert last == f"{expected.words:g} non-oov words, best lambda ({' '.join(f'{x:.6g}' for x in expected.weights)})"
    for value in (*expected.perplexities, expected.perplexity):
        assert f"perplexity {value:,.2f}" in table
    got = call(*paths, "--json")
    figures = json.loads(got.out)
    assert figures["weights"] == pytest.approx(expected.weights.tolist(), abs=1e-6)
    assert figures["perplexity"] == pytest.approx(expected.perplexity, rel=1e-6)
    assert [x["zeros"] for x in figures["models"]] == expected.model_zeros.tolist()
    assert "best lambda" in got.err
    got = json.loads(call(*paths, "--lambda", "0.25", "--fixed", "--json").out)
    assert got["weights"] == [0.25, 0.75] and got["iterations"] == 0
    assert f"at most {best_mix(log10_probs, precision=0.5).gain:.2g} nats" in call(*paths, "--precision", "0.5").out


def test_the_command_reads_a_pipe(call, tmp_path, monkeypatch):
    """The same file by name and as standard input."""
    path = place(tmp_path, "a", SRILM)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SRILM.encode())))
    assert json.loads(call(path, "-", "--json").out)["weights"] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["a"], "a: a mixture needs the outputs of two or more models"),
        (["-", "-"], "standard input is given twice"),
        (["a", "a", "--fixed"], "--fixed needs weights"),
        (["a", "a", "--lambda", "x"], "--lambda 'x': not a list of numbers"),
        (["a", "a", "--lambda", "0.9,0.2"], "must be above 0 and sum to 1"),
        (["a", "a", "--precision", "0"], "precision = 0.0"),
        (["text", "a"], "text: has no line `p( word | context ...)"),
        (["a", "text"], "text: has no line `p( word | context ...)"),
        (["text", "text"], "text: has no line `p( word | context ...)"),
        (["a", "gone"], "gone: no such file"),
    ],
)
def test_mistakes_end_in_one_line(call, tmp_path, monkeypatch, args, said):
    """Planted mistakes: one line, exit code 2, nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    place(tmp_path, "a", SRILM)
    place(tmp_path, "text", "a text\nof words\n")
    got = call(*args)
    assert (got.code, got.out) == (2, "") and got.err.count("\n") == 1
    assert got.err.startswith("nplm: error: ") and said in got.err
