"""Oracles: exact log_probs of one sentence at a time in float64, evaluate, and planted leaks between sentences."""

import math
import tracemalloc

import numba
import numpy as np
import pytest
from conftest import assert_close, make_model
from numpy.testing import assert_array_equal

from nplm.model import LanguageModel
from nplm.network import State, hidden_states
from nplm.scoring import score, scorer
from nplm.scoring.evaluate import evaluate
from nplm.scoring.kenlm import Model
from nplm.scoring.score import norm_deviation, score_batch, stream_scores, word_scores
from nplm.scoring.sentences import in_pieces, longest_first, sentence_lengths

VOCAB, UNKNOWN = 30, 5  # words of the model, and how many more the sentences have


@pytest.fixture(scope="module")
def model():
    return make_model(vocab=VOCAB, hidden=8, embed=5)


@pytest.fixture(scope="module")
def sentences():
    """Of 0 to 12 words, some unknown, some empty, one long, two the same, one with odd white space."""
    rng = np.random.default_rng(3)
    drawn = [" ".join(f"w{k}" for k in rng.integers(2, VOCAB + UNKNOWN, rng.integers(0, 13))) for _ in range(60)]
    return [*drawn, "", "never", " ".join(["w3", "w7"] * 40), drawn[0], " w4\tw5\n", "<unk> w2"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Groups and windows so small that every edge is met."""
    for name, value in (("COLUMNS", 4), ("POSITIONS", 9), ("SENTENCES", 25)):
        monkeypatch.setattr(score, name, value)


def exact(model, sentence, bos=True, eos=True):
    """Total log10 by log_probs, the whole sentence at once, and by the bias alone where nothing was read."""
    ids = model.vocabulary.encode(sentence.split() + ["</s>"] * eos)
    inputs = np.concatenate([[model.vocabulary.eos] * bos, ids])[: ids.size]
    logp = np.zeros((0, VOCAB))
    if not bos:
        bias = model.params["decoder.bias"].astype(np.float64)
        inputs, logp = inputs[:-1], (bias - np.log(np.exp(bias).sum()))[None]
    if inputs.size:
        read, _ = model.log_probs(inputs[:, None].astype(np.int32), model.zero_state(1))
        logp = np.concatenate([logp, read[:, 0]])
    return sum(logp[n, w] for n, w in enumerate(ids)) / math.log(10)


def assert_no_leak(model, sentences):
    """Sentences together score as each alone."""
    together = score_batch(model, sentences)
    np.testing.assert_allclose(together, [score_batch(model, [one])[0] for one in sentences], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("bos", [True, False])
def test_score_batch_is_the_sum_of_log_probs(model, sentences, bos, eos, small_blocks):
    """log_probs, one sentence at a time."""
    got = score_batch(model, sentences, bos=bos, eos=eos)
    assert_close(got, [exact(model, one, bos, eos) for one in sentences], 1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_float32_and_the_real_block_sizes(sentences, threads):
    """The same model in float64: 1e-5 of the score, whichever thread did it."""
    half, full = make_model(np.float32, vocab=VOCAB), make_model(np.float64, vocab=VOCAB)
    for name, value in half.params.items():
        full.params[name][...] = value
    lines = sentences * 3
    expected = [exact(full, one) for one in sentences] * 3
    np.testing.assert_allclose(score_batch(half, lines, threads=threads), expected, rtol=1e-5, atol=1e-5)


def test_the_order_of_sentences_changes_nothing(model, sentences, small_blocks):
    """The same sentences in another order, and one by one."""
    order = np.random.default_rng(4).permutation(len(sentences))
    shuffled = score_batch(model, [sentences[k] for k in order])
    np.testing.assert_allclose(shuffled, score_batch(model, sentences)[order], rtol=1e-10)
    assert_no_leak(model, sentences)


def test_a_planted_leak_is_seen(model, sentences, small_blocks, monkeypatch):
    """A model whose zero state is what the last group left behind: the check for leaks must fail."""

    left = []

    def leaking(*given):
        hidden, after = hidden_states(*given)
        left[:] = [(after.h[:, :1], after.c[:, :1])]
        return hidden, after

    class Leaky(LanguageModel):
        def zero_state(self, batch):
            if not left:
                return super().zero_state(batch)
            return State(*(np.repeat(part, batch, axis=1) for part in left[0]))

    monkeypatch.setattr(scorer, "hidden_states", leaking)

    with pytest.raises(AssertionError):
        assert_no_leak(Leaky(model.config, model.vocabulary, model.params), sentences)


def test_columns_of_another_sentence_are_seen(model, sentences, small_blocks, monkeypatch):
    """Planted: when sentences end, the states of the others move up a column; the check must fail."""
    monkeypatch.setattr(State, "columns", lambda self, start, stop: State(*(np.roll(x, 1, 1)[:, :stop] for x in self)))
    with pytest.raises(AssertionError):
        assert_no_leak(model, sentences)


def test_unnormalised_scores(model, sentences):
    """sum of s(w) = hidden . W_w + b_w, less the mean log Z for each word; in all four modes the same words."""
    measured = LanguageModel(model.config, model.vocabulary, model.params, mean_log_z=0.37)
    weight, bias = model.params["decoder.weight"], model.params["decoder.bias"]
    for one in sentences[:20]:
        ids = model.vocabulary.encode([*one.split(), "</s>"])
        inputs = np.concatenate([[model.vocabulary.eos], ids[:-1]]).astype(np.int32)
        hidden, _ = hidden_states(model.network(), inputs[:, None], model.zero_state(1))
        nats = sum(hidden[n, 0] @ weight[w] + bias[w] for n, w in enumerate(ids))
        for which, mean in ((measured, 0.37), (Model(measured), 0.37), (model, 0.0)):
            got = score_batch(which, [one], normalize=False)[0]
            assert got == pytest.approx((nats - mean * ids.size) / math.log(10), rel=1e-10)
    bare = score_batch(measured, ["w5"], bos=False, eos=False, normalize=False)[0]
    assert bare == pytest.approx((bias[5] - 0.37) / math.log(10))


def text_of(model, sentences):
    return model.vocabulary.encode(" </s> ".join([*sentences, ""]).split())


@pytest.mark.parametrize("reset", [True, False])
def test_word_scores_are_those_of_log_probs_and_evaluate(model, sentences, reset, small_blocks):
    """log_probs word by word, and evaluate's mean nats and log Z."""
    ids = text_of(model, sentences)
    scores, log_z = word_scores(model, ids, reset=reset)
    got = evaluate(model, ids, batch_size=1, reset=reset)
    assert (log_z - scores).mean() == pytest.approx(got.nats, rel=1e-12)
    assert log_z.mean() == pytest.approx(got.mean_log_z, rel=1e-12)
    state = model.zero_state(1)
    for n, word in enumerate(ids[:70]):
        before = ids[n - 1] if n else model.vocabulary.eos
        if reset and before == model.vocabulary.eos:
            state = model.zero_state(1)
        logp, state = model.log_probs(np.full((1, 1), before, np.int32), state)
        assert scores[n] - log_z[n] == pytest.approx(logp[0, 0, word], rel=1e-10)


def test_a_text_in_pieces_is_the_text(model, sentences):
    """The whole text at once: the state goes on from piece to piece, an empty one included."""
    ids = text_of(model, sentences)
    pieces = np.split(ids, [1, 1, 40, 300])
    for got, expected in zip(zip(*stream_scores(model, pieces), strict=True), word_scores(model, ids), strict=True):
        np.testing.assert_allclose(np.concatenate(got), expected, rtol=1e-12)


def test_pieces_are_bounded_and_lose_nothing(sentences):
    """The sentences themselves."""
    words = [one.split() for one in sentences]
    pieces = list(in_pieces(words, 20, lines=4))
    assert [one for piece in pieces for one in piece] == words
    assert max(map(len, pieces)) == 4
    assert all(sum(len(one) + 1 for one in piece[:-1]) < 20 for piece in pieces)


def test_lengths_of_sentences(model):
    """Counted by hand, against the groups that sentences are read in; the last sentence may be broken off."""
    eos = model.vocabulary.eos
    for ids, lengths in (([5, eos, eos, 6, 7], [2, 1, 2]), ([eos], [1]), ([4], [1]), ([], [])):
        got = sentence_lengths(np.array(ids, int), eos)
        assert got.tolist() == lengths
        if ids:
            ((starts, found),) = longest_first(got, 9)
            assert found.tolist() == sorted(lengths, reverse=True) and starts.size == len(lengths)


def test_probabilities_sum_to_one_and_a_wrong_normaliser_is_seen(model, sentences, monkeypatch):
    """1, to rounding; then a planted log Z that forgets 1 % of the mass."""
    ids = text_of(model, sentences)
    assert norm_deviation(model, ids) < 1e-12
    normaliser = score.softmax.normaliser
    monkeypatch.setattr(score.softmax, "normaliser", lambda *args: normaliser(*args) + math.log(0.99))
    assert norm_deviation(model, ids) == pytest.approx(1 / 0.99 - 1, rel=1e-6)
    monkeypatch.setattr(score.softmax, "normaliser", lambda *args: normaliser(*args) * math.nan)
    assert math.isnan(norm_deviation(model, ids))


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes minutes in plain Python")
def test_memory_does_not_grow_with_the_number_of_words():
    """A tenth of what all scores at once would take: 20,000 positions x 3,000 words x 4 bytes = 240 MB."""
    model = make_model(np.float32, vocab=3000)
    lines = ["w5 w6 w2999 w8 w9"] * 3000 + [" ".join(["w4"] * 2000)]
    score_batch(model, lines[:3])  # compiled
    tracemalloc.start()
    score_batch(model, lines, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6


def test_what_is_refused_and_what_is_not_finite(model):
    """The checks of the other public functions; NaN goes through without a warning."""
    with pytest.raises(ValueError, match="text id 30 is outside the vocabulary"):
        word_scores(model, np.array([3, 30]))
    with pytest.raises(ValueError, match=r"an array of ids \(n,\), not \(1, 2\)"):
        word_scores(model, np.array([[3, 4]]))
    assert score_batch(model, []).shape == (0,)
    assert score_batch(model, ["", ""], eos=False).tolist() == [0, 0]
    broken = model.copy()
    broken.params["decoder.bias"][:] = np.nan
    assert np.isnan(score_batch(broken, ["w3 w4"])).all()


def test_one_sentence_in_place_of_a_list_is_refused(model):
    """A str is a sequence of its characters, and bytes one of numbers: neither is a list of sentences."""
    for one in ("w3 w4", b"w3 w4"):
        with pytest.raises(TypeError, match="takes a list of sentences"):
            score_batch(model, one)
    with pytest.raises(TypeError, match="a str, bytes or a list of words, not int"):
        score_batch(model, [3])


def test_bytes_are_utf8(model):
    """The same sentences as str."""
    assert_array_equal(score_batch(model, [b"w3 w4", b"never"]), score_batch(model, ["w3 w4", "never"]))
