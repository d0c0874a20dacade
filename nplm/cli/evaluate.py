"""`nplm eval`: a model's exact perplexity on texts."""

from typing import TYPE_CHECKING, Any

import click

from nplm.cli._options import defaults
from nplm.config import TrainConfig

if TYPE_CHECKING:
    from nplm.model import LanguageModel

STREAMS = defaults(TrainConfig)["eval_batch_size"]
EPILOG = """\b
Examples:
  nplm eval run/best.safetensors test.txt
  nplm eval run/best.safetensors a.txt b.txt.gz --reset --json
  zcat big.gz | nplm eval run/best.safetensors -
"""


@click.command("eval", epilog=EPILOG, short_help="Exact perplexity of a model on texts.")
@click.argument("model")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--reset", is_flag=True, help="Begin every sentence with the zero state, instead of carrying it on."
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 2**20),
    metavar="B",
    default=STREAMS,
    show_default=True,
    help="Streams in lock-step, each from the zero state; 1: one unbroken text.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, 1024),
    metavar="N",
    default=0,
    show_default=True,
    help="Threads; 0: as many as there are cores, up to two.",
)
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(
    model: str, files: tuple[str, ...], reset: bool, batch_size: int, threads: int, as_json: bool
) -> None:
    """Exact perplexity of MODEL on each FILE; - is standard input, .gz is unpacked.

    Every token and every </s> is predicted and counted; words that the model does not know count as <unk>.
    """
    from nplm.checkpoint import load_model
    from nplm.cli._output import emit
    from nplm.cli._progress import announce_kernels
    from nplm.cli.info import model_file

    path = model_file(model)
    loaded = load_model(path)
    announce_kernels("lstm")
    results = []
    for file in files:
        figures = {"model": str(path), "file": file} | _measure(loaded, file, reset, batch_size, threads)
        _report(figures, as_json)
        results.append(figures)
    if as_json:
        emit(results[0] if len(results) == 1 else {"model": str(path), "files": results})


def _measure(model: "LanguageModel", file: str, reset: bool, batch_size: int, threads: int) -> dict[str, Any]:
    from nplm.corpus import unigram_perplexity
    from nplm.evaluate import evaluate
    from nplm.text import read_ids

    ids = read_ids(file, model.vocabulary)
    got = evaluate(model, ids, batch_size=batch_size, reset=reset, threads=threads)
    return got.as_dict() | {"unigram_perplexity": unigram_perplexity(model.vocabulary, ids)}


def _report(figures: dict[str, Any], as_json: bool) -> None:
    from nplm.cli._output import Rows, log_z_rows, perplexity_text, show

    state = "reset at every sentence"
    if figures["state"] == "carried":
        state = f"carried through the text, in {figures['streams']} streams"
    rows: Rows = [
        ("perplexity", f"{perplexity_text(figures['perplexity'])}   (</s> and <unk> counted)"),
        ("  without <unk>", perplexity_text(figures["perplexity_without_oov"])),
        ("unigram model", perplexity_text(figures["unigram_perplexity"])),
        ("tokens", f"{figures['tokens']:,}"),
        ("sentences", f"{figures['sentences']:,}"),
        ("<unk>", f"{figures['oovs']:,}"),
        ("nats per token", f"{figures['nats']:.5f}"),
        *log_z_rows(figures),
        (
            "unnormalised",
            f"{figures['unnormalised_nats']:.5f} nats per token (Z taken as 1: not a perplexity)",
        ),
        ("state", state),
    ]
    show(figures["file"], rows, as_json)
