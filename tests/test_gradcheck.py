"""The gradient checker on right gradients, structures and mistakes.  Oracle: derivatives written by hand."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import NamedTuple

import gradcheck_cases
import gradcheck_random
import numpy as np
import pytest

from nplm.gradcheck import check, check_hvp, check_layer, complex_step, jacobian, relative_error

RIGHT = gradcheck_cases.right()
RUNS = int(os.environ.get("NPLM_GRADCHECK_RUNS", "150"))  # 2,000 in the benchmark


@pytest.mark.parametrize("order", ["C", "F"])
def test_complex_step(order):
    """d/dx of sum x^3 / 3 is x^2, whatever the order of the entries in memory."""
    x = np.asarray(np.random.default_rng(1).normal(size=(3, 4)), order=order)
    got = complex_step(lambda params: (params["x"] ** 3).sum() / 3, {"x": x})["x"]
    np.testing.assert_allclose(got, x**2, rtol=1e-14)


def test_relative_error():
    """By hand: over the largest expected entry; infinite where an entry is not finite; shapes must agree."""
    assert relative_error([1.0, 2.5], [1.0, 2.0]) == 0.25
    assert relative_error([0.5], [0.0]) == 0.5
    for got, expected in (([np.nan], [1.0]), ([1.0], [np.inf]), ([np.inf], [np.inf])):
        assert relative_error(got, expected) == np.inf
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error([1.0], [[1.0]])


# ---- right gradients


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("callable_grads", [True, False], ids=["function", "arrays"])
def test_right_gradients_are_judged_right(name, callable_grads):
    """Functions in ordinary NumPy style, the newcomer's 14 among them; the resolution is stated."""
    loss, params, grads = RIGHT[name]
    report = check(loss, params, grads if callable_grads else grads(params))
    assert report.ok and report
    if report.method == "complex step":
        bound = 1e-4 if "float32" in name else 1e-6
        known = [array.relative_resolution for array in report.arrays]
        assert all(np.isnan(resolution) or resolution < bound for resolution in known)
    else:
        assert any("complex step cannot be used" in note for note in report.notes)


@pytest.mark.parametrize(
    ("name", "suspect"),
    [
        ("np.abs", "np.abs"),
        ("np.linalg.norm", "np.linalg.norm"),
        (".real", ".real"),
        ("np.vdot", "np.vdot"),
        (".var()", ".var()"),
        ("stable softplus", "np.abs"),
        ("np.zeros buffer", "out[row] = np.tanh(w[row])"),
        ("float()", "float()"),
        ("np.logaddexp", "np.logaddexp"),
        ("out=", "np.exp (out= is a real array)"),
        ("hypot", "np.hypot"),
        ("standard deviation", ".std()"),
        ("float32 inside", ".astype(float32)"),
    ],
)
def test_what_is_not_analytic_is_named(name, suspect):
    """The function that loses the imaginary part, with its file and line."""
    (note,) = [note for note in check(*RIGHT[name]).notes if note.startswith("Not analytic")]
    assert (suspect in note and "gradcheck_cases.py:" in note) or name == "np.linalg.norm"


def test_there_are_enough_right_functions():
    """Issue: at least 40."""
    assert len(RIGHT) >= 40


def test_no_false_alarms_in_random_runs():
    """Random right layers and losses of all sizes and scales; NPLM_GRADCHECK_RUNS sets how many."""
    with np.errstate(all="ignore"):
        assert gradcheck_random.false_alarms(RUNS) == []


def test_a_small_wrong_entry_beside_a_large_one():
    """1e-3 off beside an entry of 1e8, from both kinds of gradients."""

    def loss(w):
        return 1e8 * w[0] + np.sin(w[1]) + 1e-3 * w[2]

    right = np.array([1e8, np.cos(0.5), 1e-3])
    for k in (1, 2):
        wrong = right + 1e-3 * (np.arange(3) == k)
        for grads in (wrong, lambda w, wrong=wrong: wrong):
            report = check(loss, np.array([1.0, 0.5, 2.0]), grads, raises=False)
            (entry,) = report["params"].worst()
            assert entry.index == (k,) and entry.resolution < 1e-6 * right[k]


def test_a_constant_in_the_loss_costs_no_accuracy():
    """1e12 in the loss: the value hides the gradient, the complex step does not."""
    w = np.random.default_rng(0).normal(size=5)
    assert check(lambda w: (w**2).sum() + 1e12, w, 2 * w)["params"].relative_resolution < 1e-12
    assert not check(lambda w: (w**2).sum() + 1e12, w, 2 * w * (1 + 1e-9), raises=False).ok


def test_equal_maxima():
    """Four equal entries: any one of them may get the gradient, or each a share."""
    for grads in ([1, 0, 0, 0], [0, 0, 1, 0], [0.25] * 4):
        assert check(lambda w: w.max(), np.ones(4), np.array(grads, float)).ok
    assert not check(lambda w: w.max(), np.ones(4), np.array([2.0, 0, 0, 0]), raises=False).ok


def test_gradients_that_do_not_fit_the_parameters_are_mistakes():
    """Unknown names, and what is no array."""
    with pytest.raises(ValueError, match="gradients of v, but the parameters are w"):
        check(lambda p: p["w"].sum(), {"w": np.ones(3)}, {"v": np.ones(3)})
    with pytest.raises(TypeError, match="the gradient of params is no array"):
        check(lambda w: w.sum(), np.ones(3), {"w": np.ones(3)})


def test_the_resolution_is_what_can_be_seen():
    """Errors of twice the stated resolution are found, at every entry of a sum with terms of all sizes."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(20, 6)) * 10.0 ** rng.uniform(-4, 4, 6), rng.normal(size=6)

    def loss(w):
        return np.sin(x @ w).sum()

    right = x.T @ np.cos(x @ w)
    resolution = check(loss, w, right)["params"].resolution
    assert np.all(resolution > 0) and np.all(resolution < 1e-6 * np.abs(right))
    for j in range(6):
        wrong = right.copy()
        wrong[j] += 4 * max(resolution[j], check(loss, w, right + 0)["params"].resolution[j]) + 1e-9 * abs(right[j])
        assert not check(loss, w, wrong, raises=False).ok


# ---- structures and options


class Weights(NamedTuple):
    """A namedtuple."""

    w: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Model:
    """A dataclass."""

    layers: list
    scale: float
    name: str = "m"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nested_structures(dtype):
    """Dicts, lists, namedtuples and dataclasses, with integers and text that are left alone, in and out."""
    rng = np.random.default_rng(0)
    ids = np.array([0, 2, 2])
    params = {"m": Model([Weights(rng.normal(size=(3, 2)).astype(dtype), ids)], 2.0)}

    def loss(p):
        m = p["m"]
        assert m.name == "m" and m.layers[0].ids.dtype == ids.dtype
        return m.scale * (m.layers[0].w[m.layers[0].ids] ** 2).sum()

    def grads(p):
        m, dw = p["m"], np.zeros_like(p["m"].layers[0].w)
        np.add.at(dw, ids, 2 * m.scale * m.layers[0].w[ids])
        return {"m": Model([Weights(dw.astype(dtype), None)], (m.layers[0].w[ids] ** 2).sum())}

    report = check(loss, params, grads)
    assert [array.name for array in report.arrays] == ["m.layers.0.w", "m.scale"]
    assert report["m.layers.0.w"].dtype == np.dtype(dtype).name
    only = check(loss, params, grads, only="m.layers.*")
    assert [array.name for array in only.arrays] == ["m.layers.0.w"]
    with pytest.raises(ValueError, match="only="):
        check(loss, params, grads, only="n")


def test_layers_with_and_without_a_cache():
    """backward(dout, cache) and backward(dout, *inputs); tuples, dicts and single gradients; several outputs."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    assert check_layer(lambda x, w: x @ w, lambda dy, x, w: (dy @ w.T, x.T @ dy), x, w)
    assert check_layer(lambda x, w: (x @ w, None), lambda dy, c: {"x": dy @ w.T, "w": x.T @ dy}, x, w)
    assert check_layer(lambda x: (np.sin(x), x), lambda dy, x: dy * np.cos(x), x)
    assert check_layer(lambda x: (np.sin(x), x), lambda dy, x: (dy * np.cos(x),), x)
    pair = check_layer(
        lambda x: ({"s": np.sin(x), "c": np.cos(x)}, x), lambda dy, x: dy["s"] * np.cos(x) - dy["c"] * np.sin(x), x
    )
    assert pair.ok
    both = check_layer(
        lambda x: (np.sin(x), np.cos(x)), lambda dy, x: dy[0] * np.cos(x) - dy[1] * np.sin(x), x, cache=False
    )
    assert both.ok
    nested = check_layer(
        lambda x, p: np.tanh(x @ p["w"]),
        lambda dy, x, p: (lambda da: (da @ p["w"].T, {"w": x.T @ da}))(dy * (1 - np.tanh(x @ p["w"]) ** 2)),
        x,
        {"w": w},
    )
    assert [array.name for array in nested.arrays] == ["x", "p.w"]
    with pytest.raises(TypeError, match="3 gradients for the inputs x, w"):
        check_layer(lambda x, w: x @ w, lambda dy, x, w: (dy, dy, dy), x, w)


def test_tolerances_and_methods():
    """rtol and atol allow what is asked for, and no more; the method can be chosen."""
    w = np.random.default_rng(0).normal(size=5)
    off = 2 * w * (1 + 1e-6)
    for method in ("auto", "complex", "difference"):
        assert not check(lambda w: (w**2).sum(), w, off, method=method, raises=False).ok
        assert check(lambda w: (w**2).sum(), w, off, rtol=2e-6, method=method).ok
        assert check(lambda w: (w**2).sum(), w, off, atol=1e-5, method=method).ok


def test_the_same_seed_gives_the_same_report():
    """A generator or a seed."""
    one, two = (check(*RIGHT["RNN"], rng=rng).as_dict() for rng in (3, np.random.default_rng(3)))
    assert one | {"seconds": 0} == two | {"seconds": 0}


def test_hessian_vector_products():
    """The Hessian of sum exp(a w) / a^2 is diag(exp(a w)); a forgotten factor is named."""
    a = np.arange(1.0, 6.0)
    params = {"w": np.random.default_rng(0).normal(size=5) / 3}

    def grads(p):
        return {"w": np.exp(a * p["w"]) / a}

    assert check_hvp(grads, lambda p, v: {"w": np.exp(a * p["w"]) * v["w"]}, params)
    report = check_hvp(grads, lambda p, v: {"w": 2 * np.exp(a * p["w"]) * v["w"]}, params, raises=False)
    assert not report.ok and report["w"].pattern.kind == "ratio"
    kinked = check_hvp(lambda w: np.abs(w) * w, lambda w, v: 2 * np.abs(w) * v, params["w"])
    assert kinked.ok and kinked.method.startswith("central")


def test_jacobian():
    """By hand: of A x it is A; nested inputs and outputs; by differences where the function is not analytic."""
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(3, 4)), rng.normal(size=4)
    np.testing.assert_allclose(jacobian(lambda x: a @ x, x), a, rtol=1e-14)
    parts = jacobian(lambda p: p["m"] @ p["x"], {"m": a, "x": x})
    np.testing.assert_allclose(parts["m"], np.einsum("ij,k->ijk", np.eye(3), x), atol=1e-14)
    np.testing.assert_allclose(jacobian(np.abs, x), np.diag(np.sign(x)), atol=1e-10)
    two = jacobian(lambda x: (np.sin(x), x.sum(keepdims=True)), x)
    np.testing.assert_allclose(two, np.vstack([np.diag(np.cos(x)), np.ones(4)]), atol=1e-14)
    with pytest.raises(ValueError, match="two equal calls"):
        jacobian(lambda x: x * np.random.default_rng().normal(), x)


# ---- the report, and mistakes


def test_the_report():
    """The table, JSON, the text and the exception of a wrong gradient; a picture on axes that take notes."""
    w = np.random.default_rng(0).normal(size=(3, 4))
    wrong = 2 * w
    wrong[1, 2] += 1e-4
    with pytest.raises(AssertionError, match=r"(?s)WRONG: 1 of 1.*\[1, 2\].*got.*expected|\[1, 2\]") as caught:
        check(lambda w: (w**2).sum(), w, wrong)
    report = check(lambda w: (w**2).sum(), w, wrong, raises=False)
    assert "[1, 2]" in str(caught.value) and "only the entry [1, 2]" in str(report)
    assert repr(report) == "<gradient check: wrong: params; complex step>" and not report
    assert report.table().splitlines()[1].split()[:2] == ["params", "(3,4)"]
    loaded = json.loads(report.to_json())
    assert loaded == json.loads(json.dumps(report.as_dict()))
    (array,) = loaded["arrays"]
    assert (array["wrong"], array["checked"], array["worst"][0]["index"]) == (1, 12, [1, 2])

    class Axes:
        def __getattr__(self, name):
            return lambda *args, **kwargs: self.__dict__.setdefault("calls", {}).__setitem__(name, args)

    axes = Axes()
    report.heatmap(axes)
    (image,) = axes.calls["imshow"]
    assert image.shape == (3, 4) and image[1, 2] > 3 and np.delete(image.ravel(), 6).max() <= 0
    assert "params (3,4)" in axes.calls["set_title"][0]
    with pytest.raises(KeyError, match="no array 'v'"):
        report["v"]


def test_a_loss_that_does_not_repeat_is_refused():
    """Two equal calls, two values: no gradient can be judged, and the reason is given."""
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match=r"impossible.*two equal calls return .* seed its random numbers"):
        check(lambda w: (w**2).sum() + rng.normal(), np.ones(3), 2 * np.ones(3))
    report = check(lambda w: np.nan * w.sum(), np.ones(3), np.ones(3), raises=False)
    assert not report.ok and "its value is nan" in report.failure


def test_what_cannot_be_judged_is_stated():
    """At the edge of a domain, where no central difference exists; beside it, all is judged as ever."""

    def loss(w):
        return np.sqrt(w).sum() + np.abs(w).sum()

    point = np.array([0.0, 1.0])
    edge = check(loss, point, np.array([1.0, 1.5]))
    assert edge["params"].checked == edge["params"].coarse == 1 and "hardly be judged" in str(edge)
    assert not check(loss, point, np.array([1.0, 1.6]), raises=False).ok
    nowhere = check(loss, np.zeros(2), np.zeros(2), raises=False)
    assert not nowhere.ok and "not judged" in nowhere.table()


@pytest.mark.parametrize(
    ("loss", "params", "error", "message"),
    [
        (lambda w: w * 2, np.ones(3), TypeError, r"an array of shape \(3,\).*check_layer"),
        (lambda w: None, np.ones(3), TypeError, "returned None"),
        (lambda w: 1.0, np.arange(3), ValueError, "no arrays of real numbers"),
        (lambda w: 1.0, np.ones(3, complex), TypeError, "complex"),
    ],
)
def test_mistakes_are_explained(loss, params, error, message):
    """Planted mistakes, each with the words that explain it."""
    with pytest.raises(error, match=message):
        check(loss, params, np.ones(3))


# ---- many entries


@pytest.mark.parametrize("size", [1, 7])
def test_a_wrong_entry_or_block_of_many_is_found_and_named(size):
    """6,400 entries, of which 64 are looked at: a random direction fails, and bisection leads to the place."""
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(9, 80)), rng.normal(size=(9, 80)), rng.normal(size=(80, 80))

    def loss(w):
        return ((x @ w - y) ** 2).sum()

    def grads(w, off=0.0):
        d = 2 * x.T @ (x @ w - y)
        d[41, 20 : 20 + size] += off
        return d

    right = check(loss, w, grads)
    assert right["params"].checked < 200 and "missed with probability below 4e-05" in right.notes[-1]
    for off in (1.0, 1e-5):
        report = check(loss, w, lambda w, off=off: grads(w, off), raises=False)
        assert {entry.index[0] for entry in report["params"].worst()} == {41}
        assert report["params"].pattern.kind == "some indices"
    doubled = check(loss, w, lambda w: 2 * grads(w), raises=False)
    assert doubled["params"].pattern.kind == "ratio"


def test_a_tiny_entry_among_many_is_seen_by_the_relative_directions():
    """One entry of 1e-6 that is off by 1 % among 5,000 entries of about 1."""
    c = np.random.default_rng(0).normal(size=5000)
    c[1234] = 1e-6

    def loss(w):
        return (c * w).sum()

    wrong = c.copy()
    wrong[1234] *= 1.01
    report = check(loss, np.ones(5000), wrong, raises=False)
    assert [entry.index for entry in report["params"].worst()] == [(1234,)]


# ---- imports


def test_it_needs_numpy_only():
    """A fresh process: no other package of ours or of others is imported."""
    code = "import sys, nplm.gradcheck; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in names if name.split(".")[0] == "nplm"}
    assert all(name in ("nplm", "nplm._version") or name.startswith("nplm.gradcheck") for name in ours)
    assert not {"numba", "scipy", "click", "matplotlib"} & set(names) and "numpy" in names


def test_the_fixture(gradcheck):
    """The entry point gives the module."""
    assert gradcheck.check is check


def test_the_plugin_does_not_import_numpy():
    """A fresh process: what a foreign test run pays."""
    code = (
        "import sys, pytest, nplm.testing.pytest_plugin; print('numpy' in sys.modules, 'nplm.gradcheck' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
