"""What several commands share: options, opening a model, checks of standard input and output."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nplm.cli.output import say
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.model import LanguageModel

Function = TypeVar("Function", bound=Callable[..., Any])

shown_option = partial(click.option, show_default=True)  # its help ends with the default
reset_option = click.option(
    "--reset", is_flag=True, help="Begin every sentence with the zero state instead of carrying the state over."
)


def threads_option(text: str) -> Callable[[Function], Function]:
    """The option --threads; `text` is its help, which says what 0 means."""
    return shown_option("--threads", type=click.IntRange(0, 1024), metavar="N", default=0, help=text)


def announce_kernels(file: str = "nce") -> bool:
    """Whether the kernels in this file of nplm/kernels must be compiled first; if so, tells the user."""
    import numba

    from nplm.kernels import _jit
    from nplm.kernels._cache import SUFFIX

    options: Any = numba.config
    folder = _jit.CACHE_FOLDER
    if options.DISABLE_JIT or (folder is not None and any(folder.glob(f"{file}.*{SUFFIX}"))):
        return False
    say("compiling the kernels once for this machine ...")
    return True


def open_model(model: str) -> "tuple[Path, LanguageModel]":
    """The file that a user names, and the model in it; tells the user if kernels must be compiled first."""
    from nplm.data.units import version_note
    from nplm.storage.checkpoint import load_model, model_file

    path = model_file(model)
    loaded = load_model(path)
    if note := version_note(loaded.unit):
        say(note)
    announce_kernels("lstm")
    return path, loaded


def check_output(output: str) -> None:
    """Raise InputError if the output is standard output: a model has to be written to a file."""
    if output == "-":
        raise InputError("-o -: a model is written to a file, not to standard output; give a file name")


def check_stdin(files: Iterable[str | None]) -> None:
    """Raise InputError if standard input is given twice."""
    if list(files).count("-") > 1:
        raise InputError("standard input is given twice; it can be read only once")
