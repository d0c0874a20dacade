"""A table of words in compiled code: counts words, or knows their ids; its entries are in the order of arrival.

The arrays are described in nplm/kernels/words.py.  They grow by doubling; what was not written yet takes no memory.
"""

from collections.abc import Sequence

import numpy as np

from nplm.arrays import Array
from nplm.data.blocks import Block, Found, find_words
from nplm.data.sources import Source
from nplm.errors import InputError

ONE = np.ones(1, np.int64)
SMALLEST = 2**10  # slots
PIECE = 2**15  # words placed at a time


class Table:
    """Words and their counts."""

    def __init__(self) -> None:
        self._state = np.zeros(2, np.int64)  # entries and letters in use
        self._slots = np.zeros(SMALLEST, np.int32)
        self._entries = np.empty((0, 3), np.int64)
        self._letters = np.empty(0, np.uint8)

    def __len__(self) -> int:
        return int(self._state[0])

    @classmethod
    def of(cls, words: Sequence[str]) -> "Table | None":
        """The table in which words[k] has the id k + 2; None where one of them is no word for the compiled code."""
        table = cls()
        for start in range(0, len(words), PIECE):
            piece = words[start : start + PIECE]
            text = "".join(f"{word}\n" for word in piece).encode()
            try:
                found = find_words(Block(Source("vocabulary"), 2, text, 0))
            except InputError:
                return None
            if not found.words == found.filled == len(piece):
                return None
            table.add(found)
        return table if len(table) == len(words) else None

    def add(self, found: Found, weight: int = 1) -> None:
        """Count the words of a block, each so many times."""
        self._add(found.text, found.spans, found.keys, ONE if weight == 1 else ONE * weight)

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
        """Its words in the order of their bytes, which is that of their code points, and their counts."""
        n, end = self._state.tolist()
        words = self._letters[:end].tobytes().split(b"\n")[:-1]
        order = sorted(range(n), key=words.__getitem__)
        return [words[k] for k in order], self._entries[order, 2]

    def _add(self, text: Array, spans: Array, keys: Array, amounts: Array) -> None:
        from nplm.kernels.words import count

        self._reserve(keys.size, text.size + keys.size)
        count(text, spans, keys, amounts, self._slots, self._entries, self._letters, self._state)

    def _reserve(self, words: int, letters: int) -> None:
        """Make room for so many more words, and for their letters and line feeds; half of the slots stay empty."""
        from nplm.kernels.words import place_entries

        n, end = self._state.tolist()
        self._entries = _grown(self._entries, n, n + words)
        self._letters = _grown(self._letters, end, end + letters)
        if 2 * (n + words) > self._slots.size:
            self._slots = np.zeros(2 ** (4 * (n + words)).bit_length() // 2, np.int32)
            place_entries(self._entries, n, self._slots)


def _grown(array: Array, used: int, needed: int) -> Array:
    """The array with room for `needed` rows, the first `used` of them as they were."""
    if needed <= len(array):
        return array
    grown = np.empty((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[:used] = array[:used]
    return grown
