"""Files and folders that are written whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nplm.errors import InputError

Block = bytes | memoryview


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends; if the block fails, nothing has changed.

    Temporary file in the same folder, fsync, rename, fsync of the folder.  Raises OSError.
    """
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():  # a rename would replace /dev/null by a file
        raise OSError(errno.EINVAL, "Not a regular file")
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _fsync_folder(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill, renamed to `path` when the block ends; if the block fails, nothing remains of it.

    Raises InputError if `path` exists, or if the folder cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path}: already exists; name a folder that does not exist yet")
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    except OSError as error:
        raise not_written(path, error) from error
    except InputError as error:  # about a file in the folder: the message should show the final name
        raise InputError(str(error).replace(str(temporary), str(path))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _fsync_folder(path.parent)


def write(path: str | Path, blocks: Iterable[Block]) -> None:
    """Write a file whole or not at all.  Raises InputError if it cannot be written."""
    path = Path(path)
    try:
        with atomic(path) as file:
            file.writelines(blocks)
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> InputError:
    """The error for a file that could not be written."""
    reason = error.strerror or error
    what = f"{path}: not written ({reason}); what was there before is untouched"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space there, or write elsewhere" if full else "write elsewhere"
    return InputError(f"{what}: {'name a file in it' if error.errno == errno.EISDIR else remedy}")


def _beside(path: Path) -> Path:
    """A new temporary name in the same folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _fsync_folder(path: Path) -> None:
    """Make a rename durable; errors are ignored, because not every file system can sync a folder."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
