"""Opening a source: .gz, .bz2, .xz and .zst are decompressed; a pipe to be read twice is copied to a file."""

import bz2
import gzip
import io
import lzma
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from nplm import optional
from nplm.data.reading import Reading
from nplm.data.sources import STDIN, Source
from nplm.errors import InputError

PIECE = 2**20  # bytes of a pipe copied at a time
MANY = 4  # assumed bytes of text per byte of a compressed file


class Format(NamedTuple):
    """A compression format."""

    name: str
    starts: tuple[bytes, ...]  # how such files begin
    open: Any  # takes a file, and a name for messages


def _zstd(name: str) -> Any:
    package = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return optional.load(package, "zst", f"{name}: decompressing .zst")


FORMATS = {
    ".gz": Format("gzip", (b"\x1f\x8b",), lambda raw, name: gzip.GzipFile(fileobj=raw)),
    ".bz2": Format("bzip2", tuple(b"BZh%d1AY&SY" % k for k in range(1, 10)), lambda raw, name: bz2.BZ2File(raw)),
    ".xz": Format("xz", (b"\xfd7zXZ\0",), lambda raw, name: lzma.LZMAFile(raw)),  # noqa: SIM115
    ".zst": Format("zstd", (b"\x28\xb5\x2f\xfd",), lambda raw, name: _zstd(name).ZstdFile(raw)),
}


def format_of(source: Source) -> Format | None:
    """The compression format of a source, by its suffix; None if it is not compressed."""
    return FORMATS.get(Path(source.path).suffix)


@contextmanager
def open_source(source: Source) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The decompressed bytes, and the file they come from, whose position shows the progress of reading.

    Raises OSError, and InputError if a package is missing; `damage` recognises the errors that reading may raise.
    """
    with _open_raw(source) as raw:
        packed = format_of(source)
        yield (raw if packed is None else cast(BinaryIO, io.BufferedReader(packed.open(raw, source.name)))), raw


@contextmanager
def _open_raw(source: Source) -> Iterator[BinaryIO]:
    if source.kept is not None:
        source.kept.seek(0)
        yield source.kept
    elif source.path != STDIN:
        with Path(source.path).open("rb") as file:
            yield file
    elif sys.stdin is None:
        raise InputError("standard input is closed; give a file, or a pipe that is open")
    else:
        yield sys.stdin.buffer


def damage(source: Source, error: Exception) -> str | None:
    """The format of a damaged file, such as "gzip", if that is what the error means; None for any other error."""
    packed = format_of(source)
    known = isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError))
    known |= type(error).__name__ == "ZstdError"
    known |= isinstance(error, OSError) and error.errno is None  # of bz2
    return packed.name if packed is not None and known else None


def text_size(sources: Sequence[Source]) -> int:
    """The approximate number of bytes of text in the files; a pipe counts as 0."""
    sizes = ((source, source.status()) for source in sources if not source.is_pipe)
    return sum(s.st_size * source.weight * (MANY if format_of(source) else 1) for source, s in sizes if s is not None)


@contextmanager
def readable_twice(sources: Sequence[Source], reading: Reading) -> Iterator[list[Source]]:
    """The same sources, with pipes copied to temporary files until the block ends.  Raises InputError if that fails."""
    kept: list[BinaryIO] = []
    try:
        yield [_keep(source, kept, reading) if source.is_pipe else source for source in sources]
    finally:
        for file in kept:
            file.close()


def _keep(source: Source, opened: list[BinaryIO], reading: Reading) -> Source:
    reading.begin("copying", source.name, 0)
    try:
        with _open_raw(source) as pipe:
            file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
            opened.append(file)
            while piece := pipe.read(PIECE):
                file.write(piece)
                reading.advance(file.tell())
            file.flush()
    except OSError as error:
        raise InputError(
            f"{source.name}: cannot be copied to {tempfile.gettempdir()} to be read twice ({error.strerror});"
            " set TMPDIR to a folder with enough space, or give a file"
        ) from None
    reading.end()
    return replace(source, kept=file)
