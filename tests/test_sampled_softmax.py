"""Sampled softmax.  Oracle: reference/sampled_softmax.py, its complex step, PyTorch, and noise groups enumerated."""

import itertools
import math

import numpy as np
import pytest
from conftest import RTOL, assert_close
from test_nce import case, widen

from nplm.gradcheck import check
from nplm.layers import sampled_softmax, softmax
from nplm.reference import sampled_softmax as reference

BOTH = pytest.mark.parametrize("keep_hits", [False, True])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def fast(hidden, targets, noise_ids, weight, bias, log_q, keep_hits=False):
    """Loss, and the gradients (dhidden, dweight, dbias) as dense arrays."""
    loss, cache = sampled_softmax.forward(
        hidden, targets, noise_ids, weight, bias, log_q, 1 / len(targets), keep_hits=keep_hits
    )
    return loss, [np.asarray(value) for value in sampled_softmax.backward(cache, weight)]


def stable(hidden, targets, noise_ids, weight, bias, log_q):
    """Loss and gradient of the scores (N,V) in float64 for any scores, draw by draw, with no column merged."""
    hidden, weight, bias, log_q = widen((hidden, weight, bias, log_q))
    delta = hidden @ weight.T + bias - log_q - math.log(len(noise_ids))  # (N,V)
    loss, ds = 0.0, np.zeros_like(delta)
    for n, target in enumerate(targets):
        words = np.array([target, *(w for w in noise_ids if w != target)])
        log_sum = np.logaddexp.reduce(delta[n, words])
        loss += log_sum - delta[n, target]
        np.add.at(ds[n], words, np.exp(delta[n, words] - log_sum))
        ds[n, target] -= 1
    return loss / len(targets), ds / len(targets)


@BOTH
@DTYPES
def test_loss(dtype, keep_hits):
    """reference.sampled_softmax.forward, with repeated noise and targets among the noise."""
    arguments = case(dtype)
    expected = reference.forward(*widen(arguments), keep_hits)
    assert_close(fast(*arguments, keep_hits)[0], expected, RTOL[dtype])


@BOTH
@DTYPES
def test_backward(dtype, keep_hits):
    """reference.sampled_softmax.backward, with repeated noise and targets among the noise."""
    arguments = case(dtype)
    _, grads = fast(*arguments, keep_hits)
    for got, expected in zip(grads, reference.backward(*widen(arguments), keep_hits), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, RTOL[dtype])


@BOTH
def test_backward_is_the_complex_step(keep_hits):
    """The complex step of reference.sampled_softmax.forward: the fast backward and the one by hand, to 1e-12."""
    hidden, targets, noise_ids, weight, bias, log_q = arguments = case()

    def loss(p):
        return reference.forward(p["hidden"], targets, noise_ids, p["weight"], p["bias"], log_q, keep_hits)

    params = {"hidden": hidden, "weight": weight, "bias": bias}
    for grads in (fast(*arguments, keep_hits)[1], reference.backward(*arguments, keep_hits)):
        check(loss, params, {name: np.asarray(grad) for name, grad in zip(params, grads, strict=True)})


@BOTH
def test_cross_entropy(keep_hits):
    """torch.nn.functional.cross_entropy of score - log q over the target and the draws, hits at -inf; autograd."""
    torch = pytest.importorskip("torch")
    arguments = case()
    hidden, targets, noise_ids, weight, bias, log_q = (torch.tensor(value) for value in arguments)
    for value in (hidden, weight, bias):
        value.requires_grad_()
    words = torch.cat([targets[:, None], noise_ids.expand(15, 7)], dim=1).long()
    logits = (hidden @ weight.T + bias - log_q).gather(1, words)
    if not keep_hits:
        hits = torch.cat([torch.zeros(15, 1, dtype=torch.bool), noise_ids == targets[:, None]], dim=1)
        logits = logits.masked_fill(hits, -torch.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(15, dtype=torch.long))
    expected.backward()
    loss, grads = fast(*arguments, keep_hits)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for got, value in zip(grads, (hidden, weight, bias), strict=True):
        assert_close(got, value.grad.numpy(), 1e-12)


@DTYPES
def test_a_hit_alone(dtype):
    """The definition: where every draw is the target there is nothing to tell apart; loss and gradients are 0."""
    hidden, _, _, *rest = case(dtype)
    loss, grads = fast(hidden, np.full(15, 4, np.int32), np.full(3, 4, np.int32), *rest)
    assert loss == 0
    assert not any(value.any() for value in grads)


@pytest.mark.parametrize("words", [[7], [1], [3], [3, 7, 1]])
@pytest.mark.parametrize("shift", [-1e4, -300.0, 300.0, 1e4])
@DTYPES
def test_scores_far_apart(dtype, shift, words):
    """np.logaddexp draw by draw: noise only, target only, both shifted; nothing overflows and no maximum is missed."""
    hidden, targets, noise_ids, weight, bias, log_q = case(dtype)
    bias[words] += dtype(shift)
    loss, ds = stable(hidden, targets, noise_ids, weight, bias, log_q)
    got, (dhidden, dweight, dbias) = fast(hidden, targets, noise_ids, weight, bias, log_q)
    rounding = 4 * abs(shift) * float(np.finfo(dtype).eps)  # of the largest score
    assert got == pytest.approx(loss, rel=RTOL[dtype], abs=rounding)
    for value, expected in zip((dhidden, dweight, dbias), (ds @ weight, ds.T @ hidden, ds.sum(0)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=10 * (rounding + RTOL[dtype]))


@pytest.mark.parametrize("shift", [-1e4, 1e4])
@DTYPES
def test_a_constant_added_to_all_scores(dtype, shift):
    """The definition: only differences of scores count; every score far from zero changes nothing but roundings."""
    hidden, targets, noise_ids, weight, bias, log_q = case(dtype)
    loss, grads = fast(hidden, targets, noise_ids, weight, bias, log_q)
    shifted, far = fast(hidden, targets, noise_ids, weight, bias + dtype(shift), log_q)
    rounding = 40 * abs(shift) * float(np.finfo(dtype).eps)
    assert shifted == pytest.approx(loss, rel=0, abs=rounding)
    for got, expected in zip(far, grads, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=rounding)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@DTYPES
def test_what_is_not_finite_shows_in_the_loss(dtype, value):
    """The definition: a loss over a score that is not finite is none."""
    for word in (2, 7, 3):  # a target only, a noise word only, both
        hidden, targets, noise_ids, weight, bias, log_q = case(dtype)
        bias[word] = value
        with np.errstate(invalid="ignore"):  # inf - inf, without the JIT
            assert not math.isfinite(fast(hidden, targets, noise_ids, weight, bias, log_q)[0])


@DTYPES
def test_scale_is_a_factor(dtype):
    """The definition of `scale`: the loss and every gradient are proportional to it."""
    *arguments, weight, bias, log_q = case(dtype)
    loss, cache = sampled_softmax.forward(*arguments, weight, bias, log_q, 0.25)
    expected = 3.75 * fast(*arguments, weight, bias, log_q)[0]
    assert loss == pytest.approx(expected, rel=1e-6)
    got = sampled_softmax.backward(cache, weight)[0]
    assert_close(got, 3.75 * fast(*arguments, weight, bias, log_q)[1][0], 1e-6)


# ---- enumerated noise: what the sampled gradient is on average


def groups(q, num_noise):
    """Every group of K words, without its order, with its probability under q."""
    for group in itertools.combinations_with_replacement(range(len(q)), num_noise):
        counts = np.bincount(group, minlength=len(q))
        orders = math.factorial(num_noise) / math.prod(math.factorial(c) for c in counts)
        yield np.array(group, np.int32), orders * float(np.prod(q**counts))


def mean_gradient(q, num_noise, *, keep_hits, scores, text=None):
    """Mean of the scores' gradient over all groups: a row per target (V,V), or the mean row (V,) for probs `text`."""
    vocab = len(q)
    targets = np.arange(vocab, dtype=np.int32)  # a position for every target, all with the same scores
    hidden, weight = np.eye(vocab), np.tile(scores, (vocab, 1)).T.copy()
    mean = np.zeros((vocab, vocab))
    for group, probability in groups(q, num_noise):
        _, cache = sampled_softmax.forward(
            hidden, targets, group, weight, np.zeros(vocab), np.log(q), 1.0, keep_hits=keep_hits
        )
        mean += probability * np.asarray(sampled_softmax.backward(cache, weight)[1]).T
    return mean if text is None else text @ mean


@pytest.mark.parametrize(("vocab", "num_noise"), [(4, 1), (4, 3), (3, 6), (2, 9)])
def test_kept_hits_are_consistent(vocab, num_noise):
    """Ma & Collins 2018: where softmax(scores) is the text's distribution, the mean gradient is 0, whatever K and q."""
    rng = np.random.default_rng(16)
    q, text = rng.dirichlet(2 * np.ones(vocab)), rng.dirichlet(2 * np.ones(vocab))
    away = mean_gradient(q, num_noise, keep_hits=True, scores=np.log(text) + 0.7, text=text)
    np.testing.assert_allclose(away, 0, atol=1e-15)


@BOTH
def test_distance_to_the_limit_halves(keep_hits):
    """Expansion in 1/K, every group enumerated, q uniform: with hits kept the limit is the softmax's gradient.

    Left out, position n has 1 / (1 - p(target_n)) times that (docs/learn/sampled_softmax.md).
    """
    scores, q = np.array([0.3, -0.4, 0.9]), np.full(3, 1 / 3)
    _, cache = softmax.forward(np.eye(3), np.arange(3), np.tile(scores, (3, 1)).T.copy(), np.zeros(3), 1.0)
    limit = cache.dscores
    if not keep_hits:
        limit = limit / -np.diag(limit)[:, None]
    away = np.array(
        [np.linalg.norm(mean_gradient(q, k, keep_hits=keep_hits, scores=scores) - limit) for k in (6, 12, 24, 48)]
    )
    beyond = np.abs(away[:-1] / away[1:] - 2)
    assert beyond[0] < 0.3 and beyond[-1] < 0.1
    assert (beyond[1:] < 0.7 * beyond[:-1]).all()  # ratio 2 + O(1/K)
