"""Errors of a layer that show only if the gradient of its output is zero almost everywhere."""

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.layer import Layer
from nplm.gradcheck.patterns import Pattern
from nplm.gradcheck.run import Options, number, run
from nplm.gradcheck.tree import Tree

MOST_STEPS = 12  # indices of an axis of the output that are tried one by one


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
    report = run(alone.loss, number, tree, alone.grads, options._replace(raises=False), {}, upstream=np.abs(dout).max())
    for array in report.arrays:
        if array.name in rest and array.ok:
            text = f"index 0 along axis 0 of {output.name} alone gives the right gradient, later indices do not"
            found[array.name] = Pattern("later steps", f"{text}: what is carried back from step to step is wrong?")
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
            "sum over an axis missing", f"only index {only} along {where} reaches it: the sum over this axis is missing"
        )
    if indices == [0]:
        return Pattern("first step", f"index 0 along {where} never reaches it: is the first step (t = 0) left out?")
    if indices == [length - 1]:
        return Pattern("last step", f"the last index along {where} never reaches it: is the last step left out?")
    return Pattern("some indices", f"the indices {indices} along {where} never reach it")


def _reaches(layer: Layer, tree: Tree, span: slice, dout: Array) -> bool:
    """Whether an input really has an influence on the part of the output that dout selects."""
    x = tree.flat
    moved = x.copy()
    moved[span] += 1e-2 * np.maximum(np.abs(x[span]), 1e-3) * layer.rng.choice([-1.0, 1.0], span.stop - span.start)
    values = []
    for point in (x, moved):
        output, _ = layer._split(layer.forward(*tree.build(point).values()))
        parts = zip(layer.output.leaves, layer.output.match(output), strict=True)
        values.append(sum(float((dout[leaf.span] * a.ravel()).sum()) for leaf, a in parts if a is not None))
    return abs(values[1] - values[0]) > 1e-6 * (abs(values[0]) + 1e-300)
