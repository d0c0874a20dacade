"""The checks of a loss and of a layer."""

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.layer import Layer
from nplm.gradcheck.oracle import Method
from nplm.gradcheck.report import Report
from nplm.gradcheck.run import Options, number, run
from nplm.gradcheck.steps import explain
from nplm.gradcheck.tree import Tree

MAX_ENTRIES = 4096


def check(
    loss: Callable[[Any], Any],
    params: Any,
    grads: Any,
    *,
    only: str | Iterable[str] | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    rng: np.random.Generator | int = 0,
    max_entries: int = MAX_ENTRIES,
    method: Method = "auto",
    raises: bool = True,
) -> Report:
    """Check the gradient of a function that returns one number.

    Parameters
    ----------
    loss
        Takes `params` and returns one number.
    params
        An array, or arrays in nested dicts, lists, tuples, namedtuples and dataclasses.  Arrays of integers are
        treated as constants.
    grads
        The gradient in the same structure, or a function that takes `params` and returns it.  With a function, it is
        also checked that a second call gives the same result.
    only
        Names of the arrays to check, "layer.*" for all in a container; all by default.
    rtol, atol
        Differences to allow beyond the measured resolution: atol + rtol |expected|.
    rng
        A generator or a seed, for the random directions, perturbations and samples.
    max_entries
        With more entries than this, random directions and a random sample are checked.
    method
        "complex" or "difference" to choose the method; "auto" uses the complex step if it can be trusted.
    raises
        False: return the report even if a gradient is wrong.

    Returns
    -------
    Report
        The verdict on every array.

    Raises
    ------
    AssertionError
        If a gradient is wrong; the message is the report.
    """
    tree = Tree(params, only, root="params")
    options = Options(only, rtol, atol, rng, max_entries, method, raises)
    return run(loss, number, tree, grads, options, arrays_near(loss, grads))


def check_layer(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *inputs: Any,
    cache: bool | None = None,
    only: str | Iterable[str] | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    rng: np.random.Generator | int = 0,
    max_entries: int = MAX_ENTRIES,
    method: Method = "auto",
    raises: bool = True,
) -> Report:
    """Check a layer's backward pass with a random gradient of its output.

    Parameters
    ----------
    forward
        forward(*inputs) returns the output, or (output, cache).  The output is an array or a structure of arrays.
    backward
        backward(doutput, cache), or backward(doutput, *inputs) if forward returns no cache.  It returns the gradient
        of the only input, or a tuple with one gradient for each input (or each input that has one), or a dict by name.
    inputs
        Arrays or structures of arrays; float32 or float64.  Arrays of integers are treated as constants.
    cache
        Whether forward returns a cache.  By default a tuple of two is taken to be (output, cache).

    The other parameters, the result and the exceptions are those of `check`.
    """
    layer = Layer(forward, backward, inputs, cache, np.random.default_rng(rng))
    tree = Tree(layer.point, only)
    options = Options(only, rtol, atol, layer.rng, max_entries, method, raises)
    report = run(
        layer.loss,
        number,
        tree,
        layer.grads,
        options,
        {},
        lambda vague: explain(layer, tree, options, vague),
        float(np.abs(layer.dout).max(initial=0.0)),
    )
    if layer.writes_dout:
        report.notes.append("backward writes into the gradient of the output that it is given.")
    return report


def arrays_near(*functions: Any) -> dict[str, Array]:
    """Arrays that functions use, from their closures, globals and bound arguments; used only for the diagnosis."""
    found: dict[str, Array] = {}
    for function in functions:
        while isinstance(function, functools.partial):
            for k, value in enumerate(function.args):
                _note(found, f"argument {k}", value)
            for name, value in function.keywords.items():
                _note(found, name, value)
            function = function.func
        function = getattr(function, "__func__", function)
        if isinstance(function, types.FunctionType):
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                try:
                    _note(found, name, cell.cell_contents)
                except ValueError:  # an empty cell
                    continue
            for name in function.__code__.co_names:
                _note(found, name, function.__globals__.get(name))
    return found


def _note(found: dict[str, Array], name: str, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "iuf":
        found[name] = value
