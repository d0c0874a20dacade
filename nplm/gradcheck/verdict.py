"""Entry by entry: what was got, what is expected, and the smallest difference that can be seen.

The resolution of an entry is 16 times what rounding can do to it: one unit in the last place of the entry itself, the
spread of both derivatives when every parameter moves by one unit in the last place, and the error of the method.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import EPS32, EPS64, Oracle

SAFETY = 16.0
PROBES = 2  # perturbations for an entry that differs by more than its last places
MORE_PROBES = 16  # before an entry is called wrong for a difference that is close to rounding
SAMPLE = 16  # entries whose spread is measured for the resolution that the report states
CONFIRMED = 8  # wrong entries of an array that central differences have to confirm


class NotAnalytic(Exception):
    """Central differences side with the gradient and against the complex step."""


class Verdict:
    """Compares a gradient with an oracle.

    Parameters
    ----------
    oracle
        The derivatives.
    got
        The gradient to judge (n,).
    eps
        One unit in the last place of the gradient's type, by entry (n,).
    wobble
        The spread (n,) of the gradient when the parameters move by one unit in the last place; None if unknown.
    rtol, atol
        Differences that the caller allows, on top of the resolution.
    """

    def __init__(
        self, oracle: Oracle, got: Array, eps: Array, wobble: Array | None, rtol: float, atol: float
    ) -> None:
        self.oracle, self.got, self.eps, self.wobble = oracle, got, eps, wobble
        self.rtol, self.atol = rtol, atol
        self.expected = np.full(got.size, np.nan)
        self.resolution = np.full(got.size, np.nan)
        self.wrong = np.zeros(got.size, bool)
        self.kink = np.zeros(got.size, bool)

    @property
    def known(self) -> Array:
        """Which entries have been checked (n,)."""
        return np.asarray(~np.isnan(self.expected))

    def entries(self, indices: Iterable[int]) -> None:
        """Judge these entries."""
        new = np.array([j for j in dict.fromkeys(indices) if not self.known[j]], int)
        for j in new:
            value, error = self.oracle.along(self._unit(j))
            unit = self._unit(j)[j]
            self.expected[j] = value[0] / unit
            self.resolution[j] = 4 * error[0] / unit + SAFETY * self.eps[j] * abs(self.expected[j])
        for j in new:
            if self._exceeds(j):
                self._judge(int(j))
        self._confirm(new)

    def state_resolution(self) -> None:
        """Complete the resolution of entries that agreed at once, from the spread of a sample of them."""
        easy = np.flatnonzero(self.known & ~self.wrong & (self.expected != 0))
        if easy.size == 0 or not self.oracle.complex:
            return  # the error of a central difference is measured for every entry
        chosen = self.oracle.rng.choice(easy, min(SAMPLE, easy.size), replace=False)
        units = [self._spread(int(j), PROBES) / (self.eps[j] * abs(self.expected[j])) for j in chosen]
        floor = SAFETY * (1 + float(np.median(units))) * self.eps * np.abs(self.expected)
        self.resolution[easy] = np.maximum(self.resolution, floor)[easy]

    def _unit(self, j: int) -> Array:
        v = np.zeros(self.got.size)
        v[j] = 1.0 if self.oracle.complex else self.oracle.scale[j]
        return v

    def _exceeds(self, j: int) -> bool:
        allowed = max(self.resolution[j], self.atol + self.rtol * abs(self.expected[j]))
        return not abs(self.got[j] - self.expected[j]) <= allowed  # NaN exceeds

    def _spread(self, j: int, count: int) -> float:
        unit = self._unit(j)
        centre = np.array([self.expected[j] * unit[j]])
        return float(self.oracle.spread(unit, centre, count, bool(self.eps[j] > EPS64))[0] / unit[j])

    def _judge(self, j: int) -> None:
        """An entry that differs by more than its last places: measure its spread, look for a kink, decide."""
        left, right = (side[0] / self._unit(j)[j] for side in self.oracle.sides(self._unit(j)))
        low, high = min(left, right), max(left, right)
        if high - low > max(1e-4 * max(abs(low), abs(high)), 4 * self.resolution[j]):
            # the derivative jumps here: any value between the two sides is right
            margin = (high - low) * (1e-9 if self.oracle.complex else 1e-3)
            self.kink[j] = low - margin <= self.got[j] <= high + margin
            if self.kink[j]:
                return
        size = np.nanmax(np.abs(self.expected))
        for probes in (PROBES, MORE_PROBES):
            spread = self._spread(j, probes)
            if self.wobble is not None:
                spread = max(spread, min(self.wobble[j], 64 * spread + 64 * self.eps[j] * size))
            elif abs(self.expected[j]) <= SAFETY * spread:
                spread = max(spread, self.eps[j] * size / 4)  # a sum that cancels, whose terms nobody knows
            self.resolution[j] += SAFETY * spread
            self.wrong[j] = self._exceeds(j)
            if not self.wrong[j] or abs(self.got[j] - self.expected[j]) > 1e4 * self.eps[j] * size:
                return

    def _confirm(self, indices: Array) -> None:
        """Ask central differences about some of the wrong entries of every array."""
        if not self.oracle.complex:
            return
        for leaf in self.oracle.tree.leaves:
            inside = indices[(indices >= leaf.span.start) & (indices < leaf.span.stop)]
            wrong = inside[self.wrong[inside]]
            for j in self.oracle.rng.permutation(wrong)[:CONFIRMED]:
                value, error = self.oracle.difference(self._unit(j))
                near = 4 * error[0] + self.resolution[j]
                if abs(self.got[j] - value[0]) <= near < abs(self.expected[j] - value[0]):
                    leaf, index = self.oracle.tree.place(int(j))
                    raise NotAnalytic(
                        f"at {leaf.name}{list(index)} it gives {self.expected[j]:.9g}, and a central difference"
                        f" {value[0]:.9g} +- {error[0]:.1g}"
                    )

    def direction(self, v: Array) -> tuple[float, float]:
        """The error of the gradient along v (n,), and the resolution of this number."""
        terms = self.got * v
        centre, error_found = self.oracle.along(v)
        value, error = float(centre[0]), float(error_found[0])
        off = abs(math.fsum(terms) - value)
        used = v != 0
        size = float(np.sqrt(np.sum((self.eps * terms)[used] ** 2)))
        resolution = 4 * error + SAFETY * (size + float(self.eps[used].max(initial=EPS64)) * abs(value))
        if self.wobble is not None:
            resolution += SAFETY * float(np.sqrt(np.sum((self.wobble * v) ** 2)))
        if not off <= resolution:
            single = bool(self.eps[used].max(initial=0.0) >= EPS32)
            resolution += SAFETY * float(self.oracle.spread(v, centre, PROBES, single)[0])
        return off, resolution


def as_indices(span: slice, shape: Sequence[int]) -> Array:
    """The positions in the flat vector of an array's entries, in the array's shape."""
    return np.arange(span.start, span.stop).reshape(tuple(shape))
