"""What a diagnosis is made of: the pattern that is named, what is known of the array, and when a hypothesis holds."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nplm.gradcheck.derivative import Array


class Pattern(NamedTuple):
    """A diagnosis: a short name that programs can test, and a sentence for people."""

    kind: str
    text: str


class Case(NamedTuple):
    """One array whose gradient is wrong.  All arrays but `got` have the shape of the parameter."""

    name: str
    param: Array
    got: Array
    expected: Array  # NaN where it is not known
    wrong: Array  # bool
    tolerance: float  # how closely a hypothesis has to hold, absolute


class Hints(NamedTuple):
    """What else is known about the call."""

    others: Mapping[str, Array]  # name -> expected gradient of every array, NaN where it is not known
    integers: Mapping[str, Array]  # arrays of integers among the arguments, or in the closure of the loss
    lengths: Mapping[int, str]  # length of an axis -> where it occurs


def explains(case: Case, hypothesis: Array) -> bool:
    """Whether an array equals the one got, and accounts for what is wrong with it."""
    if not agree(case.got, hypothesis, case.tolerance):
        return False
    left, off = (np.abs(case.got - array)[case.wrong] for array in (hypothesis, case.expected))
    return bool(np.all(left <= 0.01 * off))


def agree(got: Array, expected: Array, tolerance: float) -> bool:
    """Whether two arrays are equal where both are known, in more than one entry unless there is only one."""
    if got.shape != expected.shape:
        return False
    known = ~np.isnan(expected) & ~np.isnan(got)
    enough = known.sum() > 1 or known.size == 1
    return bool(enough and np.all(np.abs(got - expected)[known] <= tolerance))


def constant_ratio(got: Array, expected: Array, tolerance: float) -> float | None:
    """r with got = r expected wherever it is known; None if there is no such r, or it is 1."""
    known = np.isfinite(expected) & np.isfinite(got)
    g, d = got[known], expected[known]
    if not d.size or not np.any(np.abs(d) > 10 * tolerance):
        return None
    r = float(g @ d / (d @ d))
    if abs(r - 1) < 1e-9 or np.any(np.abs(g - r * d) > tolerance * max(1.0, abs(r))):
        return None
    return r if abs(r) > 1e-9 else None


def describe_ratio(r: float, lengths: Mapping[int, str]) -> Pattern:
    """What a constant ratio says: a sign, a factor 2, a sum for a mean over an axis of known length, or its number."""
    if abs(r + 1) < 1e-6:
        return Pattern("sign", "every entry has the opposite sign (-1 times)")
    if abs(r - 2) < 1e-6:
        return Pattern("ratio", "every entry is twice as large: counted twice, or a factor 1/2 of the loss left out")
    if abs(r - 0.5) < 1e-6 and 2 not in lengths:
        return Pattern("ratio", "every entry is half as large: a factor 2 left out")
    for way, ratio in (("mean", 1 / r), ("sum", r)):
        k = round(ratio)
        if k >= 2 and abs(ratio - k) < 1e-6 * k:
            other = "sum" if way == "mean" else "mean"
            where = f" ({k} is the length of {lengths[k]})" if k in lengths else ""
            share = f"1/{k} of" if way == "mean" else f"{k} times"
            text = f"every entry is {share} what it should be{where}"
            return Pattern(way, f"{text}: the gradient of a {way}, while the loss takes a {other}?")
    return Pattern("ratio", f"every entry is {r:.9g} times what it should be")


def block_order(got: Array, expected: Array, axis: int, count: int, tolerance: float) -> list[int] | None:
    """The permutation of `count` blocks along an axis that turns the expected array into the one got."""
    length = got.shape[axis]
    if length % count or length < count or np.isnan(expected).any():
        return None
    ours, theirs = (np.split(array, count, axis) for array in (got, expected))
    order = []
    for block in ours:
        fits = [k for k, other in enumerate(theirs) if k not in order and np.abs(block - other).max() <= tolerance]
        if not fits:
            return None
        order.append(fits[0])
    return order if order != sorted(order) else None


def lengths(arrays: Mapping[str, Array]) -> Iterator[tuple[int, str]]:
    """The lengths of all axes, and where they occur."""
    for name, array in arrays.items():
        for axis, length in enumerate(array.shape):
            if length > 1:
                yield length, f"axis {axis} of {name}"
