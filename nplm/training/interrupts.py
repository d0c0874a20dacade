"""Ctrl-C, `kill`, a closed terminal: the first signal is recorded, so that the chunk can be finished and saved.

A second one stops the process at once.  SIGTERM and SIGHUP are raised again after everything has been saved, so that
they still end the process; Ctrl-C ends only the training.  With several ranks, only the signals of rank 0 count.
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
    """A function that returns whether this process has received one of the signals.

    A signal that is ignored, as in a script's background job or under nohup, stays ignored; outside the main thread,
    no handler is changed.
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
