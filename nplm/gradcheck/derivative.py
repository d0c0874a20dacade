"""Derivatives of a function along a direction: the complex step, central differences, and how far two arrays are apart.

[G1] df/dt = Im f(x + i h v) / h           h = 1e-30: no difference is taken, so nothing cancels (Squire & Trapp 1998)
[G2] C(h) = (f(x + h v) - f(x - h v)) / (2 h) = df/dt + c_2 h^2 + c_4 h^4 + ...
[G3] C_2k+2(h) = (4^k C_2k(h/2) - C_2k(h)) / (4^k - 1)    order 2k + 2 from order 2k (Richardson 1911)
[G4] |C_6(h/2) - C_6(h)| + 16 noise / h                   bounds the error of C_6(h/2)

derivations: docs/learn/gradcheck.md
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Curve = Callable[[float], Array]  # t -> f(x + t v), one or more real numbers

STEP = 1e-30
SHRINK = 8.0  # from one trial of the central difference to the next
TRIALS = 5


class Estimate(NamedTuple):
    """A derivative, and a bound on its error; one entry for each number that the function returns."""

    value: Array
    error: Array


def complex_step(loss: Callable[[dict[str, Array]], complex], params: Mapping[str, Array]) -> dict[str, Array]:
    """Gradient of `loss` for every entry of every parameter, [G1]; `loss` must be analytic in `params`."""
    point = {name: value.astype(complex, order="C") for name, value in params.items()}  # so that `flat` is a view
    gradient = {}
    for name, value in point.items():
        flat, result = value.reshape(-1), np.empty(value.size)
        for j in range(value.size):
            flat[j] += 1j * STEP
            result[j] = loss(point).imag / STEP
            flat[j] = flat[j].real
        gradient[name] = result.reshape(value.shape)
    return gradient


def central_difference(curve: Curve, step: float, noise: float) -> Estimate:
    """The derivative at t = 0 by [G2] to [G4], from the best of a few steps.

    A step that reaches over a kink, or out of the domain, shows as a large error; a smaller one is tried.

    Parameters
    ----------
    curve
        The function of t.
    step
        The first and largest step.
    noise
        The size of the rounding errors of the function's value.
    """
    best: Estimate | None = None
    for h in step / SHRINK ** np.arange(TRIALS):
        table = [(curve(t) - curve(-t)) / (2 * t) for t in h / 2.0 ** np.arange(4)]  # [G2]
        for power in (4, 16):
            table = [(power * fine - coarse) / (power - 1) for coarse, fine in pairwise(table)]
        rounding = 16 * noise / h
        error = np.abs(table[1] - table[0]) + rounding  # [G4]
        error = np.where(np.isfinite(error), error, np.inf)
        trial = Estimate(table[1], error)
        if best is None:
            best = trial
        else:
            better = error < best.error
            best = Estimate(np.where(better, trial.value, best.value), np.where(better, error, best.error))
        if np.all(error < 4 * rounding):  # rounding dominates: smaller steps only get worse
            break
    assert best is not None
    return best


def one_sided(curve: Curve, step: float) -> tuple[Array, Array]:
    """The derivatives from the left and from the right at t = 0, of third order.  They differ at a kink."""
    sides = []
    for sign in (-1.0, 1.0):
        slopes = [(curve(sign * t) - curve(0.0)) / (sign * t) for t in (step, step / 2, step / 4)]
        sides.append((8 * slopes[2] - 6 * slopes[1] + slopes[0]) / 3)
    return sides[0], sides[1]


def relative_error(got: Any, expected: Any) -> float:
    """Largest difference of two arrays over the largest entry of the expected one; inf where an entry is not finite."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        raise ValueError(f"shapes differ: {got.shape} and {expected.shape}")
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    scale = np.abs(expected).max(initial=0.0)
    error = np.abs(got - expected).max(initial=0.0)
    return float(error / scale) if scale > 0 else float(error)
