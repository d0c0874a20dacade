"""Oracles: the real kenlm package, for which one script is run unchanged; exact log_probs in float64."""

import copy
import math
import pickle
import sys

import numpy as np
import pytest
from conftest import make_model

import nplm
from nplm.layers import softmax
from nplm.scoring import kenlm as kenlm_module
from nplm.scoring.kenlm import State
from nplm.storage import checkpoint

ARPA = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-1.2\t<unk>
0\t<s>\t-0.3
-0.7\t</s>
-0.5\tw2\t-0.2
-0.9\tw3\t-0.1
-1.1\tw4\t-0.4

\\2-grams:
-0.2\t<s> w2
-0.4\tw2 w3
-0.3\tw3 </s>
-0.6\tw4 w4

\\end\\
"""
SCRIPT = '''
import copy
import kenlm

model = kenlm.Model(path)
assert "w2" in model and b"w3" in model and "never" not in model and "<unk>" not in model
assert isinstance(model.order, int) and model.order >= 2 and isinstance(model.path, bytes)

def close(a, b):
    return abs(a - b) <= 1e-5 * (1 + abs(b))

def chained(words, bos, eos):
    """By BaseScore, a word at a time, with two states in turns."""
    state, following, total, flags = kenlm.State(), kenlm.State(), 0.0, []
    model.BeginSentenceWrite(state) if bos else model.NullContextWrite(state)
    for word in words + ["</s>"] * eos:
        before = copy.copy(state)
        assert before == state and hash(before) == hash(state)
        out = kenlm.State()
        full = model.BaseFullScore(before, word, out)
        assert before == state
        total += model.BaseScore(state, word, following)
        state, following = following, state
        assert state == out
        flags.append((full.log_prob, full.ngram_length, full.oov))
    return total, flags

for sentence in sentences:
    words = sentence.split()
    for bos in (True, False):
        for eos in (True, False):
            total = model.score(sentence, bos, eos)
            full = list(model.full_scores(sentence, bos=bos, eos=eos))
            by_word, flags = chained(words, bos, eos)
            assert close(total, sum(prob for prob, _, _ in full)) and close(total, by_word)
            assert len(full) == len(words) + eos
            for (prob, length, oov), (word_prob, word_length, word_oov) in zip(full, flags):
                assert close(prob, word_prob) and length == word_length and oov == word_oov
            assert [oov for _, _, oov in full] == [word not in model for word in words] + [False] * eos
    assert model.score(sentence) == model.score(sentence.encode()) == model.score(sentence=sentence, bos=True)
    assert close(model.perplexity(sentence), 10 ** (-model.score(sentence) / (len(words) + 1)))

first = list(model.full_scores("w2"))[0]
assert first[1] == 2 and list(model.full_scores("w2", bos=False))[0][1] == 1

begin, null, new = kenlm.State(), kenlm.State(), kenlm.State()
model.BeginSentenceWrite(begin)
model.NullContextWrite(null)
assert null == new and null != begin and (null < begin) != (begin < null)
assert copy.copy(begin) == begin and begin.__deepcopy__() == begin

beam = [(0.0, begin, ())]
for _ in range(3):
    grown = []
    for total, state, history in beam:
        for word in ("w2", "w3", "w4"):
            out = kenlm.State()
            grown.append((total + model.BaseScore(state, word, out), out, history + (word,)))
    beam = sorted(grown, reverse=True)[:4]
for total, state, history in beam:
    assert close(total, model.score(" ".join(history), eos=False))

for wrong in (None, 3, ["w2"]):
    try:
        model.score(wrong)
    except TypeError:
        continue
    raise AssertionError(wrong)
'''
SENTENCES = ["w2 w3", "w4 w4 never w2", "", "  w3\tw2 ", "never", "w2 w3 w4 w2 w3 w4 <unk>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def path(folder):
    """A model's file, with the record of a validation."""
    name = folder / "model.safetensors"
    checkpoint.save_model(make_model(vocab=30, hidden=8), name, {"valid": {"mean_log_z": -0.25}})
    return name


@pytest.fixture(scope="module")
def model(path):
    return nplm.Model(path)


def run_script(module, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", module)
    exec(compile(SCRIPT, "script", "exec"), {"path": str(path), "sentences": SENTENCES})


def test_the_script_runs_against_kenlm(folder, monkeypatch):
    """The real package holds the relations that the script checks."""
    kenlm = pytest.importorskip("kenlm")
    (folder / "toy.arpa").write_text(ARPA)
    run_script(kenlm, folder / "toy.arpa", monkeypatch)


def test_the_same_script_runs_against_nplm(path, monkeypatch):
    """The relations that hold for kenlm."""
    run_script(nplm, path, monkeypatch)


def test_a_scorer_that_is_wrong_does_not_pass_the_script(path, monkeypatch):
    """Planted: chained scores without the state, and an oov flag that is never set."""
    for owner, name, value in (
        (kenlm_module, "_read", lambda model, token, state: model.zero_state(1)),
        (nplm.Model, "__contains__", lambda self, word: True),
    ):
        with monkeypatch.context() as patch, pytest.raises(AssertionError):
            patch.setattr(owner, name, value)
            run_script(nplm, path, patch)


@pytest.mark.parametrize("layers", [1, 2])
def test_base_score_is_log_probs(layers):
    """log_probs of the words so far, in float64; the state is that of log_probs."""
    whole = make_model(vocab=30, hidden=8, layers=layers)
    model = nplm.Model(whole)
    words, state = ["w3", "w9", "never", "w3", "</s>"], State()
    ids = whole.vocabulary.encode(["</s>", *words])
    model.BeginSentenceWrite(state)
    for n, word in enumerate(words, start=1):
        logp, read = whole.log_probs(ids[:n, None], whole.zero_state(1))
        np.testing.assert_allclose(state.read.h, read.h, rtol=1e-9)
        np.testing.assert_allclose(state.read.c, read.c, rtol=1e-9)
        got = model.BaseFullScore(state, word, state)
        assert got.log_prob == pytest.approx(logp[-1, 0, ids[n]] / math.log(10), rel=1e-10)
        assert (got.ngram_length, got.oov) == (n + 1, word == "never")


def test_words_after_one_state_share_its_log_z(model, monkeypatch):
    """How often the normaliser is called: once a state, not at all where scores are unnormalised."""
    calls, normaliser = [], softmax.normaliser
    monkeypatch.setattr(softmax, "normaliser", lambda *args: calls.append(1) or normaliser(*args))
    state = State()
    model.BeginSentenceWrite(state)
    total = sum(10 ** model.BaseScore(state, token, State()) for token in model.language_model.vocabulary.tokens)
    assert len(calls) == 1 and total == pytest.approx(1, rel=1e-9)
    again = copy.deepcopy(state)
    model.BaseScore(again, "w3", again)
    assert len(calls) == 1
    model.BaseScore(again, "w3", again)
    assert len(calls) == 2
    model.BaseScore(again, "w3", again, normalize=False)
    assert len(calls) == 2


def test_unnormalised_is_off_by_log_z_less_its_mean(model):
    """Each word: the exact log10, plus (log Z - mean log Z) / ln 10; the mean is that of the file."""
    assert model.language_model.mean_log_z == -0.25
    sentence, state = "w3 w4 never", State()
    exact = list(model.full_scores(sentence))
    fast = list(model.full_scores(sentence, normalize=False))
    model.BeginSentenceWrite(state)
    chained = []
    for n, word in enumerate([*sentence.split(), "</s>"]):
        before = copy.copy(state)
        model.BaseScore(before, word, State())
        chained.append(model.BaseScore(state, word, state, normalize=False))
        assert fast[n][0] - exact[n][0] == pytest.approx((before.log_z + 0.25) / math.log(10), rel=1e-9)
    total = sum(prob for prob, _, _ in fast)
    assert total == pytest.approx(sum(chained), rel=1e-9)
    assert total == pytest.approx(model.score(sentence, normalize=False), rel=1e-9)
    assert nplm.score_batch(model, [sentence], normalize=False)[0] == pytest.approx(total, rel=1e-9)
    assert model.perplexity(sentence, normalize=False) == pytest.approx(10 ** (-total / 4))


@pytest.mark.parametrize("record", [{}, {"valid": None}, {"valid": {"perplexity": 3.0}}])
def test_a_file_without_a_validation_has_no_mean(tmp_path, record):
    """0 is taken: log10 of exp(s), with s from an exact score and its log Z."""
    checkpoint.save_model(make_model(vocab=30), tmp_path / "m.safetensors", record)
    model = nplm.Model(tmp_path / "m.safetensors")
    assert model.language_model.mean_log_z is None
    state = State()
    exact = model.BaseScore(state, "w3", State())
    fast = model.BaseScore(state, "w3", State(), normalize=False)
    assert fast == pytest.approx(exact + state.log_z / math.log(10))


def test_training_between_two_scores_is_seen(model):
    """A fresh model with the changed parameters: nothing packed is kept."""
    changed = copy.deepcopy(model)
    before = changed.score("w3 w4")
    changed.language_model.params["rnn.weight_hh_l0"] *= 0.5
    fresh = nplm.Model(changed.language_model.copy())
    assert changed.score("w3 w4") == fresh.score("w3 w4") != before


def test_states_and_models_are_plain_values(model, path):
    """Copies and pickles, as kenlm.Model's: by the path."""
    state = State()
    model.BeginSentenceWrite(state)
    for other in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert other == state and other is not state and hash(other) == hash(state)
    after = State()
    model.BaseScore(state, "w3", after)
    assert after != state and len({after, state, copy.copy(after)}) == 2
    assert state != 3 and isinstance(model, nplm.Model)
    assert model.path == str(path.absolute()).encode() and repr(model) == f"<Model from {path.name.encode()!r}>"
    assert pickle.loads(pickle.dumps(model)).score("w3") == model.score("w3")


def test_bytes_that_are_not_utf8_are_an_unknown_word(model):
    """<unk> in their place."""
    assert model.score(b"w3 \xff\xfe w4") == model.score("w3 <unk> w4")
    assert b"\xff" not in model


def test_a_hopeless_sentence_has_an_infinite_perplexity(model):
    """Beyond floating point: inf, not an error."""
    far = copy.deepcopy(model)
    far.language_model.params["decoder.bias"][5] -= 1e4
    assert far.perplexity("w5") == math.inf


# ---- one model, whichever way it came


SENTENCES_TO_SCORE = ["w3 w4 never", "", "w5 w5"]


def unnormalised(model):
    """What the mean log Z decides: log10 of a few sentences."""
    return nplm.score_batch(model, SENTENCES_TO_SCORE, normalize=False).tolist()


@pytest.fixture
def measured():
    """A model with a mean log Z."""
    model = make_model(vocab=30, hidden=8)
    model.mean_log_z = -0.25
    return model


def ways(model, folder):
    """Copies of a model by every way there is."""
    first, second = folder / "first.safetensors", folder / "second.safetensors"
    nplm.save(model, first)
    loaded = nplm.load(first)
    nplm.save(loaded, second)
    yield "loaded", loaded
    yield "saved again", nplm.load(second)
    yield "copied", model.copy()
    yield "a copy of what was loaded", loaded.copy()
    yield "copy.copy", copy.copy(loaded)
    yield "copy.deepcopy", copy.deepcopy(loaded)
    yield "pickled", pickle.loads(pickle.dumps(model))
    yield "KenLM's", nplm.Model(first)
    yield "KenLM's, pickled", pickle.loads(pickle.dumps(nplm.Model(first)))
    yield "KenLM's, of a model", nplm.Model(model)
    nplm.save(nplm.Model(second), folder / "third.safetensors")
    yield "KenLM's, saved", nplm.load(folder / "third.safetensors")


def test_every_way_to_a_model_gives_the_same_unnormalised_scores(measured, tmp_path):
    """The model itself; without its mean log Z the scores are others."""
    expected = unnormalised(measured)
    for name, model in ways(measured, tmp_path):
        assert unnormalised(model) == expected, name
        assert isinstance(model, (nplm.LanguageModel, nplm.Model)), name
    measured.mean_log_z = None
    assert unnormalised(measured) != expected


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_best_model_of_a_run_is_the_one_in_its_file(epochs, tmp_path):
    """best.safetensors, and the run's folder; whether the best epoch is the last one or not."""
    rng, vocabulary = np.random.default_rng(0), make_model(vocab=30).vocabulary
    corpus = nplm.Corpus("toy", vocabulary, *(rng.integers(0, 30, n, np.int32) for n in (400, 60)))
    config = nplm.TrainConfig(bptt=5, batch_size=4, sequence_length=20, num_noise=8, epochs=epochs, lr=5.0)
    model = make_model(np.float32, vocab=30, scale=0.3)
    result = nplm.train(model, corpus, config, save=tmp_path / "run")
    assert result.best.mean_log_z is not None
    for path in (tmp_path / "run", tmp_path / "run" / "best.safetensors"):
        assert unnormalised(nplm.load(path)) == unnormalised(result.best)
    assert (result.best is model) == (result.progress.best_epoch == epochs)


def test_what_is_gone_names_the_new_way(measured):
    """The change log: Scorer, model.save and model.score."""
    with pytest.raises(AttributeError, match=r"nplm\.Model\(path\)"):
        nplm.Scorer  # noqa: B018
    with pytest.raises(AttributeError, match=r"nplm\.save\(model, path\)"):
        measured.save("model.safetensors")
    with pytest.raises(AttributeError, match=r"nplm\.Model\(path\)\.score"):
        measured.score("w3")
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        measured.scores  # noqa: B018


def test_repr(measured):
    """Sizes, parameters and type, on a line."""
    got = repr(measured)
    assert got.startswith("<LanguageModel V=30, E=4, H=8, L=2, ") and got.endswith("parameters, float64>")
    assert repr(nplm.Model(measured)) == f"<Model of {got}>"
