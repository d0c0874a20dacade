"""`nplm eval`: a model's exact perplexity on texts."""

from typing import TYPE_CHECKING, Any

import click

from nplm.cli.common import check_stdin, reset_option, shown_option, threads_option
from nplm.cli.job import job_options, job_ranks, open_for_job
from nplm.cli.output import Rows, emit, log_z_rows, perplexity_text, raw_text_rows, seen, show
from nplm.config import TrainConfig

if TYPE_CHECKING:
    from nplm.model import LanguageModel
    from nplm.toolkits.srilm import TextStats

STREAMS = TrainConfig().eval_batch_size
NORM_POSITIONS, NORM_TOLERANCE = 2000, 1e-4  # of --check-norm; the tolerance is SRILM's
EPILOG = """\b
Examples:
  nplm eval run/best.safetensors test.txt
  nplm eval run/best.safetensors a.txt b.txt.gz --reset --json
  nplm eval run/best.safetensors 'news/*.xz'       all files as one text
  nplm eval run test.txt -v word > test.ppl
  zcat big.gz | nplm eval run/best.safetensors -
"""


@click.command("eval", epilog=EPILOG, short_help="Compute the exact perplexity of a model on texts.")
@click.argument("model")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@reset_option
@shown_option(
    "--batch-size",
    type=click.IntRange(1, 2**20),
    metavar="B",
    default=STREAMS,
    help="Parallel streams, each from the zero state; 1: read the text as a single stream.",
)
@click.option(
    "-v",
    "--verbose",
    type=click.Choice(["sentence", "word"]),
    help="Print every sentence, or every word, as SRILM's -debug 1 or 2 does; the text is read as one stream.",
)
@click.option("--skip-oov", is_flag=True, help="Leave <unk> out of SRILM's figures, as ngram does without -unk.")
@click.option(
    "--check-norm",
    is_flag=True,
    help=f"Verify that probabilities sum to 1 at the first {NORM_POSITIONS} positions; if not, exit with code 1.",
)
@threads_option("Threads; 0: as many as there are cores, up to four.")
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout, all else on stderr.")
@job_options
def command(
    model: str,
    files: tuple[str, ...],
    reset: bool,
    batch_size: int,
    verbose: str | None,
    skip_oov: bool,
    check_norm: bool,
    threads: int,
    as_json: bool,
    allow_mixed: bool,
) -> int:
    """Compute the exact perplexity of MODEL on each FILE; a folder or a pattern is read as one text.

    For -, standard input is read; .gz, .bz2, .xz and .zst are decompressed.

    Every token and every </s> is predicted and counted; words that the model does not know count as <unk>.
    """
    if verbose and check_norm:
        raise click.UsageError("--check-norm and -v cannot be combined; leave one out")
    check_stdin(files)
    path, loaded = open_for_job(model, allow_mixed)
    results = []
    for file in files:
        figures: dict[str, Any] = {"model": str(path), "file": file}
        if verbose and job_ranks().rank > 0:
            continue  # one stream, read and written by rank 0
        if verbose:
            figures |= _describe(loaded, file, reset, verbose == "word", skip_oov, as_json)
        else:
            got, stats = _measure(loaded, file, reset, batch_size, threads, check_norm, skip_oov)
            click.echo(seen(f"file {file}: {stats}"), err=as_json, nl=False)
            figures |= got | {"srilm": stats.as_dict()}
            _report(figures, as_json)
        results.append(figures)
    if as_json:
        emit(results[0] if len(results) == 1 else {"model": str(path), "files": results})
    return int(not all(figures.get("norm_deviation", 0) <= NORM_TOLERANCE for figures in results))


def _measure(
    model: "LanguageModel", file: str, reset: bool, batch_size: int, threads: int, check_norm: bool, skip_oov: bool
) -> "tuple[dict[str, Any], TextStats]":
    from nplm.cli.reading import Watch
    from nplm.data.corpus import unigram_perplexity
    from nplm.data.measured import read_measured
    from nplm.scoring.evaluate import summary, tally_text
    from nplm.scoring.score import norm_deviation
    from nplm.toolkits.srilm import TextStats

    ranks = job_ranks()
    with Watch() as reading:
        ids, size = ranks.first(lambda: read_measured(file, model.vocabulary, model.unit, reading=reading))
    threads = ranks.threads(threads)
    tally = tally_text(model, ids, batch_size=batch_size, reset=reset, threads=threads, ranks=ranks)
    got = summary(tally, min(batch_size, tally.tokens), "reset" if reset else "carried", size)
    figures = got.as_dict() | {"unigram_perplexity": unigram_perplexity(model.vocabulary, ids)}
    if check_norm:
        sample = ids[:NORM_POSITIONS]
        figures |= {"norm_positions": sample.size, "norm_deviation": norm_deviation(model, sample)}
    return figures, TextStats(tally, skip_oov)


def _describe(
    model: "LanguageModel", file: str, reset: bool, words: bool, skip_oov: bool, as_json: bool
) -> dict[str, Any]:
    """Print every sentence while the text is read, then SRILM's two lines."""
    from nplm.data.measured import open_measured
    from nplm.data.size import Meter
    from nplm.data.sources import text_name
    from nplm.data.text import no_words
    from nplm.scoring.raw_text import raw_figures
    from nplm.scoring.tally import Tally
    from nplm.toolkits import srilm

    total, meter = Tally(), Meter()
    sentences = open_measured(file, model.vocabulary, model.unit, meter)
    for text, tally in srilm.describe(model, sentences, reset=reset, skip_oov=skip_oov, words=words):
        click.echo(seen(text), err=as_json, nl=False)
        total.merge(tally)
    stats = srilm.TextStats(total, skip_oov)
    if not stats.words:
        raise no_words(text_name(file))
    click.echo(seen(f"file {file}: {stats}"), err=as_json, nl=False)
    figures = raw_figures(total, meter.size)._asdict()
    return figures | {"srilm": stats.as_dict(), "state": "reset" if reset else "carried"}


def _report(figures: dict[str, Any], as_json: bool) -> None:
    state = "reset at every sentence"
    if figures["state"] == "carried":
        state = f"carried through the text in {figures['streams']} streams"
    rows: Rows = [
        ("perplexity", f"{perplexity_text(figures['perplexity'])}   (</s> and <unk> counted)"),
        ("  without <unk>", perplexity_text(figures["perplexity_without_oov"])),
        ("unigram model", perplexity_text(figures["unigram_perplexity"])),
        ("tokens", f"{figures['tokens']:,}"),
        ("sentences", f"{figures['sentences']:,}"),
        ("<unk>", f"{figures['oovs']:,}"),
        ("nats per token", f"{figures['nats']:.5f}"),
        *raw_text_rows(figures),
        *log_z_rows(figures),
        ("unnormalised", f"{figures['unnormalised_nats']:.5f} nats per token (Z taken as 1: not a perplexity)"),
        ("state", state),
    ]
    if "norm_deviation" in figures:
        off = f"deviates from 1 by at most {figures['norm_deviation']:.1e}"
        bad = "" if figures["norm_deviation"] <= NORM_TOLERANCE else f": MORE THAN {NORM_TOLERANCE:.0e}"
        rows.append(("sum of p", f"{off}, at {figures['norm_positions']:,} positions{bad}"))
    show(figures["file"], rows, as_json)
