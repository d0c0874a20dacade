"""`nplm gradcheck`: check this package's gradients, or those of the user's layer, with the complex step."""

import click

from nplm.cli.common import shown_option
from nplm.cli.output import emit, say, show

TOLERANCE = 1e-10  # of a parameter's largest gradient; the complex step is exact to machine precision

EPILOG = """\b
Examples:
  nplm gradcheck
  nplm gradcheck --configs 200 --seed 7 --json
  nplm gradcheck my.layers:dense --input x=5,3 --input w=3,4
  nplm gradcheck my.layers:lookup --input table=10,4 --input ids=6:int:10 --dtype float32

\b
A layer is an object with forward and backward, a class of such objects, a module with the two functions, or
functions NAME_forward (or NAME) and NAME_backward:
  forward(x, w) -> out, cache      backward(dout, cache) -> dx, dw
  forward(x, w) -> out             backward(dout, x, w) -> dx, dw

\b
Each input has the name of a parameter of forward; its values are random:
  x=5,3             normally distributed numbers of shape (5, 3), in --dtype; x= is a single number
  x=5,3:positive    positive numbers; :float32 and :float64 choose the type
  ids=6:int:10      integers from 0 to 9; with ids=6:int:3:10, from 3 to 9; with ids=6:int, 0 or 1
"""


@click.command("gradcheck", epilog=EPILOG, short_help="Check the gradients of nplm, or of your own layer.")
@click.argument("layer", metavar="[MODULE:LAYER]", required=False)
@click.option("--input", "inputs", multiple=True, metavar="NAME=SHAPE[:TYPE]", help="Input of the layer; repeatable.")
@shown_option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", help="Type of the inputs.")
@shown_option("--rtol", type=click.FloatRange(0), metavar="R", default=0.0, help="Relative error to allow.")
@shown_option("--atol", type=click.FloatRange(0), metavar="A", default=0.0, help="Absolute error to allow.")
@shown_option("--seed", type=click.IntRange(0), metavar="N", default=1, help="Seed of the random numbers.")
@shown_option(
    "--configs",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=20,
    help="Number of random models and chunks to check when no layer is given.",
)
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(
    layer: str | None,
    inputs: tuple[str, ...],
    dtype: str,
    rtol: float,
    atol: float,
    seed: int,
    configs: int,
    as_json: bool,
) -> int:
    """Check every entry of every gradient of this package, or of a layer of your own.

    Without MODULE:LAYER, small random models are checked in float64 on a whole chunk: the embedding (tied or not), one
    to three LSTM layers, every kind of dropout, resets at the start of sentences, and each objective, with repeated
    noise words and a noise word that is also a target. The exit code is 1 if a gradient is wrong.
    """
    if layer is not None:
        from nplm.cli.layer import check_named_layer

        report = check_named_layer(layer, inputs, dtype, seed, rtol=rtol, atol=atol)
        click.echo(str(report), err=as_json)
        if as_json:
            emit(report.as_dict())
        return 0 if report.ok else 1
    if inputs:
        raise click.UsageError("--input needs a layer: nplm gradcheck MODULE:LAYER --input x=5,3")
    return check_ourselves(seed, configs, as_json)


def check_ourselves(seed: int, configs: int, as_json: bool) -> int:
    """Check this package's gradients; returns the exit code."""
    import numpy as np

    from nplm.cli.common import announce_kernels
    from nplm.testing.selfcheck import check_one

    announce_kernels()
    rng = np.random.default_rng(seed)
    worst: dict[str, float] = {}
    for _ in range(configs):
        for name, error in check_one(rng).items():
            worst[name] = max(worst.get(name, 0.0), error)
    passed = max(worst.values()) < TOLERANCE
    show(f"largest relative error in {configs} models", [(k, f"{v:.1e}") for k, v in sorted(worst.items())], as_json)
    verdict = "passed" if passed else "FAILED"
    say(f"{verdict}: the bound is {TOLERANCE:g} of a parameter's largest gradient")
    if as_json:
        emit({"passed": passed, "tolerance": TOLERANCE, "configs": configs, "seed": seed, "errors": worst})
    return 0 if passed else 1
