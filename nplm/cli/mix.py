"""`nplm mix`: the best weights for interpolating language models, from their -debug 2 outputs."""

from typing import TYPE_CHECKING, Any

import click

from nplm.cli.common import check_stdin, shown_option
from nplm.cli.output import Rows, emit, perplexity_text, show
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.toolkits.mix import Mixture

EPILOG = """\b
Examples:
  nplm eval run valid.txt -v word > lstm.ppl
  ngram -lm lm.arpa -ppl valid.txt -debug 2 > ngram.ppl
  nplm mix lstm.ppl ngram.ppl
  nplm mix lstm-test.ppl ngram-test.ppl --lambda "0.7 0.3" --fixed
"""


@click.command("mix", epilog=EPILOG, short_help="Find the best weights for interpolating models, by EM.")
@click.argument("files", metavar="A B...", nargs=-1, required=True)
@click.option(
    "--lambda",
    "start",
    metavar='"L1 L2 ..."',
    help="Initial weights; models without one share the rest equally.  [default: all equal]",
)
@click.option("--fixed", is_flag=True, help="Keep the weights of --lambda and only evaluate the mixture.")
@shown_option(
    "--precision",
    type=float,
    metavar="P",
    default=1e-6,
    help="Stop when no weight changes by more than P; SRILM's script uses 0.001.",
)
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(files: tuple[str, ...], start: str | None, fixed: bool, precision: float, as_json: bool) -> None:
    """Find the best weights for interpolating models, as SRILM's compute-best-mix does.

    Each of the files A, B, ... holds one model's probability of every word of the same text: the output of `nplm eval
    -v word`, or of SRILM's `ngram -ppl TEXT -debug 2`; - is standard input; .gz is decompressed.
    """
    from nplm.toolkits.mix import best_mix, read_scores

    if len(files) < 2:
        raise InputError(f"{files[0]}: a mixture needs the outputs of two or more models on the same text")
    check_stdin(files)
    if fixed and start is None:
        raise InputError("--fixed needs weights: give them with --lambda")
    weights = None if start is None else _weights(start)
    got = best_mix(*read_scores(files), start=weights, precision=precision, fixed=fixed)
    _report(files, got, as_json)
    if as_json:
        emit(figures(files, got))


def figures(files: tuple[str, ...], got: "Mixture") -> dict[str, Any]:
    """The mixture, as plain values."""
    models = [
        {"file": file, "weight": weight, "perplexity": perplexity, "zeros": zeros}
        for file, weight, perplexity, zeros in zip(
            files, got.weights.tolist(), got.perplexities.tolist(), got.model_zeros.tolist(), strict=True
        )
    ]
    return {
        "models": models,
        "weights": got.weights.tolist(),
        "perplexity": got.perplexity,
        "words": got.words,
        "zeros": got.zeros,
        "iterations": got.iterations,
        "gain_nats": got.gain,
    }


def _weights(text: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f'--lambda {text!r}: not a list of numbers; write --lambda "0.7 0.3"') from None


def _report(files: tuple[str, ...], got: "Mixture", as_json: bool) -> None:
    rows: Rows = []
    for file, weight, perplexity, zeros in zip(files, got.weights, got.perplexities, got.model_zeros, strict=True):
        out = f"   ({zeros:,.10g} words without a probability, left out)" if zeros else ""
        rows.append((file, f"weight {weight:.6f}   perplexity {perplexity_text(perplexity)}{out}"))
    out = f"   ({got.zeros:,.10g} left out)" if got.zeros else ""
    rows.append(("mixture", f"{'':15}   perplexity {perplexity_text(got.perplexity)}{out}"))
    rows.append(("remaining gain", f"{'':15}   at most {got.gain:.2g} nats per word"))
    show(f"{got.words:,.10g} words, {got.iterations} iterations", rows, as_json)
    best = " ".join(f"{weight:.6g}" for weight in got.weights)
    # SRILM's line, for its users' scripts
    show(f"{got.words:.10g} non-oov words, best lambda ({best})", [], as_json)
