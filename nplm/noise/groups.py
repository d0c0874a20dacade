"""Which K noise words a chunk gets: a fresh group (claim 2), or one from a pool of M groups (claim 3).

A group is a pure function of (seed, epoch, sequence, chunk): it can be drawn again at any time, in any order,
without saved state (docs/decisions/0003-counter-based-noise.md).  Draws are independent, or stratified within a group
and over all groups of a pool (strata.py, docs/learn/reuse.md).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nplm.config import Draw, GroupMap, Redraw, TrainConfig
from nplm.errors import InputError
from nplm.noise import strata
from nplm.noise.alias import check_whole
from nplm.noise.distribution import NoiseDistribution
from nplm.noise.keys import stream_key

_MAX_K = 2**20
_MAX_INDEX = 2**32 - 1  # a counter of the generator has 32 bits


class NoiseGroups(Protocol):
    """The interface of noise groups to the training loop."""

    def group(self, epoch: int, sequence: int, chunk: int) -> NDArray[np.int32]:
        """Return the chunk's noise words, (K,) int32.  Arguments count from 0.  Raises InputError if negative."""
        ...

    def log_q(self, epoch: int, sequence: int) -> NDArray[np.float64] | None:
        """Return the log noise distribution (V,) for the loss; None for that of q itself."""
        ...


@dataclass(frozen=True)
class FreshNoise:
    """Claim 2: a fresh group of K words for every chunk.

    Parameters
    ----------
    distribution : NoiseDistribution
    k : int
        K, words in a group, in [1, 2**20].
    seed : int
        Seed of the run, in [0, 2**63).
    draw : {"independent", "stratified"}
        Whether words are drawn independently, or one from each of K equal parts of the distribution.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    distribution: NoiseDistribution
    k: int
    seed: int
    draw: Draw = "independent"

    def __post_init__(self) -> None:
        check_whole("num_noise", self.k, 1, _MAX_K)
        stream_key(self.seed, "noise")
        _check_draw(self.draw)

    def group(self, epoch: int, sequence: int, chunk: int) -> NDArray[np.int32]:
        """Return the chunk's own K words.

        Parameters
        ----------
        epoch, sequence, chunk : int
            Counted from 0.

        Returns
        -------
        ndarray (K,) of int32

        Raises
        ------
        InputError
            On a negative index.
        """
        _check_place(epoch, sequence, chunk, _MAX_INDEX)
        return _draw(self, (chunk, sequence, epoch))

    def log_q(self, epoch: int, sequence: int) -> None:
        """Return None: the loss uses q.

        Parameters
        ----------
        epoch, sequence : int
            Counted from 0.
        """


@dataclass(frozen=True)
class NoisePool:
    """Claim 3: M groups for the N chunks of a sequence, which are divided into M parts, one for each group.

    The seed determines all M groups in advance.  `pool` returns all of them; `group` draws only the group of one chunk,
    with the same words as in `pool`, and takes microseconds.  Groups are not cached, and methods may be called in any
    order.

    Parameters
    ----------
    distribution : NoiseDistribution
    k : int
        K, words in a group, in [1, 2**20].
    seed : int
        Seed of the run, in [0, 2**63).
    groups : int
        M, groups in the pool, in [2, N]; a baseline may have M = 1.
    chunks : int
        N, chunks of a whole sequence, at least 2, or 1 in a baseline; a short last sequence uses the same map.
    group_map : {"contiguous", "cyclic"}
        Chunk n has group n*M // N, or n mod M.
    redraw : {"sequence", "epoch", "never"}
        When the pool is redrawn.
    baseline : bool
        Whether M = 1 or N = 1, which is outside the claims, is allowed.
    draw : {"independent", "stratified"}
        Whether words are drawn independently, or jointly for all groups of the pool, one word from each of M*K equal
        parts of the distribution.
    own_counts : bool
        Whether `log_q` returns the relative frequencies of the pool's own draws.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    distribution: NoiseDistribution
    k: int
    seed: int
    groups: int
    chunks: int
    group_map: GroupMap = "contiguous"
    redraw: Redraw = "sequence"
    baseline: bool = False
    draw: Draw = "independent"
    own_counts: bool = False

    def __post_init__(self) -> None:
        check_whole("num_noise", self.k, 1, _MAX_K)
        stream_key(self.seed, "noise")
        least = 1 if self.baseline else 2
        check_whole("chunks", self.chunks, least, _MAX_INDEX)
        check_whole("noise_groups", self.groups, least, _MAX_INDEX)
        if self.groups > self.chunks:
            raise InputError(
                f"`noise_groups` = {self.groups} is more than the N = {self.chunks} chunks of a sequence:"
                " lower it or raise `sequence_length`"
            )
        if self.group_map not in ("contiguous", "cyclic"):
            raise InputError(f"`group_map` = {self.group_map!r} is not one of contiguous, cyclic")
        if self.redraw not in ("sequence", "epoch", "never"):
            raise InputError(f"`redraw` = {self.redraw!r} is not one of sequence, epoch, never")
        _check_draw(self.draw)

    def group(self, epoch: int, sequence: int, chunk: int) -> NDArray[np.int32]:
        """Return the K words of the group that the chunk belongs to.

        Parameters
        ----------
        epoch, sequence, chunk : int
            Counted from 0.

        Returns
        -------
        ndarray (K,) of int32

        Raises
        ------
        InputError
            On a negative index, and on a chunk outside [0, N).
        """
        _check_place(epoch, sequence, chunk, self.chunks - 1)
        return self._draw(epoch, sequence, self.group_of(chunk))

    def group_of(self, chunk: int) -> int:
        """Return the number of the group that a chunk belongs to.

        Parameters
        ----------
        chunk : int
            In [0, N).

        Returns
        -------
        int
            In [0, M).
        """
        return chunk % self.groups if self.group_map == "cyclic" else chunk * self.groups // self.chunks

    def pool(self, epoch: int, sequence: int) -> NDArray[np.int32]:
        """Return all groups of the pool for a sequence.

        Parameters
        ----------
        epoch, sequence : int
            Counted from 0.

        Returns
        -------
        ndarray (M,K) of int32

        Raises
        ------
        InputError
            On a negative index.
        """
        _check_place(epoch, sequence, 0, 0)
        return np.stack([self._draw(epoch, sequence, g) for g in range(self.groups)])

    def log_q(self, epoch: int, sequence: int) -> NDArray[np.float64] | None:
        """Return the logarithm of each word's share of the pool's M*K draws, -inf for a word that was not drawn  [Z11].

        Parameters
        ----------
        epoch, sequence : int
            Counted from 0.

        Returns
        -------
        ndarray (V,) of float64, read-only, or None
            None if `own_counts` is not set: the loss then uses q.

        Raises
        ------
        InputError
            On a negative index.
        """
        _check_place(epoch, sequence, 0, 0)
        return _log_shares(self, *self._round(epoch, sequence)) if self.own_counts else None

    def _draw(self, epoch: int, sequence: int, g: int) -> NDArray[np.int32]:
        return _draw(self, (g, *self._round(epoch, sequence)), self.groups)

    def _round(self, epoch: int, sequence: int) -> tuple[int, int]:
        """Sequence and epoch that identify a pool; 0 where it is not redrawn."""
        return sequence if self.redraw == "sequence" else 0, 0 if self.redraw == "never" else epoch


@lru_cache(maxsize=1)  # every chunk of a round asks for it
def _log_shares(pool: NoisePool, sequence: int, epoch: int) -> NDArray[np.float64]:
    """`NoisePool.log_q` of a round."""
    drawn = pool.pool(epoch, sequence).ravel()
    counts = np.bincount(drawn, minlength=pool.distribution.probs.size)
    with np.errstate(divide="ignore"):  # log 0 = -inf is intended
        shares = np.log(counts / drawn.size)
    shares.flags.writeable = False
    return shares


def _draw(noise: FreshNoise | NoisePool, place: tuple[int, int, int], groups: int = 1) -> NDArray[np.int32]:
    """The K words at a place; groups: the number of groups that are drawn jointly if draws are stratified."""
    if noise.draw == "independent":
        return noise.distribution.draw(noise.k, stream_key(noise.seed, "noise"), place)
    keys = stream_key(noise.seed, "noise"), stream_key(noise.seed, "strata")
    return strata.draw(noise.distribution.cumulated, noise.k, keys, place, groups)


def make_noise(distribution: NoiseDistribution, config: TrainConfig, seed: int) -> NoiseGroups:
    """Return the noise groups that config specifies, drawn from distribution.  Raises InputError."""
    if config.noise == "fresh":
        return FreshNoise(distribution, config.num_noise, seed, config.noise_draw)
    return NoisePool(
        distribution,
        config.num_noise,
        seed,
        groups=config.noise_groups,
        chunks=config.chunks,
        group_map=config.group_map,
        redraw=config.redraw,
        baseline=config.baseline,
        draw=config.noise_draw,
        own_counts=config.own_counts,
    )


def _check_draw(draw: str) -> None:
    if draw not in ("independent", "stratified"):
        raise InputError(f"`noise_draw` = {draw!r} is not one of independent, stratified")


def _check_place(epoch: int, sequence: int, chunk: int, last_chunk: int) -> None:
    check_whole("epoch", epoch, 0, _MAX_INDEX)
    check_whole("sequence", sequence, 0, _MAX_INDEX)
    check_whole("chunk", chunk, 0, last_chunk)
