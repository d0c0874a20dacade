"""A hash table of words in compiled code: counts words or looks up their ids; entries are in order of insertion.

block  --find_words-->  words and their hashes  --add----->  counts
                                                --look_up->  ids
The arrays are described in nplm/kernels/words.py.  They grow by doubling; unwritten parts take no memory.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.sources import Source
from nplm.data.text import MAX_LINE, Block, units_of
from nplm.data.units import WORDS, Unit, Words
from nplm.errors import InputError

ONE = np.ones(1, np.int64)
SMALLEST = 2**10  # slots
PIECE = 2**15  # words inserted at a time
MOST_WORDS, MOST_BYTES = 2**21, 2**28  # at which a table is full; a word takes about 50 bytes


class Found(NamedTuple):
    """The words of a block."""

    text: Array  # (..,) uint8
    spans: Array  # (m, 2) int32, start and stop of each word; 0 and 0 for a line's end
    keys: Array  # (m,) int64
    filled: int  # lines with a word
    words: int


def is_fast(unit: Unit) -> bool:
    """Whether compiled code can split text into these units."""
    return isinstance(unit, Words) and unit.rule == WORDS.rule


def find_words(block: Block) -> Found:
    """The words of a block.  Raises InputError, with file and line, if it is not text."""
    from nplm.kernels.words import split

    text = np.frombuffer(block.text, np.uint8)[block.skipped :]
    spans, keys, tally = np.empty((text.size, 2), np.int32), np.empty(text.size, np.int64), np.full(4, -1, np.int64)
    m = int(split(text, MAX_LINE, spans, keys, tally)) if _is_utf8(block.text) else 0
    _, filled, words, odd = tally.tolist()
    if filled < 0 or odd >= 0:
        for _ in units_of(block, WORDS):  # raises the error that says what is wrong, and where
            pass
    return Found(text, spans[:m], keys[:m], filled, words)


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


class Table:
    """Words and their counts."""

    def __init__(self) -> None:
        self._state = np.zeros(2, np.int64)  # entries and letters in use
        self._slots = np.zeros(SMALLEST, np.int32)
        self._entries = np.empty((0, 3), np.int64)
        self._letters = np.empty(0, np.uint8)

    def __len__(self) -> int:
        return int(self._state[0])

    @property
    def is_full(self) -> bool:
        """Whether the table has reached its largest size."""
        words, letters = self._state.tolist()
        return bool(words > MOST_WORDS or letters > MOST_BYTES)

    @classmethod
    def of(cls, words: Sequence[str]) -> "Table | None":
        """The table in which words[k] has the id k + 2; None if the compiled code does not read each as one word."""
        table = cls()
        for start in range(0, len(words), PIECE):
            piece = words[start : start + PIECE]
            try:
                found = find_words(Block(Source("vocabulary"), 2, "\n".join([*piece, ""]).encode(), 0))
            except InputError:
                return None
            if not found.words == found.filled == len(piece):
                return None
            table.add(found)
        return table if len(table) == len(words) else None

    def add(self, found: Found) -> None:
        """Count the words of a block."""
        self._add(found.text, found.spans, found.keys, ONE)

    def merge(self, other: "Table") -> None:
        """Add the counts of another table."""
        n, end = other._state.tolist()
        begins = np.append(other._entries[:n, 1], end)
        spans = np.stack([begins[:-1], begins[1:] - 1], axis=1).astype(np.int32)
        keys, amounts = other._entries[:n, 0].copy(), np.append(other._entries[:n, 2], 0)
        self._add(other._letters[:end], spans, keys, amounts)

    def look_up(self, found: Found) -> Array:
        """The ids (m,) int32 of a block's words and line ends."""
        from nplm.kernels.words import look_up

        ids = np.empty(found.keys.size, np.int32)
        look_up(found.text, found.spans, found.keys, self._slots, self._entries, self._letters, ids)
        return ids

    def in_order(self) -> tuple[list[bytes], Array]:
        """The words, sorted by their bytes, which is the order of their code points, and their counts."""
        n, end = self._state.tolist()
        words = self._letters[:end].tobytes().split(b"\n")[:-1]
        order = sorted(range(n), key=words.__getitem__)
        return [words[k] for k in order], self._entries[order, 2]

    def _add(self, text: Array, spans: Array, keys: Array, amounts: Array) -> None:
        from nplm.kernels.words import count

        self._reserve(keys.size, text.size + keys.size)
        count(text, spans, keys, amounts, self._slots, self._entries, self._letters, self._state)

    def _reserve(self, words: int, letters: int) -> None:
        """Reserve space for more words and their letters and line feeds; at least half of the slots stay empty."""
        from nplm.kernels.words import place_entries

        n, end = self._state.tolist()
        self._entries = _grown(self._entries, n, n + words)
        self._letters = _grown(self._letters, end, end + letters)
        if 2 * (n + words) > self._slots.size:
            self._slots = np.zeros(1 << (4 * (n + words)).bit_length(), np.int32)
            place_entries(self._entries, n, self._slots)


def _grown(array: Array, used: int, needed: int) -> Any:
    """The array, enlarged to at least `needed` rows, with its first `used` rows kept."""
    if needed <= len(array):
        return array
    grown = np.empty((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[:used] = array[:used]
    return grown
