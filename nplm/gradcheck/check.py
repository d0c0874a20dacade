"""The checks: of a loss, of a Hessian-vector product, and the Jacobian of a small function."""

import functools
import time
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from nplm.gradcheck.claim import Claim
from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import Method, Oracle, OracleError, quiet
from nplm.gradcheck.report import Report
from nplm.gradcheck.run import Options, finish, run, verdict_on_vector
from nplm.gradcheck.tree import Tree, leaves

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
        An array, or arrays in nested dicts, lists, tuples, namedtuples and dataclasses.  Arrays of integers are left
        alone.
    grads
        The gradient in the same structure, or a function that takes `params` and returns it.  Of a function it is also
        known whether its second call gives the same.
    only
        Names of the arrays to check, "layer.*" for all in a container; all by default.
    rtol, atol
        Differences that are allowed on top of the measured resolution: atol + rtol |expected|.
    rng
        A generator or a seed, for the random directions, perturbations and samples.
    max_entries
        With more entries than that, random directions and a random sample are checked.
    method
        "complex" or "difference" to choose the method; "auto" judges the complex step first.
    raises
        False: return the report of a wrong gradient too.

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


def check_hvp(
    grads: Callable[[Any], Any],
    hvp: Callable[[Any, Any], Any],
    params: Any,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    rng: np.random.Generator | int = 0,
    method: Method = "auto",
    raises: bool = True,
) -> Report:
    """Check a Hessian-vector product: hvp(params, v) is the derivative of grads(params) along a random v.

    Parameters are as for `check`; v has the structure of `params`.
    """
    start = time.perf_counter()
    generator = np.random.default_rng(rng)
    tree = Tree(params, root="params")
    v = generator.normal(size=tree.size).astype(np.result_type(*(leaf.array.dtype for leaf in tree.leaves)))
    with quiet():
        try:
            oracle = Oracle(grads, functools.partial(_like, tree), tree, generator, method)
        except OracleError as error:
            return finish(
                Report([], "none", failure=f"the gradient cannot be differentiated: {error}."), raises, start
            )
        claim = Claim(tree, lambda point: hvp(point, tree.build(v)), generator)
        report = verdict_on_vector(oracle, claim, v.astype(np.float64), rtol, atol)
    return finish(report, raises, start)


def jacobian(
    function: Callable[[Any], Any],
    x: Any,
    *,
    rng: np.random.Generator | int = 0,
    method: Method = "auto",
) -> Any:
    """The Jacobian of a function of small arrays, by the complex step or central differences.

    Returns
    -------
    The structure of `x` with an array of shape (*output shape, *array shape) for every array; a plain array for a
    plain array.  Outputs that are several arrays are one vector.
    """
    tree = Tree(x)
    first = leaves(function(tree.build(tree.flat)))
    shape = first[0].shape if len(first) == 1 else (sum(array.size for array in first),)
    with quiet():
        try:
            oracle = Oracle(function, _vector, tree, np.random.default_rng(rng), method)
        except OracleError as error:
            raise ValueError(f"the function cannot be differentiated: {error}") from None
        columns = []
        for j in range(tree.size):
            unit = np.zeros(tree.size)
            unit[j] = oracle.scale[j]
            columns.append(oracle.along(unit).value / oracle.scale[j])
    matrix = np.stack(columns, axis=-1)  # (m, n)
    parts = {leaf.path: matrix[:, leaf.span].reshape(*shape, *leaf.array.shape) for leaf in tree.leaves}
    return tree.replace(parts)


def arrays_near(*functions: Any) -> dict[str, Array]:
    """Arrays that functions use, from their closures, globals and bound arguments: they help the diagnosis only."""
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


def number(result: Any) -> Array:
    """A loss as a vector of one number."""
    array = np.asarray(result)
    if array.size != 1 or array.dtype.kind not in "fciu":
        what = f"an array of shape {array.shape}" if array.size != 1 else repr(result)
        raise TypeError(
            f"the loss returned {what}; it must return one number. For a layer that returns arrays use"
            " check_layer(forward, backward, *inputs)"
        )
    return array.reshape(1) if array.dtype.kind in "fc" else array.reshape(1).astype(np.float64)


def _vector(result: Any) -> Array:
    """Arrays in a structure as one vector."""
    return np.concatenate([array.ravel() for array in leaves(result)])


def _like(tree: Tree, result: Any) -> Array:
    """A gradient as a vector in the order of the tree."""
    parts = [
        np.zeros(leaf.array.size) if x is None else x.ravel()
        for leaf, x in zip(tree.leaves, tree.match(result), strict=True)
    ]
    return np.concatenate(parts)
