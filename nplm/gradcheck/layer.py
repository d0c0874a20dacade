"""A layer as a loss of its inputs: the sum of its output times a fixed random array, the gradient of the output."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.tree import Tree


class Layer:
    """A layer as a loss, sum of doutput * output, of its inputs by name."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: tuple[Any, ...],
        cache: bool | None,
        rng: np.random.Generator,
    ) -> None:
        self.forward, self.backward, self.cache, self.rng = forward, backward, cache, rng
        self.point = dict(zip(input_names(forward, len(inputs)), inputs, strict=True))
        output, _ = self._split(forward(*inputs))
        self.output = Tree(output, root="output")
        random = rng.normal(size=self.output.size)  # never ones: they hide transposed and permuted gradients
        self.dout = self.output.rounded(random)  # in the output's precision, which is that of backward
        self.writes_dout = False

    def with_dout(self, dout: Array) -> "Layer":
        """The same layer with another gradient of the output."""
        other = copy.copy(self)
        other.dout = dout
        return other

    def loss(self, point: Mapping[str, Any]) -> Any:
        """The sum of doutput * output: a number whose gradient is what backward has to return."""
        output, _ = self._split(self.forward(*point.values()))
        parts = zip(self.output.leaves, self.output.match(output), strict=True)
        total: Any = 0.0
        for leaf, array in parts:
            if array is None or array.shape != leaf.array.shape:
                raise ValueError(f"forward returns an output of another structure the second time: {leaf.name}")
            terms = self.dout[leaf.span].reshape(leaf.array.shape) * array
            total = total + terms.sum(dtype=np.result_type(terms.dtype, np.float64))
        return total

    def grads(self, point: Mapping[str, Any], dout: Array | None = None) -> dict[str, Any]:
        """The gradient of every input by name, from backward."""
        _, cache = self._split(self.forward(*point.values()))
        given = self.output.build(self.dout if dout is None else dout)
        before = Tree(given).flat
        arguments = (cache,) if cache is not _NO_CACHE else tuple(point.values())
        found = self.backward(given, *arguments)
        self.writes_dout |= not np.array_equal(before, Tree(given).flat)
        return by_name(found, point)

    def _split(self, result: Any) -> tuple[Any, Any]:
        """The output and the cache."""
        plain = isinstance(result, tuple) and not hasattr(result, "_fields")
        if self.cache or (self.cache is None and plain and len(result) == 2):
            output, cache = result
            return output, cache
        return result, _NO_CACHE


_NO_CACHE = object()


def input_names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of the first parameters of a function; numbers where it does not tell."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[k] if k < len(names) else f"input{k}" for k in range(count)]


def by_name(found: Any, point: Mapping[str, Any]) -> dict[str, Any]:
    """What a backward pass returned, as a dict by the inputs' names."""
    names = list(point)
    real = [name for name in names if _has_gradient(point[name])]
    if isinstance(found, Mapping) and set(found) <= set(names):
        return dict(found)
    plain = isinstance(found, (tuple, list)) and not hasattr(found, "_fields")
    if plain and len(found) == len(names):
        return dict(zip(names, found, strict=True))
    if plain and len(found) == len(real):
        return dict(zip(real, found, strict=True))
    if len(real) == 1:
        return {real[0]: found}
    count = f"{len(found)} gradients" if plain else f"a {type(found).__name__}"
    raise TypeError(f"backward returned {count} for the inputs {', '.join(names)}; return one for each, in this order")


def _has_gradient(value: Any) -> bool:
    try:
        return bool(Tree(value).leaves)
    except ValueError:
        return False
