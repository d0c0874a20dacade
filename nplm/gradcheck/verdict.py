"""Entry by entry: the value to check, the expected value, and the smallest difference that can be detected.

The resolution of an entry is 16 times what rounding can do to it: one unit in the last place of the entry itself, the
spread of both derivatives when every parameter moves by one unit in the last place, and the error of the method.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from nplm.gradcheck.claim import Claim
from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import EPS32, EPS64, Oracle

SAFETY = 16.0
PROBES = 4  # perturbations for an entry that differs by more than its last places
MORE_PROBES = 64  # before an entry is called wrong for an error that may be rounding
LARGE = 1e4  # an error of more units in the last place of the largest entry is not rounding
SHARE = 5e-7  # of an entry, the largest error that rounding of larger terms may explain
SMALLER = (0.3, 0.1, 0.03, 0.01, 0.001)
NOTHING = 4096.0  # an entry below this number of units in the last place of the largest entry is negligible
SAMPLE = 4  # entries whose spread is measured for the resolution that the report states
CONFIRMED = 8  # wrong entries of an array that central differences have to confirm


class NotAnalytic(Exception):
    """Central differences agree with the gradient and not with the complex step."""


class Verdict:
    """Compares a gradient with an oracle.

    Parameters
    ----------
    oracle
        The derivatives.
    claim
        The gradient to judge.
    rtol, atol
        Differences that the caller allows, on top of the resolution.
    """

    def __init__(self, oracle: Oracle, claim: Claim, rtol: float, atol: float) -> None:
        self.oracle, self.claim, self.got, self.eps = oracle, claim, claim.flat, claim.eps
        self.rtol, self.atol = rtol, atol
        self._elsewhere: float | None = None
        n = self.got.size
        self.expected, self.resolution = np.full(n, np.nan), np.full(n, np.nan)
        self.wrong, self.kink = np.zeros(n, bool), np.zeros(n, bool)

    @property
    def known(self) -> Array:
        """Which entries have been checked (n,); not those whose derivative is not finite."""
        return np.asarray(~np.isnan(self.expected))

    def entries(self, indices: Iterable[int]) -> None:
        """Check these entries."""
        new = np.array([j for j in dict.fromkeys(indices) if not self.known[j]], int)
        for j in new:
            value, error = self.oracle.along(self._unit(j))
            unit = self._unit(j)[j]
            if not np.isfinite(value[0] + error[0]):
                if self.oracle.complex:
                    raise NotAnalytic(f"at {self._where(j)} it gives {value[0]}")
                self.resolution[j] = np.inf
                continue
            self.expected[j] = value[0] / unit
            self.resolution[j] = 4 * error[0] / unit + SAFETY * self.eps[j] * abs(self.expected[j])
        judged = new[self.known[new]]
        for j in judged:
            if self._exceeds(j):
                self._judge(int(j))
        self._confirm(judged)

    def state_resolution(self) -> None:
        """Complete the resolution of entries that agreed at once, from the spread of a sample of them."""
        easy = np.flatnonzero(self.known & ~self.wrong & (self.expected != 0))
        if easy.size == 0 or not self.oracle.complex:
            return  # the error of a central difference is measured for every entry
        chosen = self.oracle.rng.choice(easy, min(SAMPLE, easy.size), replace=False)
        smooth = [int(j) for j in chosen if np.isclose(*self.oracle.sides(self._unit(j)), rtol=1e-4, atol=0.0)[0]]
        units = [self._spread(j, 2) / (self.eps[j] * abs(self.expected[j])) for j in smooth] or [0.0]
        floor = SAFETY * (1 + float(np.median(units))) * self.eps * np.abs(self.expected)
        self.resolution[easy] = np.maximum(self.resolution, floor)[easy]

    def _unit(self, j: int) -> Array:
        v = np.zeros(self.got.size)
        v[j] = 1.0 if self.oracle.complex else self.oracle.scale[j]
        return v

    def _where(self, j: int) -> str:
        leaf, index = self.oracle.tree.place(int(j))
        return f"{leaf.name}{list(index)}"

    def _exceeds(self, j: int) -> bool:
        allowed = max(self.resolution[j], self.atol + self.rtol * abs(self.expected[j]))
        return not abs(self.got[j] - self.expected[j]) <= allowed  # NaN exceeds

    def _close(self, j: int) -> bool:
        """Whether an error is so small that it may be rounding."""
        off, size = abs(self.got[j] - self.expected[j]), max(abs(self.got[j]), abs(self.expected[j]))
        seen = off * self.oracle.scale[j] > SAFETY * self.oracle.noise[0]  # in the value, if the parameter moved a lot
        return bool(not seen or off < LARGE * self.eps[j] * self._size(j) or off < math.sqrt(self.eps[j]) * size)

    def _size(self, j: int) -> float:
        """The size of the terms that entry j may be made of: the largest entry, the gradient that comes from above, and
        derivatives at smaller parameters, where nothing is saturated.
        """
        if self._elsewhere is None:
            self._elsewhere = max((self._largest(factor) for factor in SMALLER), default=0.0)
        return max(float(np.nanmax(np.abs(self.expected))), self.claim.upstream, self._elsewhere)

    def _largest(self, factor: float) -> float:
        """The largest derivative along random signs, by array, with all parameters times a factor."""
        sizes = [0.0]
        for leaf in self.oracle.tree.leaves if self.oracle.complex else []:
            v = np.zeros(self.got.size)
            v[leaf.span] = self.oracle.rng.choice([-1.0, 1.0], leaf.array.size)
            sizes.append(float(np.abs(self.oracle.along(v, factor * self.oracle.x).value[0])))
        return max(size for size in sizes if np.isfinite(size))

    # ---- the error that rounding can cause in an entry

    def _floor(self, j: int) -> float:
        """What rounding does to terms as large as the largest entry, up to a small share of the entry itself.

        A saturated tanh is 1: what its derivative should have added to a sum is lost, wherever it is computed.
        """
        size = self._size(j)
        if abs(self.expected[j]) < NOTHING * self.eps[j] * size:
            return float(self.eps[j] * size)
        share = max(SHARE, math.sqrt(self.eps[j]))
        return float(min(self.eps[j] * size / 4, share * abs(self.expected[j]) / SAFETY))

    def _unseen(self, j: int) -> float:
        """The rounding of the value as a derivative, for an entry too small to change the value by a last place."""
        least = float(self.oracle.noise[0] / self.oracle.scale[j])
        return least if abs(self.expected[j]) < least else 0.0

    def _longer(self, j: int) -> float:
        """The spread once more, from many perturbations: a sum that cancels often cancels exactly."""
        return self._spread(j, MORE_PROBES)

    def _spread(self, j: int, count: int = PROBES) -> float:
        """The spread of the expected derivative."""
        unit = self._unit(j)
        centre = np.array([self.expected[j] * unit[j]])
        return float(self.oracle.spread(unit, centre, count, bool(self.eps[j] > EPS64))[0] / unit[j])

    def _wobble(self, j: int) -> float:
        """The spread of the gradient that is judged; it must not excuse large errors."""
        return float(min(self.claim.wobble[j], LARGE * self.eps[j] * self._size(j)))

    def _erratic(self, j: int) -> float:
        """The spread of the error at points nearby: a wrong formula is wrong there in the same way, rounding is not."""
        return self.erratic(self._unit(j)) / float(self._unit(j)[j])

    def erratic(self, v: Array) -> float:
        """The spread, at points nearby, of the error along v."""
        errors = [
            float(np.sum(got * v, dtype=np.longdouble)) - float(self.oracle.along(v, x).value[0])
            for x, got in [(self.oracle.x, self.got), *self.claim.nearby()]
        ]
        return float(np.ptp(errors)) if np.isfinite(errors).all() else 0.0

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
        for rounding in (self._floor, self._spread, self._wobble, self._erratic, self._unseen, self._longer):
            self.resolution[j] += SAFETY * rounding(j)
            self.wrong[j] = self._exceeds(j)
            if not self.wrong[j] or not self._close(j):
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
                    raise NotAnalytic(
                        f"at {self._where(j)} it gives {self.expected[j]:.9g}, and a central difference"
                        f" {value[0]:.9g} +- {error[0]:.1g}"
                    )

    def direction(self, v: Array) -> tuple[float, float]:
        """The error of the gradient along v (n,), and the resolution of this number."""
        terms = self.got * v
        centre, error_found = self.oracle.along(v)
        value, error = float(centre[0]), float(error_found[0])
        off = abs(float(np.sum(terms, dtype=np.longdouble)) - value)
        used = v != 0
        size = float(np.sqrt(np.sum((self.eps * terms)[used] ** 2)))
        resolution = 4 * error + SAFETY * (size + float(self.eps[used].max(initial=EPS64)) * abs(value))
        resolution += SAFETY * float(np.sqrt(np.sum((self.claim.wobble * v) ** 2)))
        if not self.claim.again:
            resolution += SAFETY / 4 * float(np.abs(self.got).max() * np.sqrt(np.sum((self.eps * v) ** 2)))
        if not off <= resolution:
            single = bool(self.eps[used].max(initial=0.0) >= EPS32)
            resolution += SAFETY * float(self.oracle.spread(v, centre, PROBES, single)[0])
        if resolution < off < math.sqrt(self.eps[used].max(initial=EPS64)) * abs(value):
            resolution += SAFETY * self.erratic(v)
        return off, resolution


def as_indices(span: slice, shape: Sequence[int]) -> Array:
    """The positions in the flat vector of an array's entries, in the array's shape."""
    return np.arange(span.start, span.stop).reshape(tuple(shape))
