"""Exact evaluation.  Oracle: reference.model.log_probs, token by token, every stream by hand."""

import importlib
import math
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from conftest import make_model

from nplm.errors import InputError
from nplm.layers import softmax
from nplm.reference import model as reference
from nplm.scoring.evaluate import evaluate, without_mean_log_z
from nplm.scoring.sentences import longest_first, sentence_lengths

UNK, EOS = 0, 1
module = importlib.import_module("nplm.scoring.evaluate")


def text(num_tokens=37, seed=20, vocab=11):
    """Ids (n,) int32 with sentences of many lengths, an empty one, <unk>, and a last one that breaks off."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, vocab, num_tokens, np.int32)
    ids[rng.random(num_tokens) < 0.15] = EOS
    ids[rng.random(num_tokens) < 0.15] = UNK
    ids[[4, 5, 11]] = EOS  # after 4 and 5: a sentence without words
    ids[[7, 20]] = UNK
    ids[-1] = 3
    return ids


class Tokens(NamedTuple):
    """What the oracle says of every token: its log-probability, its log Z, its score."""

    logp: np.ndarray
    log_z: np.ndarray

    @property
    def score(self):
        return self.logp + self.log_z


def one_stream(model, inputs, targets):
    """(log p, log Z) of every target, one step at a time, the state carried from zero."""
    params = {name: value.astype(np.float64) for name, value in model.params.items()}
    h = np.zeros((model.config.num_layers, 1, model.config.hidden_dim))
    c, result = h, []
    for word, target in zip(inputs, targets, strict=True):
        step = np.array([[word]])
        hidden, kept = reference.run_layers(params, step, h, c)
        score = hidden[0, 0] @ params["decoder.weight"].T + params["decoder.bias"]
        logp = reference.log_probs(params, step, h, c)[0, 0, target]
        result.append((logp, score[target] - logp))
        h, c = (np.stack([layer[k][-1] for layer in kept]) for k in (1, 2))
    return result


def by_hand(model, ids, pieces):
    """Tokens of the pieces (start, stop) of the text, each from the zero state; they need not be in order."""
    before = [EOS, *ids[:-1]]
    rows = [row for start, stop in pieces for row in one_stream(model, before[start:stop], ids[start:stop])]
    return Tokens(*np.array(rows).T)


def stream_pieces(num_tokens, batch_size):
    """B contiguous streams: the first r of them one token longer."""
    q, r = divmod(num_tokens, batch_size)
    cuts = np.cumsum([0] + [q + 1] * r + [q] * (batch_size - r)).tolist()
    return list(pairwise(cuts))


def sentence_pieces(ids):
    """Sentences, each with its </s>; the last may have none."""
    cuts = [0, *(n + 1 for n in range(len(ids)) if ids[n] == EOS)]
    cuts += [len(ids)] if cuts[-1] < len(ids) else []
    return list(pairwise(cuts))


def check(got, ids, pieces, tokens, tolerance=1e-12):
    """Every figure of an Evaluation against the oracle's tokens, which are in the order of the pieces."""
    targets = np.concatenate([ids[start:stop] for start, stop in pieces])
    known = targets != UNK
    assert got.tokens == len(ids) == len(tokens.logp)
    assert got.oovs == np.sum(ids == UNK) > 0
    assert got.sentences == np.sum(ids == EOS) > 0
    assert got.nats == pytest.approx(-tokens.logp.mean(), rel=tolerance)
    assert got.perplexity == pytest.approx(math.exp(-tokens.logp.mean()), rel=10 * tolerance)
    assert got.nats_without_oov == pytest.approx(-tokens.logp[known].mean(), rel=tolerance)
    assert got.perplexity_without_oov == pytest.approx(math.exp(-tokens.logp[known].mean()), rel=10 * tolerance)
    assert got.unnormalised_nats == pytest.approx(-tokens.score.mean(), rel=tolerance)
    assert got.mean_log_z == pytest.approx(tokens.log_z.mean(), rel=tolerance)
    assert got.std_log_z == pytest.approx(tokens.log_z.std(), rel=1e4 * tolerance)
    assert list(got.log_z_quantiles) == ["5%", "25%", "50%", "75%", "95%"]
    for share, quantile in zip(module.QUANTILES, got.log_z_quantiles.values(), strict=True):
        assert abs(quantile - np.quantile(tokens.log_z, share, method="inverted_cdf")) < 1 / 512 + tolerance


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 36, 37])
def test_carried_state(batch_size):
    """Every token once, whatever the remainder of n = 37 by B; the streams' inputs begin with the token before."""
    model, ids = make_model(), text()
    pieces = stream_pieces(len(ids), batch_size)
    got = evaluate(model, ids, batch_size=batch_size)
    check(got, ids, pieces, by_hand(model, ids, pieces))
    assert (got.streams, got.state) == (batch_size, "carried")


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_state_reset_at_every_sentence(batch_size):
    """Every sentence from the zero state, with </s> before it: the batch size changes nothing but rounding."""
    model, ids = make_model(), text()
    pieces = sentence_pieces(ids)
    got = evaluate(model, ids, batch_size=batch_size, reset=True)
    check(got, ids, pieces, by_hand(model, ids, pieces))
    assert got.state == "reset"


def test_float32():
    """The same oracle, for a model in float32: to 1e-6."""
    model, ids = make_model(np.float32), text()
    for reset, pieces in ((False, stream_pieces(len(ids), 4)), (True, sentence_pieces(ids))):
        got = evaluate(model, ids, batch_size=4, reset=reset)
        check(got, ids, pieces, by_hand(model, ids, pieces), 2e-6)


@pytest.mark.parametrize("reset", [False, True])
def test_small_windows_and_blocks(reset, monkeypatch):
    """The same oracle, with windows of a few positions and V in blocks of 4: no seam shows."""
    monkeypatch.setattr(module, "POSITIONS", 4)
    monkeypatch.setattr(softmax, "BLOCK", 4)
    model, ids = make_model(), text()
    pieces = sentence_pieces(ids) if reset else stream_pieces(len(ids), 2)
    check(evaluate(model, ids, batch_size=2, reset=reset), ids, pieces, by_hand(model, ids, pieces))


def test_text_without_unk_and_text_of_nothing_else():
    """The definitions: with no <unk> both perplexities are one; with nothing else the second has no value."""
    model, ids = make_model(), text()
    without = evaluate(model, ids[ids != UNK])
    assert without.oovs == 0 and without.nats_without_oov == without.nats
    only = evaluate(model, np.zeros(5, np.int32), batch_size=1)
    assert only.oovs == only.tokens == 5 and only.sentences == 0
    assert math.isfinite(only.nats) and math.isnan(only.perplexity_without_oov)


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype, reset, batch_size):
    """One thread: 2 and 4 threads give an equal Evaluation, bit for bit, for 1, 2 and 3 shards."""
    model, ids = make_model(dtype), text(211)
    for num_shards in (1, 2, 3):
        runs = [
            evaluate(model, ids, batch_size=batch_size, reset=reset, shards=num_shards, threads=threads)
            for threads in (1, 2, 4, 2)
        ]
        assert all(run == runs[0] for run in runs)


def test_memory_does_not_grow_with_the_vocabulary(monkeypatch):
    """tracemalloc: a fraction of the n V numbers of all scores, which are those of a single window here."""
    monkeypatch.setattr(softmax, "BLOCK", 64)
    monkeypatch.setattr(module, "HISTOGRAM_BINS", 2**10)  # the histogram's size depends on nothing
    model, ids = make_model(vocab=3000), text(100, vocab=3000)
    evaluate(model, ids[:40], shards=1)  # compiles
    tracemalloc.start()
    try:
        evaluate(model, ids, shards=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * 3000 * 8 / 4


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("name", ["encoder.weight", "rnn.weight_hh_l1", "decoder.weight", "decoder.bias"])
def test_nan_gives_nan(name, reset):
    """The definition: a model with NaN has no perplexity; every figure but the counts says so, and nothing fails."""
    model, ids = make_model(np.float32), text()
    model.params[name][...] = np.nan
    got = evaluate(model, ids, reset=reset)
    assert (got.tokens, got.oovs) == (37, np.sum(ids == UNK))
    figures = [got.nats, got.perplexity, got.nats_without_oov, got.perplexity_without_oov]
    figures += [got.unnormalised_nats, got.mean_log_z, got.std_log_z]
    assert all(math.isnan(figure) for figure in figures)


def test_nan_gives_no_quantiles():
    """np.quantile: of log Z with NaN in it, NaN; a number there would be made up."""
    model, ids = make_model(np.float32), text()
    model.params["decoder.bias"][...] = np.nan
    assert all(math.isnan(value) for value in evaluate(model, ids).log_z_quantiles.values())


def test_hopeless_model_has_infinite_perplexity():
    """exp of a finite loss beyond 709 nats: inf, with the nats still exact."""
    model = make_model()
    for name, value in model.params.items():
        value[...] = 0
        if name == "decoder.bias":
            value[5] = 2000.0
    got = evaluate(model, np.array([2, 3, 4], np.int32))
    assert got.nats == pytest.approx(2000, rel=1e-12)
    assert got.perplexity == math.inf
    assert (got.mean_log_z, got.unnormalised_nats) == (pytest.approx(2000), 0)
    assert got.std_log_z == 0


def test_bad_text():
    """The messages: no tokens, and an id outside the vocabulary."""
    model = make_model()
    with pytest.raises(InputError, match="the text has no tokens"):
        evaluate(model, np.zeros(0, np.int32))
    with pytest.raises(ValueError, match=r"text id 11 is outside the vocabulary \[0, 11\)"):
        evaluate(model, np.array([2, 11], np.int32))


@pytest.mark.parametrize("columns", [1, 2, 50])
def test_longest_first(columns):
    """The sentences cut by hand: every token's place once, each column one whole sentence, no group too wide.

    Texts that break off, that end with a sentence, that are one sentence with and without its </s>, one </s>.
    """
    for ids in (text(), text()[:12], np.array([3, 2, 1]), np.array([3, 2, 4]), np.array([1])):
        groups = longest_first(sentence_lengths(ids, EOS), columns)
        got = sorted((int(n), int(n + length)) for group in groups for n, length in zip(*group, strict=True))
        assert got == sentence_pieces(ids)
        for starts, lengths in groups:
            assert 1 <= starts.size <= columns and (np.diff(lengths) <= 0).all()


def test_as_dict():
    """The fields, by name, ready for JSON."""
    got = evaluate(make_model(), text())
    assert got.as_dict()["nats"] == got.nats and got.as_dict()["log_z_quantiles"] == got.log_z_quantiles


def test_the_mean_log_z_taken_off():
    """Oracle: the evaluation of the changed model; the model itself stays as it is."""
    model, ids = make_model(np.float64, scale=0.5), text()
    before, bias = evaluate(model, ids), model.params["decoder.bias"].copy()
    fitted, told = without_mean_log_z(model, before)
    after = evaluate(fitted, ids)
    assert abs(before.mean_log_z) > 0.01
    np.testing.assert_array_equal(model.params["decoder.bias"], bias)
    assert all(fitted.params[name] is value for name, value in model.params.items() if name != "decoder.bias")
    for name, value in after.as_dict().items():
        if name != "log_z_quantiles":
            assert getattr(told, name) == pytest.approx(value, abs=1e-12), name
    for share, value in after.log_z_quantiles.items():
        assert told.log_z_quantiles[share] == pytest.approx(value, abs=2 * module.HISTOGRAM_WIDTH)
    assert without_mean_log_z(model, None) == (model, None)
    strange = replace(before, mean_log_z=math.nan)
    assert without_mean_log_z(model, strange) == (model, strange)
