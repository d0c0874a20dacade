"""Hessian-vector products and Jacobians: derivatives of functions that return arrays, along one direction or all."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nplm.gradcheck.claim import Claim
from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import Method, Oracle, OracleError, quiet
from nplm.gradcheck.report import Report
from nplm.gradcheck.run import finish, verdict_on_vector
from nplm.gradcheck.tree import Tree, leaves


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
            return finish(Report([], "none", failure=f"the gradient cannot be differentiated: {error}."), raises, start)
        claim = Claim(tree, lambda point: hvp(point, tree.build(v)), generator)
        report = verdict_on_vector(oracle, claim, v.astype(np.float64), rtol, atol)
    return finish(report, raises, start)


def jacobian(
    function: Callable[[Any], Any], x: Any, *, rng: np.random.Generator | int = 0, method: Method = "auto"
) -> Any:
    """The Jacobian of a function of small arrays, by the complex step or central differences.

    Returns
    -------
    The structure of `x` with an array of shape (*output shape, *array shape) for every array; a plain array if `x` is
    one.  If the output is several arrays, they are concatenated to one vector.
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
