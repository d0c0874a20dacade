"""Planted faults: every one is found, and its pattern is named.  Oracle: the list of faults."""

import gradcheck_cases
import numpy as np
import pytest
from gradcheck_cases import sigmoid

from nplm.gradcheck import check, check_layer

FAULTS = gradcheck_cases.faults()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(name):
    """The array, and the pattern where it is one of those in the list."""
    fault = FAULTS[name]
    report = check_layer(fault.forward, fault.backward, *fault.inputs, raises=False)
    found = report[fault.where]
    assert not found.ok
    if fault.pattern is not None:
        assert found.pattern is not None and found.pattern.kind == fault.pattern, str(report)
        assert found.pattern.text in str(report)


@pytest.mark.parametrize("name", FAULTS)
def test_the_other_arrays_are_right(name):
    """Nothing but the faulty gradients is blamed; an LSTM's faults run through all its gradients."""
    fault = FAULTS[name]
    if fault.forward is gradcheck_cases.dense and len(fault.inputs) == 3 and fault.pattern not in (None, "first step"):
        report = check_layer(fault.forward, fault.backward, *fault.inputs, raises=False)
        wrong = {array.name for array in report.arrays if not array.ok}
        assert wrong == {fault.where}


def test_there_are_enough_faults():
    """Issue: at least 60."""
    assert len(FAULTS) >= 60


def find(loss, params, grads):
    report = check(loss, params, grads, raises=False)
    return {array.name: array.pattern.kind if array.pattern else None for array in report.arrays if not array.ok}


def test_repeated_ids_of_a_loss():
    """`+=` through an index array; the ids are in the closure of the loss, or among the parameters."""
    rng = np.random.default_rng(0)
    table, words = rng.normal(size=(7, 3)), np.array([5, 1, 5, 3])

    def grads(p):
        d = np.zeros_like(p["table"])
        d[words] += 2 * p["table"][words]
        return {"table": d}

    assert find(lambda p: (p["table"][words] ** 2).sum(), {"table": table}, grads) == {"table": "repeated ids"}
    both = {"table": table, "ids": words}
    assert find(lambda p: (p["table"][p["ids"]] ** 2).sum(), both, grads) == {"table": "repeated ids"}


def test_a_mean_of_a_loss():
    """The length that explains the ratio is named, although the array is in the closure."""
    x, w = np.random.default_rng(0).normal(size=(11, 3)), np.ones(3)
    report = check(lambda w: ((x @ w) ** 2).sum(), w, lambda w: 2 * x.T @ (x @ w) / 11, raises=False)
    assert report["params"].pattern.kind == "mean"
    assert "11 is the length of axis 0 of x" in report["params"].pattern.text


def test_a_gradient_that_is_not_returned():
    """A missing key is a gradient of zero."""
    params = {"w": np.ones(3), "b": np.ones(2)}
    assert find(lambda p: (p["w"] ** 2).sum() + p["b"].sum(), params, {"w": 2 * np.ones(3)}) == {"b": "missing"}
    assert find(lambda p: (p["w"] ** 2).sum(), params, {"w": 2 * np.ones(3)}) == {}


def test_a_wrong_kink_is_not_excused():
    """At zero, ReLU's derivative may be anything from 0 to 1, but not 2."""
    w = np.array([0.0, 1.0, -1.0])
    for at_zero, wrong in ((0.5, set()), (1.0, set()), (2.0, {"params"}), (-0.1, {"params"})):
        for loss in (lambda w: np.maximum(w, 0).sum(), lambda w: ((np.abs(w) + w) / 2).sum()):
            grads = np.array([at_zero, 1.0, 0.0])
            assert set(find(loss, w, grads)) == wrong


def test_the_complex_step_is_overruled_where_it_is_wrong():
    """A small branch that is not analytic hides from the random direction, not from the entry's own check."""
    scale = np.array([1e10, 1.0, 1.0])

    def loss(w):
        return scale[0] * w[0] ** 2 + (w[1:].real ** 2).sum()

    report = check(loss, np.array([1.0, 0.3, 0.4]), lambda w: 2 * scale * w)
    assert report.ok and "at params[" in report.notes[0] and ".real" in report.notes[1]
    assert not check(loss, np.array([1.0, 0.3, 0.4]), lambda w: scale * w, raises=False).ok


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_faults_in_either_precision(dtype):
    """A sigmoid whose gradient forgets a factor, and one that is off in one entry by more than rounding."""
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)

    def forward(x):
        y = sigmoid(x)
        return y, y

    assert check_layer(forward, lambda dy, y: dy * y * (1 - y), x).ok
    assert not check_layer(forward, lambda dy, y: dy * y, x, raises=False).ok

    def one_entry(dy, y):
        d = dy * y * (1 - y)
        d[2, 1] *= 1 + 1e3 * np.finfo(dtype).eps
        return d

    (entry,) = check_layer(forward, one_entry, x, raises=False)["x"].worst()
    assert entry.index == (2, 1)
