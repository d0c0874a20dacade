"""Run a command as the ranks of one job: only rank 0 prints, and a rank that fails ends the whole job."""

import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nplm.errors import InputError
from nplm.ranks.launcher import TIMEOUT, launch

if TYPE_CHECKING:
    from nplm.model import LanguageModel
    from nplm.ranks.alone import Ranks

Function = TypeVar("Function", bound=Callable[..., Any])
PARALLEL = ("train", "eval", "score", "rescore")


class LastLine(io.StringIO):
    """Keeps only the last line written: for a rank that does not print, its error."""

    def write(self, text: str) -> int:
        if text.strip():
            self.seek(0)
            self.truncate()
        return super().write(text)


def run_in_job(args: list[str], run: Callable[[], Any], exit_code: Callable[[Callable[[], Any]], int]) -> int:
    """Run a command and return its exit code; if a launcher started the process, it joins the job first."""
    started, ended = launch(), []
    if started.size == 1:
        return exit_code(run)
    if started.rank > 0:
        sys.stdout, sys.stderr = Path(os.devnull).open("w", encoding="utf-8"), LastLine()  # noqa: SIM115

    def joined() -> Any:
        command = next((word for word in args if not word.startswith("-")), "")
        if command not in PARALLEL:
            raise InputError(
                f"{started.size} processes of nplm {command} would all do the same work: start it without mpirun"
            )
        ranks.append(job_ranks())
        result = run()
        ended.append(True)
        return result

    ranks: list[Any] = []  # once it has joined
    try:
        code = exit_code(joined)
    except SystemExit as stop:  # a signal
        code = stop.code if isinstance(stop.code, int) else 1
    except Exception:
        traceback.print_exc()
        code = 1
    if ranks and not ended:
        sys.stderr.flush()
        said = sys.stderr.getvalue().strip() if isinstance(sys.stderr, LastLine) else ""
        ranks[0].fail(code, said.removeprefix("nplm: error: "))
    return code


def job_ranks() -> "Ranks":
    """The ranks of this job, or this process alone if no launcher started it."""
    from nplm.ranks.mpi import join

    return join()


def job_options(function: Function) -> Function:
    """Options for a command started by mpirun."""
    for decorate in (
        click.option(
            "--allow-mixed", is_flag=True, help="mpirun: accept different processors; the last bits may then differ."
        ),
        click.option(
            "--mpi-timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            default=TIMEOUT,
            expose_value=False,
            callback=_set_timeout,
            help=f"mpirun: end the job when a rank has waited this long for the others.  [default: {TIMEOUT:g}]",
        ),
    ):
        function = decorate(function)
    return function


def open_for_job(model: str, allow_mixed: bool) -> "tuple[Path, LanguageModel]":
    """`open_model` on rank 0 for all ranks of the job, after checking that the ranks agree."""
    from nplm.cli.common import open_model

    ranks = job_ranks()
    path, loaded = ranks.first(lambda: open_model(model))
    if ranks.size > 1:
        from nplm.ranks import agreement

        agreement.check(ranks, {"unit": loaded.unit.identity}, allow_mixed=allow_mixed)
    return path, loaded


def _set_timeout(ctx: click.Context, param: click.Parameter, value: float) -> None:
    if launch().size > 1:
        job_ranks().timeout = value
