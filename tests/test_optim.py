"""The optimisers.  Oracle: their equations in NumPy, on dense arrays, where every row is touched in every step."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from conftest import RTOL, assert_close, make_chunk, make_model
from test_docs import equations

from nplm.kernels import optim as kernels
from nplm.layers.row_gradient import RowGradient
from nplm.training import optim
from nplm.training.optim import Optimizer

DTYPES = [np.float32, np.float64]
HUGE = math.inf
STEPS, TRIGGER = 420, 100  # more steps than Adam's horizon, 385 in float64; averaging starts after step 100
NUM_ROWS = 11


def case(dtype=np.float64):
    """A model's parameters and two gradients of them, row gradients among them."""
    model = make_model(dtype)
    return model.params, [model.loss_and_grads(*make_chunk(model, seed))[1] for seed in (2, 3)]


def words_of(step, rng):
    """Rows that a step touches: row r in 0.6^(r+1) of them; row 8 in steps 3 and 400 only, the last two never."""
    rows = [row for row in range(8) if rng.random() < 0.6 ** (row + 1)]
    return np.array(rows + ([8] if step in (3, 400) else []), np.int32)


def sparse_case(dtype, seed=4, steps=STEPS):
    """Parameters, and a gradient and rate for every step: sizes from 1e-6 to 10, some steps touching no row."""
    rng = np.random.default_rng(seed)
    shapes = {"table": (NUM_ROWS, 4), "table.bias": (NUM_ROWS,), "dense": (3, 5)}
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    gradients, rates = [], rng.uniform(0, 0.1, steps)
    for t in range(1, steps + 1):
        rows, size = words_of(t, rng), 10 ** rng.uniform(-6, 1)
        values = (size * rng.normal(size=(rows.size, 4))).astype(dtype)
        bias_values = (size * rng.normal(size=rows.size)).astype(dtype)
        gradients.append(
            {
                "table": RowGradient(rows, values, NUM_ROWS),
                "table.bias": RowGradient(rows, bias_values, NUM_ROWS),
                "dense": rng.normal(size=(3, 5)).astype(dtype),
            }
        )
    return params, gradients, rates


def dense_steps(params, gradients, rates, kind, decay):
    """The parameters before the first step and after each, in float64: every row, [O1], [O2], [O4] and [O5]."""
    params = dense(params)
    means, squares = ({name: np.zeros(value.shape) for name, value in params.items()} for _ in range(2))
    yield {name: value.copy() for name, value in params.items()}
    for t, (grads, lr) in enumerate(zip(map(dense, gradients), rates, strict=True), 1):
        for name, g in grads.items():
            params[name] *= 1 - lr * decay * (name != "table.bias")
            if kind == "adam":  # as in the paper's algorithm 1
                means[name] = 0.9 * means[name] + 0.1 * g
                squares[name] = 0.999 * squares[name] + 0.001 * g**2
                mean, square = means[name] / (1 - 0.9**t), squares[name] / (1 - 0.999**t)
                params[name] -= lr * mean / (np.sqrt(square) + 1e-8)
            elif kind == "adagrad":
                squares[name] += g**2
                params[name] -= lr * g / (np.sqrt(squares[name]) + 1e-8)
            else:
                params[name] -= lr * g
        yield {name: value.copy() for name, value in params.items()}


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
        assert optim.non_finite_gradient(grads) is None
        values = getattr(grads[name], "values", grads[name])
        values.flat[-1] = bad
        assert optim.non_finite_gradient(grads) == name
        assert not math.isfinite(optim.global_norm(grads))


KINDS = ["sgd", "asgd", "adagrad", "adam"]


@pytest.mark.parametrize("history", [optim.HISTORY, 50])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_up_to_date_when_they_are_read(dtype, kind, decay, history):
    """The dense optimiser, before every step for the rows of the step, and at the end for all."""
    params, gradients, rates = sparse_case(dtype)
    with patch.object(optim, "HISTORY", history):
        optimizer = Optimizer(params, kind, HUGE, decay)
    expected = list(dense_steps(params, gradients, rates, kind, decay))
    for grads, lr, before in zip(gradients, rates, expected[:-1], strict=True):
        for name in ("table", "table.bias"):
            rows = grads[name].rows
            optimizer.prepare(name, params[name], np.concatenate([rows, rows]))
            np.testing.assert_allclose(params[name][rows], before[name][rows], rtol=0, atol=5 * RTOL[dtype])
        optimizer.begin(params, lr)
        for name in params:
            optimizer.update_one(name, params[name], grads[name], lr, 1.0)
    optimizer.settle(params)
    for name, value in params.items():
        assert value.dtype == dtype
        assert_close(value, expected[-1][name], 5 * RTOL[dtype])


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_average_of_all_steps_after_the_trigger(dtype, decay):
    """The mean of the dense optimiser's parameters, step by step; looking at it changes no later step."""
    params, gradients, rates = sparse_case(dtype)
    optimizer = Optimizer(params, "asgd", HUGE, decay)
    expected = list(dense_steps(params, gradients, rates, "sgd", decay))
    for t, (grads, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        optimizer.update(params, grads, lr, 1.0)
        if t in (TRIGGER, TRIGGER + 50):  # the second call must change nothing
            optimizer.start_averaging(params)
        if t <= TRIGGER:
            assert optimizer.averaged(params) is params
        elif t in (TRIGGER + 1, TRIGGER + 60, STEPS):
            got = optimizer.averaged(params)
            for name, value in got.items():
                assert value.dtype == dtype and value is not params[name]
                mean = np.mean([step[name] for step in expected[TRIGGER + 1 : t + 1]], axis=0)
                assert_close(value, mean, 5 * RTOL[dtype])
    for name, value in params.items():
        assert_close(value, expected[-1][name], 5 * RTOL[dtype])


@pytest.mark.parametrize("kind", ["asgd", "adam"])
def test_decay_so_strong_that_the_history_ends_early(kind):
    """The dense optimiser, where 0.9 of every weight goes in every step: 1e-400 after all of them."""
    params, gradients, _ = sparse_case(np.float64)
    rates = np.full(STEPS, 0.05)
    optimizer = Optimizer(params, kind, HUGE, 0.9 / 0.05)
    expected = list(dense_steps(params, gradients, rates, kind, 0.9 / 0.05))
    if kind == "asgd":
        optimizer.start_averaging(params)
    for grads, lr in zip(gradients, rates, strict=True):
        optimizer.update(params, grads, lr, 1.0)
    optimizer.settle(params)
    for name, value in params.items():
        np.testing.assert_allclose(value, expected[-1][name], rtol=0, atol=1e-12)
    if kind == "asgd":
        for name, value in optimizer.averaged(params).items():
            assert_close(value, np.mean([step[name] for step in expected[1:]], axis=0), 1e-12)


def test_biases_are_not_decayed():
    """(1 - lr decay)^n by hand for a matrix whose gradient is zero; a vector keeps its bits."""
    params = {"w": np.full((2, 3), 5.0), "bias": np.full(3, 5.0)}
    optimizer = Optimizer(params, "sgd", HUGE, 0.2)
    zeros = {"w": RowGradient(np.array([1], np.int32), np.zeros((1, 3)), 2), "bias": np.zeros(3)}
    for _ in range(4):
        optimizer.update(params, zeros, 0.5, 0.0)
    np.testing.assert_array_equal(params["w"][0], 5.0)  # not touched, and nobody has read it yet
    optimizer.settle(params)
    np.testing.assert_allclose(params["w"], 5 * 0.9**4, rtol=1e-15)
    np.testing.assert_array_equal(params["bias"], 5.0)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_are_neither_read_nor_written(kind, decay):
    """Not a number in all other rows: they keep it, and the rows of the step get the bits they get without."""
    params, gradients, rates = sparse_case(np.float64, steps=40)
    optimizer = Optimizer(params, kind, HUGE, decay)
    if kind == "asgd":
        optimizer.start_averaging(params)
    for grads, lr in zip(gradients[:39], rates[:39], strict=True):
        optimizer.update(params, grads, lr, 1.0)
    name, rows = "table", np.array([0, 5], np.int32)
    others = np.setdiff1d(np.arange(NUM_ROWS), rows)
    twin_params, twin = {key: value.copy() for key, value in params.items()}, copy_of(optimizer, params)
    poisoned = [params[name], *(value for key, value in optimizer.memory.items() if key.endswith(f".{name}"))]
    for value in poisoned:
        value[others] = -(2**62) if value.dtype == np.int64 else np.nan
    for one, its_params in ((optimizer, params), (twin, twin_params)):
        one.prepare(name, its_params[name], rows)
        one.begin(its_params, 0.1)
        one.update_one(name, its_params[name], RowGradient(rows, np.ones((2, 4)), NUM_ROWS), 0.1, 1.0)
    np.testing.assert_array_equal(params[name][rows], twin_params[name][rows])
    assert not np.isfinite(params[name][others]).any()


def copy_of(optimizer, params):
    """An optimiser whose memory is filled from another's, as resuming does."""
    other = Optimizer(params, optimizer.kind, optimizer.clip, optimizer.decay)
    assert set(other.memory) == set(optimizer.memory)
    for name, value in other.memory.items():
        value[...] = optimizer.memory[name]
    return other


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_all_there_is(kind, decay):
    """The run that was not stopped, bit for bit: a new optimiser with the old one's memory goes on, rows lagging."""
    params, gradients, rates = sparse_case(np.float32, steps=120)
    optimizer = Optimizer(params, kind, HUGE, decay)
    for t, (grads, lr) in enumerate(zip(gradients, rates, strict=True)):
        if t == 30 and kind == "asgd":
            optimizer.start_averaging(params)
        if t == 70:
            other_params = {name: value.copy() for name, value in params.items()}
            other = copy_of(optimizer, params)
        optimizer.update(params, grads, lr, 2.0)
        if t >= 70:
            other.update(other_params, grads, lr, 2.0)
    for end, other_end in ((params, other_params), (optimizer.averaged(params), other.averaged(other_params))):
        for name, value in end.items():
            np.testing.assert_array_equal(value, other_end[name])
    for name, value in optimizer.memory.items():
        np.testing.assert_array_equal(value, other.memory[name])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_independent(kind):
    """The same bits one after the other and on threads, in the reverse order."""
    ends = []
    for threads in (1, 3):
        params, gradients, rates = sparse_case(np.float32, steps=30)
        optimizer = Optimizer(params, kind, HUGE, 0.3)
        if kind == "asgd":
            optimizer.start_averaging(params)
        with ThreadPoolExecutor(threads) as pool:
            for grads, lr in zip(gradients, rates, strict=True):
                optimizer.begin(params, lr)
                tasks = [
                    pool.submit(optimizer.update_one, name, params[name], grads[name], lr, 2.0)
                    for name in (params if threads == 1 else reversed(params))
                ]
                for task in tasks:
                    task.result()
        ends.append(params | optimizer.memory)
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])


def test_adam_leaves_what_was_never_touched():
    """The parameters themselves, bit for bit: no mean, no move; rows that were touched go on moving."""
    params, gradients, rates = sparse_case(np.float32, steps=60)
    start = params["table"].copy()
    optimizer = Optimizer(params, "adam", HUGE)
    for grads, lr in zip(gradients, rates, strict=True):
        optimizer.update(params, grads, lr, 1.0)
    before = params["table"].copy()
    optimizer.settle(params)
    np.testing.assert_array_equal(params["table"][9:], start[9:])
    assert (params["table"][8] != before[8]).all()  # touched in step 3 only


def test_moves_that_are_left_out_are_below_rounding():
    """The bound of the derivation, against the worst gradients there are: g growing by b2 / b1 from step to step."""
    for dtype in DTYPES:
        k = optim.horizon(dtype)
        g = (0.999 / 0.9) ** np.arange(-600.0, 1.0)  # oldest first; the sum over more of them is the same
        mean, square = ((1 - b) * (b ** np.arange(600, -1, -1) * g**p).sum() for b, p in ((0.9, 1), (0.999, 2)))
        moves = (0.9 / math.sqrt(0.999)) ** np.arange(1, 2000) * mean / math.sqrt(square)  # in units of a_t
        eps = np.finfo(dtype).eps
        assert 0.8 * eps < moves[k:].sum() <= eps  # tight: two steps fewer would not do
        assert moves[k - 2 :].sum() > eps


def test_too_much_decay():
    """A weight cannot lose more than all of itself: an error that names both numbers."""
    params = {"w": np.ones((2, 2))}
    with pytest.raises(ValueError, match=r"lr \* decay = 20 \* 0.1 must be less than 1"):
        Optimizer(params, "sgd", HUGE, 0.1).begin(params, 20.0)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adagrad", "SGD", "ASGD"])
def test_against_torch(name):
    """torch.optim, 150 steps with the dense gradients; its ASGD averages from the second step on, in float32."""
    torch = pytest.importorskip("torch")
    params, gradients, _ = sparse_case(np.float64, steps=150)
    decay = {"AdamW": 0.3, "SGD": 0.3}.get(name, 0.0)
    more = {"weight_decay": decay} | ({"lambd": 0.0, "t0": 0} if name == "ASGD" else {})
    more |= {"eps": 1e-8} if name.startswith("Ada") else {}
    peers = {key: torch.tensor(value, requires_grad=True) for key, value in params.items()}
    biases = {"params": [peers["table.bias"]], "weight_decay": 0.0}
    others = {"params": [peers["table"], peers["dense"]]}
    theirs = getattr(torch.optim, name)([others, biases], lr=0.0625, **more)
    kind = {"Adam": "adam", "AdamW": "adam"}.get(name, name.lower())
    ours = Optimizer(params, kind, HUGE, decay)
    for t, grads in enumerate(gradients):
        if t == 1 and kind == "asgd":
            ours.start_averaging(params)
        ours.update(params, grads, 0.0625, 1.0)
        for key, peer in peers.items():
            peer.grad = torch.tensor(np.asarray(grads[key]))
        theirs.step()
    ours.settle(params)
    for key, peer in peers.items():
        assert_close(params[key], peer.detach().numpy(), 1e-10)
        if name == "ASGD":
            assert_close(ours.averaged(params)[key], theirs.state[peer]["ax"].numpy(), 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd(dtype):
    """param[rows] -= step * grad in NumPy; the other rows keep their bits."""
    rng = np.random.default_rng(11)
    param, grad = rng.normal(size=(7, 4)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    expected = param.copy()
    expected[[0, 2, 5]] -= dtype(0.3) * grad
    kernels.sgd(param, np.array([0, 2, 5], np.int32), grad, 0.3)
    assert_close(param, expected, 2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(param[[1, 3, 4, 6]], expected[[1, 3, 4, 6]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_adagrad(dtype):
    """[O2] in NumPy, on the rows given; the scaled gradient is what is squared."""
    rng = np.random.default_rng(12)
    param, grad = rng.normal(size=(7, 4)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    squares = rng.uniform(0, 2, (7, 4)).astype(dtype)
    expected, expected_squares = param.astype(np.float64), squares.astype(np.float64)
    places = [0, 2, 5]
    expected_squares[places] += (0.25 * grad) ** 2
    expected[places] -= 0.3 * 0.25 * grad / (np.sqrt(expected_squares[places]) + 1e-8)
    kernels.adagrad(param, np.array(places, np.int32), grad, squares, 0.25, 0.3, 1e-8)
    assert_close(squares, expected_squares, 10 * np.finfo(dtype).eps)
    assert_close(param, expected, 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(dtype):
    """[O4] in NumPy, on the rows given, with the gradient scaled; the other rows keep their bits."""
    rng = np.random.default_rng(13)
    param, means = rng.normal(size=(2, 7, 4)).astype(dtype)
    grad, squares = rng.normal(size=(3, 4)).astype(dtype), rng.uniform(0, 2, (7, 4)).astype(dtype)
    p, m, v = (array.astype(np.float64) for array in (param, means, squares))
    at = [0, 2, 5]
    m[at] = 0.9 * m[at] + 0.1 * 0.25 * grad
    v[at] = 0.999 * v[at] + 0.001 * (0.25 * grad) ** 2
    p[at] -= 0.3 * m[at] / (np.sqrt(v[at]) + 1e-3)
    kernels.adam(param, np.array(at, np.int32), grad, means, squares, 0.25, 0.3, 1e-3, 0.9, 0.999)
    for got, expected in ((param, p), (means, m), (squares, v)):
        assert_close(got, expected, 10 * np.finfo(dtype).eps)


def test_equations_are_the_same_in_code_and_derivation():
    """Every labelled line of the module's docstring, in docs/learn/optim.md."""
    page = Path(__file__).parent.parent / "docs" / "learn" / "optim.md"
    derived = equations(page.read_text(encoding="utf-8"))
    assert len(derived) == 8 and derived == equations(Path(optim.__file__).read_text(encoding="utf-8"))
