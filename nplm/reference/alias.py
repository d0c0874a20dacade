"""The alias method exactly as printed, in integers of any size: the oracle for noise/alias.py.

[A1] mass(w) = V * q(w), counted in whole grains, `full` to a column, which add up to V * full
[A2] every column lighter than `full` is filled up from one heavy word (Vose, 1991)
[A3] bits = Philox4x32-10(key, counter) (Salmon et al., 2011)
[A4] bits * V = column * 2**64 + place; word = column if place < threshold * 2**64 else alias[column]
"""

import numpy as np
from numpy.typing import NDArray


def to_grains(probs: NDArray[np.float64]) -> tuple[list[int], int]:
    """Return the grains of every word, with sum V * full, and `full`, the grains of a column  [A1].

    probs: (V,) with sum 1.  Fractions of a grain are carried to the next word; the likeliest word absorbs the
    difference between the float64 sum of q and 1.
    """
    num_words = len(probs)
    full = 2 ** (52 - (num_words - 1).bit_length())
    mass, fractions, handed_out = [], 0.0, 0
    for q in probs:
        grains = float(q) * (num_words * full)
        fractions += grains % 1.0
        extra = round(fractions) - handed_out  # half to even, as np.rint
        handed_out += extra
        mass.append(int(grains) + extra)
    mass[int(np.argmax(probs))] += num_words * full - sum(mass)
    return mass, full


def vose(mass: list[int], full: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return threshold (V,) float64 and alias (V,) int32 for masses that add up to V * full  [A2]."""
    rest, alias = list(mass), list(range(len(mass)))
    light = [w for w, grains in enumerate(mass) if grains < full]
    heavy = [w for w, grains in enumerate(mass) if grains >= full]
    while light:
        small, large = light.pop(), heavy[-1]
        alias[small] = large
        rest[large] -= full - rest[small]
        if rest[large] < full:
            light.append(heavy.pop())
    return np.array([grains / full for grains in rest]), np.array(alias, np.int32)


def implied_probs(threshold: NDArray[np.float64], alias: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the distribution (V,) that a table draws from: q(w) = (t_w + sum of 1 - t_j over alias(j) = w) / V."""
    own, given = threshold, 1.0 - threshold
    return (own + np.bincount(alias, weights=given, minlength=len(own))) / len(own)


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return Philox4x32-10 of four 32-bit words under a key of two  [A3]."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return x0, x1, x2, x3


def draw(
    threshold: NDArray[np.float64], alias: NDArray[np.int32], k: int, key: int, counter: tuple[int, int, int]
) -> NDArray[np.int32]:
    """Return k words (k,) int32  [A4].  Draws 2i and 2i + 1 are the halves of philox((i, *counter), key)."""
    ids = []
    for i in range(k):
        x = philox((i // 2, *counter), (key % 2**32, key // 2**32))
        bits = x[1] * 2**32 + x[0] if i % 2 == 0 else x[3] * 2**32 + x[2]
        column, place = divmod(bits * len(threshold), 2**64)
        ids.append(column if place < int(threshold[column] * 2.0**64) else int(alias[column]))
    return np.array(ids, np.int32)
