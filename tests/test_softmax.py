"""The exact softmax.  Oracle: reference/softmax.py, the complex step of its forward, and longdouble sums."""

import numpy as np
import pytest
from conftest import RTOL, assert_close

from nplm.gradcheck import check
from nplm.kernels import softmax as kernels
from nplm.layers import softmax
from nplm.layers.workspace import Workspace
from nplm.reference import softmax as reference

PENALTIES = pytest.mark.parametrize("penalty", [0.0, 0.3])


def case(dtype=np.float64, vocab=11):
    """hidden (N,H) = (15,6), targets (N,) with repeats, weight (V,H), bias (V,)."""
    rng = np.random.default_rng(5)
    hidden, weight, bias = rng.normal(size=(15, 6)), rng.normal(size=(vocab, 6)), rng.normal(size=vocab)
    return (hidden.astype(dtype), rng.integers(0, vocab, 15, np.int32), weight.astype(dtype), bias.astype(dtype))


def fast(hidden, targets, weight, bias, scale, penalty=0.0, room=None):
    """Objective and the gradients (dhidden, dweight, dbias)."""
    loss, cache = softmax.forward(hidden, targets, weight, bias, scale, penalty, room)
    return loss, softmax.backward(cache, weight, room)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_probs(dtype):
    """reference.softmax.log_probs, and a sum of 1 over the words."""
    hidden, _, weight, bias = case(dtype)
    got = softmax.log_probs(hidden, weight, bias)
    assert got.dtype == dtype
    assert_close(got, reference.log_probs(*(a.astype(np.float64) for a in (hidden, weight, bias))), RTOL[dtype])
    np.testing.assert_allclose(np.exp(got.astype(np.float64)).sum(axis=1), 1, rtol=10 * RTOL[dtype])


@PENALTIES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_backward(dtype, penalty):
    """reference.softmax.forward and backward."""
    hidden, targets, weight, bias = case(dtype)
    wide = hidden.astype(np.float64), targets, weight.astype(np.float64), bias.astype(np.float64)
    loss, grads = fast(hidden, targets, weight, bias, 1 / 15, penalty)
    assert loss == pytest.approx(reference.forward(*wide, penalty), rel=RTOL[dtype])
    for got, expected in zip(grads, reference.backward(*wide, penalty), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, RTOL[dtype])


@PENALTIES
def test_backward_is_the_complex_step(penalty):
    """The complex step of reference.softmax.forward: the fast backward and the one by hand, to 1e-12."""
    hidden, targets, weight, bias = arguments = case()

    def loss(p):
        return reference.forward(p["hidden"], targets, p["weight"], p["bias"], penalty)

    params = {"hidden": hidden, "weight": weight, "bias": bias}
    for grads in (fast(*arguments, 1 / 15, penalty)[1], reference.backward(*arguments, penalty)):
        check(loss, params, {name: np.asarray(grad) for name, grad in zip(params, grads, strict=True)})


def test_the_penalty_is_what_it_adds():
    """The mean of log^2 Z by longdouble np.logaddexp; a constant added to all scores is felt through it alone."""
    hidden, targets, weight, bias = case()
    scores = hidden.astype(np.longdouble) @ weight.T + bias
    log_z = np.logaddexp.reduce(scores, axis=1)
    without, grads = fast(hidden, targets, weight, bias, 1 / 15)
    loss, penalised = fast(hidden, targets, weight, bias, 1 / 15, 0.5)
    assert loss - without == pytest.approx(float(0.5 * (log_z**2).mean()), rel=1e-12)
    assert abs(grads[2].sum()) < 1e-15
    assert penalised[2].sum() == pytest.approx(float(log_z.mean()), rel=1e-12)  # 2 * 0.5 * log Z


@PENALTIES
@pytest.mark.parametrize("shift", [-3000.0, 500.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_far_from_zero(dtype, shift, penalty):
    """log Z(s + shift) = log Z(s) + shift: the loss stays, the penalty is known, and so is its gradient."""
    hidden, targets, weight, bias = case(dtype)
    log_z = softmax.normaliser(hidden, weight, bias) + shift
    before, grads = fast(hidden, targets, weight, bias, 1 / 15)
    loss, shifted = fast(hidden, targets, weight, bias + dtype(shift), 1 / 15, penalty)
    rounding = 4 * abs(shift) * float(np.finfo(dtype).eps)
    penalised = before + penalty * float((log_z**2).mean())
    assert loss == pytest.approx(penalised, rel=rounding, abs=rounding)
    p = np.exp(softmax.log_probs(hidden, weight, bias))
    dbias = grads[2] + 2 * penalty * (log_z @ p) / 15
    np.testing.assert_allclose(shifted[2], dbias, rtol=2 * rounding, atol=2 * rounding)


def test_training_with_what_is_not_finite():
    """The definition: a loss over a score that is not finite is none."""
    for word, value in ((0, np.nan), (10, np.nan), (4, np.inf)):
        hidden, targets, weight, bias = case()
        bias[word] = value
        with np.errstate(invalid="ignore"):  # inf - inf, without the JIT
            assert not np.isfinite(fast(hidden, targets, weight, bias, 1 / 15)[0])


@PENALTIES
def test_room_is_used_again(penalty):
    """Without room: a room that has held other numbers, and more of them, gives the same bits."""
    room = Workspace()
    fast(*case(vocab=37), 1 / 15, penalty, room)
    expected_loss, expected = fast(*case(), 1 / 15, penalty)
    loss, grads = fast(*case(), 1 / 15, penalty, room)
    assert loss == expected_loss
    for got, value in zip(grads, expected, strict=True):
        np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 64, 131])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_maximum(dtype, size):
    """np.max, in vectors and beside them: any place, negative numbers, infinities; NaN wherever it stands."""
    rng = np.random.default_rng(6)
    for place in range(size):
        row = -1 - rng.random(size).astype(dtype)
        row[place] = -0.5
        assert kernels._row_maximum(row) == -0.5
        row[place] = np.inf
        assert kernels._row_maximum(row) == np.inf
        row[place] = np.nan
        assert np.isnan(kernels._row_maximum(row))
        row[place] = -np.inf
        assert kernels._row_maximum(row) == row.max()


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
