"""The gradient to check, and its behaviour when it is computed again."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import EPS64
from nplm.gradcheck.patterns import Pattern
from nplm.gradcheck.tree import Tree

WOBBLES = 4  # gradients with every parameter moved by one unit in the last place
NEARBY = 6  # gradients at points nearby
DISTANCE = 1e-4  # relative to every parameter: far enough that tanh changes its value even where it is flat


class Claim:
    """A gradient, as a structure like the tree's or as a function that returns one.

    Attributes
    ----------
    arrays
        A copy of the gradient of every leaf.
    flat
        The same as a vector (n,), NaN for an array of the wrong shape.
    eps
        One unit in the last place (n,): of the gradient's type or the parameter's, whichever is coarser.
    wobble
        The spread (n,) of the gradient when every parameter moves by one unit in the last place; 0 if unknown.
    again
        Whether it can be computed again.
    stale
        Arrays that change from call to call, and how.
    upstream
        The largest entry of the gradient that a backward pass starts from; 0 for a loss.
    """

    def __init__(self, tree: Tree, grads: Any, rng: np.random.Generator, upstream: float = 0.0) -> None:
        self.tree, self.rng, self.upstream, self.again = tree, rng, upstream, callable(grads)
        self._compute: Callable[[Any], Any] = grads if self.again else lambda point: grads
        self._nearby: list[tuple[Array, Array]] | None = None
        x = tree.flat
        self.arrays = self._at(x)
        self.flat = self._join(self.arrays)
        self.eps = np.maximum(tree.eps, EPS64)
        for leaf, array in zip(tree.leaves, self.arrays, strict=True):
            self.eps[leaf.span] = np.maximum(self.eps[leaf.span], np.finfo(array.dtype).eps)
        self.wobble, self.stale = np.zeros(x.size), {}
        if self.again:
            self.stale = self._changes(x)
            self.wobble = self._spread(x)

    def nearby(self) -> list[tuple[Array, Array]]:
        """Points (n,) near the tree's, and the gradients there; none if it cannot be computed again."""
        if self._nearby is None:
            count = NEARBY if self.again and not self.stale else 0
            signs = self.rng.uniform(-1, 1, (count, self.flat.size))
            points = [self.tree.rounded(self.tree.flat * (1 + DISTANCE * sign)) for sign in signs]
            self._nearby = [(x, self._join(self._at(x))) for x in points]
        return self._nearby

    def _at(self, x: Array) -> list[Array]:
        """A copy of the gradient of every leaf; no gradient is a gradient of zero."""
        arrays = []
        grads = self._compute(self.tree.build(x))
        if isinstance(grads, Mapping) and isinstance(self.tree.structure, Mapping):
            unknown = [str(name) for name in grads if name not in self.tree.structure]
            if unknown:
                known = ", ".join(map(str, self.tree.structure))
                raise ValueError(f"there are gradients of {', '.join(unknown)}, but the parameters are {known}")
        found = self.tree.match(grads)
        for leaf, array in zip(self.tree.leaves, found, strict=True):
            if array is not None and array.dtype.kind not in "fiub":
                raise TypeError(f"the gradient of {leaf.name} is no array of real numbers: {array!r:.60}")
            array = np.zeros_like(leaf.array) if array is None else array
            arrays.append(np.array(array if array.dtype.kind == "f" else array.astype(np.float64)))
        return arrays

    def _join(self, arrays: list[Array]) -> Array:
        parts = []
        for leaf, array in zip(self.tree.leaves, arrays, strict=True):
            fits = array.shape == leaf.array.shape
            parts.append(array.ravel().astype(np.float64) if fits else np.full(leaf.array.size, np.nan))
        return np.concatenate(parts)

    def _spread(self, x: Array) -> Array:
        wobble = np.zeros(x.size)
        for _ in range(WOBBLES):
            moved = x * (1 + self.tree.eps * self.rng.choice([-1.0, 1.0], x.size))
            wobble = np.fmax(wobble, np.abs(self._join(self._at(moved)) - self.flat))
        for leaf in self.tree.leaves:
            if leaf.name in self.stale:  # a gradient that changes by itself must not widen its own tolerance
                wobble[leaf.span] = 0.0
        return np.nan_to_num(wobble, nan=0.0, posinf=0.0)

    def _changes(self, x: Array) -> dict[str, Pattern]:
        """Arrays whose second gradient differs, immediately or after a call at another point."""
        again = self._at(x)
        self._at(x + 0.1 * self.rng.normal(size=x.size))
        last = self._at(x)
        found = {}
        for leaf, one, *others in zip(self.tree.leaves, self.arrays, last, again, strict=True):
            size = np.nan_to_num(np.abs(one).max(initial=0.0))
            for other in others:
                limit = 1e3 * np.finfo(one.dtype).eps * size
                if one.shape == other.shape and np.allclose(one, other, rtol=0.0, atol=limit, equal_nan=True):
                    continue
                twice = one.shape == other.shape and np.abs(other - 2 * one).max() <= 1e-6 * size
                reason = "it is twice as large: the buffer is not set to zero"
                reason = reason if twice else "a buffer keeps what an earlier call left"
                text = f"the same call gives another gradient the second time; {reason}"
                found[leaf.name] = Pattern("stale buffer", text)
        return found
