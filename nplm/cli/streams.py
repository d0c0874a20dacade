"""The standard streams of the command: all open, UTF-8 in any locale, and with errors on stderr ignored."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


class Expendable:
    """A text stream whose failures are ignored, because what is written to it is not the command's output.

    If the reader of a pipe has exited, a disk is full or a terminal was closed, further text is dropped.
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
    """Set the standard streams up for the command, until it ends."""
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
    """If a caller has closed a standard stream, open the null device in its place.

    Otherwise a model file could get descriptor 1 or 2, and what a library prints would be written into the model.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w" if number else "r", encoding="utf-8"))  # noqa: SIM115
