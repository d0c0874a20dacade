"""Gradient checks to rounding: the complex step, and how far two gradients are apart.

[G1] df/dx = Im f(x + i h) / h,  h = 1e-30: no difference is taken, so nothing cancels (Squire & Trapp 1998).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
STEP = 1e-30


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
