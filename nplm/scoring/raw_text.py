"""Figures of a raw text, which compare models whatever their units are (decision 0014).

[V8] bits = sum_n -log2 p(target_n | units before it) + sum over unknown units of 8 (bytes + 1)
[V9] per byte and per character: bits over those of the raw text, line ends included
[V10] perplexity per word = 2^(bits / (words + lines)): a line's end is a word, as </s> is in [V2]

<unk> says that a unit is unknown, not which it is.  [V8] lets it be spelled: 8 bits for every byte of its UTF-8 and
8 for its end.  So the bits are those of a code from which the text can be read again, and no model gains from
not knowing words.  What the unit does not keep (how wide white space is, what a tokenizer normalises) costs nothing.
"""

import math
from typing import NamedTuple

from nplm.data.size import TextSize
from nplm.scoring.tally import Tally, perplexity

LN2 = math.log(2)


class RawFigures(NamedTuple):
    """[V8] to [V10], and what they are taken over."""

    bytes: int
    characters: int
    words: int
    unknown_bits: float  # of [V8], what it takes to spell unknown units
    bits_per_byte: float
    bits_per_character: float
    perplexity_per_word: float


def raw_figures(tally: Tally, size: TextSize) -> RawFigures:
    """The figures of a text of that size, at least one line."""
    unknown_bits = 8.0 * (size.unknown_bytes + size.unknown)
    bits = math.inf if tally.zeros else tally.nats / LN2 + unknown_bits  # [V8]
    return RawFigures(
        size.bytes,
        size.characters,
        size.words,
        unknown_bits,
        bits / size.bytes,  # [V9]
        bits / size.characters,
        perplexity(bits * LN2 / (size.words + size.lines)),  # [V10]
    )
