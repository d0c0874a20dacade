"""Sampling and the likeliest next words.  Oracles: the reference model, one line at a time; enumeration."""

import math

import numpy as np
import pytest
from conftest import make_model

import nplm
from nplm import InputError
from nplm.reference import model as reference
from nplm.scoring import generate
from nplm.scoring.generate import Reader, Sampling, draw, draw_lines, next_after, next_words

LAWS = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.7, "allow_unk": True},
    {"top_k": 3},
    {"top_k": 100},
    {"top_p": 0.8},
    {"top_p": 0.995},
    {"top_p": 1e-9},
    {"top_k": 5, "top_p": 0.6, "temperature": 1.3},
    {"temperature": 0.0},
    {"temperature": 1e-300},
    {"temperature": 1e300},
]


@pytest.fixture(scope="module")
def model():
    """V = 11, float64: rounding does not move a draw."""
    return make_model(scale=0.7)


def probabilities(logp, sampling):
    """The sampling (V,) of [D1] to [D4], word by word from the likeliest on; logp (V,), <unk> is word 0."""
    weights = {w: float(logp[w]) for w in range(len(logp)) if w or sampling.allow_unk}
    order = sorted(weights, key=lambda w: (-weights[w], w))
    if sampling.temperature == 0:
        return np.eye(len(logp))[order[0]]
    mass = {w: math.exp((weights[w] - weights[order[0]]) / sampling.temperature) for w in order}
    order = order[: sampling.top_k or None]
    total, kept, reached = sum(mass[w] for w in order), [], 0.0
    for w in order:
        if reached >= sampling.top_p * total and kept:
            break
        kept.append(w)
        reached += mass[w]
    return np.array([mass[w] / reached if w in kept else 0.0 for w in range(len(logp))])


def after(model, ids):
    """Log-probabilities (V,) of the next word, by the reference, the whole text recomputed."""
    state = np.zeros((2, model.config.num_layers, 1, model.config.hidden_dim))
    return reference.log_probs(model.params, np.array([1, *ids])[:, None], *state)[-1, 0]


def by_hand(model, sampling, uniform, prompt):
    """A line for each row of uniform: a word at a time, from the running sum of its sampling."""
    lines = []
    for row in uniform:
        ids = list(prompt)
        for u in row:
            upto = probabilities(after(model, ids), sampling).cumsum()
            word = int(np.searchsorted(upto, u * upto[-1], side="right"))
            if word == model.vocabulary.eos:
                break
            ids.append(word)
        lines.append(" ".join(model.vocabulary.tokens[w] for w in ids))
    return lines


@pytest.mark.parametrize("settings", LAWS, ids=str)
def test_lines_are_those_drawn_one_by_one(model, settings, monkeypatch):
    """The reference, a line and a word at a time, with the same uniform numbers; three in lock-step, with a prompt."""
    monkeypatch.setattr(generate, "LOCK_STEP", 3)
    uniform = np.random.default_rng(5).random((8, 6))
    for prompt in ("", "w5 w2 w5"):
        rng = np.random.default_rng(5)
        got = nplm.sample(model, rng, lines=8, max_words=6, prompt=prompt, **settings)
        expected = by_hand(model, Sampling(**settings), uniform, model.vocabulary.encode(prompt.split()))
        assert got == expected
        assert all(line.startswith(prompt) for line in got)


@pytest.mark.parametrize("settings", LAWS, ids=str)
def test_a_draw_is_exact(settings):
    """The sampling enumerated: of N evenly spread uniform numbers, each word gets its share N p, to one or two."""
    rng, sampling, n = np.random.default_rng(6), Sampling(**settings), 4000
    logp = rng.normal(0, 2, 700).astype(np.float32)  # 700 words: two whole blocks of SUMS and a part of one
    logp[[30, 600]] = logp.max()  # equal ones
    if not sampling.allow_unk:
        logp[0] = -np.inf
    expected = probabilities(logp.astype(np.float64), sampling)
    uniform = rng.permutation((np.arange(n) + 0.5) / n)
    words = np.concatenate([draw(np.tile(logp, (100, 1)), sampling, part) for part in uniform.reshape(-1, 100)])
    counts = np.bincount(words, minlength=700)
    assert words.dtype == np.int32 and np.abs(counts - n * expected).max() <= 1.01
    assert not counts[expected == 0].any()


@pytest.mark.parametrize("last", [511, 650, 699])
@pytest.mark.parametrize("u", [0.0, 1 - 2**-53, 1.0])
def test_the_ends_of_the_unit_interval(u, last):
    """Words without mass at both ends, in every block: they are never drawn; rounding may make u a 1."""
    scores = np.full((1, 700), -np.inf)
    scores[0, [257, 300, last]] = [-1.0, 0.0, -20.0]
    ends = (257, last) if u == 0 else (last, 257)
    for sampling in (Sampling(), Sampling(top_k=600), Sampling(top_k=3), Sampling(top_p=1 - 1e-17)):
        assert draw(scores.copy(), sampling, np.array([u])) == ends[0], sampling


def test_what_rounding_leaves_over_is_not_negative():
    """Binary fractions: 0.1 + 0.2 - 0.2 is more than 0.1, and a target below 0 finds a word without mass."""
    place, rest = generate._find(np.array([[0.1, 0.2, 0.3]]), np.array([0.1]))
    assert (place[0], rest[0]) == (1, 0.0) and 0.1 - (0.1 + 0.2 - 0.2) < 0


def test_the_first_two_words_pass_a_chi_square_test(model):
    """Pearson's statistic of 20,000 pairs against the exact sampling; one of another temperature does not."""

    def z_score(temperature):
        """The statistic as a normal variable (Wilson and Hilferty)."""
        first = probabilities(after(model, []), Sampling(temperature=temperature))
        cells = {("", ""): first[1]}
        for w in range(2, 11):
            second = probabilities(after(model, [w]), Sampling(temperature=temperature))
            cells |= {(tokens[w], "" if v == 1 else tokens[v]): first[w] * second[v] for v in range(1, 11)}
        assert sum(cells.values()) == pytest.approx(1)
        expected = np.array([lines * p for p in cells.values()])
        observed = np.array([drawn.count(pair) for pair in cells])
        many = expected >= 5
        expected, observed = (np.append(x[many], x[~many].sum()) for x in (expected, observed))
        x, df = float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1
        return ((x / df) ** (1 / 3) - 1 + 2 / (9 * df)) / math.sqrt(2 / (9 * df))

    lines, tokens = 20_000, model.vocabulary.tokens
    rng = np.random.default_rng(8)
    texts = nplm.sample(model, rng, lines=lines, max_words=2, temperature=0.9)
    drawn = [tuple([*text.split(), "", ""][:2]) for text in texts]
    assert abs(z_score(0.9)) < 4
    assert z_score(1.0) > 8


def test_fewer_lines_are_the_first_of_more(model, monkeypatch):
    """The same seed: whatever the number of lines in lock-step; another seed gives others."""
    draws = lambda lines, seed=9: nplm.sample(model, np.random.default_rng(seed), lines=lines)  # noqa: E731
    many = draws(70)
    assert many == draws(70) and many[:7] == draws(7) and many[0:1] == draws(1) and many != draws(70, 10)
    monkeypatch.setattr(generate, "SCORES", 5 * 11)
    assert many == draws(70)


def test_what_a_line_says(model):
    """The definition: no marks, no <unk> unless allowed, no more words than asked for, and whether it ended."""
    lines = list(draw_lines(model, np.random.default_rng(5), Sampling(), 40, 6, "w3 nowhere"))
    assert len(lines) == 40 and all(line.words[:2] == ["w3", "nowhere"] for line in lines)
    assert not {"<unk>", "</s>"} & {word for line in lines for word in line.words}
    assert all(len(line.words) <= 8 and line.ended == (len(line.words) < 8) for line in lines if not line.ended)
    assert {line.ended for line in lines} == {True, False}
    unk = nplm.sample(model, np.random.default_rng(5), lines=40, prompt="w3 nowhere", max_words=6)
    assert unk == nplm.sample(model, np.random.default_rng(5), lines=40, prompt=["w3", "nowhere"], max_words=6)
    heard = nplm.sample(model, np.random.default_rng(5), lines=40, prompt="w3 <unk>", max_words=6)
    assert [line.replace("<unk>", "nowhere") for line in heard] == unk


def test_lines_come_as_they_are_made(model):
    """A million lines of which two are looked at: the others are never drawn."""
    made = draw_lines(model, np.random.default_rng(5), Sampling(), 10**9, 6)
    assert [next(made), next(made)] == list(draw_lines(model, np.random.default_rng(5), Sampling(), 2, 6))


@pytest.mark.parametrize("context", ["", "w5 w2 nowhere w7"])
def test_next_words(model, context):
    """The reference's log-probabilities, sorted; k = V are all words, and k beyond V no more."""
    logp = after(model, model.vocabulary.encode(context.split()))
    order = sorted(range(11), key=lambda w: -logp[w])
    for k in (1, 4, 11, 99):
        got = next_words(model, context, k)
        assert [word for word, _ in got] == [model.vocabulary.tokens[w] for w in order[:k]]
        np.testing.assert_allclose([p for _, p in got], np.exp(logp[order[:k]]), rtol=1e-12)
    assert sum(p for _, p in got) == pytest.approx(1, abs=1e-12)
    assert got == next_words(model, context.split(), 99)


def test_a_long_context_is_read_in_parts(model, monkeypatch):
    """The reference, which reads it whole."""
    monkeypatch.setattr(generate, "READ", 4)
    words = [f"w{k}" for k in np.random.default_rng(1).integers(2, 11, 21)]
    ((_, got),) = next_after(Reader(model), words, 1)
    assert got == pytest.approx(np.exp(after(model, model.vocabulary.encode(words)).max()), rel=1e-12)


def test_equal_words_come_in_the_order_of_their_ids():
    """An untrained model of equal counts: every word is as likely as any other."""
    counts = {"</s>": 3, "<unk>": 3} | {f"a{k:02}": 3 for k in range(48)}
    vocabulary = nplm.Vocabulary.from_counts(counts)
    model = nplm.LanguageModel.init(nplm.ModelConfig(50, 4, 6, 1), vocabulary, np.random.default_rng(1))
    expected = [(word, pytest.approx(0.02)) for word in vocabulary.tokens]
    assert next_words(model, "a03", 40) == expected[:40]
    drawn = nplm.sample(model, np.random.default_rng(1), lines=200, max_words=1, top_k=3)
    assert set(drawn) == {"", "a00", "a01"}


def test_a_temperature_too_large_for_float32_evens_all_words_out():
    """By hand: four words alike, and never <unk>, whose score is -inf."""
    scores = np.array([[-np.inf, 3.0, 0.0, -2.0, 1.0]] * 4, np.float32)
    uniform = np.array([0.1, 0.3, 0.6, 0.9])
    assert draw(scores, Sampling(temperature=1e300), uniform).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("lines", 0),
        ("max_words", 0),
    ],
)
def test_bad_settings(model, name, value):
    """The message names the setting and its value."""
    with pytest.raises(InputError, match=f"{name} = {value}"):
        nplm.sample(model, np.random.default_rng(1), **{name: value})


def test_bad_contexts_and_a_diverged_model(model):
    """Planted: marks among the words, k = 0, a parameter that is not a number."""
    for mark in ("<s>", "</s>"):
        with pytest.raises(InputError, match=mark):
            nplm.sample(model, np.random.default_rng(1), prompt=f"w3 {mark} w4")
    with pytest.raises(InputError, match="k = 0"):
        next_words(model, "w3", 0)
    broken = model.copy()
    broken.params["rnn.weight_hh_l0"][0, 0] = math.nan
    with pytest.raises(InputError, match="not finite"):
        nplm.sample(broken, np.random.default_rng(1), prompt="w3")
