"""From a text's ids to B parallel streams, to sequences, to chunks.

A text of n tokens (every line's words and its </s>) gives n predictions: the target at i is ids[i], the input
is ids[i-1], and the first input is </s>.  Nothing is dropped: neither the remainder that does not fill B columns
nor the short last chunk of a sequence or of the text.

    ids   --Streams-->  B columns in lock-step
    steps --split---->  sequences of S steps, each in chunks of T, in order
"""

from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nplm.data.mapped import BLOCK, Ids, in_blocks
from nplm.data.tokens import check_ids
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError


class Span(NamedTuple):
    """Chunk `chunk` of sequence `sequence`: the steps [start, stop) of every stream."""

    sequence: int
    chunk: int
    start: int
    stop: int


def split(num_full_steps: int, has_tail: bool, sequence_length: int, bptt: int) -> list[Span]:
    """The chunks of q full steps, in order: sequences of S steps, each cut into chunks of T by time.

    The last sequence and a sequence's last chunk may be short.  The tail, one step in which only some streams
    still have a token, is a separate last sequence.
    """
    spans = []
    for first in range(0, num_full_steps, sequence_length):
        last = min(first + sequence_length, num_full_steps)
        for start in range(first, last, bptt):
            chunk = (start - first) // bptt
            spans.append(Span(first // sequence_length, chunk, start, min(start + bptt, last)))
    if has_tail:
        sequence = -(-num_full_steps // sequence_length)
        spans.append(Span(sequence, 0, num_full_steps, num_full_steps + 1))
    return spans


class Streams:
    """A text as B contiguous streams that are read in lock-step; no token is dropped.

    n = B*q + r: the first r streams have q+1 steps, the others q.  Step q, the tail, has r columns.

    Parameters
    ----------
    ids : ndarray (n,)
        The text's word ids.
    batch_size : int
        B, in [1, n].

    Raises
    ------
    InputError
        If B is out of range, or the ids are not integers.
    """

    def __init__(self, ids: npt.NDArray[Any], batch_size: int) -> None:
        if ids.ndim != 1 or ids.size == 0:
            raise InputError(f"streams need an array (n,) of at least 1 id, not one of shape {ids.shape}")
        if not 1 <= batch_size <= len(ids):
            raise InputError(f"{len(ids)} tokens cannot be cut into {batch_size} streams; lower `batch_size`")
        if ids.dtype != np.int32:
            check_ids(ids, 2**31, "token")
            ids = ids.astype(np.int32)
        self.ids: Ids = ids
        self.batch_size = batch_size
        self.full_steps, self.tail = divmod(len(ids), batch_size)  # q, r
        columns = np.arange(batch_size)
        self._starts = columns * self.full_steps + np.minimum(columns, self.tail)  # (B,)
        self._stops: npt.NDArray[np.int64] | None = None  # (lines,) set by `shuffle`
        self._shift = np.zeros(0, np.int64)

    def __repr__(self) -> str:
        tail = f", then 1 step of {self.tail}" if self.tail else ""
        return f"<Streams of {len(self.ids):,} tokens: {self.full_steps:,} steps of B={self.batch_size}{tail}>"

    @property
    def num_steps(self) -> int:
        """Steps of the longest stream, the tail included."""
        return self.full_steps + (1 if self.tail else 0)

    def window(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Inputs and targets (stop-start, B) of the steps [start, stop); (1, r) for the tail, requested alone.

        The input at a stream's first step is the token before it in the text; for stream 0 it is </s>.
        """
        if not 0 <= start < stop <= self.num_steps:
            raise ValueError(f"window [{start}, {stop}) is outside the {self.num_steps} steps")
        if start < self.full_steps < stop:
            raise ValueError(f"window [{start}, {stop}) runs into the tail, step {self.full_steps}")
        width = self.tail if start == self.full_steps else self.batch_size
        places = np.arange(start, stop)[:, None] + self._starts[:width]  # (t,b), positions of the targets in ids
        targets = self._take(places)
        inputs = self._take(places - 1)
        if start == 0:
            inputs[0, 0] = Vocabulary.eos
        return inputs, targets

    def shuffle(self, rng: np.random.Generator) -> None:
        """Permute the text's lines; the number of tokens stays the same, and the text is not copied."""
        stops = self._line_stops
        starts = np.append(0, stops[:-1])
        order = rng.permutation(len(stops))
        self._stops = np.cumsum((stops - starts)[order])  # of the lines in their new order
        self._shift = stops[order] - self._stops  # from there to their positions in the text

    @cached_property
    def _line_stops(self) -> npt.NDArray[np.int64]:
        """Where each line of the text ends; the last may lack its </s>."""
        starts = range(0, len(self.ids), BLOCK)
        ends = (
            np.flatnonzero(ids == Vocabulary.eos) + start
            for start, ids in zip(starts, in_blocks(self.ids), strict=True)
        )
        stops = np.concatenate([*ends]) + 1
        return stops if stops.size and stops[-1] == len(self.ids) else np.append(stops, len(self.ids))

    def _take(self, places: npt.NDArray[np.int64]) -> Ids:
        """The ids at positions (t,b) of the text, or of its permuted lines; -1 is the last position."""
        if self._stops is not None:
            places = places % len(self.ids)
            places = places + self._shift[np.searchsorted(self._stops, places, side="right")]
        return np.ascontiguousarray(self.ids[places])

    def spans(self, sequence_length: int, bptt: int) -> list[Span]:
        """The chunks to train on, see `split`.  Raises InputError if the text does not fill one chunk."""
        n, b = len(self.ids), self.batch_size
        if n < b * bptt:
            raise InputError(
                f"the training text has n = {n} tokens, fewer than one chunk's {b * bptt} (B = {b} streams of"
                f" T = {bptt} steps); lower `batch_size` or `bptt`"
            )
        return split(self.full_steps, self.tail > 0, sequence_length, bptt)


def bounds(columns: int, shards: int) -> list[tuple[int, int]]:
    """Start and stop of each shard's columns; there are at most as many shards as columns."""
    shards = min(shards, columns)
    cuts = [columns * k // shards for k in range(shards + 1)]
    return list(pairwise(cuts))
