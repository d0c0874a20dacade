"""Faults at the calls that the process makes to the C library: shim.c, compiled, preloaded, and armed by ctypes."""

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
KINDS = ("ENOSPC", "EIO", "EACCES", "short", "kill", "kill half", "kill after")
NUMBERS = {"short": -1, "kill": -2, "kill half": -3, "kill after": -4}
PRELOADED = "NPLM_HOSTILE_SHIM"  # the path of the library that this process was started with


def why_not() -> str:
    """Why calls to the C library cannot be intercepted here; "" where they can."""
    if os.uname().sysname != "Linux":
        return "LD_PRELOAD is Linux's"
    return "" if shutil.which("cc") or shutil.which("gcc") else "no C compiler here"


def compiled(folder: Path) -> Path:
    """The shim as a shared library in `folder`."""
    target = folder / "shim.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    command = [str(compiler), "-O1", "-shared", "-fPIC", "-w", "-o", str(target), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return target


def environment(folder: Path) -> dict[str, str]:
    """The variables with which a process is started so that its calls can fail."""
    shim = str(compiled(folder))
    return {**os.environ, "LD_PRELOAD": shim, PRELOADED: shim}


class LibraryCalls:
    """Counts calls, and lets one of them fail; in a process that was started with `environment`."""

    def __init__(self) -> None:
        self.shim = ctypes.CDLL(os.environ[PRELOADED])
        self.shim.hostile_count.restype = ctypes.c_long

    def arm(self, folder: Path, at: int = 0, kind: str = "") -> None:
        """Begin to count the calls that concern the folder; at = 0: only count."""
        number = NUMBERS.get(kind) or getattr(errno, kind, 0)
        self.shim.hostile_arm(str(folder).encode(), ctypes.c_long(at), ctypes.c_int(number))

    def count(self) -> int:
        """Calls so far."""
        return int(self.shim.hostile_count())
