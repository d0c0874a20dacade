"""Opening a source: .gz, .bz2, .xz and .zst are unpacked by suffix, and a pipe that is read twice is kept."""

import bz2
import gzip
import io
import lzma
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from nplm import optional
from nplm.data.sources import STDIN, Source
from nplm.errors import InputError

OPENERS: dict[str, Any] = {
    ".gz": lambda raw, name: gzip.GzipFile(fileobj=raw),
    ".bz2": lambda raw, name: bz2.BZ2File(raw),
    ".xz": lambda raw, name: lzma.LZMAFile(raw),  # noqa: SIM115
    ".zst": lambda raw, name: _zstd(name).ZstdFile(raw),
}


@contextmanager
def open_source(source: Source) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The unpacked bytes, and the file they come from, whose position tells how far reading is.

    Raises OSError, and InputError where a package is missing; `damage` knows what reading may raise.
    """
    with _open_raw(source) as raw:
        opener = OPENERS.get(Path(source.path).suffix)
        yield (raw if opener is None else cast(BinaryIO, io.BufferedReader(opener(raw, source.name)))), raw


@contextmanager
def _open_raw(source: Source) -> Iterator[BinaryIO]:
    if source.kept is not None:
        source.kept.seek(0)
        yield source.kept
    elif source.path != STDIN:
        with Path(source.path).open("rb") as file:
            yield file
    elif sys.stdin is None:
        raise InputError("standard input: it is closed; give a file, or a pipe that is open")
    else:
        yield sys.stdin.buffer


def _zstd(name: str) -> Any:
    package = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return optional.load(package, "zstd", f"{name}: unpacking .zst")


def damage(source: Source, error: Exception) -> str | None:
    """What is damaged, if that is what the error of a reader says: "gzip"; None for any other error."""
    kind = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}.get(Path(source.path).suffix)
    known = isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError))
    known |= type(error).__name__ == "ZstdError"
    known |= isinstance(error, OSError) and error.errno is None  # of bz2
    return kind if known else None


@contextmanager
def readable_twice(sources: list[Source]) -> Iterator[list[Source]]:
    """The same sources, pipes kept in temporary files until the block ends.  Raises InputError if there is no room."""
    kept: list[BinaryIO] = []
    try:
        yield [_keep(source, kept) if source.is_pipe else source for source in sources]
    finally:
        for file in kept:
            file.close()


def _keep(source: Source, opened: list[BinaryIO]) -> Source:
    try:
        with _open_raw(source) as pipe:
            file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
            opened.append(file)
            shutil.copyfileobj(pipe, file, 2**20)
            file.flush()
    except OSError as error:
        raise InputError(
            f"{source.name}: cannot be kept in {tempfile.gettempdir()}, to be read twice ({error.strerror});"
            " set TMPDIR to a folder with enough space, or give a file"
        ) from None
    return replace(source, kept=file)
