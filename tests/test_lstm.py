"""The LSTM layer.  Oracle: reference/lstm.py, and the complex step of its forward."""

import numpy as np
import pytest
from conftest import RTOL, assert_close

from nplm.gradcheck import check, complex_step
from nplm.layers import lstm
from nplm.reference import lstm as reference

STEPS, BATCH, DIM, HIDDEN = 5, 3, 4, 6
NAMES = ("x", "h0", "c0", "weight_ih", "weight_hh", "bias")
SHAPES = ((STEPS, BATCH, DIM), (BATCH, HIDDEN), (BATCH, HIDDEN), (4 * HIDDEN, DIM), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,))


def case(dtype=np.float64):
    """The six arguments of a forward, start state included, and dhidden (T,B,H); all random."""
    rng = np.random.default_rng(4)
    arguments = {name: rng.normal(0, 0.8, shape).astype(dtype) for name, shape in zip(NAMES, SHAPES, strict=True)}
    return arguments, rng.normal(size=(STEPS, BATCH, HIDDEN)).astype(dtype)


def fast_gradients(arguments, dhidden):
    """The layer's gradients by the names of the arguments."""
    _, cache = lstm.forward(*arguments.values())
    got = lstm.backward(dhidden, cache, arguments["weight_ih"], arguments["weight_hh"])
    return dict(zip(NAMES, got, strict=True))


def reference_gradients(arguments, dhidden):
    """The reference's gradients by the names of the arguments."""
    h, c, gates = reference.forward(*arguments.values())
    weights = arguments["weight_ih"], arguments["weight_hh"]
    return dict(zip(NAMES, reference.backward(dhidden, arguments["x"], h, c, gates, *weights), strict=True))


def exact_gradients(arguments, dhidden):
    """The complex step of sum(dhidden * h) of the reference forward."""
    return complex_step(lambda point: (reference.forward(*point.values())[0][1:] * dhidden).sum(), arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward(dtype):
    """reference.lstm.forward: hidden states, cell states, gates and the state carried in."""
    arguments, _ = case(dtype)
    hidden, cache = lstm.forward(*arguments.values())
    h, c, gates = reference.forward(*(value.astype(np.float64) for value in arguments.values()))
    assert hidden.dtype == cache.c.dtype == dtype
    assert_close(hidden, h[1:], RTOL[dtype])
    assert_close(cache.h, h, RTOL[dtype])
    assert_close(cache.c, c, RTOL[dtype])
    assert_close(cache.tanh_c, np.tanh(c[1:]), RTOL[dtype])
    assert_close(cache.gates, gates.reshape(STEPS, BATCH, 4 * HIDDEN), RTOL[dtype])


def test_forward_does_not_touch_its_arguments():
    """A copy made before: the caller's state and inputs stay as they were, backward included."""
    arguments, dhidden = case()
    before = {name: value.copy() for name, value in arguments.items()}
    fast_gradients(arguments, dhidden)
    for name, value in arguments.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward(dtype, name):
    """reference.lstm.backward, for everything that goes into a forward."""
    arguments, dhidden = case(dtype)
    wide = {key: value.astype(np.float64) for key, value in arguments.items()}
    got = fast_gradients(arguments, dhidden)[name]
    assert got.dtype == dtype
    assert_close(got, reference_gradients(wide, dhidden.astype(np.float64))[name], RTOL[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_complex_step(name):
    """The complex step of reference.lstm.forward: the fast backward and the one by hand, to 1e-12."""
    arguments, dhidden = case()

    def loss(point):
        return (reference.forward(*point.values())[0][1:] * dhidden).sum()

    check(loss, arguments, fast_gradients(arguments, dhidden), only=name)
    check(loss, arguments, reference_gradients(arguments, dhidden), only=name)


def test_first_step_counts():
    """The complex step, at t = 0 alone: a gradient that enters at the last step reaches x_0, h_0 and c_0."""
    arguments, dhidden = case()
    dhidden[:-1] = 0
    exact, got = exact_gradients(arguments, dhidden), fast_gradients(arguments, dhidden)
    for name in ("h0", "c0"):
        assert np.abs(exact[name]).min() > 1e-9
        assert_close(got[name], exact[name], 1e-12)
    assert np.abs(exact["x"][0]).min() > 1e-9
    assert_close(got["x"][0], exact["x"][0], 1e-12)


def test_one_step_is_enough_for_the_recurrent_weights():
    """The complex step on a chunk of one step: dW_hh comes from the state carried in, and is not zero."""
    arguments, dhidden = case()
    arguments["x"], dhidden = arguments["x"][:1], dhidden[:1]
    exact = exact_gradients(arguments, dhidden)["weight_hh"]
    assert np.abs(exact).min() > 1e-9
    assert_close(fast_gradients(arguments, dhidden)["weight_hh"], exact, 1e-12)


@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (1, 70), (2, 16), (7, 33), (13, 8), (25, 65), (3, 130)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_around_the_kernels_tiles(dtype, batch, hidden):
    """reference.lstm, for batches and widths on both sides of a vector, a tile, a panel and a stretch of depth."""
    rng = np.random.default_rng([21, batch, hidden])
    shapes = ((3, batch, 5), (batch, hidden), (batch, hidden), (4 * hidden, 5), (4 * hidden, hidden), (4 * hidden,))
    arguments = {name: rng.normal(0, 0.3, shape).astype(dtype) for name, shape in zip(NAMES, shapes, strict=True)}
    dhidden = rng.normal(size=(3, batch, hidden)).astype(dtype)
    wide = {name: value.astype(np.float64) for name, value in arguments.items()}
    assert_close(lstm.forward(*arguments.values())[0], reference.forward(*wide.values())[0][1:], RTOL[dtype])
    expected = reference_gradients(wide, dhidden.astype(np.float64))
    for name, got in fast_gradients(arguments, dhidden).items():
        assert_close(got, expected[name], RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_gates(dtype):
    """The limits of [L2] to [L5]: with inputs of 1e4 all stays finite, and no |h| is beyond 1."""
    arguments, dhidden = case(dtype)
    arguments["x"] *= dtype(1e4)
    hidden, _ = lstm.forward(*arguments.values())
    assert np.all(np.abs(hidden) <= 1)
    assert all(np.isfinite(value).all() for value in fast_gradients(arguments, dhidden).values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_spreads_to_its_own_column_and_later_steps(dtype):
    """The equations: x_t is read by steps t and later of its own column, so only there may NaN appear."""
    arguments, _ = case(dtype)
    arguments["x"][2, 1, 0] = np.nan
    hidden, _ = lstm.forward(*arguments.values())
    expected = np.zeros((STEPS, BATCH), bool)
    expected[2:, 1] = True
    np.testing.assert_array_equal(np.isnan(hidden).any(axis=2), expected)
