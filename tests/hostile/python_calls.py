"""Faults at the calls that Python makes: `os`, `open` and the methods of files, wrapped in this process.

Only calls that concern a watched folder are counted; the n-th of them fails, in one of KINDS:

ENOSPC EIO EACCES   an error; a disk that is full stays full for whatever writes
short               half of the data is written, then the disk is full
kill                the process is killed before the call, `kill half` in the middle of a write, `kill after` after it
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("ENOSPC", "EIO", "EACCES", "short", "kill", "kill half", "kill after")
BY_PATH = ("stat", "lstat", "scandir", "listdir", "mkdir", "rmdir", "unlink", "remove", "rename", "replace", "chmod")
BY_NUMBER = ("fsync", "close", "fstat", "write")
WRITES = frozenset({"open", "write", "writelines", "flush", "fsync", "mkdir", "rename", "replace", "truncate"})
METHODS = ("read", "readline", "readlines", "readinto", "write", "writelines", "flush", "close", "truncate", "seek")


class PythonCalls:
    """Counts calls, and lets one of them fail."""

    def __init__(self) -> None:
        self.folder, self.at, self.kind, self.calls = "", 0, "", 0
        self.numbers: set[int] = set()  # of files in the folder

    def arm(self, folder: Path, at: int = 0, kind: str = "") -> None:
        """Wrap everything, for the rest of this process; at = 0: only count."""
        self.folder, self.at, self.kind = str(folder), at, kind
        for name in BY_PATH:
            setattr(os, name, self._by_path(name, getattr(os, name)))
        for name in BY_NUMBER:
            setattr(os, name, self._by_number(name, getattr(os, name)))
        os.open = self._os_open(os.open)  # type: ignore[assignment]
        opened: Any = self._open(io.open)
        io.open = builtins.open = opened

    def count(self) -> int:
        """Calls so far."""
        return self.calls

    def call(self, name: str, real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """The call itself, or the fault in its place."""
        self.calls += 1
        full = self.kind in ("ENOSPC", "short") and 0 < self.at < self.calls and name in WRITES
        if self.calls != self.at and not full:
            return real(*args, **more)
        if name == "close":  # the file is closed all the same
            real(*args, **more)
        if self.kind in ("short", "kill half") and not full and name in ("write", "writelines"):
            data = b"".join(map(bytes, args[-1])) if name == "writelines" else args[-1]
            half = data[: len(data) // 2]
            real([half] if name == "writelines" else half)
        if self.kind == "kill after":
            real(*args, **more)
        if self.kind.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.kind, errno.ENOSPC)
        path = args[0] if args and isinstance(args[0], (str, os.PathLike)) else None
        raise OSError(number, os.strerror(number), path)

    def _watched(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and str(Path.cwd() / path).startswith(self.folder)

    def _by_path(self, name: str, real: Any) -> Any:
        def wrapped(path: Any = ".", *args: Any, **more: Any) -> Any:
            return self.call(name, real, path, *args, **more) if self._watched(path) else real(path, *args, **more)

        return wrapped

    def _by_number(self, name: str, real: Any) -> Any:
        def wrapped(number: int, *args: Any, **more: Any) -> Any:
            if number not in self.numbers:
                return real(number, *args, **more)
            if name == "close":
                self.numbers.discard(number)
            return self.call(name, real, number, *args, **more)

        return wrapped

    def _os_open(self, real: Any) -> Any:
        def wrapped(path: Any, *args: Any, **more: Any) -> Any:
            if not self._watched(path):
                return real(path, *args, **more)
            self.numbers.add(number := self.call("open", real, path, *args, **more))
            return number

        return wrapped

    def _open(self, real: Any) -> Any:
        def wrapped(path: Any, *args: Any, **more: Any) -> Any:
            if not self._watched(path):
                return real(path, *args, **more)
            file = WatchedFile(self.call("open", real, path, *args, **more), self)
            self.numbers.add(file.file.fileno())
            return file

        return wrapped


class WatchedFile:
    """A file whose methods are counted."""

    def __init__(self, file: Any, calls: PythonCalls) -> None:
        self.file, self.calls = file, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.file, name)
        if name not in METHODS:
            return found
        return lambda *args: self.calls.call(name, found, *args)

    def __enter__(self) -> "WatchedFile":
        return self

    def __exit__(self, *error: Any) -> None:
        self.calls.numbers.discard(self.file.fileno() if not self.file.closed else -1)
        self.calls.call("close", self.file.close)

    def __iter__(self) -> Any:
        return iter(self.file)
