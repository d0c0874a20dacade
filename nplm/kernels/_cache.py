"""Compiled kernels on disk: one file per kernel, with a checksum, in a folder that only the user can access.

A cache is disposable, so a fault in it never ends a command: a file that is damaged or unreadable is deleted and
recreated, and if the folder cannot be used, kernels are compiled at every start.  Both are reported once.
Compiled code is code: anyone who can write to the folder can run programs as its user.  The folder is therefore created
with mode 0700, and neither a folder nor a file that another user owns is ever read.

file  SHA-256 of the rest (32 bytes), then Numba's pickle of the compiled function, with the key it was made for
"""

import hashlib
import logging
import os
import pickle
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import serialize
from numba.core.compiler import CompileResult

_dumps: Callable[[Any], bytes] = serialize.dumps
_rebuild: Callable[..., Any] = CompileResult._rebuild
SUFFIX = ".kernel"
OWNER = getattr(os, "geteuid", lambda: None)()  # None if files have no owners: Windows
FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))  # a FIFO blocks


@cache  # once per process for each text
def warn(text: str) -> None:
    """One line on stderr, unless the program has set up the logger "nplm" otherwise."""
    logging.getLogger("nplm").warning("nplm: warning: %s", text)


def own_folder(root: Path | None, name: str) -> tuple[Path | None, str]:
    """The folder `name` in `root`, accessible only to this user, and the reason why it cannot be used, or "".

    root: None if the user has no home folder.
    """
    if root is None:
        return None, "the user has no home folder"
    folder = root / (name if OWNER is None else f"{name}-{OWNER}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            return folder, "it is not a folder"
        if OWNER is not None and found.st_uid != OWNER:
            return folder, "it belongs to another user"
        if OWNER is not None and found.st_mode & 0o077:
            folder.chmod(0o700)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return folder, "it is not writable"
    except OSError as error:
        return folder, error.strerror or str(error)
    return folder, ""


class KernelCache:
    """The compiled versions of one function; replaces Numba's own cache in a dispatcher.

    folder: None if nothing can be cached, for the reason `trouble`.
    """

    def __init__(self, function: Callable[..., Any], folder: Path | None, trouble: str = "") -> None:
        self.function, self.folder, self.trouble = function, folder, trouble
        code = function.__code__
        self.name = f"{Path(code.co_filename).stem}.{function.__qualname__}-{code.co_firstlineno}"
        self.name = self.name.replace("<", "").replace(">", "")
        self.stamp = code.co_code, _digest_of_file(code.co_filename)

    @property
    def cache_path(self) -> str:
        """The folder, for Numba's statistics."""
        return str(self.folder)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The function compiled for a signature; None if there is none that can be used."""
        if self.trouble or self.folder is None:
            return self._do_without(self.trouble)
        target.refresh()
        key = self._key(signature, target.codegen())
        path = self._path(key)
        try:
            content = _read(path)
            if content is None:
                return None
            kept, parts = pickle.loads(_checked(content))
            return _rebuild(target, *parts) if kept == key else None
        except Exception as error:  # a damaged pickle raises anything
            warn(f"{path.parent}: a compiled kernel there is damaged ({type(error).__name__}); it is made again")
            with suppress(OSError):
                path.unlink()
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Cache a compiled function, if possible."""
        if self.trouble or self.folder is None or any(not part.can_cache for part in compiled.lifted):
            return
        if compiled.library.has_dynamic_globals:  # addresses of this process
            return
        key = self._key(signature, compiled.codegen)
        content = _dumps((key, compiled._reduce()))
        try:
            _write(self._path(key), hashlib.sha256(content).digest() + content)
        except OSError as error:
            self._do_without(error.strerror or str(error))

    def flush(self) -> None:
        """Delete all versions of the function: Numba calls this when a function is recompiled."""
        for path in self.folder.glob(f"{self.name}.*{SUFFIX}") if self.folder is not None else ():
            with suppress(OSError):
                path.unlink()

    def _do_without(self, reason: str) -> None:
        self.trouble = reason
        place = self.folder or "the kernel cache"
        warn(f"{place}: compiled kernels cannot be kept there ({reason}); set NPLM_CACHE to a folder of your own")

    def _key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        cells = [cell.cell_contents for cell in self.function.__closure__ or ()]
        return (signature, codegen.magic_tuple(), self.stamp, _dumps(cells) if cells else b"")

    def _path(self, key: tuple[Any, ...]) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}{SUFFIX}"


def _read(path: Path) -> bytes | None:
    """The bytes of a file that this user owns; None if there is none.  Raises OSError."""
    try:
        descriptor = os.open(path, FLAGS)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or (OWNER is not None and found.st_uid != OWNER):
            raise PermissionError("not a file of this user's")
        return file.read()


def _checked(content: bytes) -> bytes:
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError("its checksum does not match")
    return content[32:]


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.  There is no fsync: after a power cut the checksum shows any damage."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@cache
def _digest_of_file(name: str) -> str:
    """SHA-256 of the file that defines a function; "" if there is none."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return ""
