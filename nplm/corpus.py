"""Corpus: a training text and the texts to measure on; from ids to B streams, to sequences, to chunks.

A text of n tokens (every line's words and its </s>) gives n predictions: the target at i is ids[i], the input
is ids[i-1], and the first input is </s>.  Nothing is dropped: not the remainder that does not fill B columns,
not a sequence's or the text's last, short chunk.

    ids   --Streams-->  B columns in lock-step
    steps --split---->  sequences of S steps, each in chunks of T, earliest first
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nplm.errors import InputError
from nplm.ids import BLOCK, Ids, read_ids
from nplm.text import TextPath, count_tokens, is_pipe, read_words, text_name
from nplm.vocabulary import EOS, Vocabulary, check_ids


@dataclass(frozen=True)
class Floor:
    """The lowest loss any model can reach on a synthetic corpus's test text."""

    nats: float  # nats per predicted token
    std_error: float  # standard error of `nats` as a forecast of the loss on the test sample, in nats
    description: str  # how it was computed

    @property
    def perplexity(self) -> float:
        """exp(nats)."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A training text, its vocabulary, and the texts to measure on.  Raises InputError on bad ids, or none."""

    name: str
    vocabulary: Vocabulary
    train: Ids  # (n,) int32, every line ending in </s>
    valid: Ids | None = None  # (n_valid,)
    test: Ids | None = None  # (n_test,)
    floor: Floor | None = None  # synthetic sources only
    baselines: Mapping[str, float] = field(default_factory=dict)  # other models' test perplexity by name

    def __post_init__(self) -> None:
        for what, ids in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            if ids is None:
                continue
            if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.size == 0:
                shape = (
                    f"an array of shape {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
                )
                raise InputError(f"{what} is {shape}, not an array (n,) of at least 1 id")
            check_ids(ids, len(self.vocabulary), what)


def load_corpus(
    train: TextPath,
    valid: TextPath | None = None,
    test: TextPath | None = None,
    *,
    min_count: int = 1,
    max_size: int | None = None,
    words: TextPath | None = None,
) -> Corpus:
    """The corpus in these text files, its vocabulary from `train` alone, or from the word list `words`.

    train, valid, test, words: paths, see `open_text`; `train` is read twice, so it cannot be a pipe.
    Raises InputError on bad text, or fewer than 2 word types in `train`.
    """
    if is_pipe(train):
        raise InputError(
            f"{text_name(train)}: the training text is read twice, so it must be a file, not a pipe"
        )
    counts = count_tokens([train])
    types = len(counts.keys() - {EOS})
    if types < 2:
        raise InputError(f"{text_name(train)}: only {types} distinct word; a training text needs at least 2")
    listed = None if words is None else read_words(words)
    vocabulary = Vocabulary.from_counts(counts, min_count=min_count, max_size=max_size, words=listed)
    if len(vocabulary) < 3:
        raise InputError(f"{text_name(train)}: no word occurs {min_count} times; lower --min-count")
    return Corpus(
        name=Path(train).name,
        vocabulary=vocabulary,
        train=read_ids(train, vocabulary),
        valid=None if valid is None else read_ids(valid, vocabulary),
        test=None if test is None else read_ids(test, vocabulary),
    )


def unigram_perplexity(vocabulary: Vocabulary, ids: npt.NDArray[Any]) -> float:
    """Perplexity over ids (n,) of the unigram model: p(w) = max(count, 1) / sum, </s> counted."""
    if ids.size == 0:
        raise InputError("there are no ids to compute a perplexity of")
    check_ids(ids, len(vocabulary), "token")
    seen = np.zeros(len(vocabulary), dtype=np.int64)
    for start in range(0, len(ids), BLOCK):  # bincount would copy all of a memory-mapped text
        seen += np.bincount(ids[start : start + BLOCK], minlength=len(vocabulary))
    weights = np.maximum(vocabulary.counts, 1).astype(np.float64)
    log_probs = np.log(weights) - math.log(weights.sum())
    return math.exp(-float(seen @ log_probs) / len(ids))


class Span(NamedTuple):
    """Chunk `chunk` of sequence `sequence`: the steps [start, stop) of every stream."""

    sequence: int
    chunk: int
    start: int
    stop: int


def split(num_full_steps: int, has_tail: bool, sequence_length: int, bptt: int) -> list[Span]:
    """The chunks of q full steps, earliest first: sequences of S steps, each cut into chunks of T by time.

    The last sequence and a sequence's last chunk may be short.  The tail, one step in which only some streams
    still have a token, is a last sequence of its own.
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
    """B contiguous streams of the ids (n,), in lock-step, nothing dropped.

    n = B*q + r: the first r streams have q+1 steps, the others q.  Step q, the tail, has r columns.
    Raises InputError unless 1 <= B <= n and the ids are integers.
    """

    def __init__(self, ids: npt.NDArray[Any], batch_size: int) -> None:
        if ids.ndim != 1 or ids.size == 0:
            raise InputError(f"streams need a row of at least 1 id, not an array of shape {ids.shape}")
        if not 1 <= batch_size <= len(ids):
            raise InputError(f"{len(ids)} tokens cannot be cut into {batch_size} streams; lower --batch-size")
        if ids.dtype != np.int32:
            check_ids(ids, 2**31, "token")
            ids = ids.astype(np.int32)
        self.ids: Ids = ids
        self.batch_size = batch_size
        self.full_steps, self.tail = divmod(len(ids), batch_size)  # q, r
        columns = np.arange(batch_size)
        self._starts = columns * self.full_steps + np.minimum(columns, self.tail)  # (B,)

    @property
    def num_steps(self) -> int:
        """Steps of the longest stream, the tail included."""
        return self.full_steps + (1 if self.tail else 0)

    def window(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Inputs and targets (stop-start, B) of the steps [start, stop); (1, r) for the tail, taken alone.

        The input at a stream's first step is the token before it in the text; </s> for stream 0.
        """
        if not 0 <= start < stop <= self.num_steps:
            raise ValueError(f"window [{start}, {stop}) is outside the {self.num_steps} steps")
        if start < self.full_steps < stop:
            raise ValueError(f"window [{start}, {stop}) runs into the tail, step {self.full_steps}")
        width = self.tail if start == self.full_steps else self.batch_size
        places = np.arange(start, stop)[:, None] + self._starts[:width]  # (t,b), where targets stand in ids
        targets = np.ascontiguousarray(self.ids[places])
        inputs = np.ascontiguousarray(self.ids[places - 1])
        if start == 0:
            inputs[0, 0] = Vocabulary.eos
        return inputs, targets

    def spans(self, sequence_length: int, bptt: int) -> list[Span]:
        """The chunks to train on, see `split`.  Raises InputError if the text does not fill one chunk."""
        n, b = len(self.ids), self.batch_size
        if n < b * bptt:
            raise InputError(
                f"the training text has n = {n} tokens, fewer than one chunk's {b * bptt} (B = {b} streams of"
                f" T = {bptt} steps); lower --batch-size or --bptt"
            )
        return split(self.full_steps, self.tail > 0, sequence_length, bptt)
