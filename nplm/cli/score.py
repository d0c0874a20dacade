"""`nplm score`: the log-probability of every line of a text."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from nplm.cli.common import check_stdin, shown_option, threads_option
from nplm.cli.job import job_options, job_ranks, open_for_job
from nplm.cli.output import emit, perplexity_text, say
from nplm.errors import InputError
from nplm.logs import LN10

if TYPE_CHECKING:
    from nplm.data.size import Meter, TextSize
    from nplm.data.sources import Source
    from nplm.data.units import Unit
    from nplm.model import LanguageModel
    from nplm.scoring.tally import Tally

TOKENS = 2**16  # tokens after which scores are written, even if there are fewer lines
EPILOG = """\b
Examples:
  nplm score run sentences.txt > scores.txt
  zcat big.gz | nplm score run --unnormalised | head
  nplm score run --format kaldi words_text > lm_costs
"""


@click.command("score", epilog=EPILOG, short_help="Print the log-probability of every line of a text.")
@click.argument("model")
@click.argument("files", metavar="[FILE...]", nargs=-1)
@shown_option(
    "--format",
    "form",
    type=click.Choice(["plain", "kaldi"]),
    default="plain",
    help="plain: one log10 probability per line; kaldi: reads `utt-id words`, writes `utt-id cost`, cost = -ln p.",
)
@click.option(
    "--unnormalised",
    is_flag=True,
    help="Use the mean log Z of the last validation instead of log Z: fast with a large vocabulary, but not exact.",
)
@click.option("--no-bos", is_flag=True, help="Start from the zero state, without reading </s> before the first word.")
@click.option("--no-eos", is_flag=True, help="Do not predict </s> at the end of a line.")
@shown_option(
    "--lines",
    type=click.IntRange(1, 2**20),
    metavar="N",
    default=4096,
    help="Lines to read before their scores are written; 1: answer line by line.",
)
@threads_option("Threads; 0: as many as there are cores.")
@click.option("--json", "as_json", is_flag=True, help="Totals as JSON, as the last line on stdout.")
@job_options
def command(
    model: str,
    files: tuple[str, ...],
    form: str,
    unnormalised: bool,
    no_bos: bool,
    no_eos: bool,
    lines: int,
    threads: int,
    as_json: bool,
    allow_mixed: bool,
) -> None:
    """Print the log10 probability of every line of FILE..., one per line, in order.

    Every line is a sentence; an empty line is </s> alone.  Without FILE, or for -, standard input is read;
    a folder or a pattern stands for its files; .gz, .bz2, .xz and .zst are decompressed.  Totals go to stderr.
    """
    from nplm.data.size import Meter
    from nplm.scoring.score import sentence_scores
    from nplm.scoring.sentences import encode, in_pieces, totals
    from nplm.scoring.tally import Tally

    check_stdin(files)
    path, scorer = open_for_job(model, allow_mixed)
    ranks = job_ranks()
    threads = ranks.threads(threads)
    if unnormalised:
        say(_what_stands_for_log_z(scorer))
    tally, meter, kaldi = Tally(), Meter(), form == "kaldi"
    for piece in ranks.each(lambda: in_pieces(_lines(files or ("-",), kaldi, scorer, meter), TOKENS, lines)):
        names = [words.pop(0) if kaldi else "" for words in piece]
        ids, lengths = encode(scorer.vocabulary, piece, not no_eos)
        scores, log_z = sentence_scores(
            scorer, ids, lengths, bos=not no_bos, normalize=not unnormalised, threads=threads, ranks=ranks
        )
        tally.add(ids, log_z - scores, sentences=lengths.size)
        by_line = totals(scores - log_z, lengths) / (-1 if kaldi else LN10)
        results = zip(names, (by_line + 0.0).tolist(), strict=True)  # -0.0 becomes 0.0
        click.echo("\n".join(f"{name} {value:.6f}".lstrip() for name, value in results))
    figures = _figures(tally, None if unnormalised or no_eos else meter.size)
    say(_summary(figures, exact=not unnormalised))
    if as_json:
        emit({"model": str(path), "unnormalised": unnormalised} | figures)


def _figures(tally: "Tally", size: "TextSize | None") -> dict[str, Any]:
    """The totals by name: log10, perplexity with and without <unk>, and figures to compare models with different units.

    size: of the raw text; None if the scores do not cover all of it.
    """
    from nplm.scoring.raw_text import RawFigures, raw_figures
    from nplm.scoring.tally import perplexity

    raw: dict[str, Any] = dict.fromkeys(RawFigures._fields)
    if size is not None and size.lines:
        raw = raw_figures(tally, size)._asdict()
    return raw | {
        "sentences": tally.sentences,
        "tokens": tally.tokens,
        "oovs": tally.oovs,
        "log10": -tally.nats / LN10,
        "log10_oov": -tally.oov_nats / LN10,
        "perplexity": perplexity(tally.mean_nats()),
        "perplexity_without_oov": perplexity(tally.mean_nats(with_oovs=False)),
    }


def _summary(figures: dict[str, Any], exact: bool) -> str:
    """The totals in one line."""
    counts = f"{figures['sentences']:,} sentences, {figures['tokens']:,} tokens, {figures['oovs']:,} <unk>"
    both = " / ".join(perplexity_text(figures[name]) for name in ("perplexity", "perplexity_without_oov"))
    name = "perplexity with / without <unk>" if exact else "10^(-log10 / token), not a perplexity,"
    compared = ""
    if figures["bits_per_byte"] is not None:
        per_byte, per_character = figures["bits_per_byte"], figures["bits_per_character"]
        compared = f", {per_byte:.4f} bits per byte, {per_character:.4f} per character"
    return f"{counts}: log10 {figures['log10']:,.4f}, {name} {both}{compared}"


def _lines(files: Iterable[str], kaldi: bool, model: "LanguageModel", meter: "Meter") -> Iterator[list[str]]:
    """The units of every line of the files, one file after the other; for kaldi the utterance comes first."""
    from nplm.data.measured import open_measured
    from nplm.data.sources import find_sources

    if not kaldi:
        yield from open_measured(files, model.vocabulary, model.unit, meter)
        return
    for source in find_sources(files):
        for utterance, *units in _kaldi_lines(source, model.unit, meter):
            meter.unknown([unit for unit in units if unit not in model.vocabulary])
            yield [utterance, *units]


def _kaldi_lines(source: "Source", unit: "Unit", meter: "Meter") -> Iterator[list[str]]:
    """The utterance and the words of every line, split as Kaldi does; for another unit, the units of the text."""
    from nplm.data.text import A_LINE, open_lines, without_marks
    from nplm.data.units import toolkit_words

    for number, line in open_lines(source):
        where = f"{source.name}, line {number}"
        utterance, *words = toolkit_words(line) or [""]
        if not utterance:
            raise InputError(f"{where}: empty; a line of Kaldi's text is `utt-id words`")
        words = without_marks(words, where, A_LINE)
        meter.line(" ".join(words))
        yield [utterance, *(words if unit.kind == "word" else unit.split(" ".join(words)))]


def _what_stands_for_log_z(scorer: "LanguageModel") -> str:
    if scorer.mean_log_z is None:
        return "unnormalised: the model file has no mean log Z, so 0 is used; the scores are not log-probabilities"
    return (
        f"unnormalised: log Z is replaced by its mean at the last validation, {scorer.mean_log_z:+.4f} nats;"
        " the scores are not log-probabilities"
    )
