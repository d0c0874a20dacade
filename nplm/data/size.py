"""How large a raw text is: what figures per byte, per character and per word are taken over (decision 0014).

A line counts with its end, one byte and one character, which </s> stands for: the last one too, and CRLF as LF.
Words are those between white space by the rule of `WORDS`, whatever the model's unit: two models of one text
are compared over the same bytes, characters and words.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nplm.data.units import WORDS
from nplm.data.vocabulary import UNK


class TextSize(NamedTuple):
    """The size of a raw text, and what a model's vocabulary does not know of it."""

    bytes: int = 0  # of UTF-8, line ends included
    characters: int = 0  # code points, line ends included
    words: int = 0  # between white space; line ends are none
    lines: int = 0
    unknown: int = 0  # units outside the vocabulary; "<unk>" in the text, as prepared texts have it, is none
    unknown_bytes: int = 0  # of UTF-8, of their symbols

    def plus(self, other: "TextSize") -> "TextSize":
        """The size of both texts."""
        return TextSize(*(a + b for a, b in zip(self, other, strict=True)))


def measure_line(line: str) -> TextSize:
    """The size of a line without its line end, the end counted."""
    return TextSize(utf8_length(line) + 1, len(line) + 1, len(WORDS.split(line)), 1)


def measure_lines(lines: Iterable[str]) -> TextSize:
    """The size of lines without their line ends, the ends counted."""
    total = TextSize()
    for line in lines:
        total = total.plus(measure_line(line))
    return total


class Meter:
    """Adds up a text while it is read: `line` for every line, `unknown` for units outside the vocabulary."""

    def __init__(self) -> None:
        self.size = TextSize()

    def line(self, line: str) -> None:
        """Counts a line without its line end."""
        self.size = self.size.plus(measure_line(line))

    def unknown(self, units: Sequence[str]) -> None:
        """Counts units that became <unk>; those that were <unk> in the text are passed over."""
        lengths = [utf8_length(unit) for unit in units if unit != UNK]
        self.size = self.size.plus(TextSize(unknown=len(lengths), unknown_bytes=sum(lengths)))


def utf8_length(text: str) -> int:
    """Bytes of a text in UTF-8; a lone surrogate has three."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
