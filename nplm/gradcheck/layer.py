"""The check of a layer: a forward pass that returns arrays, a backward pass that takes their gradient."""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nplm.gradcheck.check import MAX_ENTRIES, number
from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import Method
from nplm.gradcheck.patterns import Pattern
from nplm.gradcheck.report import Report
from nplm.gradcheck.run import Options, run
from nplm.gradcheck.tree import Tree

MOST_STEPS = 12  # indices of an axis of the output that are tried one by one


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
        backward(doutput, cache), or backward(doutput, *inputs) for a forward without a cache.  It returns the gradient
        of the only input, a tuple with one for every input or for every input that has one, or a dict by name.
    inputs
        Arrays or structures of arrays; float32 or float64.  Arrays of integers are left alone.
    cache
        Whether forward returns a cache.  By default a tuple of two is taken to be (output, cache).

    The other parameters, the result and what is raised are those of `check`.
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
        self.dout = rng.normal(
            size=self.output.size
        )  # never ones: they hide transposed and permuted gradients
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
                raise ValueError(
                    f"forward returns an output of another structure the second time: {leaf.name}"
                )
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
    raise TypeError(
        f"backward returned {count} for the inputs {', '.join(names)}; return one for each, in this order"
    )


def _has_gradient(value: Any) -> bool:
    try:
        return bool(Tree(value).leaves)
    except ValueError:
        return False


def explain(layer: Layer, tree: Tree, options: Options, wrong: list[str]) -> dict[str, Pattern]:
    """Patterns that show when the gradient of the output is zero almost everywhere."""
    found = ignored_steps(layer, tree, wrong)
    rest = [name for name in wrong if name not in found]
    output = layer.output.leaves[0]
    if not rest or not output.array.ndim or len(output.array) < 2 or tree.size > options.max_entries:
        return found
    first = np.zeros(output.array.shape)
    first[0] = layer.dout[output.span].reshape(first.shape)[0]  # nothing is carried back from later steps
    dout = np.zeros_like(layer.dout)
    dout[output.span] = first.ravel()
    alone = layer.with_dout(dout)
    report = run(
        alone.loss, number, tree, alone.grads, options._replace(raises=False), {}, upstream=np.abs(dout).max()
    )
    for array in report.arrays:
        if array.name in rest and array.ok:
            text = (
                f"index 0 along axis 0 of {output.name} alone gives the right gradient, later indices do not"
            )
            found[array.name] = Pattern(
                "later steps", f"{text}: what is carried back from step to step is wrong?"
            )
        elif array.name in rest and array.pattern is not None:
            text = f"seen from index 0 along axis 0 of {output.name} alone, {array.pattern.text}"
            found[array.name] = Pattern(array.pattern.kind, text)
    return found


def ignored_steps(layer: Layer, tree: Tree, wrong: list[str]) -> dict[str, Pattern]:
    """Patterns of parameters that are shared along an axis of the output: which indices of the axis never reach them.

    The gradient of the output is set to zero everywhere but at one index, and has to give some gradient.
    """
    found: dict[str, Pattern] = {}
    x = tree.flat
    for output in layer.output.leaves:
        for axis, length in enumerate(output.array.shape):
            if not 2 <= length <= MOST_STEPS:
                continue
            silent: dict[str, list[int]] = {name: [] for name in wrong}
            for k in range(length):
                dout = np.zeros_like(layer.dout)
                part = dout[output.span].reshape(output.array.shape)
                place = (slice(None),) * axis + (k,)
                part[place] = layer.dout[output.span].reshape(output.array.shape)[place]
                got = tree.match(layer.grads(tree.build(x), dout))
                for leaf, array in zip(tree.leaves, got, strict=True):
                    if (
                        leaf.name in wrong
                        and (array is None or not array.any())
                        and _reaches(layer, tree, leaf.span, dout)
                    ):
                        silent[leaf.name].append(k)
            for name, indices in silent.items():
                if name not in found and 0 < len(indices) < length:
                    found[name] = _ignored(indices, length, axis, output.name)
    return found


def _ignored(indices: list[int], length: int, axis: int, output: str) -> Pattern:
    where = f"axis {axis} of {output}"
    if len(indices) == length - 1 and length > 2:
        (only,) = set(range(length)) - set(indices)
        return Pattern(
            "sum over an axis missing",
            f"only index {only} along {where} reaches it: the sum over this axis is missing",
        )
    if indices == [0]:
        return Pattern(
            "first step", f"index 0 along {where} never reaches it: is the first step (t = 0) left out?"
        )
    if indices == [length - 1]:
        return Pattern(
            "last step", f"the last index along {where} never reaches it: is the last step left out?"
        )
    return Pattern("some indices", f"the indices {indices} along {where} never reach it")


def _reaches(layer: Layer, tree: Tree, span: slice, dout: Array) -> bool:
    """Whether an input really has an influence on the part of the output that dout selects."""
    x = tree.flat
    moved = x.copy()
    moved[span] += (
        1e-2 * np.maximum(np.abs(x[span]), 1e-3) * layer.rng.choice([-1.0, 1.0], span.stop - span.start)
    )
    values = []
    for point in (x, moved):
        output, _ = layer._split(layer.forward(*tree.build(point).values()))
        parts = zip(layer.output.leaves, layer.output.match(output), strict=True)
        values.append(sum(float((dout[leaf.span] * a.ravel()).sum()) for leaf, a in parts if a is not None))
    return abs(values[1] - values[0]) > 1e-6 * (abs(values[0]) + 1e-300)
