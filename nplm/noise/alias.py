"""Draws from a fixed distribution in O(1): a table of V columns, each of which holds at most two words.

[A1] mass(w) = V * q(w), in columns, rounded to whole grains whose sum is V exactly
[A2] every column lighter than 1 is filled up from one heavy word: threshold and alias (Vose)
[A3] bits = Philox(key, counter), 64 bits
[A4] bits * V = column * 2**64 + place; word = column if place < threshold * 2**64 else alias[column]

The only rounding is that of [A1], to 2**-52 of the total: sums of grains are exact in float64, so [A2] adds no
error, while plain float64 would lose digits at every step of a heavy word.  See docs/learn/alias.md.
Source: M. D. Vose, "A linear algorithm for generating random numbers with a given distribution", 1991.
"""

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from nplm.errors import InputError
from nplm.kernels import alias as kernels


@dataclass(frozen=True, eq=False)
class AliasTable:
    """Each of the V equal columns w holds word w up to its threshold, and the word alias[w] above it."""

    threshold: NDArray[np.float64]  # (V,), in [0, 1]
    alias: NDArray[np.int32]  # (V,), in [0, V)

    @classmethod
    def from_probs(cls, probs: NDArray[np.float64]) -> "AliasTable":
        """Return the table of the distribution probs: (V,) float64, not negative, with sum 1.  O(V)."""
        threshold = to_mass(probs)
        alias = np.empty(probs.size, np.int32)
        kernels.vose(threshold, alias)
        threshold.flags.writeable = False
        alias.flags.writeable = False
        return cls(threshold, alias)

    def draw(self, k: int, key: int, counter: tuple[int, int, int]) -> NDArray[np.int32]:
        """Return k independent words (k,) int32, with replacement: a pure function of key and counter.

        k in [1, 2**31); key: 64 bits; counter: three numbers of 32 bits.  Fewer draws are a prefix of more.
        Raises InputError on a number outside its range.
        """
        ids = np.empty(check_whole("k", k, 1, 2**31 - 1), np.int32)
        words = [np.uint64(check_whole("counter", c, 0, 2**32 - 1)) for c in counter]
        if len(words) != 3:
            raise InputError(f"counter {counter} has {len(words)} numbers: it needs three")
        key64 = np.uint64(check_whole("key", key, 0, 2**64 - 1))
        kernels.draw(self.threshold, self.alias, key64, words[0], words[1], words[2], ids)
        return ids


def to_mass(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return V * probs, (V,) float64, in whole grains of at least 2**-52 with sum exactly V  [A1].

    Every word is off by less than two grains, except the likeliest one, which also absorbs the difference between
    the float64 sum of q and 1.
    """
    num_words = probs.size
    grains_per_column = 2.0 ** (52 - (num_words - 1).bit_length())  # all V columns: at most 2**52 grains
    grains = probs * (num_words * grains_per_column)
    whole = np.floor(grains)
    carried = np.rint(np.cumsum(grains - whole))  # fractions are carried from word to word, so none is lost
    mass = (whole + np.diff(carried, prepend=0.0)) / grains_per_column
    mass[np.argmax(probs)] += num_words - mass.sum()
    return mass


def check_whole(name: str, value: SupportsIndex, least: int, most: int) -> int:
    """Return value as an int.  Raises InputError if it is not a whole number in [least, most]."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise InputError(f"`{name}` = {value!r} is not a whole number")
    if not least <= number <= most:
        raise InputError(f"`{name}` = {number} is outside [{least}, {most}]")
    return number
