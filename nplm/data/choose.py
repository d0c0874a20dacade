"""Which of the counted words are kept: the vocabulary of a text, from pieces of counts that are each read twice.

The words are those that Vocabulary.from_counts keeps, in its order: by count, the most frequent first, ties by text.
"""

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

from nplm.data.count import Counts, Piece
from nplm.data.vocabulary import EOS, UNK, Vocabulary


def choose_vocabulary(
    counts: Counts,
    *,
    min_count: int = 1,
    max_size: int | None = None,
    words: Iterable[str] | None = None,
    unk: str | None = None,
) -> tuple[Vocabulary, int]:
    """The vocabulary of the words counted, and how many different words there are, the unknown one included.

    min_count, max_size, words: as for Vocabulary.from_counts.  unk: a word that stands for unknown ones, as <unk> does.
    """
    listed = None if words is None else {word for word in words if word != unk}
    Vocabulary.from_counts({}, min_count=min_count, max_size=max_size, words=listed)  # refuses bad limits
    unknown = [word.encode() for word in (UNK, unk) if word is not None]
    sizes: Counter[int] = Counter()  # how many words have each count
    total, has_unknown = 0, False
    for piece in counts.pieces:
        known = _without(piece, unknown)
        total += int(piece.counts.sum())
        has_unknown |= len(known.counts) < len(piece.counts)
        values, numbers = np.unique(known.counts, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            sizes[value] += number
    types, eos = sum(sizes.values()) + has_unknown, counts.seen.weighted_lines
    if listed is not None:
        found = _listed(counts, listed - {UNK, EOS})
        found |= {UNK: total - sum(found.values()), EOS: eos}
        return Vocabulary.from_counts(found, words=listed), types
    lowest, border, room = _threshold(sizes, min_count, None if max_size is None else max_size - 2)
    kept: list[str] = []
    kept_counts: list[np.ndarray] = []
    for piece in counts.pieces:
        known = _without(piece, unknown)
        at_border = np.flatnonzero(known.counts == border)[:room]
        room -= at_border.size
        places = np.sort(np.append(np.flatnonzero(known.counts >= lowest), at_border))
        listed_words = known.words.decode().split("\n")
        kept += [listed_words[k] for k in places.tolist()]
        kept_counts.append(known.counts[places])
    numbers = np.concatenate(kept_counts) if kept_counts else np.zeros(0, np.int64)
    order = np.argsort(-numbers, kind="stable")  # the pieces are sorted by word
    ordered = numbers[order].tolist()
    tokens = [UNK, EOS, *(kept[k] for k in order.tolist())]
    return Vocabulary(tokens, [total - sum(ordered), eos, *ordered]), types


def _threshold(sizes: Counter[int], min_count: int, limit: int | None) -> tuple[int, int, int]:
    """The count from which on all words are kept; a lower one of which some are, and how many of them: 0 if none."""
    lowest, room = max(sizes, default=0) + 1, sum(sizes.values()) if limit is None else limit
    for value in sorted(sizes, reverse=True):
        if value < min_count:
            break
        if sizes[value] > room:
            return lowest, value, room
        lowest, room = value, room - sizes[value]
    return lowest, 0, 0


def _without(piece: Piece, unknown: Iterable[bytes]) -> Piece:
    """The piece without these words."""
    for word in unknown:
        place = (b"\n" + piece.words).find(b"\n" + word + b"\n")
        if place >= 0:
            rest = piece.words[:place] + piece.words[place + len(word) + 1 :]
            piece = Piece(rest, np.delete(piece.counts, piece.words.count(b"\n", 0, place)))
    return piece


def _listed(counts: Counts, listed: Collection[str]) -> dict[str, int]:
    """The counts of the words in a list."""
    found: dict[str, int] = {}
    for piece in counts.pieces:
        for word, count in zip(piece.words.decode().split("\n"), piece.counts.tolist(), strict=False):
            if word in listed:
                found[word] = count
    return found
