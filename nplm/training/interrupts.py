"""Ctrl-C: the first press is noted, so that the chunk can be finished and saved; the second interrupts at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """A function that returns whether Ctrl-C was pressed; the second press interrupts at once, as usual.

    Where it is ignored, as in the background of a script, or on another thread, it stays as it is.
    """
    pressed = threading.Event()
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield pressed.is_set
        return

    def on_interrupt(number: int, frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
