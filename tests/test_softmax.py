"""The exact softmax.  Oracle: reference/softmax.py, the complex step of its forward, and longdouble sums."""

import numpy as np
import pytest
from conftest import RTOL, assert_close

from nplm.gradcheck import complex_step
from nplm.layers import softmax
from nplm.reference import softmax as reference


def case(dtype=np.float64, vocab=11):
    """hidden (N,H) = (15,6), targets (N,) with repeats, weight (V,H), bias (V,)."""
    rng = np.random.default_rng(5)
    hidden, weight, bias = rng.normal(size=(15, 6)), rng.normal(size=(vocab, 6)), rng.normal(size=vocab)
    return (
        hidden.astype(dtype),
        rng.integers(0, vocab, 15, np.int32),
        weight.astype(dtype),
        bias.astype(dtype),
    )


def fast(hidden, targets, weight, bias, scale):
    """Loss and the gradients (dhidden, dweight, dbias)."""
    loss, cache = softmax.forward(hidden, targets, weight, bias, scale)
    return loss, softmax.backward(cache, weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_probs(dtype):
    """reference.softmax.log_probs, and a sum of 1 over the words."""
    hidden, _, weight, bias = case(dtype)
    got = softmax.log_probs(hidden, weight, bias)
    assert got.dtype == dtype
    assert_close(
        got, reference.log_probs(*(a.astype(np.float64) for a in (hidden, weight, bias))), RTOL[dtype]
    )
    np.testing.assert_allclose(np.exp(got.astype(np.float64)).sum(axis=1), 1, rtol=10 * RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_backward(dtype):
    """reference.softmax.forward and backward."""
    hidden, targets, weight, bias = case(dtype)
    wide = hidden.astype(np.float64), targets, weight.astype(np.float64), bias.astype(np.float64)
    loss, grads = fast(hidden, targets, weight, bias, 1 / 15)
    assert loss == pytest.approx(reference.forward(*wide), rel=RTOL[dtype])
    for got, expected in zip(grads, reference.backward(*wide), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, RTOL[dtype])


def test_backward_is_the_complex_step():
    """The complex step of reference.softmax.forward: the fast backward and the one by hand, to 1e-12."""
    hidden, targets, weight, bias = case()
    exact = complex_step(
        lambda point: reference.forward(point["hidden"], targets, point["weight"], point["bias"]),
        {"hidden": hidden, "weight": weight, "bias": bias},
    )
    _, grads = fast(hidden, targets, weight, bias, 1 / 15)
    for got, by_hand, name in zip(
        grads, reference.backward(hidden, targets, weight, bias), exact, strict=True
    ):
        assert_close(got, exact[name], 1e-12)
        assert_close(by_hand, exact[name], 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_is_a_factor(dtype):
    """The definition of `scale`: the loss and every gradient are proportional to it."""
    arguments = case(dtype)
    loss, grads = fast(*arguments, 1 / 15)
    loss3, grads3 = fast(*arguments, 3 / 15)
    assert loss3 == pytest.approx(3 * loss, rel=1e-6)
    for got, expected in zip(grads3, grads, strict=True):
        assert_close(got, 3 * expected, 1e-6)


@pytest.mark.parametrize("block", [1, 4, 11, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normaliser_in_blocks(dtype, block):
    """np.logaddexp.reduce in longdouble, in blocks: of a word each, the last short, one exact, one in part."""
    hidden, _, weight, bias = case(dtype)
    bias[-1] += 5  # the largest score is in the last block, so what was summed before has to be rescaled
    exact = np.logaddexp.reduce(hidden.astype(np.longdouble) @ weight.T.astype(np.longdouble) + bias, axis=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmax, "BLOCK", block)
        got = softmax.normaliser(hidden, weight, bias)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, exact.astype(np.float64), rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize("shift", [-3000.0, -500.0, 500.0, 3000.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_from_zero(dtype, shift):
    """log Z(s + shift) = log Z(s) + shift, exactly, where exp of a score would be 0 or inf."""
    hidden, _, weight, bias = case(dtype)
    tolerance = 4 * abs(shift) * np.finfo(dtype).eps
    log_z = softmax.normaliser(hidden, weight, bias)
    np.testing.assert_allclose(
        softmax.normaliser(hidden, weight, bias + dtype(shift)), log_z + shift, rtol=0, atol=tolerance
    )
    logp = softmax.log_probs(hidden, weight, bias + dtype(shift))
    np.testing.assert_allclose(logp, softmax.log_probs(hidden, weight, bias), rtol=0, atol=tolerance)


def test_target_scores():
    """A row of the whole product: s(n, target_n)."""
    hidden, targets, weight, bias = case()
    expected = (hidden @ weight.T + bias)[np.arange(15), targets]
    assert_close(softmax.target_scores(hidden, targets, weight, bias), expected, 1e-14)


def test_nan_stays_in_its_position():
    """The definition: log Z of a position with NaN is NaN, of the others what it was; any word's NaN spreads to all."""
    hidden, _, weight, bias = case()
    before = softmax.normaliser(hidden, weight, bias)
    hidden[4, 2] = np.nan
    got = softmax.normaliser(hidden, weight, bias)
    assert np.isnan(got[4])
    np.testing.assert_array_equal(np.delete(got, 4), np.delete(before, 4))
    for word in (0, 5, 10):
        broken = bias.copy()
        broken[word] = np.nan
        assert np.isnan(softmax.normaliser(hidden, weight, broken)).all()
