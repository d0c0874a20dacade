"""What is wrong with a gradient: hypotheses, each a transformation of the expected gradient.

A hypothesis holds if it turns the expected gradient into the given one, in all entries that have been checked. The most
specific hypotheses come first, and the first that holds is named.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.patterns import Case, Hints, Pattern, agree, block_order, constant_ratio, describe_ratio, explains

BLOCKS = (2, 3, 4, 5, 6, 8)

Hypothesis = Callable[[Case, Hints], Pattern | None]


def diagnose(case: Case, hints: Hints) -> Pattern | None:
    """The first hypothesis that holds; None if none does."""
    hypotheses = SAME_SHAPE if case.got.shape == case.expected.shape else OTHER_SHAPE
    with np.errstate(all="ignore"):
        return next((found for hypothesis in hypotheses if (found := hypothesis(case, hints))), None)


# ---- the gradient has another shape


def _sum_over_axis(case: Case, hints: Hints) -> Pattern | None:
    got = case.got
    for axis in range(got.ndim):
        for operation in (np.sum, np.mean):
            if agree(operation(got, axis=axis).reshape(-1), case.expected.reshape(-1), case.tolerance):
                text = f"the {operation.__name__} over axis {axis} is missing: the gradient has shape {got.shape}"
                return Pattern("sum over an axis missing", f"{text}, the parameter {case.expected.shape}")
    leading = tuple(range(got.ndim - case.expected.ndim))
    if leading and agree(got.sum(axis=leading), case.expected, case.tolerance):
        return Pattern("sum over an axis missing", f"the sum over the axes {leading} is missing")
    return None


def _transposed_shape(case: Case, hints: Hints) -> Pattern | None:
    if agree(case.got.T, case.expected, case.tolerance):
        return Pattern("transposed", f"the gradient is transposed: its shape is {case.got.shape}")
    return None


def _only_shape(case: Case, hints: Hints) -> Pattern | None:
    text = f"the gradient has shape {case.got.shape}, the parameter {case.expected.shape}"
    if case.got.size == case.expected.size and agree(
        case.got.reshape(case.expected.shape), case.expected, case.tolerance
    ):
        return Pattern("shape", f"{text}; the values are right")
    if case.expected.size and case.got.size < case.expected.size:
        return Pattern("shape", f"{text}: was it summed over one axis too many?")
    return Pattern("shape", text)


# ---- the gradient has the right shape


def _not_finite(case: Case, hints: Hints) -> Pattern | None:
    bad = ~np.isfinite(case.got)
    if bad.any():
        value = case.got[bad][0]
        return Pattern("not finite", f"{bad.sum()} of {bad.size} entries are {value}")
    return None


def _missing(case: Case, hints: Hints) -> Pattern | None:
    if not case.got.any():
        return Pattern("missing", "the gradient is zero everywhere: it is never computed, or it is overwritten")
    return None


def _ratio(case: Case, hints: Hints) -> Pattern | None:
    found = constant_ratio(case.got, case.expected, case.tolerance)
    if found is None or not explains(case, found * case.expected):
        return None
    return describe_ratio(found, hints.lengths)


def _another_parameters(case: Case, hints: Hints) -> Pattern | None:
    for name, other in hints.others.items():
        if name != case.name and explains(case, other):
            return Pattern("another parameter's", f"this is the gradient of {name}")
    for name, other in hints.others.items():
        if name != case.name and other.ndim == 2 and case.got.ndim == 2 and explains(case, other.T):
            return Pattern("another parameter's", f"this is the gradient of {name}, transposed")
    return None


def _transposed(case: Case, hints: Hints) -> Pattern | None:
    for axes in permutations(range(case.got.ndim)):
        if axes != tuple(range(case.got.ndim)) and explains(case, case.expected.transpose(axes)):
            return Pattern("transposed", f"the gradient is transposed: axes {axes}")
    if case.got.ndim == 2 and explains(case, case.expected.T.reshape(case.got.shape)):
        return Pattern("transposed", "the gradient is transposed, and reshaped to fit")
    return None


def _blocks_permuted(case: Case, hints: Hints) -> Pattern | None:
    for axis in range(case.got.ndim):
        for count in BLOCKS:
            order = block_order(case.got, case.expected, axis, count, case.tolerance)
            if order is not None:
                text = f"{count} blocks along axis {axis} are in the order {' '.join(map(str, order))}"
                return Pattern("blocks permuted", f"{text} (gates in another order?)")
    return None


def _moved(case: Case, hints: Hints) -> Pattern | None:
    for axis in range(case.got.ndim):
        if case.got.shape[axis] < 3:
            continue
        if explains(case, np.flip(case.expected, axis)):
            return Pattern("reversed", f"the gradient is reversed along axis {axis}")
        for shift in (1, -1):
            inner = slice(1, None) if shift == 1 else slice(None, -1)
            moved = np.moveaxis(np.roll(case.expected, shift, axis), axis, 0)[inner]
            if agree(np.moveaxis(case.got, axis, 0)[inner], moved, case.tolerance) and moved.any():
                return Pattern(
                    "shifted", f"the gradient is shifted by {shift:+d} along axis {axis} (h[t] for h[t - 1]?)"
                )
    return None


def _absolute(case: Case, hints: Hints) -> Pattern | None:
    if explains(case, np.abs(case.expected)):
        return Pattern("sign lost", "every entry is the absolute value of what it should be")
    return None


def _decay(case: Case, hints: Hints) -> Pattern | None:
    known, x = np.isfinite(case.expected), case.param
    extra = (case.got - case.expected)[known]
    rate = float(extra @ x[known] / max(x[known] @ x[known], 1e-300))
    if case.param.size > 1 and explains(case, case.expected + rate * x):
        text = f"it is off by {rate:.6g} times the parameter: is there weight decay in only one of the two?"
        return Pattern("weight decay", text)
    return None


def _rounded(case: Case, hints: Hints) -> Pattern | None:
    for kind in (np.float16, np.float32):
        short = case.got.astype(kind).astype(case.got.dtype)
        near = np.abs(case.got - case.expected) <= 2 * np.finfo(kind).eps * np.abs(case.expected) + case.tolerance
        if (
            case.got.dtype.itemsize > np.dtype(kind).itemsize
            and np.array_equal(short, case.got)
            and near[case.wrong].all()
        ):
            return Pattern("rounded", f"every entry is rounded to {np.dtype(kind).name}: was it computed in that type?")
    return None


def _clipped(case: Case, hints: Hints) -> Pattern | None:
    bound = np.abs(case.got).max()
    if case.wrong.sum() > 1 and explains(case, np.clip(case.expected, -bound, bound)):
        return Pattern("clipped", f"entries are clipped to [{-bound:.6g}, {bound:.6g}]")
    return None


def _repeated_ids(case: Case, hints: Hints) -> Pattern | None:
    counts = {name: np.unique(ids, return_counts=True) for name, ids in hints.integers.items()}
    candidates = [
        (set(np.intersect1d(counts[one][0], counts[two][0]).tolist()), f"both in {one} and in {two}")
        for one, two in combinations(counts, 2)
    ]
    candidates += [(set(ids[n > 1].tolist()), f"more than once in {name}") for name, (ids, n) in counts.items()]
    for axis, length in enumerate(case.got.shape):
        where = set(_wrong_along(case, axis))
        for ids, what in candidates:
            if where and where <= ids and 2 * len(where) >= len(ids) and len(ids) < length > max(ids):
                text = f"only ids that occur {what} are wrong ({_listed(sorted(where))} along axis {axis})"
                return Pattern("repeated ids", f"{text}: `+=` through an index array keeps one of them; use np.add.at")
    return None


def _region(case: Case, hints: Hints) -> Pattern | None:
    if case.wrong.sum() == 1 < case.wrong.size:
        place = [int(k[0]) for k in np.nonzero(case.wrong)]
        if place not in ([0], [case.wrong.size - 1]):
            return Pattern("some indices", f"only the entry {place} is wrong")
    for axis, length in enumerate(case.got.shape):
        where = _wrong_along(case, axis)
        if length < 2 or len(where) in (0, length):
            continue
        part = np.take(case.got, where, axis), np.take(case.expected, where, axis)
        inside = _relation(*part, case.tolerance)
        if where == [0]:
            return Pattern("first step", f"only index 0 along axis {axis} is wrong (t = 0?){inside}")
        if where == [length - 1]:
            return Pattern("last step", f"only the last index along axis {axis} is wrong (the last step?){inside}")
        for count in (2, 3, 4):
            blocks = np.split(np.arange(length), count) if length % count == 0 and length > count else []
            for k, block in enumerate(blocks):
                if set(where) <= set(block.tolist()) and 2 * len(where) > len(block) > 1:
                    text = f"only block {k} of {count} along axis {axis} is wrong (one gate?){inside}"
                    return Pattern("one block", text)
        if 2 * len(where) <= length or not inside:
            return Pattern("some indices", f"only the indices {_listed(where)} along axis {axis} are wrong{inside}")
    return None


def _ratio_per_index(case: Case, hints: Hints) -> Pattern | None:
    for axis in range(case.got.ndim):
        others = tuple(a for a in range(case.got.ndim) if a != axis)
        known = np.isfinite(case.expected)
        g, d = (np.where(known, array, 0.0) for array in (case.got, case.expected))
        ratios = (g * d).sum(axis=others, keepdims=True) / (d * d).sum(axis=others, keepdims=True)
        several = known.sum(axis=others).min() > 1
        if several and explains(case, np.where(np.isfinite(ratios), ratios, 1.0) * case.expected):
            return Pattern("factor by index", f"each index along axis {axis} is off by a factor of its own")
    return None


def _constant_along_axis(case: Case, hints: Hints) -> Pattern | None:
    for axis in reversed(range(case.got.ndim)):
        offset = np.mean(case.got - case.expected, axis=axis, keepdims=True)
        if case.got.shape[axis] > 2 and explains(case, case.expected + offset):
            text = f"the error is constant along axis {axis}: is a mean or sum over this axis missing (normalisation)?"
            return Pattern("constant along an axis", text)
    return None


SAME_SHAPE: Sequence[Hypothesis] = (
    _not_finite,
    _missing,
    _rounded,
    _ratio,
    _another_parameters,
    _transposed,
    _moved,
    _blocks_permuted,
    _absolute,
    _decay,
    _clipped,
    _repeated_ids,
    _region,
    _ratio_per_index,
    _constant_along_axis,
)
OTHER_SHAPE: Sequence[Hypothesis] = (_transposed_shape, _sum_over_axis, _only_shape)


def _wrong_along(case: Case, axis: int) -> list[int]:
    """The indices along an axis at which something is wrong."""
    others = tuple(a for a in range(case.wrong.ndim) if a != axis)
    return [int(k) for k in np.flatnonzero(case.wrong.any(axis=others))]


def _relation(got: Array, expected: Array, tolerance: float) -> str:
    """How the wrong part relates to what it should be; empty if nothing simple holds."""
    if not got[np.isfinite(expected)].any():
        return "; it is zero there"
    ratio = constant_ratio(got, expected, tolerance)
    return "" if ratio is None else f"; it is {ratio:.6g} times what it should be there"


def _listed(values: Sequence[int]) -> str:
    text = ", ".join(map(str, values[:6]))
    return text + (", ..." if len(values) > 6 else "")
