"""The oracle: derivatives of a function along a direction, by a method that is itself tested first.

The complex step [G1] is used where it agrees with a central difference along random directions; where it does not,
central differences are used, [G2] to [G4].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from nplm.gradcheck import analytic
from nplm.gradcheck.derivative import STEP, Array, Estimate, central_difference, one_sided
from nplm.gradcheck.tree import Tree, transform

Method = Literal["auto", "complex", "difference"]

EPS64, EPS32 = 2.0**-52, 2.0**-23
SINGLE_STEP = 1e-12  # the complex step in complex64, whose smallest number is 1e-38
RIPPLE = 1e-6  # distance of the points that show the rounding errors, relative to the parameters
GROUPS = 16  # arrays that get a separate random direction when the complex step is tested


class OracleError(Exception):
    """The function has no derivative that can be measured; the message says why."""


class Oracle:
    """Derivatives of `read(function(point))` at the point of a tree.

    Parameters
    ----------
    function
        Takes the tree's containers.
    read
        Turns what `function` returns into a vector (m,) of numbers; m = 1 for a loss.
    tree
        The point, and which arrays vary.
    rng
        For directions and perturbations.
    method
        "auto": the complex step if it can be trusted, otherwise central differences.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        read: Callable[[Any], Array],
        tree: Tree,
        rng: np.random.Generator,
        method: Method = "auto",
    ) -> None:
        self.function, self.read, self.tree, self.rng = function, read, tree, rng
        self.x, self.scale = tree.flat, step_scale(tree)
        self.real: Any = None  # the type of real evaluations; None: the arrays' own
        self.evaluations = 0
        self.remarks: list[str] = []
        self.value = self._repeatable_value()
        self._choose_precision()
        self.noise = self._measure_noise()
        self.complex = method == "complex"
        if method == "auto":
            reason = self._distrust()
            self.complex = reason is None
            if reason is not None:
                self.fall_back(reason)

    @property
    def method(self) -> str:
        """The name of the method."""
        return "complex step" if self.complex else "central differences of order 6"

    def evaluate(self, flat: Array, dtype: Any = None) -> Array:
        """The function's numbers (m,) at a point (n,)."""
        self.evaluations += 1
        numbers: Array = self.read(self.function(self.tree.build(flat, dtype)))
        return numbers

    def along(self, v: Array, x: Array | None = None) -> Estimate:
        """The derivative along v (n,); the error leaves out what rounding does to a complex step."""
        x = self.x if x is None else x
        if self.complex:
            value = self._imaginary(x, v, STEP)
            return Estimate(value, np.zeros_like(value))
        return self.difference(v, x)

    def difference(self, v: Array, x: Array | None = None) -> Estimate:
        """The same by central differences, whatever the method."""
        x = self.x if x is None else x
        size = np.abs(v / self.scale).max(initial=0.0) or 1.0  # the step in units of the parameters' own sizes
        relative = np.max(self.noise / np.maximum(np.abs(self.value), self.noise))
        step = float(np.clip(8 * relative ** (1 / 7), 0.02, 0.5)) / size
        return central_difference(lambda t: self.evaluate(x + t * v, self.real), step, self.noise)  # type: ignore[arg-type]

    def sides(self, v: Array) -> tuple[Array, Array]:
        """The derivatives from the left and from the right along v, which differ at a kink."""
        if self.complex:  # comparisons of complex numbers look at the imaginary part where the real ones are equal
            return self._imaginary(self.x, v, -STEP), self._imaginary(self.x, v, STEP)
        size = np.abs(v / self.scale).max(initial=0.0) or 1.0
        step = 2.0**-14 if np.max(self.noise) < 1e-10 * np.max(np.abs(self.value), initial=1.0) else 2.0**-6
        return one_sided(lambda t: self.evaluate(self.x + t * v, self.real), step / size)

    def spread(self, v: Array, centre: Array, count: int, single: bool) -> Array:
        """How far the derivative along v moves from `centre` when every parameter moves by one unit in the last place.

        The complex step also takes another h each time, which rounds the tangents differently.  single: in float32,
        the precision of the gradient that is judged.
        """
        moved = []
        for _ in range(count):
            x = self.x * (1 + (EPS32 if single else EPS64) * self.rng.choice([-1.0, 1.0], self.x.size))
            if not self.complex:
                moved.append(self.along(v, x).value)
                continue
            step = (SINGLE_STEP if single else STEP) * self.rng.uniform(1, 2)
            moved.append(self._imaginary(x, v, step, np.complex64 if single else None))
        spread = np.abs(np.array(moved) - centre).max(axis=0)
        return np.where(np.isfinite(spread), spread, 0.0)

    def fall_back(self, reason: str) -> None:
        """Use central differences from now on, and record the reason and the functions that cause it."""
        self.complex = False
        self.remarks.append(f"The complex step cannot be used: {reason}.")
        found = self._suspects()
        if found:
            self.remarks.append("Not analytic: " + "; ".join(found) + ".")
        self.remarks.append(
            "Central differences of order 6 are used instead; Richardson's estimate of their error is part of the"
            " resolution."
        )

    def _imaginary(self, x: Array, v: Array, step: float, dtype: Any = None) -> Array:
        self.evaluations += 1
        value: Array = self.read(self.function(self.tree.build_complex(x, step * v, dtype or complex)))
        return np.asarray(value.imag / step, np.float64)  # [G1]

    def _repeatable_value(self) -> Array:
        first, second = (self.evaluate(self.x) for _ in range(2))
        if first.dtype.kind == "c":
            raise OracleError("it returns complex numbers for real parameters")
        if first.shape != second.shape:
            raise OracleError(f"two equal calls return {first.size} and {second.size} numbers")
        if not np.isfinite(first).all():
            raise OracleError(f"its value is {first[~np.isfinite(first)][0]}")
        difference = np.abs(first - second).max(initial=0.0)
        size = np.abs(first).max(initial=0.0)
        if difference > 100 * np.finfo(first.dtype if first.dtype.kind == "f" else np.float64).eps * size:
            raise OracleError(
                f"two equal calls return {first.ravel()[0]:.17g} and {second.ravel()[0]:.17g}; seed its random numbers"
                " inside the function, and let it keep no state"
            )
        return np.asarray(first, np.float64)

    def _choose_precision(self) -> None:
        """Evaluate in float64 where the function allows it, although the parameters are float32."""
        if all(leaf.array.dtype == np.float64 for leaf in self.tree.leaves):
            return
        try:
            value = self.evaluate(self.x, np.float64)
        except Exception:
            return
        size = np.abs(self.value).max(initial=0.0)
        if value.shape == self.value.shape and np.abs(value - self.value).max(initial=0.0) <= 1e-3 * size:
            self.real, self.value = np.float64, np.asarray(value, np.float64)

    def _measure_noise(self) -> Array:
        """The rounding errors (m,) of the value, here and a step away."""
        away = self.x + 0.1 * self.scale * self.rng.choice([-1.0, 1.0], self.x.size)
        floor = EPS64 * np.abs(self.value).max(initial=0.0) + 1e-300
        noise = [np.minimum(self._ripple(x), self._ripple(x)) for x in (self.x, away)]  # less, if one meets a kink
        return np.asarray(np.maximum(floor, 3 * np.max(noise, axis=0)))

    def _ripple(self, x: Array) -> Array:
        """The standard deviation (m,) of the rounding errors of the value near x.

        Fourth differences of values at nearly equal points leave nothing of a smooth function; those of independent
        errors have a variance of 70 times theirs (Hamming 1962).
        """
        v = RIPPLE * self.scale * self.rng.normal(size=x.size)
        values = [self.evaluate(x + k * v, self.real) for k in range(9)]
        ripple = np.sqrt(np.mean(np.diff(values, 4, axis=0) ** 2, axis=0) / 70)
        return np.asarray(np.nan_to_num(ripple, nan=0.0, posinf=0.0))

    def _distrust(self) -> str | None:
        """Why the complex step cannot be trusted; None if it can."""
        doubts = False
        for v in self._directions():
            try:
                up = self.evaluate(self.x + 1j * STEP * v, complex)
                down = self.evaluate(self.x - 1j * STEP * v, complex)
            except Exception as error:
                return f"with complex parameters the function raises {type(error).__name__}"
            if up.dtype.kind != "c":
                return "with complex parameters the function returns real numbers"
            size = np.abs(self.value).max(initial=0.0) + np.max(self.noise)
            if up.shape != self.value.shape or not np.abs(up.real - self.value).max(initial=0.0) <= 1e-5 * size:
                return "with complex parameters the function takes another value"
            slope = (up.imag - down.imag) / (2 * STEP)  # the mean of both sides, where there is a kink
            estimate = self.difference(v)
            if not np.all(estimate.error < 0.01 * np.abs(slope) + 1e-6 * size):
                doubts = True
            off = np.abs(slope - estimate.value) > 4 * estimate.error + 1e-9 * np.abs(slope)
            if off.any():
                k = int(np.argmax(off))
                return (
                    f"along a random direction it gives {slope[k]:.9g}, and a central difference"
                    f" {estimate.value[k]:.9g} +- {estimate.error[k]:.1g}"
                )
        if doubts and self._suspects():
            return "it cannot be compared with a central difference, for a kink or the edge of the domain is too close"
        return None

    def _suspects(self) -> list[str]:
        """What is not analytic in the function."""
        z = self.x + 1j * STEP * self.scale * self.rng.normal(size=self.x.size)
        return analytic.suspects(
            lambda traced: self.read(self.function(transform(self.tree.build(z, complex), traced)))
        )

    def _directions(self) -> Iterator[Array]:
        """A random direction for each of the first arrays, and one for the rest."""
        leaves = self.tree.leaves
        spans = [leaf.span for leaf in leaves[:GROUPS]]
        if len(leaves) > GROUPS:
            spans[-1] = slice(spans[-1].start, self.x.size)
        for span in spans:
            v = np.zeros_like(self.x)
            v[span] = self.scale[span] * self.rng.normal(size=span.stop - span.start)
            if v.any():
                yield v


@contextmanager
def quiet() -> Iterator[None]:
    """Evaluate without warnings: at perturbed and complex points they mean nothing to the caller."""
    import warnings

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def step_scale(tree: Tree) -> Array:
    """A size (n,) for every entry: its own, or a tenth of its array's root mean square, or 1 for zeros."""
    parts = []
    for leaf in tree.leaves:
        values = np.abs(leaf.array.ravel().astype(np.float64))
        typical = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
        parts.append(np.maximum(values, 0.1 * typical) if typical > 0 else np.ones_like(values))
    return np.concatenate(parts)
