"""Oracles: totals by hand, hypotheses planted to be right, planted mistakes, the model's own log-probabilities."""

import gzip
import io
import json
import math
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from conftest import make_model

from nplm.errors import InputError
from nplm.scoring.score import score_batch
from nplm.storage.checkpoint import save_model
from nplm.toolkits.nbest import NBest, read_kaldi, read_srilm
from nplm.toolkits.rescore import one_best, rescore, whole_list

LN10 = math.log(10)
SRILM = "-100.25 -9 3 w2 w3 w4\n-101 -1 2 w5 w6\n-99.5 -20 3 w2 w2 w7\n"
KALDI = "a-b-1 w2 w3\na-b-2 w4\nc-2\nc-1 w5 w6 w7\nc-10 never\n"
COSTS = "a-b-1 100\na-b-2 101.5\nc-2 90\nc-1 80\nc-10 85.5\n"
PLANTED = {"w2 w3 w4": -3.0, "w5 w6": -3.0, "w2 w2 w7": -4.0, "w2 w3": -2.0, "w4": -1.5, "": -0.5, "w5 w6 w7": -2.5}


def planted(sentences):
    """A language model whose scores are known; all other sentences have -9."""
    return np.array([PLANTED.get(sentence, -9.0) for sentence in sentences])


def place(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture(scope="module")
def model():
    return make_model(np.float32, vocab=30, hidden=8, embed=5, layers=1)


@pytest.fixture(scope="module")
def model_path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(model, path)
    return path


@pytest.fixture
def call(nplm):
    """Runs `nplm rescore` in this process."""
    return partial(nplm, "rescore")


def exact(model, sentence):
    """log10 p(sentence, </s>), word by word from the zero state, by log_probs."""
    words = model.vocabulary.encode([*sentence.split(), "</s>"])
    inputs = np.concatenate([[model.vocabulary.eos], words[:-1]])
    log_probs, _ = model.log_probs(inputs[:, None].astype(np.int32), model.zero_state(1))
    return float(log_probs[np.arange(len(words)), 0, words].sum()) / LN10


# ---- SRILM's format


def test_srilm_totals_by_hand(tmp_path):
    """Totals written out: ascore + 8 lm - penalty nwords; the old lscore plays no part."""
    nbest = read_srilm(place(tmp_path, "utt7", SRILM))
    (got,) = rescore([nbest], planted)
    np.testing.assert_allclose(got.total, [-100.25 - 24, -101 - 24, -99.5 - 32], rtol=1e-15)
    assert one_best(got) == "utt7 w2 w3 w4"
    (got,) = rescore([nbest], planted, lm_scale=2, word_penalty=0.8)
    np.testing.assert_allclose(got.total, [-106.25 - 2.4, -107 - 1.6, -107.5 - 2.4], rtol=1e-15)
    assert one_best(got) == "utt7 w5 w6"  # the penalty has turned the first two round
    (got,) = rescore([nbest], planted, lm_scale=0)
    assert one_best(got) == "utt7 w2 w2 w7"


def test_srilm_list_is_rewritten_best_first(tmp_path):
    """Lines by hand: ascore as it stood, the new lscore, nwords as given; unsorted lists are sorted."""
    nbest = read_srilm(place(tmp_path, "u", "-7.50 1 9 w4\n-1e0 1 3 w2 w3 w4\n-2.0 1 0\n"))
    (got,) = rescore([nbest], planted, lm_scale=1, word_penalty=0.25)
    assert whole_list(got) == ["-2.0 -0.50000 0", "-1e0 -3.00000 3 w2 w3 w4", "-7.50 -1.50000 9 w4"]


def test_of_equals_the_first_is_best(tmp_path):
    """Planted ties."""
    lines = [f"-5 -1 1 {word}" for word in ("x", "w4", "y", "w4", "z")]
    (got,) = rescore([read_srilm(place(tmp_path, "u", "\n".join(lines)))], planted)
    assert got.order.tolist() == [1, 3, 0, 2, 4]


def test_mix_old_by_hand(tmp_path):
    """(1 - W) new + W old, on the first line: 0.75 (-3) + 0.25 (-9)."""
    nbest = read_srilm(place(tmp_path, "u", SRILM), finite_old=True)
    (got,) = rescore([nbest], planted, mix_old=0.25)
    np.testing.assert_allclose(got.lm, [-4.5, -2.5, -8.0])
    assert one_best(got) == "u w5 w6"
    assert whole_list(got)[0] == "-101 -2.50000 2 w5 w6"


def test_what_the_model_is_asked(tmp_path):
    """The sentences by hand: no <s>, no </s>, no pauses; byte order mark, CRLF and blank lines do no harm."""
    asked = []
    text = "\ufeff-1 -inf 2 <s> a -pau- b </s>\r\n\r\n-2 -1 1 -pau-\r\n-3 -1 0\r\n-4 -1 1 <s> </s>"
    nbest = read_srilm(place(tmp_path, "u.gz", gzip.compress(text.encode())))
    assert nbest.name == "u"
    (got,) = rescore([nbest], lambda x: asked.extend(x) or np.zeros(len(x)), skip={"-pau-"}, word_penalty=1)
    assert asked == ["a b", "", "", ""]
    assert got.total.tolist() == [-1 - 2, -2 - 1, -3, -4 - 1]  # nwords as given, whatever is scored
    assert one_best(got) == "u a -pau- b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-1 -1 1 a\n-1 -1\n", "line 2: 2 fields"),
        ("-1 -1 1 a\n\n-1 b 1 a\n", "line 3: lscore 'b' is not a number"),
        ("x -1 1 a\n", "line 1: ascore 'x' is not a finite number"),
        ("nan -1 1 a\n", "line 1: ascore 'nan'"),
        ("-inf -1 1 a\n", "line 1: ascore '-inf'"),
        ("1_0 -1 1 a\n", "line 1: ascore '1_0'"),
        ("-1 nan 1 a\n", "line 1: lscore 'nan'"),
        ("-1 -1 1.0 a\n", "line 1: nwords '1.0' is not a number of words"),
        ("-1 -1 -2 a\n", "line 1: nwords '-2'"),
        (f"-1 -1 {'9' * 5000} a\n", "line 1: nwords '9999"),
        ("-1 -1 ² a\n", "line 1: nwords '²'"),
        ("-1 -1 3 a <s> b\n", "line 1: <s> inside"),
        ("-1 -1 3 a </s> b\n", "line 1: </s> inside"),
        ("NBestList1.0\n(-12) a\n", "line 1: NBestList1.0 combines acoustic and language model scores"),
        ("NBestList2.0\n(-12) a ( st: 0 et: 1 g: 1 a: 1 )\n", "line 1: NBestList2.0"),
        ("", "empty, contains no hypothesis"),
        ("\n \n", "empty, contains no hypothesis"),
        (b"-1 -1 1 a\n-1 -1 1 \xff\n", "line 2: byte 0xff at offset 8 of the line is not UTF-8"),
        (b"-1 -1 1 a\0\n", "line 1: a NUL byte"),
        (b"\xff\xfe-\0", "line 1: a UTF-16 byte order mark"),
        (b"-1 -1 1 a\n" + b"a" * (2**20 + 1) + b"bc\n", f"line 2: {2**20 + 3} bytes long"),
        (gzip.compress(b"-1 -1 1 a\n"), "this is a gzip file"),
    ],
)
def test_malformed_srilm_lines_are_named(tmp_path, text, said):
    """Planted mistakes."""
    path = place(tmp_path, "list", text)
    with pytest.raises(InputError) as caught:
        read_srilm(path)
    assert str(caught.value).startswith(str(path)) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_old_scores_must_be_finite_only_where_they_count(tmp_path):
    """A list whose lscore is -inf: what SRILM writes for a word its model gives no probability."""
    path = place(tmp_path, "u", "-1 -inf 1 w4\n")
    (got,) = rescore([read_srilm(path)], planted)
    assert got.total.tolist() == [-1 + 8 * -1.5]
    with pytest.raises(InputError, match="line 1: lscore '-inf' is not a finite number"):
        read_srilm(path, finite_old=True)


# ---- Kaldi's format


def test_kaldi_costs_by_hand(tmp_path):
    """cost = acoustic + S (LM cost) + P words in nats, the lowest is the best: Kaldi's own way to write it."""
    lists = list(read_kaldi([place(tmp_path, "nbest", KALDI)], place(tmp_path, "acwt", COSTS)))
    assert [(x.name, len(x.hypotheses)) for x in lists] == [("a-b", 2), ("c", 3)]
    first, second = rescore(lists, planted, lm_scale=3, word_penalty=0.7 / LN10)
    np.testing.assert_allclose(-first.total * LN10, [100 + 6 * LN10 + 1.4, 101.5 + 4.5 * LN10 + 0.7])
    costs = [90 + 1.5 * LN10, 80 + 7.5 * LN10 + 2.1, 85.5 + 27 * LN10 + 0.7]
    np.testing.assert_allclose(-second.total * LN10, costs)
    assert [one_best(first), one_best(second)] == ["a-b w4", "c"]  # 96.8 is the lowest, 93.5 is: the empty one
    assert whole_list(second) == ["c-2", "c-1 w5 w6 w7", "c-10 never"]


def test_kaldi_without_costs_goes_by_the_model_alone(tmp_path):
    """Planted scores: -2 and -1.5; -0.5, -2.5 and -9."""
    got = list(rescore(read_kaldi([place(tmp_path, "nbest", KALDI)]), planted))
    assert [one_best(x) for x in got] == ["a-b w4", "c"]
    got = list(rescore(read_kaldi([tmp_path / "nbest"]), planted, word_penalty=-10))
    assert [one_best(x) for x in got] == ["a-b w2 w3", "c w5 w6 w7"]


@pytest.mark.parametrize(
    ("text", "costs", "said"),
    [
        ("a-1 x\nb x\n", None, "nbest, line 2: 'b' is not utt-N"),
        ("a-1 x\n-2 x\n", None, "nbest, line 2: '-2' is not utt-N"),
        ("a-1 x\na-x x\n", None, "nbest, line 2: 'a-x' is not utt-N"),
        ("a-1 x\nb-1 x\na-2 y\n", None, "nbest, line 3: more hypotheses of 'a', whose list has ended"),
        ("a-1 x\nb-1 x\nb-1 y\n", None, "nbest, line 3: 'b-1' occurs twice"),
        ("a-1 x <s>\n", None, "nbest, line 1: <s> inside"),
        ("", None, "nbest: empty"),
        ("a-1 x\na-2 x\n", "a-1 1\n", "nbest, line 2: 'a-2' has no acoustic cost"),
        ("a-1 x\na-2 x\n", "a-1 1\na-3 1\n", "acwt, line 2: the cost of 'a-3', but that of 'a-2' is expected"),
        ("a-1 x\n", "a-1 1\na-2 2\n", "acwt, line 2: 'a-2' has a cost, but"),
        ("a-1 x\n", "a-1 1 2\n", "acwt, line 1: 3 fields"),
        ("a-1 x\n", "a-1 inf\n", "acwt, line 1: cost 'inf' is not a finite number"),
    ],
)
def test_malformed_kaldi_lines_are_named(tmp_path, text, costs, said):
    """Planted mistakes."""
    paths = [place(tmp_path, "nbest", text)]
    acoustic = None if costs is None else place(tmp_path, "acwt", costs)
    with pytest.raises(InputError) as caught:
        list(read_kaldi(paths, acoustic))
    assert said in str(caught.value) and "\n" not in str(caught.value)


# ---- many lists


def test_lists_are_scored_together_and_read_no_further_than_needed():
    """By hand: lists of 2 hypotheses in groups of 5 are asked for six at a time; the order stays."""
    read, asked = [], []

    def lists():
        for k in range(7):
            read.append(k)
            text = [f"u{k}-{n} w{n}\n" for n in range(2)]
            yield NBest(f"u{k}", [h for x in read_kaldi_lines(text) for h in x.hypotheses])

    def score(sentences):
        asked.append(len(sentences))
        return np.arange(len(sentences), dtype=float)  # the second of each list is the better one

    results = rescore(lists(), score, group=5)
    assert one_best(next(results)) == "u0 w1" and read == [0, 1, 2]
    assert [one_best(x) for x in results] == [f"u{k} w1" for k in range(1, 7)]
    assert asked == [6, 6, 2]


def read_kaldi_lines(lines):
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO("".join(lines).encode()))
    try:
        return list(read_kaldi(["-"]))
    finally:
        sys.stdin = before


@pytest.mark.parametrize(
    "options", [{"lm_scale": math.nan}, {"word_penalty": math.inf}, {"mix_old": 1.5}, {"mix_old": math.nan}]
)
def test_weights_that_make_no_sense_are_refused(options):
    """Planted mistakes."""
    with pytest.raises(InputError, match="must be finite, the share from 0 to 1"):
        next(rescore([], planted, **options))


@pytest.mark.parametrize("options", [{"lm_scale": 1e308}, {"lm_scale": -1e308, "word_penalty": 1e308}])
def test_weights_that_leave_nothing_to_compare_are_refused(tmp_path, options):
    """By hand: 1e308 times 3 is no float64; inf - inf neither."""
    nbest = read_srilm(place(tmp_path, "utt7", SRILM))
    with pytest.raises(InputError, match="utt7: a total overflows"):
        next(rescore([nbest], planted, **options))


def test_a_model_that_is_not_finite_is_named(tmp_path):
    """A planted nan."""
    nbest = read_srilm(place(tmp_path, "u", SRILM))
    with pytest.raises(InputError, match="u: the model gives 'w5 w6' the score nan"):
        next(rescore([nbest], lambda x: np.array([0, math.nan, 0])))


# ---- the command


def test_the_command_ranks_by_the_models_own_probabilities(call, model, model_path, tmp_path):
    """exact() of every hypothesis: by hand the best of each list, and the lscore in the list."""
    sentences = [["w2 w3 w4", "w5 w6", "never w7", ""], ["w9", "w8", "w7", "w6"]]
    paths = []
    for k, words in enumerate(sentences):
        lines = [f"{-k} -50 {len(x.split())} {x}\n" for x in words]
        paths.append(place(tmp_path, f"utt{k}", "".join(lines)))
    scores = [[exact(model, x) for x in words] for words in sentences]
    best = [words[int(np.argmax(score))] for words, score in zip(sentences, scores, strict=True)]
    got = call(model_path, *paths, "--json")
    *lines, summary = got.out.splitlines()
    assert lines == [f"utt{k} {words}".strip() for k, words in enumerate(best)]
    assert got.code == 0 and "2 lists, 8 hypotheses" in got.err
    figures = json.loads(summary)
    assert (figures["lists"], figures["hypotheses"], figures["format"]) == (2, 8, "srilm")
    assert figures["changed"] == sum(words.index(x) != 0 for words, x in zip(sentences, best, strict=True))
    got = call(model_path, paths[0], "--nbest")
    written = {" ".join(x.split()[3:]): float(x.split()[1]) for x in got.out.splitlines()}
    assert list(written) == [sentences[0][k] for k in np.argsort(-np.array(scores[0]))]
    np.testing.assert_allclose([written[x] for x in sentences[0]], scores[0], atol=2e-5)


def test_the_command_reads_kaldi_from_a_pipe(call, model, model_path, tmp_path, monkeypatch):
    """exact() and the costs by hand: acoustic - S log p + P words in nats."""
    costs = dict(line.split() for line in COSTS.splitlines())
    total = {}
    for line in KALDI.splitlines():
        key, *words = line.split()
        total[key] = float(costs[key]) - 2.5 * exact(model, " ".join(words)) * LN10 + 0.5 * len(words)
    best = {}
    for line in KALDI.splitlines():
        key, *words = line.split()
        name = key.rpartition("-")[0]
        if total[key] == min(value for other, value in total.items() if other.startswith(f"{name}-")):
            best[name] = " ".join([name, *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(KALDI.encode())))
    acoustic = place(tmp_path, "acwt.gz", gzip.compress(COSTS.encode()))
    options = ["--format", "kaldi", "--acoustic", acoustic, "--lm-scale", "2.5", "--word-penalty", "0.5"]
    got = call(model_path, *options)
    assert got.code == 0 and got.out.splitlines() == [best["a-b"], best["c"]]


def test_the_word_penalty_of_kaldi_is_in_nats(call, model, model_path, tmp_path):
    """Penalties on both sides of the one that makes two costs equal, in nats and from exact()."""
    path = place(tmp_path, "nbest", "u-1 w5 w6 w7\nu-2\n")
    acoustic = place(tmp_path, "acwt", "u-1 50\nu-2 90\n")
    longer, empty = 50 - exact(model, "w5 w6 w7") * LN10, 90 - exact(model, "") * LN10
    even = (empty - longer) / 3
    assert even > 1
    for share, best in ((0.9, "u w5 w6 w7"), (1.1, "u")):
        options = ["--acoustic", acoustic, "--lm-scale", "1", "--word-penalty", share * even]
        assert call(model_path, path, "--format", "kaldi", *options).out == best + "\n"


def test_unnormalised_scores_are_those_of_score_batch(call, model, model_path, tmp_path):
    """score_batch(normalize=False), which differs from the exact scores of this model; and stderr says so."""
    path = place(tmp_path, "u", "-1 -1 2 w5 w6\n")
    got = call(model_path, path, "--nbest", "--unnormalised")
    expected = float(score_batch(model, ["w5 w6"], normalize=False)[0])
    assert abs(expected - exact(model, "w5 w6")) > 0.01
    assert abs(float(got.out.split()[1]) - expected) < 2e-5
    assert "unnormalised scores: log Z is taken as" in got.err


def test_output_has_every_list_and_stdout_the_best(call, model_path, tmp_path):
    """--nbest, list by list: the same lines; a folder appears only whole."""
    for k, text in enumerate((SRILM, "-1 -1 1 w8\n")):
        place(tmp_path, f"utt{k}", text)
    (tmp_path / "utt1.gz").write_bytes(gzip.compress((tmp_path / "utt1").read_bytes()))
    paths = [tmp_path / "utt0", tmp_path / "utt1.gz"]
    got = call(model_path, *paths, "--output", tmp_path / "new")
    assert got.code == 0 and [line.split()[0] for line in got.out.splitlines()] == ["utt0", "utt1"]
    for path, name in zip(paths, ("utt0", "utt1"), strict=True):
        assert (tmp_path / "new" / name).read_text() == call(model_path, path, "--nbest").out
    place(tmp_path, "bad", "-1\n")
    got = call(model_path, paths[0], tmp_path / "bad", "--output", tmp_path / "newer")
    assert got.code == 2 and not list(tmp_path.glob("*newer*"))
    got = call(model_path, *paths, "--output", tmp_path / "new")
    assert got.code == 2 and "already exists" in got.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["x", "y", "--nbest"], "--nbest would print 2 lists as one"),
        (["x", "--acoustic", "y"], "--acoustic is for --format kaldi"),
        (["x", "--format", "kaldi", "--mix-old", "0.5"], "--mix-old is for SRILM's lists"),
        (["x", "--format", "kaldi", "--output", "y"], "--output is for SRILM's lists"),
        (["-", "--output", "y"], "--output names its files after the lists' files"),
        (["a/x", "b/x.gz", "--output", "y"], "two lists are called 'x'"),
        (["-", "-"], "standard input is given twice"),
        (["--format", "kaldi", "--acoustic", "-"], "standard input is given twice"),
        (["x", "--lm-scale", "nan"], "LM scale nan"),
        (["no-such-list"], "no-such-list: no such file"),
        (["x", "--format", "htk"], "is not one of"),
    ],
)
def test_what_does_not_go_together_is_refused(call, model_path, tmp_path, monkeypatch, args, said):
    """Planted mistakes: one line, exit code 2, nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    place(tmp_path, "x", SRILM)
    got = call(model_path, *args)
    assert (got.code, got.out) == (2, "") and got.err.count("\n") == 1
    assert got.err.startswith("nplm: error: ") and said in got.err


def test_a_mistake_leaves_whole_lists_behind(call, model_path, tmp_path, monkeypatch):
    """A mistake in the fourth list when two are scored at a time: the first are there, whole; exit code 2."""
    monkeypatch.setitem(rescore.__kwdefaults__, "group", 2)
    paths = [place(tmp_path, f"u{k}", "-1 -1 1 w8\n" if k < 3 else "-1 -1 1 w8\noops\n") for k in range(4)]
    got = call(model_path, *paths)
    assert got.code == 2 and got.out == "u0 w8\nu1 w8\n"
    assert got.err.endswith("u3, line 2: 1 fields, but a hypothesis is `ascore lscore nwords words`\n")


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe")
def test_a_closed_pipe_ends_quietly(model_path, tmp_path):
    """A reader that closes at once, as `head` may: nothing on stderr."""
    path = place(tmp_path, "nbest", KALDI)
    code = "import sys\nfrom nplm.cli.rescore import command\ncommand.main(sys.argv[1:], standalone_mode=False)\n"
    read, write = os.pipe()
    os.close(read)
    args = [sys.executable, "-c", code, str(model_path), "--format", "kaldi", str(path)]
    got = subprocess.run(args, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert got.stderr.replace("compiling the kernels once for this machine ...\n", "") == ""
