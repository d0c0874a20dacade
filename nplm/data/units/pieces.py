"""What the units of two tokenizer libraries share: pieces as symbols, and text that the tokenizer cannot represent.

Each piece of a library has its own symbol (symbols.py; the library's sign for a space stays ▁).  Two kinds of text
bypass the tokenizer, one code point at a time, with the same symbols as in the unit `char`:
- text that it does not know and would return as its own <unk>: this way the text is not lost, and the model's
  vocabulary decides what is unknown;
- lone surrogates, which no library accepts, and ▁ if the tokenizer takes it for a space.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import ClassVar

from nplm.data.units.symbols import SPACE, symbol, text_of
from nplm.errors import InputError

SURROGATES = "\ud800-\udfff"


@dataclass(frozen=True)
class Pieces(ABC):
    """Pieces of a tokenizer: its file's name and bytes, and the version of the library that read it."""

    file: str
    data: bytes
    version: str = ""

    kind: ClassVar[str]
    package: ClassVar[str]

    @property
    def name(self) -> str:
        """The kind and the file, as `--unit` takes it."""
        return f"{self.kind}:{self.file}"

    @property
    def identity(self) -> str:
        """The file's content, and the library that splits text here."""
        return f"{self.kind} sha256 {sha256(self.data).hexdigest()} by {self.package} {self._library_version}"

    @property
    @abstractmethod
    def _library_version(self) -> str:
        """The version of the library that is installed."""

    @abstractmethod
    def _pieces(self) -> Iterable[str]:
        """All pieces that text can be split into."""

    @property
    @abstractmethod
    def _takes_space_mark(self) -> bool:
        """Whether a ▁ in a text survives a round trip."""

    @abstractmethod
    def _divide(self, text: str) -> list[str]:
        """The pieces of a text; what the tokenizer does not know is given as single code points."""

    @abstractmethod
    def _unite(self, pieces: Sequence[str]) -> str:
        """The text of pieces."""

    @abstractmethod
    def _normal(self, text: str) -> str:
        """The text as the tokenizer normalises it."""

    @cached_property
    def _symbols(self) -> dict[str, str]:
        """The symbol of every piece."""
        symbols = {piece: symbol(piece.replace(SPACE, " ")) for piece in self._pieces()}
        if len(set(symbols.values())) < len(symbols):  # the tokenizer distinguishes ▁ from a space
            symbols = {piece: symbol(piece) for piece in symbols}
        return symbols

    @cached_property
    def _by_symbol(self) -> dict[str, str]:
        return {symbol: piece for piece, symbol in self._symbols.items()}

    @cached_property
    def _passed_by(self) -> re.Pattern[str]:
        """The text that bypasses the tokenizer."""
        return re.compile(f"([{SURROGATES}])" if self._takes_space_mark else f"([{SPACE}{SURROGATES}])")

    def split(self, line: str) -> list[str]:
        """The symbols of the line's pieces."""
        units: list[str] = []
        for k, part in enumerate(self._passed_by.split(line)):  # every other part is a match of the pattern
            units += [symbol(part)] if k % 2 else map(self._symbol, self._divide(part) if part else ())
        return units

    def join(self, units: Sequence[str]) -> str:
        """The text of the symbols."""
        parts = []
        for passed_by, group in groupby(map(self._piece, units), key=itemgetter(0)):
            pieces = [piece for _, piece in group]
            parts.append("".join(pieces) if passed_by else self._unite(pieces))
        return "".join(parts)

    def normalise(self, line: str) -> str:
        """The line as the tokenizer normalises it (NFKC, lower case, spaces), which may be irreversible."""
        parts = self._passed_by.split(line)
        return "".join(part if k % 2 or not part else self._normal(part) for k, part in enumerate(parts))

    def _symbol(self, piece: str) -> str:
        return self._symbols.get(piece) or symbol(piece)

    def _piece(self, unit: str) -> tuple[bool, str]:
        """Whether the unit bypassed the tokenizer, and its piece or text."""
        if (piece := self._by_symbol.get(unit)) is not None:
            return False, piece
        text = text_of(unit)
        return self._passed_by.fullmatch(text) is not None, text


def damaged(file: str, what: str, error: object) -> InputError:
    """The error for a tokenizer's file that its library cannot read."""
    reason = " ".join(str(error).split())
    return InputError(f"{file}: not {what}, or damaged ({reason[:200]}); name the file that the library wrote")
