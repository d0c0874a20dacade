"""Ctrl-C, `kill`, a terminal that is closed: the first is noted, so that the chunk can be finished and saved.

The second ends at once.  After SIGTERM and SIGHUP the signal is raised again when all is saved, so that the process
ends by it as it would have; Ctrl-C ends training only.  Of several ranks the signals of rank 0 count.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nplm.ranks.alone import ALONE, Ranks

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def interrupts(ranks: Ranks = ALONE) -> Iterator[Callable[[], bool]]:
    """A function that returns whether one of the signals came to this process.

    One that is ignored, as in the background of a script or under nohup, stays ignored; on another thread all stay as
    they are.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        came.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in ranks.first(lambda: came):
        if number != signal.SIGINT:
            signal.raise_signal(number)
