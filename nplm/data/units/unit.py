"""The interface of a unit.

A line has no line end.  </s> is not a unit: it stands for the line's end and is added by the reader of the text.
"""

from collections.abc import Sequence
from typing import Protocol


class Unit(Protocol):
    """How lines are divided into units, and put together again."""

    @property
    def kind(self) -> str:
        """word, char, grapheme, spm or hf."""

    @property
    def name(self) -> str:
        """As `--unit` takes it."""

    @property
    def identity(self) -> str:
        """What tells this unit from every other: a text encoded under one identity is not read under another.

        What follows " by " is the library that did the work, and its version.
        """

    @property
    def data(self) -> bytes:
        """The bytes of the tokenizer's file; empty for a unit without one."""

    def split(self, line: str) -> list[str]:
        """The units of a line without its line end."""

    def join(self, units: Sequence[str]) -> str:
        """The line that these units came from, as far as they determine it."""

    def normalise(self, line: str) -> str:
        """The line as its units say it: `join(split(line))` by another way."""
