"""Noise-contrastive estimation.  Oracle: reference/nce.py, its complex step, and every noise group enumerated."""

import itertools
import math

import numpy as np
import pytest
from conftest import RTOL, assert_close, make_chunk, make_model

from nplm.gradcheck import check
from nplm.layers import nce, softmax
from nplm.layers.workspace import Workspace
from nplm.network import Plan, ascend
from nplm.reference import lstm as reference_lstm
from nplm.reference import nce as reference

NOISE = [3, 7, 3, 0, 7, 7, 5]  # K = 7: one word three times, one twice; 0, 3 and 5 are targets too
TARGETS = [3, 1, 3, 10, 5, 0, 2, 1, 9, 3, 4, 6, 8, 1, 5]


def case(dtype=np.float64):
    """hidden (N,H) = (15,6), targets (N,), noise_ids (K,), weight (V,H), bias (V,), log_q (V,); V = 11."""
    rng = np.random.default_rng(13)
    hidden, weight, bias = rng.normal(size=(15, 6)), rng.normal(size=(11, 6)), rng.normal(size=11)
    log_q = np.log(rng.dirichlet(np.ones(11)))
    ids = np.array(TARGETS, np.int32), np.array(NOISE, np.int32)
    return hidden.astype(dtype), *ids, *(value.astype(dtype) for value in (weight, bias, log_q))


def widen(arguments):
    """The same case in float64."""
    return [value.astype(np.float64) if value.dtype.kind == "f" else value for value in arguments]


def fast(hidden, targets, noise_ids, weight, bias, log_q):
    """Loss, and the gradients (dhidden, dweight, dbias) as dense arrays."""
    loss, cache = nce.forward(hidden, targets, noise_ids, weight, bias, log_q, 1 / len(targets))
    return loss, [np.asarray(value) for value in nce.backward(cache, weight)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss(dtype):
    """reference.nce.forward, with repeated noise and targets among the noise."""
    arguments = case(dtype)
    assert fast(*arguments)[0] == pytest.approx(reference.forward(*widen(arguments)), rel=RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward(dtype):
    """reference.nce.backward, with repeated noise and targets among the noise."""
    arguments = case(dtype)
    _, grads = fast(*arguments)
    for got, expected in zip(grads, reference.backward(*widen(arguments)), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, RTOL[dtype])


def test_backward_is_the_complex_step():
    """The complex step of reference.nce.forward: the fast backward and the one by hand, to 1e-12."""
    hidden, targets, noise_ids, weight, bias, log_q = arguments = case()

    def loss(p):
        return reference.forward(p["hidden"], targets, noise_ids, p["weight"], p["bias"], log_q)

    params = {"hidden": hidden, "weight": weight, "bias": bias}
    for grads in (fast(*arguments)[1], reference.backward(*arguments)):
        check(loss, params, {name: np.asarray(grad) for name, grad in zip(params, grads, strict=True)})


def test_row_gradients_name_the_words_scored():
    """The definition: rows are the targets and the noise words, ascending, each once."""
    hidden, targets, noise_ids, weight, bias, log_q = case()
    targets = np.minimum(targets, 4)
    _, cache = nce.forward(hidden, targets, noise_ids, weight, bias, log_q, 1 / 15)
    _, dweight, dbias = nce.backward(cache, weight)
    np.testing.assert_array_equal(dweight.rows, [0, 1, 2, 3, 4, 5, 7])
    np.testing.assert_array_equal(dbias.rows, dweight.rows)
    assert dweight.shape == (11, 6) and dbias.shape == (11,)


def test_order_of_the_noise_words_is_nothing():
    """The loss is a sum over draws: bit for bit the same in any order."""
    hidden, targets, noise_ids, *rest = case()
    loss, grads = fast(hidden, targets, noise_ids, *rest)
    turned, turned_grads = fast(hidden, targets, noise_ids[::-1], *rest)
    assert turned == loss
    for got, expected in zip(turned_grads, grads, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("shift", [-1e4, -300.0, 300.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_from_zero(dtype, shift):
    """The limits of softplus: x or 0.  Far from zero the loss is minus a delta, or K of them; nothing overflows."""
    hidden, targets, noise_ids, weight, bias, log_q = case(dtype)
    loss, grads = fast(hidden, targets, noise_ids, weight, bias + dtype(shift), log_q)
    scores = hidden.astype(np.float64) @ weight.T + (bias + dtype(shift))
    delta = scores - log_q - math.log(7)  # (N,V)
    if shift < 0:
        expected = -delta[np.arange(15), targets].mean()
    else:
        expected = delta[:, noise_ids].sum(axis=1).mean()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert all(np.isfinite(value).all() for value in grads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_shows_in_the_loss(dtype):
    """The definition: a loss over a score that is not a number is none."""
    for word in (2, 7):  # a target only, a noise word only
        hidden, targets, noise_ids, weight, bias, log_q = case(dtype)
        bias[word] = np.nan
        assert math.isnan(fast(hidden, targets, noise_ids, weight, bias, log_q)[0])


# ---- enumerated noise: what the sampled gradient is on average


def closed_form(hidden, targets, weight, bias, q, num_noise):
    """Expected loss, and gradient of the scores (N,V): sum over words of K q(w) instead of over draws."""
    delta = hidden @ weight.T + bias - np.log(num_noise * q)  # (N,V)
    places = np.arange(len(targets)), targets
    loss = np.log1p(np.exp(-delta[places])) + (num_noise * q * np.log1p(np.exp(delta))).sum(axis=1)
    ds = num_noise * q / (1 + np.exp(-delta))
    ds[places] -= 1 / (1 + np.exp(delta[places]))
    return loss.mean(), ds / len(targets)


def enumerated(q, num_noise):
    """Every group of K words, in order, with its probability under q."""
    for words in itertools.product(range(len(q)), repeat=num_noise):
        yield np.array(words, np.int32), float(np.prod(q[list(words)]))


@pytest.mark.parametrize(("vocab", "num_noise"), [(8, 2), (8, 3), (5, 4), (3, 6), (2, 7)])
def test_mean_over_all_noise_groups(vocab, num_noise):
    """All V^K groups, weighted with their probability: their mean is the closed-form expectation to 1e-12."""
    rng = np.random.default_rng(14)
    hidden, weight, bias = rng.normal(size=(5, 4)), rng.normal(size=(vocab, 4)), rng.normal(size=vocab)
    q = rng.dirichlet(2 * np.ones(vocab))
    targets = rng.integers(0, vocab, 5, np.int32)
    mean_loss, mean_grads = 0.0, [np.zeros_like(value) for value in (hidden, weight, bias)]
    for noise_ids, probability in enumerated(q, num_noise):
        loss, grads = fast(hidden, targets, noise_ids, weight, bias, np.log(q))
        mean_loss += probability * loss
        for total, grad in zip(mean_grads, grads, strict=True):
            total += probability * grad
    loss, ds = closed_form(hidden, targets, weight, bias, q, num_noise)
    assert mean_loss == pytest.approx(loss, rel=1e-12)
    for got, expected in zip(mean_grads, (ds @ weight, ds.T @ hidden, ds.sum(axis=0)), strict=True):
        assert_close(got, expected, 1e-12)


def test_mean_over_all_noise_groups_through_the_model():
    """The closed-form gradient of the scores, taken down by reference.lstm: every parameter of a whole chunk."""
    model = make_model(vocab=4, hidden=3, embed=2, layers=1, power=0.75, uniform=0.1)
    inputs, targets, _, state = make_chunk(model, steps=3, batch=2, noise=3)
    mean = {name: np.zeros_like(value) for name, value in model.params.items()}
    for noise_ids, probability in enumerated(model.noise.probs, 3):
        for name, grad in model.loss_and_grads(inputs, targets, noise_ids, state)[1].items():
            mean[name] += probability * np.asarray(grad)

    p = model.params
    hidden = ascend(model.network(), inputs, state, Workspace(), Plan()).hidden
    flat, weight, bias = hidden.reshape(6, 3), p["decoder.weight"], p["decoder.bias"]
    _, ds = closed_form(flat, targets.ravel(), weight, bias, model.noise.probs, 3)
    layer = p["rnn.weight_ih_l0"], p["rnn.weight_hh_l0"]
    x = p["encoder.weight"][inputs]
    kept = reference_lstm.forward(x, state.h[0], state.c[0], *layer, p["rnn.bias_l0"])
    dx, _, _, *dlayer = reference_lstm.backward((ds @ weight).reshape(hidden.shape), x, *kept, *layer)
    dencoder = np.zeros_like(p["encoder.weight"])
    np.add.at(dencoder, inputs, dx)
    for name, expected in zip(mean, (dencoder, *dlayer, ds.T @ flat, ds.sum(axis=0)), strict=True):
        assert_close(mean[name], expected, 1e-12)


def normalised_case():
    """A case with Z = 1 at every position: weight[:, 0] is 1, so hidden[n, 0] = -log Z_n shifts its scores."""
    rng = np.random.default_rng(15)
    hidden, weight, bias = rng.normal(size=(5, 4)), rng.normal(size=(8, 4)), rng.normal(size=8)
    hidden[:, 0], weight[:, 0] = 0, 1
    hidden[:, 0] = -softmax.normaliser(hidden, weight, bias)
    shares = np.array([6, 1, 3, 1, 2, 1, 1, 1])  # q(w) = shares / 16
    return hidden, np.array([2, 0, 7, 2, 5], np.int32), weight, bias, shares


def distances(hidden, targets, weight, bias, shares, powers):
    """Distance between the expected NCE gradient and the softmax gradient, for K = 16 * 2^j.

    With K q(w) a whole number, a group that holds every word w exactly K q(w) times has as its sampled
    gradient the expectation itself: the sum over draws is the sum over words of K q(w) sigmoid(delta).
    """
    _, cache = softmax.forward(hidden, targets, weight, bias, 1 / len(targets))
    exact = np.concatenate([value.ravel() for value in softmax.backward(cache, weight)])
    result = []
    for j in powers:
        group = np.repeat(np.arange(8), shares * 2**j).astype(np.int32)
        _, grads = fast(hidden, targets, group, weight, bias, np.log(shares / 16))
        expected = closed_form(hidden, targets, weight, bias, shares / 16, 16 * 2**j)[1]
        assert_close(grads[2], expected.sum(axis=0), 1e-11)
        result.append(np.linalg.norm(np.concatenate([value.ravel() for value in grads]) - exact))
    return np.array(result)


def test_distance_to_the_softmax_gradient_halves():
    """Expansion in 1/K: where Z = 1, E ds = softmax's + O(1/K), so the distance halves as K doubles.

    E ds(w) = e^s / (1 + e^s / (K q(w))) - [w = target] / (1 + e^s / (K q(w))), which tends to e^s - [w = target]
    with an error in proportion to 1/K, and e^s is p(w) where Z = 1.  The ratio of two distances is 2 + O(1/K).
    """
    away = distances(*normalised_case(), range(6, 13))
    ratios = away[:-1] / away[1:]
    np.testing.assert_allclose(ratios, 2, rtol=0.02)
    assert abs(ratios[-1] - 2) < 0.002
    np.testing.assert_allclose((ratios[:-2] - 2) / (ratios[1:-1] - 2), 2, rtol=0.1)  # the O(1/K) itself halves


def test_without_normalised_scores_the_limit_is_another():
    """The same expansion where Z = e: E ds tends to e^s - [w = target] and not to softmax's; the bias shows it."""
    hidden, targets, weight, bias, shares = normalised_case()
    away = distances(hidden, targets, weight, bias + 1, shares, range(8, 12))
    assert away[-1] > 0.9 * away[0] > 0.5
    group = np.repeat(np.arange(8), shares * 2**12).astype(np.int32)
    _, grads = fast(hidden, targets, group, weight, bias + 1, np.log(shares / 16))
    limit = np.exp(hidden @ weight.T + bias + 1).mean(axis=0) - np.bincount(targets, minlength=8) / 5
    assert_close(grads[2], limit, 1e-2)
