"""A private folder of what was read of large texts: files that are verified before they are used.

header   64 bytes: "nplm", version, kind, identity of the text (SHA-256), length and CRC-32 of the content, and
         the CRC-32 of this header
content  what the caller has written

A text is the same only if device, inode, size, both times and a checksum of samples of its bytes agree.  Every file may
be deleted at any time: what is missing or damaged is made again.
"""

import hashlib
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from nplm import atomic
from nplm.data.reading import Reading
from nplm.data.sources import Source, TextPath, text_name

VERSION = 2  # of the files; 1 had no checksum
HEADER = struct.Struct("<4sI8s32sQI")  # and its own CRC-32
SIZE = HEADER.size + 4
SAMPLES, SAMPLE = 64, 2**12  # of a text: how many, and bytes of each
BLOCK = 2**24  # bytes verified at a time


class Status(NamedTuple):
    """What tells a file, as it is now, from every other, without reading it."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, source: Source) -> "Status | None":
        """None for a pipe, and for what cannot be seen."""
        found = None if source.kept is not None else source.status()
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def identity(sources: Sequence[Source], *more: Any) -> bytes | None:
    """What the ids or counts of these sources are kept under, 32 bytes; None where one of them is a pipe."""
    digest = hashlib.sha256(repr((VERSION, *more)).encode())
    for source in sources:
        status = Status.of(source)
        if status is None:
            return None
        digest.update(repr((status, source.weight, Path(source.path).suffix)).encode())
        with suppress(OSError):  # the error comes when it is read, with the reason
            digest.update(_samples(source.path, status.size))
    return digest.digest()


def _samples(path: str, size: int) -> bytes:
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        for k in range(SAMPLES):
            file.seek(k * max(size - SAMPLE, 0) // (SAMPLES - 1))  # the first bytes, and the last
            digest.update(file.read(SAMPLE))
    return digest.digest()


def cache_folder() -> Path:
    """Where caches are kept: $NPLM_CACHE, or ~/.cache/nplm."""
    if folder := os.environ.get("NPLM_CACHE"):
        return Path(folder)
    try:
        return Path.home() / ".cache" / "nplm"
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / "nplm"


class Cache:
    """The files of one user in the folder `texts` of the cache's folder; without any where that is not possible."""

    def __init__(self, folder: TextPath | None, reading: Reading) -> None:
        self.folder, self.reading = Path(folder or cache_folder()) / "texts", reading
        self.usable = True

    def find(self, kind: str, identity: bytes) -> BinaryIO | None:
        """A verified file, at the start of its content; None if there is none, and a line where it was damaged."""
        path = self._path(kind, identity)
        if not (self.usable and self.folder.is_dir() and self._is_private()):
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return None
        except OSError:  # a link, a folder, or not ours to read
            self._tell_damaged(path)
            return None
        file = os.fdopen(descriptor, "rb")
        if not _is_whole(file, kind, identity):
            file.close()
            self._tell_damaged(path)
            return None
        file.seek(SIZE)
        return file

    @contextmanager
    def write(self, kind: str, identity: bytes) -> Iterator["Content"]:
        """A file to write; it takes its place when the block ends, whole or not at all.  Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_private():
            raise PermissionError("not a private folder")
        with atomic.atomic(self._path(kind, identity)) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(bytes(SIZE))
            content = Content(file)
            yield content
            header = HEADER.pack(b"nplm", VERSION, kind.encode(), identity, content.size, content.checksum)
            file.seek(0)
            file.write(header + zlib.crc32(header).to_bytes(4, "little"))

    def remove(self, kind: str, identity: bytes) -> None:
        """Take back what was written."""
        with suppress(OSError):
            self._path(kind, identity).unlink(missing_ok=True)

    def do_without(self, error: OSError) -> None:
        """Say once that nothing can be kept."""
        if self.usable:
            self.reading.warning(
                f"{text_name(self.folder)}: nothing can be kept there ({error.strerror or error}), so the text is read"
                " again next time; set NPLM_CACHE to a folder of your own with enough space"
            )
        self.usable = False

    def _path(self, kind: str, identity: bytes) -> Path:
        return self.folder / f"{identity.hex()[:32]}.{kind}"

    def _is_private(self) -> bool:
        """Whether nobody else can write here; a folder of ours that is open to others is closed."""
        try:
            status = self.folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != _user():
                raise PermissionError(0, "a link, or another user's folder")
            if status.st_mode & 0o077:
                self.folder.chmod(0o700)
        except OSError as error:
            self.do_without(error)
            return False
        return True

    def _tell_damaged(self, path: Path) -> None:
        self.reading.warning(f"{text_name(path)}: damaged, or not written by this nplm; it is made again")


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


class Content:
    """What is written to a file of the cache, with its length and checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.checksum = file, 0, 0

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)


def _is_whole(file: BinaryIO, kind: str, identity: bytes) -> bool:
    """Whether a file is ours, and its header and content are as they were written."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_uid != _user():
        return False
    header = file.read(SIZE)
    if len(header) < SIZE or zlib.crc32(header[: HEADER.size]) != int.from_bytes(header[HEADER.size :], "little"):
        return False
    magic, version, named, of, size, checksum = HEADER.unpack(header[: HEADER.size])
    if (magic, version, named.rstrip(b"\0"), of) != (b"nplm", VERSION, kind.encode(), identity):
        return False
    if status.st_size != SIZE + size:
        return False
    found = 0
    while block := file.read(BLOCK):
        found = zlib.crc32(block, found)
    return bool(found == checksum)
