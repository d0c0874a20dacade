"""Figures for a raw text, with which models of different units can be compared (decision 0014).

[V8] bits = sum_n -log2 p(target_n | units before it) + sum over unknown units of 8 (bytes + 1)
[V9] bits per byte and per character: bits / bytes and bits / characters of the raw text, line ends included
[V10] perplexity per word = 2^(bits / (words + lines)): a line's end counts as a word, as </s> does in [V2]

<unk> says that a unit is unknown, not which one it is.  [V8] adds its spelling: 8 bits for every byte of its UTF-8 and
8 for its end.  So the bits are those of a code from which the text can be decoded, and a model does not gain by
not knowing words.  What the unit does not keep (the width of white space, what a tokenizer normalises) costs nothing.
"""

import math
from typing import NamedTuple

from nplm.data.size import TextSize
from nplm.scoring.tally import Tally, perplexity

LN2 = math.log(2)


class RawFigures(NamedTuple):
    """[V8] to [V10], and their denominators."""

    bytes: int
    characters: int
    words: int
    unknown_bits: float  # the second term of [V8], for spelling unknown units
    bits_per_byte: float
    bits_per_character: float
    perplexity_per_word: float


def raw_figures(tally: Tally, size: TextSize) -> RawFigures:
    """The figures for a text of the given size, at least one line."""
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
