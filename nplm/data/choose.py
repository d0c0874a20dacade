"""Choosing the vocabulary from pieces of counts, which are read twice; only the words that are kept are in memory.

The words are those that Vocabulary.from_counts keeps, in its order: by count, the most frequent first, ties by text.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import compress

import numpy as np

from nplm.arrays import Array
from nplm.data.count import Counts, Piece
from nplm.data.sources import TextPath, text_name
from nplm.data.text import open_text
from nplm.data.tokens import EOS, UNK
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError


def choose_vocabulary(
    counts: Counts,
    *,
    min_count: int = 1,
    max_size: int | None = None,
    words: Iterable[str] | None = None,
    unk: str = UNK,
) -> tuple[Vocabulary, int]:
    """The vocabulary of the words counted, and the number of different words, including the unknown word.

    min_count, max_size, words: as for Vocabulary.from_counts.  unk: a word for unknown words, in addition to <unk>.
    """
    unknown = {UNK, unk}
    listed = None if words is None else set(words) - {unk, EOS} | {UNK}
    Vocabulary.from_counts({}, min_count=min_count, max_size=max_size, words=listed)  # rejects bad limits
    sizes: Counter[int] = Counter()  # how many words have each count; unknown words have count 0
    for piece in counts.pieces:
        values, numbers = np.unique(_known(piece, unknown), return_counts=True)
        sizes.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    types = sum(sizes.values()) - sizes[0] + bool(sizes[0])
    if listed is not None:
        found = _listed(counts, listed - unknown)
        cut = {UNK: counts.seen.tokens - sum(found.values()), EOS: counts.seen.lines}
        return Vocabulary.from_counts(found | cut, words=listed), types
    kept, numbers = _most_frequent(counts, unknown, *_threshold(sizes, min_count, max_size))
    order = np.argsort(-numbers, kind="stable")  # the pieces are sorted by text
    heads = [counts.seen.tokens - int(numbers.sum()), counts.seen.lines]
    return Vocabulary([UNK, EOS, *map(kept.__getitem__, order.tolist())], np.append(heads, numbers[order])), types


def _most_frequent(
    counts: Counts, unknown: Collection[str], lowest: int, border: int, room: int
) -> tuple[list[str], Array]:
    """The words with a count of at least `lowest`, and the first `room` words with the count `border`, by text."""
    words, numbers = list[str](), [np.zeros(0, np.int64)]
    for piece in counts.pieces:
        found = _known(piece, unknown)
        chosen = found >= lowest
        at_border = np.flatnonzero(found == border)[:room]
        chosen[at_border] = True
        room -= at_border.size
        words += compress(piece.words.decode().split("\n"), chosen.tolist())
        numbers.append(found[chosen])
    return words, np.concatenate(numbers)


def _threshold(sizes: Counter[int], min_count: int, max_size: int | None) -> tuple[int, int, int]:
    """The lowest count whose words are all kept, a lower count of which only some are, and how many (0 if none)."""
    lowest, room = max(sizes, default=0) + 1, sum(sizes.values()) if max_size is None else max_size - 2
    for value in sorted(sizes, reverse=True):
        if value < min_count:
            break
        if sizes[value] > room:
            return lowest, value, room
        lowest, room = value, room - sizes[value]
    return lowest, 0, 0


def _known(piece: Piece, unknown: Collection[str]) -> Array:
    """The counts of a piece, with 0 for the unknown words."""
    words, counts = b"\n" + piece.words, piece.counts.astype(np.int64)
    for word in unknown:
        place = words.find(f"\n{word}\n".encode())
        if place >= 0:
            counts[words.count(b"\n", 0, place)] = 0
    return counts


def _listed(counts: Counts, listed: Collection[str]) -> dict[str, int]:
    """The counts of the words in a list."""
    found: dict[str, int] = {}
    for piece in counts.pieces:
        words = piece.words.decode().split("\n")
        found |= {word: count for word, count in zip(words, piece.counts.tolist(), strict=False) if word in listed}
    return found


def read_words(path: TextPath) -> list[str]:
    """The word list in a file, one word per line; empty lines, <s> and </s> are ignored.

    Raises InputError if a line has two words, or if there is no word except <unk>.
    """
    words = []
    for number, line in enumerate(open_text(path), start=1):
        if len(line) > 1:
            raise InputError(f"{text_name(path)}, line {number}: {len(line)} words; a word list has one word per line")
        words += line
    if not set(words) - {UNK}:
        raise InputError(f"{text_name(path)}: contains no words; a word list has one word per line")
    return words
