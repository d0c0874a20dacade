"""`nplm plot`: training curves as a picture, or for TensorBoard."""

from pathlib import Path

import click

from nplm.cli.output import say

EPILOG = """\b
Examples:
  nplm plot run -o run.png
  nplm plot run run2 -o both.svg --x seconds
  nplm plot run run2 --tensorboard logs
"""


@click.command("plot", epilog=EPILOG, short_help="Plot the curves of runs: PNG, SVG or TensorBoard.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", help="The picture: FILE.png or FILE.svg.")
@click.option(
    "--x",
    type=click.Choice(["epochs", "seconds", "tokens"]),
    help="The x axis; seconds: training time.  [default: epochs, or tokens before the first epoch is finished]",
)
@click.option("--tensorboard", metavar="FOLDER", help="Write TensorBoard events; the step is the number of tokens.")
def command(runs: tuple[str, ...], output: str | None, x: str | None, tensorboard: str | None) -> None:
    """Plot training loss, validation perplexity, log Z and speed of each RUN (the folder of a run, finished or not)."""
    from nplm.views.metrics_log import read_runs
    from nplm.views.plot import check_suffix, plot
    from nplm.views.tensorboard import write_events

    if output is None and tensorboard is None:
        raise click.UsageError("give -o FILE.png or FILE.svg, or --tensorboard FOLDER")
    if output is not None:
        check_suffix(Path(output))
    histories = read_runs(runs)
    if output is not None:
        plot(histories, output, x)
        say(f"wrote {output}")
    if tensorboard is not None:
        for path in write_events(histories, tensorboard):
            say(f"wrote {path}")
