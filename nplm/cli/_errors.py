"""How a command ends: its exit code, and one line on stderr where something went wrong."""

import traceback
from collections.abc import Callable, Iterable
from typing import Any

import click

from nplm.errors import DivergedError, InputError


class Interrupted(Exception):
    """Ctrl-C, where nothing could be saved."""


def exit_code(run: Callable[[], Any], debug: bool = False) -> int:
    """Run a command; returns its exit code: what it returns, or 0."""
    try:
        result = run()
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        if debug:
            traceback.print_exc()
        code, text = known
        click.echo(f"nplm: {text}", err=True)
        return code
    return result if isinstance(result, int) else 0


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit code and one line for an error that is not a fault of the program; None for all others."""
    if isinstance(error, (Interrupted, click.Abort)):
        return 130, "interrupted"
    if isinstance(error, DivergedError):
        return 1, f"error: {_one_line(error)}"
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "nplm"
        return 2, f"error: {_one_line(error.format_message()).rstrip('.')} (see {command} --help)"
    if isinstance(error, click.ClickException):
        return 2, f"error: {_one_line(error.format_message())}"
    if isinstance(error, InputError):
        return 2, f"error: {_one_line(error)}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 2, f"error: {where}{error.strerror or _one_line(error)}; make room, or name another place"
    if isinstance(error, MemoryError):
        return 2, "error: not enough memory; lower --hidden, --emsize, --nce, --batch-size or --max-vocab"
    return None


def suggestion(word: str, known: Iterable[str]) -> str:
    """ "did you mean ...?", or all there is, where nothing is alike."""
    from difflib import get_close_matches

    known = list(known)
    close = get_close_matches(word, known, n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
