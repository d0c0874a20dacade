"""Sums and norms over a few rows of large matrices, at a cost that does not depend on V."""

from typing import Any

import numpy as np

from nplm.kernels._jit import njit

STRETCH = 4096  # numbers, 16 KiB of float32: read once, used while they are in the L1 cache


@njit()
def sum_at(values: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
    """out[r] = sum of values[n] over the n with places[n] == r, in the order of n: always in the same order.

    values (N,D), places (N,) in which every row of out (R,D) occurs.
    """
    seen = np.zeros(out.shape[0], np.bool_)
    for n in range(places.size):
        row, value = out[places[n]], values[n]
        if seen[places[n]]:
            for j in range(value.size):
                row[j] += value[j]
        else:  # the first one is copied: no pass over `out` to fill it with zeros
            seen[places[n]] = True
            for j in range(value.size):
                row[j] = value[j]


@njit()
def merge(rows: np.ndarray, values: np.ndarray, merged: np.ndarray, out: np.ndarray) -> None:
    """out[m] += values[r] where merged[m] == rows[r], for values (R,D), out (M,D), rows and merged ascending."""
    m = 0
    for r in range(rows.size):
        while merged[m] < rows[r]:
            m += 1
        target, value = out[m], values[r]
        for j in range(value.size):
            target[j] += value[j]


@njit()
def _sum_of_squares(values: np.ndarray) -> Any:
    total = values.dtype.type(0.0)
    for j in range(values.size):
        total += values[j] * values[j]
    return total


@njit()
def sum_of_squares(values: np.ndarray) -> float:
    """Sum of the squares of a contiguous array (n,), in float64 over stretches summed in the working type."""
    total = 0.0
    for start in range(0, values.size, STRETCH):
        total += _sum_of_squares(values[start : start + STRETCH])
    return total


@njit()
def add_and_square(values: np.ndarray, out: np.ndarray) -> float:
    """out += values, both contiguous (n,); returns the sum of the squares of out, while it is in the cache."""
    total = 0.0
    for start in range(0, values.size, STRETCH):
        part, added = out[start : start + STRETCH], values[start : start + STRETCH]
        for j in range(part.size):
            part[j] += added[j]
        total += _sum_of_squares(part)
    return total


@njit()
def squares(values: np.ndarray, out: np.ndarray) -> None:
    """out[k] = the k-th term of `sum_of_squares`: the squares of a stretch of values (n,)."""
    for k in range(out.size):
        out[k] = _sum_of_squares(values[k * STRETCH : (k + 1) * STRETCH])


@njit()
def add_and_squares(values: np.ndarray, out: np.ndarray, out_squares: np.ndarray) -> None:
    """out += values, and out_squares[k] = the k-th term of `add_and_square`."""
    for k in range(out_squares.size):
        part, added = out[k * STRETCH : (k + 1) * STRETCH], values[k * STRETCH : (k + 1) * STRETCH]
        for j in range(part.size):
            part[j] += added[j]
        out_squares[k] = _sum_of_squares(part)
