"""The interface of a unit.

A line is given without its line end.  </s> is not a unit: it stands for the line's end and is added when text is read.
"""

from collections.abc import Sequence
from typing import Protocol


class Unit(Protocol):
    """How lines are split into units, and joined again."""

    @property
    def kind(self) -> str:
        """word, char, grapheme, spm or hf."""

    @property
    def name(self) -> str:
        """As `--unit` takes it."""

    @property
    def identity(self) -> str:
        """Distinguishes this unit from every other: a text encoded under one identity is not read under another.

        The part after " by " is the library that split the text, and its version.
        """

    @property
    def data(self) -> bytes:
        """The bytes of the tokenizer's file; empty for a unit without one."""

    def split(self, line: str) -> list[str]:
        """The units of a line without its line end."""

    def join(self, units: Sequence[str]) -> str:
        """The line that these units came from, as far as the units determine it."""

    def normalise(self, line: str) -> str:
        """The line as its units represent it: `join(split(line))`, computed in another way."""
