"""The distribution q of the noise words and its sampler: one object, so that they cannot differ.

[Q1] q(w) = (1 - uniform) * max(count(w), 1)**power / sum + uniform / V

Every count is taken as at least 1, so q(w) > 0 for every word that can be scored.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nplm.errors import InputError
from nplm.noise.alias import AliasTable, check_whole


@dataclass(frozen=True, eq=False)
class NoiseDistribution:
    """The noise distribution q over V words, its logarithm, and its alias table for sampling.  See `from_counts`.

    Parameters
    ----------
    probs : ndarray (V,) of float64
        q > 0, with sum 1; read-only.
    log_probs : ndarray (V,) of float64
        log q, natural; read-only.
    table : AliasTable
        Draws from q.
    """

    probs: NDArray[np.float64]
    log_probs: NDArray[np.float64]
    table: AliasTable

    @classmethod
    def from_counts(cls, counts: ArrayLike, power: float = 1.0, uniform: float = 0.0) -> "NoiseDistribution":
        """Return q(w) = (1 - uniform) max(count(w), 1)^power / sum + uniform / V, [Q1].

        Parameters
        ----------
        counts : array_like (V,)
            How often each word was seen: integers or real numbers, at least 0.
        power : float
            Exponent of the counts, at least 0.
        uniform : float
            Share of q that is spread evenly over all words, in [0, 1].

        Returns
        -------
        NoiseDistribution

        Raises
        ------
        InputError
            If a value is out of range, or if the power makes the q of a word underflow in float64.
        """
        weights = np.maximum(_counts(counts), 1.0)
        _real("noise_power", power, np.inf)
        _real("noise_uniform", uniform, 1.0)
        weights = (weights / weights.max()) ** power  # at most 1: no power overflows
        probs = (1.0 - uniform) * (weights / weights.sum()) + uniform / weights.size
        if probs.min() < np.finfo(np.float64).tiny:
            raise InputError(
                f"`noise_power` = {power:g} leaves word {int(probs.argmin())} with q = 0:"
                " lower it or raise `noise_uniform`"
            )
        log_probs = np.log(probs)
        probs.flags.writeable = False
        log_probs.flags.writeable = False
        return cls(probs, log_probs, AliasTable.from_probs(probs))

    @cached_property
    def cumulated(self) -> NDArray[np.float64]:
        """q(0) + ... + q(w), (V,) float64, for stratified draws; read-only."""
        sums = np.cumsum(self.probs)
        sums.flags.writeable = False
        return sums

    def sample(self, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return k independent words, drawn with replacement.

        Parameters
        ----------
        k : int
            In [1, 2**31).
        rng : numpy.random.Generator
            One 64-bit key is drawn from it.

        Returns
        -------
        ndarray (k,) of int32

        Raises
        ------
        InputError
            If k is out of range.
        """
        check_whole("k", k, 1, 2**31 - 1)  # before rng moves on
        return self.draw(k, int(rng.integers(2**64, dtype=np.uint64)), (0, 0, 0))

    def draw(self, k: int, key: int, counter: tuple[int, int, int]) -> NDArray[np.int32]:
        """Return the k words for a key and a counter: the same words for the same numbers.

        Parameters
        ----------
        k : int
            In [1, 2**31); a smaller k gives the first words of a larger k.
        key : int
            64 bits.
        counter : tuple of int
            Three numbers of 32 bits.

        Returns
        -------
        ndarray (k,) of int32

        Raises
        ------
        InputError
            If a number is out of range.
        """
        return self.table.draw(k, key, counter)


def _counts(counts: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(counts)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"counts have shape {array.shape}: give one count for each word, and at least one")
    if array.size > 2**31 - 1:
        raise InputError(f"{array.size} counts, but ids allow at most 2147483647 words")
    if array.dtype.kind not in "iuf":
        raise InputError(f"counts of type {array.dtype} are not numbers")
    array = array.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0.0)))
    if bad.size:
        raise InputError(f"the count of word {bad[0]} is {array[bad[0]]:g}: counts are finite and at least 0")
    return array


def _real(name: str, value: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputError(f"`{name}` = {value!r} is not a number")
    if not (0.0 <= value <= most and np.isfinite(value)):
        raise InputError(f"`{name}` = {value:g} is outside [0, {most:g}{']' if np.isfinite(most) else ')'}")
