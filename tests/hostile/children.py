"""Work in forked processes, which may crash or hang: a warm parent forks, so that a try costs milliseconds."""

import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

HANGS = 300.0  # seconds without progress after which a child is taken to hang


class Ending(NamedTuple):
    """How a child ended."""

    result: Any  # what its work returned; None if it did not get so far
    code: int  # exit code; minus the signal's number
    at: int  # the last place it reported
    hung: bool = False


class Place:
    """A number that parent and child share: how far the child is."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, 8)

    def set(self, place: int) -> None:
        self.shared[:] = struct.pack("q", place)

    def get(self) -> int:
        return int(struct.unpack("q", self.shared[:])[0])


def start(work: Callable[[], Any]) -> int:
    """Fork a child that runs `work` and exits with 0, or with 70 where that raised; returns its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    if (child := os.fork()) == 0:
        code = 70
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return child


def forked(work: Callable[[Place], Any], *, hangs: float = HANGS) -> Ending:
    """What `work` returns in a child of its own, and how that child ended.

    work: is given a Place to report to; without a report for so many seconds the child is killed.
    """
    place = Place()
    read, write = os.pipe()

    def report() -> None:
        os.close(read)
        result = json.dumps(work(place)).encode()
        with os.fdopen(write, "wb") as pipe:
            pipe.write(result)

    child = start(report)
    os.close(write)
    code, hung, text = _wait(child, read, place, hangs)
    return Ending(json.loads(text) if text else None, code, place.get(), hung)


def _wait(child: int, read: int, place: Place, hangs: float) -> tuple[int, bool, bytes]:
    """Read what the child writes until it ends; kill it where it makes no progress."""
    import select

    before, since, parts, hung = place.get(), time.monotonic(), [], False
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while True:
            if select.select([pipe], [], [], 0.5)[0]:
                part = pipe.read(2**16)
                if not part:
                    break
                parts.append(part)
            if place.get() != before:
                before, since = place.get(), time.monotonic()
            elif time.monotonic() - since > hangs and not hung:
                os.kill(child, signal.SIGKILL)
                hung = True
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), hung, b"".join(parts)
