"""A private cache folder for the counts and ids of large texts: files are verified before they are used.

header   76 bytes: "nplm", version, kind, identity of the text (SHA-256), lengths of content and note, the CRC-32 of
         both, and the CRC-32 of this header
content  what the caller has written
note     JSON: further facts about the text

A text is the same only if device, inode, size, both times and a checksum of samples of its bytes agree.  Every file may
be deleted at any time: missing or damaged files are recreated.
"""

import hashlib
import json
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
from nplm.errors import InputError

VERSION = 2  # of the files; those of version 1 had no checksum
HEADER = struct.Struct("<4sI8s32sQQI4x")  # followed by its own CRC-32
SIZE = HEADER.size + 4
SAMPLES, SAMPLE = 64, 2**12  # of a text: their number, and the bytes of each
BLOCK = 2**20  # bytes verified at a time
NOTE = 2**20  # bytes of the longest note
OWNER = getattr(os, "geteuid", lambda: None)()  # None if files have no owners: Windows
FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


class Kept(NamedTuple):
    """A verified file, positioned at the start of its content."""

    file: BinaryIO
    size: int  # bytes of the content
    note: Any


def cache_folder() -> Path:
    """The folder of caches: $NPLM_CACHE, or ~/.cache/nplm."""
    if folder := os.environ.get("NPLM_CACHE"):
        return Path(folder)
    try:
        return Path.home() / ".cache" / "nplm"
    except RuntimeError:  # a user without a home folder, as in a container
        return Path(tempfile.gettempdir()) / "nplm"


def identity(sources: Sequence[Source], *more: Any) -> bytes | None:
    """The key (32 bytes) under which these sources are cached; None if one of them is a pipe."""
    digest = hashlib.sha256(repr((VERSION, *more)).encode())
    for source in sources:
        found = None if source.kept is not None else source.status()
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        what = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        digest.update(repr((*what, source.weight, Path(source.path).suffix)).encode())
        with suppress(OSError):  # reading the text will raise the error, with the reason
            digest.update(_samples(source.path, found.st_size))
    return digest.digest()


def check_unchanged(key: bytes | None, now: bytes | None, name: str) -> None:
    """Raise InputError unless a text has the same identity as before it was read."""
    if key != now:
        raise InputError(f"{name}: it changed while it was read; start again when it is complete")


def _samples(path: str, size: int) -> bytes:
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        for k in range(SAMPLES):
            file.seek(k * max(size - SAMPLE, 0) // (SAMPLES - 1))  # from the first bytes to the last
            digest.update(file.read(SAMPLE))
    return digest.digest()


class Cache:
    """The files of one user in a folder in the cache's folder; without any where that is not possible."""

    def __init__(self, folder: TextPath | None, reading: Reading) -> None:
        own = "texts" if OWNER is None else f"texts-{OWNER}"  # where users share a folder, each has one in it
        self.folder, self.reading = Path(folder or cache_folder()) / own, reading
        self.usable = True

    def find(self, kind: str, identity: bytes) -> Kept | None:
        """The file with this key; None if there is none, with a warning if it was damaged."""
        path = self._path(kind, identity)
        if not (self.usable and os.path.lexists(self.folder) and self._is_private()):
            return None
        try:
            file = os.fdopen(os.open(path, FLAGS), "rb")
        except FileNotFoundError:
            return None
        except OSError:  # a link, a folder, or not readable
            self._say_damaged(path)
            return None
        found = None
        try:
            found = self._verified(file, kind, identity)
        finally:
            if found is None:
                file.close()
        if found is None:
            self._say_damaged(path)
        return found

    @contextmanager
    def write(self, kind: str, identity: bytes) -> Iterator["Content"]:
        """A file to write, which appears when the block ends, whole or not at all.  Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_private():
            raise PermissionError(0, "not a private folder")
        path = self._path(kind, identity)
        if path.is_symlink() or (path.exists() and not path.is_file()):  # not ours: replaced, not followed
            path.unlink()
        with atomic.atomic(path) as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o600)
            file.write(bytes(SIZE))
            content = Content(file)
            yield content
            size, note = content.size, json.dumps(content.note).encode()
            content.write(note)
            header = HEADER.pack(b"nplm", VERSION, kind.encode(), identity, size, len(note), content.checksum)
            file.seek(0)
            file.write(header + zlib.crc32(header).to_bytes(4, "little"))

    def do_without(self, error: OSError) -> None:
        """Warn once that nothing can be cached."""
        if self.usable:
            self.reading.warning(
                f"{text_name(self.folder)}: cannot be used as a cache ({error.strerror or error}), so the text will be"
                " read again next time; set NPLM_CACHE to a folder of your own with enough space"
            )
        self.usable = False

    def _path(self, kind: str, identity: bytes) -> Path:
        return self.folder / f"{identity.hex()[:32]}.{kind}"

    def _is_private(self) -> bool:
        """Whether nobody else can access the folder; if it is ours, its permissions are restricted."""
        try:
            status = self.folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or OWNER not in (None, status.st_uid):
                raise PermissionError(0, "a link, or another user's folder")
            if OWNER is not None and status.st_mode & 0o077:
                self.folder.chmod(0o700)
        except OSError as error:
            self.do_without(error)
            return False
        return True

    def _say_damaged(self, path: Path) -> None:
        self.reading.warning(f"{text_name(path)}: damaged, or not written by this nplm; it is recreated")

    def _verified(self, file: BinaryIO, kind: str, identity: bytes) -> Kept | None:
        """The file, if it is ours, and its header, content and note are intact."""
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or OWNER not in (None, status.st_uid):
            return None
        header = file.read(SIZE)
        if len(header) < SIZE or zlib.crc32(header[:-4]) != int.from_bytes(header[-4:], "little"):
            return None
        magic, version, named, of, size, noted, checksum = HEADER.unpack(header[:-4])
        if (magic, version, named.rstrip(b"\0"), of) != (b"nplm", VERSION, kind.encode(), identity):
            return None
        if status.st_size != SIZE + size + noted or noted > NOTE or self._checksum(file, status.st_size) != checksum:
            return None
        file.seek(SIZE + size)
        note = json.loads(file.read(noted))
        file.seek(SIZE)
        return Kept(file, size, note)

    def _checksum(self, file: BinaryIO, size: int) -> int:
        found = 0
        self.reading.begin("checking", "the cached text", size)
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
            self.reading.advance(file.tell())
        self.reading.end()
        return found


class Content:
    """The content being written to a file of the cache, with its length and checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.checksum = file, 0, 0
        self.note: Any = None

    def write(self, data: bytes | memoryview) -> None:
        """Add to the content."""
        self.file.write(data)
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)
