"""Units: what a line of text is divided into before it is counted, encoded and predicted.

    line  --split-->  units  --Vocabulary.encode-->  ids        and back:  ids  --decode-->  units  --join-->  line

A line here has no line end.  </s> is not a unit: it stands for the line's end and is added by the reader of the text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Unit(Protocol):
    """How lines are divided into units, and put together again."""

    @property
    def name(self) -> str:
        """As `--unit` takes it."""

    @property
    def identity(self) -> str:
        """What tells this unit from every other: a text encoded under one identity is not read under another."""

    def split(self, line: str) -> list[str]:
        """The units of a line without its line end."""

    def join(self, units: Sequence[str]) -> str:
        """The line that these units came from, as far as they determine it."""


# What separates words, by name.  A model keeps the rule that it was trained with.
WHITE_SPACE: dict[str, Callable[[str], list[str]]] = {
    "ascii+u3000": re.compile("[^ \t\n\v\f\r\u3000]+").findall,  # ASCII white space, and the ideographic space
    "unicode": str.split,  # of models made before the rule was stored: everything that Python calls white space
}


@dataclass(frozen=True)
class Words:
    """Words between white space; `rule` is a name in WHITE_SPACE."""

    rule: str = "ascii+u3000"
    name: str = "word"

    @property
    def identity(self) -> str:
        """The name and the rule."""
        return f"word {self.rule}"

    def split(self, line: str) -> list[str]:
        """The words of a line."""
        return WHITE_SPACE[self.rule](line)

    def join(self, units: Sequence[str]) -> str:
        """The words with one space between them."""
        return " ".join(units)


WORDS = Words()
