"""Which of the counted words are kept, from pieces of counts that are read twice, in memory for the kept ones alone.

The words are those that Vocabulary.from_counts keeps: the most frequent, of equally frequent ones the first by text.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from nplm.data.count import Counts
from nplm.data.vocabulary import EOS, UNK, Vocabulary


def choose_vocabulary(
    counts: Counts,
    *,
    min_count: int = 1,
    max_size: int | None = None,
    words: Iterable[str] | None = None,
    unk: str = UNK,
) -> tuple[Vocabulary, int]:
    """The vocabulary of the words counted, and how many different words there are, the unknown one included.

    min_count, max_size, words: as for Vocabulary.from_counts.  unk: a word that stands for unknown ones, as <unk> does.
    """
    unknown = {UNK, unk}
    listed = None if words is None else set(words) - {unk, EOS} | {UNK}
    Vocabulary.from_counts({}, min_count=min_count, max_size=max_size, words=listed)  # refuses bad limits
    sizes: Counter[int] = Counter()  # how many words have each count
    for piece in counts.pieces:
        values, numbers = np.unique(piece.counts, return_counts=True)
        sizes.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    types = sum(sizes.values())
    for _, number in _chosen(counts, unknown):
        sizes[number] -= 1
    if listed is not None:
        kept = dict(_chosen(counts, listed - unknown))
    else:
        kept = dict(_most_frequent(counts, unknown, *_threshold(sizes, min_count, max_size)))
    unseen = counts.seen.tokens - sum(kept.values())
    return Vocabulary.from_counts(kept | {UNK: unseen, EOS: counts.seen.lines}, words=listed), types


def _most_frequent(
    counts: Counts, unknown: Collection[str], lowest: int, border: int, room: int
) -> Iterator[tuple[str, int]]:
    """The words with a count of at least `lowest`, and the first `room` ones with the count `border`."""
    for piece in counts.pieces:
        listed = piece.words.decode().split("\n")
        for k in np.flatnonzero((piece.counts >= lowest) | ((piece.counts == border) & (room > 0))).tolist():
            number = int(piece.counts[k])
            if listed[k] in unknown:
                continue
            if number < lowest:
                if room == 0:
                    continue
                room -= 1
            yield listed[k], number


def _threshold(sizes: Counter[int], min_count: int, max_size: int | None) -> tuple[int, int, int]:
    """The count from which on all words are kept; a lower one of which some are, and how many of them: 0 if none."""
    lowest, room = max(sizes, default=0) + 1, sum(sizes.values()) if max_size is None else max_size - 2
    for value in sorted(sizes, reverse=True):
        if value < min_count:
            break
        if sizes[value] > room:
            return lowest, value, room
        lowest, room = value, room - sizes[value]
    return lowest, 0, 0


def _chosen(counts: Counts, wanted: Collection[str]) -> Iterator[tuple[str, int]]:
    """The counted words that are in a list, and their counts."""
    for piece in counts.pieces:
        for word, number in zip(piece.words.decode().split("\n"), piece.counts.tolist(), strict=False):
            if word in wanted:
                yield word, number
