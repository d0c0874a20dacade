"""Characters of the raw text: its code points, or its grapheme clusters.  Nothing is normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

from nplm import optional
from nplm.data.units.symbols import symbol, text_of


class _Symbols(dict[str, str]):
    """A cache of the symbols of code points."""

    def __missing__(self, sign: str) -> str:
        self[sign] = symbol(sign)
        return self[sign]


_SYMBOLS = _Symbols()


@dataclass(frozen=True)
class Characters:
    """Code points; `join(split(line))` is always the line."""

    kind: str = "char"
    name: str = "char"
    identity: str = "char"
    data: bytes = b""

    def split(self, line: str) -> list[str]:
        """The symbol of every code point."""
        return list(map(_SYMBOLS.__getitem__, line))

    def join(self, units: Sequence[str]) -> str:
        """The text of the symbols."""
        return "".join(map(text_of, units))

    def normalise(self, line: str) -> str:
        """The line itself."""
        return line


@dataclass(frozen=True)
class Graphemes:
    """Extended grapheme clusters (Unicode's UAX 29), found by the package regex; `version` is its version."""

    version: str = ""  # of the package when the model was made; "": the one that is installed
    kind: str = "grapheme"
    name: str = "grapheme"
    data: bytes = b""

    @cached_property
    def _regex(self) -> ModuleType:
        return optional.load("regex", "grapheme", "the unit grapheme")

    @property
    def identity(self) -> str:
        """The name, and the version of the library that splits text here."""
        return f"grapheme by regex {self._regex.__version__}"

    def split(self, line: str) -> list[str]:
        """The symbol of every cluster."""
        return list(map(symbol, self._regex.findall(r"\X", line)))

    def join(self, units: Sequence[str]) -> str:
        """The text of the symbols."""
        return "".join(map(text_of, units))

    def normalise(self, line: str) -> str:
        """The line itself."""
        return line

    def __reduce__(self) -> "tuple[type[Graphemes], tuple[str]]":
        """Pickle without the module, which cannot be pickled."""
        return Graphemes, (self.version,)
