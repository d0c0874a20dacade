"""The command `nplm`: data on stdout, everything else on stderr, one line for a mistake.

A command lives in the file of its name and is imported when it is called, so `nplm --help` waits for nothing.

exit code   0  done
            1  training diverged, or a check failed
            2  a mistake of the user's: one line that names what is wrong and the remedy
          129  the terminal was closed (SIGHUP)     a training run finishes its chunk
          130  interrupted by Ctrl-C                 and saves before it ends with one of
          143  told to end by `kill` (SIGTERM)       these three
          141  the reader of stdout has gone, as after `| head`
"""

import sys
from functools import partial
from importlib import import_module
from itertools import takewhile
from typing import Any, NoReturn

import click

from nplm._version import __version__
from nplm.cli.errors import ClosedPipe, Interrupted, exit_code, signals, suggestion
from nplm.cli.job import run_in_job
from nplm.cli.streams import streams

# command -> file; the order is that of the help
COMMANDS = {
    "demo": "demo",
    "train": "train",
    "eval": "evaluate",
    "score": "score",
    "rescore": "rescore",
    "mix": "mix",
    "sample": "sample",
    "next": "next",
    "plot": "plot",
    "report": "report",
    "export": "export",
    "import": "import_",
    "info": "info",
    "gradcheck": "gradcheck",
    "doctor": "doctor",
    "completion": "completion",
}
EPILOG = """\b
Examples:
  nplm demo                                          a model of Python's help texts, in about two minutes
  nplm train --train a.txt --valid b.txt --save run  a model of your own text
  nplm eval run c.txt                                its exact perplexity on another text
  nplm score run < c.txt                             log10 probability of every line
  nplm sample run --prompt "once upon a"             what it would write
"""


class LazyGroup(click.Group):
    """A group that imports a command's file when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"nplm.cli.{COMMANDS[name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"no command {args[0]!r}; {suggestion(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:  # of the help
            raise ClosedPipe from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None  # click would print an empty line and call it aborted
        except BrokenPipeError:
            raise ClosedPipe from None
        except EOFError as error:  # which click takes for Ctrl-D at a prompt, and reports as Ctrl-C
            raise RuntimeError("a file ended too early, and nobody expected it") from error


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="nplm", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """LSTM language models for the CPU, trained with noise-contrastive estimation."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line `args` (default: the process's) and exit."""
    args = sys.argv[1:] if args is None else args
    debug = "--debug" in takewhile(lambda word: word.startswith("-"), args)
    with streams(), signals() as interrupted:
        ending = partial(exit_code, debug=debug, interrupted=interrupted)
        code = run_in_job(args, lambda: cli.main(args, "nplm", standalone_mode=False), ending)
    sys.exit(code)
