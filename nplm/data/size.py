"""The size of a raw text: the denominators of figures per byte, per character and per word (decision 0014).

A line includes its end, which counts as one byte and one character and corresponds to </s>; so does the last line's,
and CRLF counts as LF.  Words are split at white space by the rule of `WORDS`, whatever the model's unit, so that
two models are compared over the same bytes, characters and words of a text.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nplm.data.tokens import UNK
from nplm.data.units import WORDS


class TextSize(NamedTuple):
    """The size of a raw text, and of the part that a model's vocabulary does not know."""

    bytes: int = 0  # of UTF-8, line ends included
    characters: int = 0  # code points, line ends included
    words: int = 0  # separated by white space; line ends are not words
    lines: int = 0
    unknown: int = 0  # units outside the vocabulary; a literal "<unk>", as in prepared texts, is not counted
    unknown_bytes: int = 0  # their symbols' length in UTF-8

    def plus(self, other: "TextSize") -> "TextSize":
        """The size of both texts together."""
        return TextSize(*(a + b for a, b in zip(self, other, strict=True)))


def measure_line(line: str) -> TextSize:
    """The size of a line, which is given without its line end; the end is counted."""
    return TextSize(utf8_length(line) + 1, len(line) + 1, len(WORDS.split(line)), 1)


def measure_lines(lines: Iterable[str]) -> TextSize:
    """The size of lines, which are given without their line ends; the ends are counted."""
    total = TextSize()
    for line in lines:
        total = total.plus(measure_line(line))
    return total


class Meter:
    """Measures a text while it is read: `line` for every line, `unknown` for units outside the vocabulary."""

    def __init__(self) -> None:
        self.size = TextSize()

    def line(self, line: str) -> None:
        """Count a line, given without its line end."""
        self.size = self.size.plus(measure_line(line))

    def unknown(self, units: Sequence[str]) -> None:
        """Count units that became <unk>; those that were <unk> in the text are ignored."""
        lengths = [utf8_length(unit) for unit in units if unit != UNK]
        self.size = self.size.plus(TextSize(unknown=len(lengths), unknown_bytes=sum(lengths)))


def utf8_length(text: str) -> int:
    """Bytes of a text in UTF-8; a lone surrogate counts as three."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
