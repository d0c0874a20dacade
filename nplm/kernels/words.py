"""Words in bytes: their positions, a hash table that counts them, and their ids.

A text is whole lines of UTF-8, each ended by a line feed.  Words are separated by space, tab, line feed,
vertical tab, form feed, carriage return, and U+3000, whose bytes are E3 80 80.  One <s> at the start of a line and one
</s> at its end are dropped.

    spans    (m, 2) int32   begin and end of each word of a text; 0 and 0 for a line's end
    keys     (m,)   int64   hash of each word
    letters  (..,)  uint8   the words of a table, each followed by a line feed
    entries  (.., 3) int64  hash, begin in `letters` and count of each word of a table
    slots    (2^k,) int32   1 + the entry of a word with this hash, or of one whose own slot was taken; 0: none
"""

from typing import Any

from numpy.typing import NDArray

from nplm.kernels._jit import njit

Array = NDArray[Any]

LINES, FILLED, WORDS, ODD = range(4)  # places in a tally
BASIS, PRIME = 0x29CE484222325, 0x1B3  # the lower halves of FNV-1a's
MASK = 0x3FFFFFFFFFFFFF  # 54 bits: no product overflows int64, which in compiled code would be undefined behaviour
EOS, FIRST_WORD = 1, 2  # ids


@njit(inline=True)
def separator(text: Array, i: int) -> Any:
    """Bytes of the separator at i; 0 if there is none."""
    byte = text[i]
    if byte == 0xE3:  # the text is UTF-8, so two more bytes follow
        return 3 if text[i + 1] == 0x80 and text[i + 2] == 0x80 else 0
    return 1 if byte == 32 or (byte >= 9 and byte <= 13) else 0


@njit(inline=True)
def mark(text: Array, begin: int, end: int) -> Any:
    """1 for <s>, 2 for </s>, 0 for any other word."""
    length = end - begin
    if length < 3 or length > 4 or text[begin] != 60 or text[end - 2] != 115 or text[end - 1] != 62:
        return 0
    if length == 3:
        return 1
    return 2 if text[begin + 1] == 47 else 0


@njit()
def split(text: Array, longest: int, out_spans: Array, out_keys: Array, out_tally: Array) -> Any:
    """Find the words of a text; returns their number m, line ends included.

    out_tally: lines, lines with a word, words, and the first odd line, or -1.  A line is odd if it has more than
    `longest` bytes, holds a NUL byte, or has <s> or </s> inside: it is the caller's to say what is wrong with it.
    """
    i, m, line, words, odd = 0, 0, 0, 0, -1
    start, seen, filled, closed, found = 0, 0, 0, False, 0  # of the line: begin, tokens, whether </s> was seen; words
    while i < text.size:
        width = separator(text, i)
        if width == 0:
            begin, key = i, BASIS
            while separator(text, i) == 0:
                if text[i] == 0 and odd < 0:
                    odd = line
                key = ((key ^ int(text[i])) * PRIME) & MASK
                i += 1
            kind = mark(text, begin, i)
            if (closed or (kind == 1 and seen > 0)) and odd < 0:
                odd = line
            closed = kind == 2
            seen += 1
            if kind == 0:
                out_spans[m, 0], out_spans[m, 1], out_keys[m] = begin, i, key
                m += 1
                found += 1
        elif text[i] == 10:
            if i - start > longest and odd < 0:
                odd = line
            out_spans[m, 0], out_spans[m, 1] = 0, 0
            m += 1
            line += 1
            words += found
            filled += 1 if found > 0 else 0
            i += 1
            start, seen, closed, found = i, 0, False, 0
        else:
            i += width
    out_tally[LINES], out_tally[FILLED], out_tally[WORDS], out_tally[ODD] = line, filled, words, odd
    return m


@njit(inline=True)
def find(slots: Array, entries: Array, letters: Array, text: Array, begin: int, end: int, key: int) -> Any:
    """The slot of the word text[begin:end], or the empty one where it belongs."""
    last = slots.size - 1
    place = (key ^ (key >> 29)) & last
    while slots[place] != 0:
        entry = slots[place] - 1
        if entries[entry, 0] == key:
            first = entries[entry, 1]
            k = 0
            while begin + k < end and letters[first + k] == text[begin + k]:
                k += 1
            if begin + k == end and letters[first + k] == 10:
                break
        place = (place + 1) & last
    return place


@njit()
def count(
    text: Array, spans: Array, keys: Array, amounts: Array, slots: Array, entries: Array, letters: Array, state: Array
) -> None:
    """Add the words of a text to a table with room for all of them.

    amounts (m,) or (1,): how much each word, or every word, counts.  state (2,): entries and letters in use.
    """
    n, free = state[0], state[1]
    for w in range(keys.size):
        begin, end = spans[w, 0], spans[w, 1]
        if begin == end:
            continue
        amount = amounts[w] if amounts.size > 1 else amounts[0]
        place = find(slots, entries, letters, text, begin, end, keys[w])
        if slots[place] != 0:
            entries[slots[place] - 1, 2] += amount
            continue
        entries[n, 0], entries[n, 1], entries[n, 2] = keys[w], free, amount
        n += 1
        slots[place] = n
        for k in range(begin, end):
            letters[free] = text[k]
            free += 1
        letters[free] = 10
        free += 1
    state[0], state[1] = n, free


@njit()
def place_entries(entries: Array, n: int, out_slots: Array) -> None:
    """Fill empty slots with the n entries of a table."""
    last = out_slots.size - 1
    for entry in range(n):
        key = entries[entry, 0]
        place = (key ^ (key >> 29)) & last
        while out_slots[place] != 0:
            place = (place + 1) & last
        out_slots[place] = entry + 1


@njit()
def look_up(
    text: Array, spans: Array, keys: Array, slots: Array, entries: Array, letters: Array, out_ids: Array
) -> None:
    """out_ids (m,): entry + 2 of each word of a text, 0 for one that is not in the table, 1 for a line's end."""
    for w in range(keys.size):
        begin, end = spans[w, 0], spans[w, 1]
        if begin == end:
            out_ids[w] = EOS
            continue
        place = find(slots, entries, letters, text, begin, end, keys[w])
        out_ids[w] = slots[place] + FIRST_WORD - 1 if slots[place] != 0 else 0
