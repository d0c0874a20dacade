"""The standard streams of the command: all open, UTF-8 whatever the locale, and stderr one that may be lost."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


class Expendable:
    """A text stream whose failures are nobody's business: what is said there is not what the command is for.

    The reader of a pipe that has gone, a full disk, a terminal that was closed: what follows is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()


@contextmanager
def streams() -> Iterator[None]:
    """The streams as the command needs them, until it ends."""
    _open_streams()
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):  # one that a caller has put there may not have it
            stream.reconfigure(encoding="utf-8", errors=errors)
    before = sys.stderr
    expendable: Any = Expendable(before)
    sys.stderr = expendable
    try:
        yield
    finally:
        if sys.stderr is expendable:
            sys.stderr = before


def _open_streams() -> None:
    """Where a caller has closed a standard stream, open the null device in its place.

    Else a model file would get number 1 or 2, and what a library writes there would go into the model.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w" if number else "r", encoding="utf-8"))  # noqa: SIM115
