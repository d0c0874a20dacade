"""The optimisers.  Oracle: their equations in NumPy, on dense arrays."""

import math

import numpy as np
import pytest
from conftest import RTOL, assert_close, make_chunk, make_model

from nplm import optim
from nplm.layers.rows import RowGradient
from nplm.optim import Optimizer

DTYPES = [np.float32, np.float64]
HUGE = math.inf


def case(dtype=np.float64):
    """A model's parameters and two gradients of them, row gradients among them."""
    model = make_model(dtype)
    return model.params, [model.loss_and_grads(*make_chunk(model, seed))[1] for seed in (2, 3)]


def dense(arrays):
    """A dict of arrays or row gradients as float64 arrays."""
    return {name: np.asarray(value).astype(np.float64) for name, value in arrays.items()}


def by_hand(params, gradients, kind, lr, clip):
    """[O1] to [O3], one line each."""
    params, squares = dense(params), {name: np.zeros(value.shape) for name, value in params.items()}
    for grads in map(dense, gradients):
        norm = math.sqrt(sum((grad**2).sum() for grad in grads.values()))
        for name, grad in grads.items():
            g = grad * min(1.0, clip / norm)  # [O3]
            squares[name] += g**2
            step = g / (np.sqrt(squares[name]) + optim.EPSILON) if kind == "adagrad" else g
            params[name] -= lr * step  # [O2], [O1]
    return params, squares


@pytest.mark.parametrize("clip", [HUGE, 1e9, 0.25])
@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_steps(dtype, kind, clip):
    """[O1] to [O3] in NumPy, with the norm clipped and not; a row gradient does what the dense one would."""
    params, gradients = case(dtype)
    expected, squares = by_hand(params, gradients, kind, 0.7, clip)
    optimizer = Optimizer(params, kind, clip)
    for grads in gradients:
        optimizer.update(params, grads, 0.7, optim.global_norm(grads))
    for name, value in params.items():
        assert value.dtype == dtype
        assert_close(value, expected[name], 5 * RTOL[dtype])
    assert set(optimizer.squares) == (set(params) if kind == "adagrad" else set())
    for name, value in optimizer.squares.items():
        assert_close(value, squares[name], 5 * RTOL[dtype])


def test_arrays_are_changed_in_place():
    """The identity of the arrays: whoever holds a parameter sees the update."""
    params, gradients = case()
    held = dict(params)
    Optimizer(params, "sgd", HUGE).update(params, gradients[0], 0.1, 1.0)
    assert all(params[name] is value for name, value in held.items())


def test_clipping_is_by_the_norm_of_all_together():
    """A norm of 5 by hand, from 3 in one array and 4 in another: clipped to 1, both shrink by the same factor."""
    params = {"a": np.zeros(2), "b": np.zeros((3, 2))}
    grads = {"a": np.array([3.0, 0.0]), "b": RowGradient(np.array([1]), np.array([[0.0, 4.0]]), 3)}
    norm = optim.global_norm(grads)
    assert norm == 5
    Optimizer(params, "sgd", 1.0).update(params, grads, 1.0, norm)
    np.testing.assert_allclose(params["a"], [-0.6, 0], rtol=1e-15)
    np.testing.assert_allclose(params["b"], [[0, 0], [0, -0.8], [0, 0]], rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_global_norm(dtype):
    """np.linalg.norm of all dense gradients in one vector."""
    _, gradients = case(dtype)
    flat = np.concatenate([value.ravel() for value in dense(gradients[0]).values()])
    assert optim.global_norm(gradients[0]) == pytest.approx(np.linalg.norm(flat), rel=RTOL[dtype])


def test_zero_gradient_changes_nothing():
    """The parameters themselves, bit for bit: a norm of zero is not divided by."""
    for kind in ("sgd", "adagrad"):
        params = {"a": np.array([1.0, -2.0])}
        Optimizer(params, kind, 0.25).update(params, {"a": np.zeros(2)}, 1.0, 0.0)
        np.testing.assert_array_equal(params["a"], [1, -2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad):
    """The name of the gradient that was spoilt, dense or by rows, and a norm that is not finite."""
    for name in ("encoder.weight", "rnn.weight_hh_l1", "rnn.bias_l0", "decoder.bias"):
        _, (grads, _) = case()
        assert optim.non_finite(grads) is None
        values = getattr(grads[name], "values", grads[name])
        values.flat[-1] = bad
        assert optim.non_finite(grads) == name
        assert not math.isfinite(optim.global_norm(grads))
