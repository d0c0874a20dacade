"""How a command ends: its exit code, and one line on stderr if something went wrong."""

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import click

from nplm.errors import DivergedError, InputError, shortened, visible

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # nothing can be written there
CLOSED_PIPE = 141  # what a shell reports for a program killed by SIGPIPE
ARGUMENTS = ("chunks", "save", "resume", "x", "eos", "unk", "add_unk", "allow_mixed")  # in messages, but not settings


class Interrupted(Exception):
    """Ctrl-C, where nothing could be saved."""


class ClosedPipe(Exception):
    """The reader of stdout has exited.  Not an OSError, since click turns those into exit code 1."""


def drop_stdout() -> None:
    """Redirect stdout to the null device, so that flushing its buffer at exit is not an error."""
    with suppress(OSError, ValueError):  # a caller's stream, without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C was pressed.  After SIGTERM and SIGHUP the process cleans up and exits.

    An interrupt inside the compiler can surface as another error: the function then distinguishes it from a bug.
    """
    pressed: list[int] = []

    def on_interrupt(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def on_end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    handlers: dict[str, Any] = {"SIGINT": on_interrupt, "SIGTERM": on_end, "SIGHUP": on_end}
    usual = (signal.SIG_DFL, signal.default_int_handler)  # a handler that the caller (nohup, say) has set is kept
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name, handler in handlers.items():
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) in usual:
                before[number] = signal.signal(number, handler)
    try:
        yield lambda: bool(pressed)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(run: Callable[[], Any], debug: bool = False, interrupted: Callable[[], bool] = lambda: False) -> int:
    """Run a command; returns its exit code: what it returns, or 0."""
    try:
        result = run()
    except ClosedPipe:
        drop_stdout()
        return CLOSED_PIPE
    except Exception as error:
        known = explain(error)
        if known is None and interrupted():
            known = explain(Interrupted())
        if known is None:
            raise
        if debug:
            traceback.print_exc()
        code, text = known
        click.echo(f"nplm: {text}", err=True)
        return code
    return result if isinstance(result, int) else 0


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit code and one line for an error that is not a bug of the program; None for all others."""
    if isinstance(error, (Interrupted, click.Abort)):
        return 130, "interrupted"
    if isinstance(error, DivergedError):
        return 1, f"error: {_one_line(with_flags(str(error)))}"
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "nplm"
        return 2, f"error: {_one_line(error.format_message()).rstrip('.')} (see {command} --help)"
    if isinstance(error, click.ClickException):
        return 2, f"error: {_one_line(error.format_message())}"
    if isinstance(error, InputError):
        return 2, f"error: {_one_line(with_flags(str(error)))}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        what = _one_line(f"{where}{error.strerror or error}")
        full = error.errno in FULL
        return 2, f"error: {what}; {'free some space, or write elsewhere' if full else 'check the path'}"
    if isinstance(error, MemoryError):
        return 2, "error: not enough memory; lower --hidden, --emsize, --nce, --batch-size or --max-vocab"
    return None


def with_flags(text: str) -> str:
    """A message of the library with the settings in backticks replaced by flags: --nce for `num_noise`."""
    return re.sub(r"`(\w+)`", lambda match: _flags().get(match[1], match[0]), text)


@cache
def _flags() -> dict[str, str]:
    """The flag of every setting and argument, by name."""
    from nplm.config import CONFIGS
    from nplm.config.setting import settings

    flags = {name: name.replace("_", "-") for name in ARGUMENTS}
    flags |= {setting.name: setting.flag for config in CONFIGS for setting in settings(config)}
    return {name: f"--{flag}" for name, flag in flags.items()}


def suggestion(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """ "did you mean ...?"; if nothing is similar, `otherwise`, or a list of what is known."""
    from difflib import get_close_matches

    known = list(known)
    close = get_close_matches(word, known, n=2)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return otherwise or f"choose one of {', '.join(known)}"


def _one_line(text: object) -> str:
    return shortened(visible(" ".join(str(text).split())))
