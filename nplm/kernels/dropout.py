"""Masks that are a function of a key and a place: nothing is stored, and the backward draws the same mask again.

A place is hashed with the key (the output function of SplitMix64, Steele 2014), and what is below the threshold is
left out.  So the mask of a column does not depend on how the columns are cut into shards.  0.8 ns a number (measured).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, no-any-return"

import numba
import numpy as np

from nplm.kernels._jit import njit

GOLDEN, FIRST, SECOND = (np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@njit(inline=True)
def _hash(key, place):
    """32 bits, evenly spread."""
    z = key + place * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return (z ^ (z >> np.uint64(31))) >> np.uint64(32)


@njit()
def leave_out(x: np.ndarray, key: int, first: int, threshold: int, scale: float) -> None:
    """[R1] in place, for x (n,) at the places first, first + 1, ...: x * scale, or 0 where the hash is below threshold.

    key: uint64. threshold: 2**32 p.
    """
    factor, zero, limit, start = (x.dtype.type(scale), x.dtype.type(0.0), np.uint64(threshold), np.uint64(first))
    for j in range(x.size):
        x[j] = factor * x[j] if _hash(key, start + np.uint64(j)) >= limit else zero


@njit()
def leave_out_at(x: np.ndarray, key: int, places: np.ndarray, threshold: int, scale: float) -> None:
    """[R1] in place, for x (n,) at the places (n,) uint64."""
    factor, zero, limit = x.dtype.type(scale), x.dtype.type(0.0), np.uint64(threshold)
    for n in range(x.size):
        x[n] = factor * x[n] if _hash(key, places[n]) >= limit else zero


if getattr(numba.config, "DISABLE_JIT", False):  # NumPy's arrays wrap around without a word, its numbers warn

    def leave_out_at(x, key, places, threshold, scale):
        """The same by whole arrays."""
        kept = _hash(np.full(1, key, np.uint64), places) >= np.uint64(threshold)
        x[...] = np.where(kept, x * x.dtype.type(scale), 0)

    def leave_out(x, key, first, threshold, scale):
        """The same by whole arrays."""
        leave_out_at(x, key, np.uint64(first) + np.arange(x.size, dtype=np.uint64), threshold, scale)
