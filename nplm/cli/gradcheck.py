"""`nplm gradcheck`: the gradients against the complex step of the equations as printed."""

import click

from nplm.cli.common import shown_option

TOLERANCE = 1e-10  # of a parameter's largest gradient; the complex step is exact to rounding

EPILOG = """\b
Examples:
  nplm gradcheck
  nplm gradcheck --configs 200 --seed 7 --json
"""


@click.command("gradcheck", epilog=EPILOG, short_help="Check the gradients to rounding.")
@shown_option("--seed", type=click.IntRange(0), metavar="N", default=1, help="Of the draws.")
@shown_option(
    "--configs", type=click.IntRange(1, 100_000), metavar="N", default=20, help="Random models and chunks to check."
)
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(seed: int, configs: int, as_json: bool) -> int:
    """Check every entry of every gradient, through a whole chunk, to rounding.

    Small random models in float64: embedding, tied or not, one to three LSTM layers, dropout of every kind, the state
    carried over or reset at a sentence's end, and each objective, with repeated noise words and a noise word that is
    a target. Exit code 1 if a gradient is off.
    """
    import numpy as np

    from nplm.cli.output import emit, say, show
    from nplm.cli.progress import announce_kernels
    from nplm.selfcheck import check_one

    announce_kernels()
    rng = np.random.default_rng(seed)
    worst: dict[str, float] = {}
    for _ in range(configs):
        for name, error in check_one(rng).items():
            worst[name] = max(worst.get(name, 0.0), error)
    passed = max(worst.values()) < TOLERANCE
    show(f"largest relative error in {configs} models", [(k, f"{v:.1e}") for k, v in sorted(worst.items())], as_json)
    verdict = "right to rounding" if passed else "WRONG"
    say(f"{verdict}: the bound is {TOLERANCE:g} of a parameter's largest gradient")
    if as_json:
        emit({"passed": passed, "tolerance": TOLERANCE, "configs": configs, "seed": seed, "errors": worst})
    return 0 if passed else 1
