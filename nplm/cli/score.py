"""`nplm score`: the log-probability of every line of a text."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from nplm.cli.common import check_stdin, open_model, shown_option, threads_option
from nplm.cli.output import emit, perplexity_text, say
from nplm.errors import InputError
from nplm.logs import LN10

if TYPE_CHECKING:
    from nplm.data.units import Unit
    from nplm.model import LanguageModel
    from nplm.scoring.tally import Tally

TOKENS = 2**16  # tokens after which scores are written, however few lines they are
EPILOG = """\b
Examples:
  nplm score run sentences.txt > scores.txt
  zcat big.gz | nplm score run --unnormalised | head
  nplm score run --format kaldi words_text > lm_costs
"""


@click.command("score", epilog=EPILOG, short_help="The log-probability of every line of a text.")
@click.argument("model")
@click.argument("files", metavar="[FILE...]", nargs=-1)
@shown_option(
    "--format",
    "form",
    type=click.Choice(["plain", "kaldi"]),
    default="plain",
    help="plain: one log10 per line; kaldi: reads `utt-id words`, writes `utt-id cost`, cost = -ln p.",
)
@click.option(
    "--unnormalised",
    is_flag=True,
    help="Use the mean log Z of the last validation in place of log Z: fast for large vocabularies, not exact.",
)
@click.option("--no-bos", is_flag=True, help="Start from the zero state, without reading the start of a sentence.")
@click.option("--no-eos", is_flag=True, help="Do not predict </s> at a line's end.")
@shown_option(
    "--lines",
    type=click.IntRange(1, 2**20),
    metavar="N",
    default=4096,
    help="Lines read before their scores are written; 1 answers line by line.",
)
@threads_option("Threads; 0: as many as there are cores.")
@click.option("--json", "as_json", is_flag=True, help="The totals as JSON, the last line on stdout.")
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
) -> None:
    """Print the log10 probability of every line of FILE..., one per line, in order.

    Every line is a sentence; an empty line is </s> alone.  Without FILE, or for -, standard input is read;
    .gz is unpacked.  The totals go to stderr.
    """
    from nplm.scoring.score import sentence_scores
    from nplm.scoring.sentences import encode, in_pieces, totals
    from nplm.scoring.tally import Tally

    check_stdin(files)
    path, scorer = open_model(model)
    if unnormalised:
        say(_what_stands_for_log_z(scorer))
    tally, kaldi = Tally(), form == "kaldi"
    for piece in in_pieces(_lines(files or ("-",), kaldi, scorer.unit), TOKENS, lines):
        names = [words.pop(0) if kaldi else "" for words in piece]
        ids, lengths = encode(scorer.vocabulary, piece, not no_eos)
        scores, log_z = sentence_scores(
            scorer, ids, lengths, bos=not no_bos, normalize=not unnormalised, threads=threads
        )
        tally.add(ids, log_z - scores, sentences=lengths.size)
        by_line = totals(scores - log_z, lengths) / (-1 if kaldi else LN10)
        results = zip(names, (by_line + 0.0).tolist(), strict=True)  # -0.0 becomes 0.0
        click.echo("\n".join(f"{name} {value:.6f}".lstrip() for name, value in results))
    say(_summary(_figures(tally), exact=not unnormalised))
    if as_json:
        emit({"model": str(path), "unnormalised": unnormalised} | _figures(tally))


def _figures(tally: "Tally") -> dict[str, Any]:
    """The totals by name: log10, and perplexity with and without <unk>."""
    from nplm.scoring.tally import perplexity

    return {
        "sentences": tally.sentences,
        "tokens": tally.tokens,
        "oovs": tally.oovs,
        "log10": -tally.nats / LN10,
        "log10_oov": -tally.oov_nats / LN10,
        "perplexity": perplexity(tally.mean_nats()),
        "perplexity_without_oov": perplexity(tally.mean_nats(with_oovs=False)),
    }


def _summary(figures: dict[str, Any], exact: bool) -> str:
    """The totals in a line."""
    counts = f"{figures['sentences']:,} sentences, {figures['tokens']:,} tokens, {figures['oovs']:,} <unk>"
    both = " / ".join(perplexity_text(figures[name]) for name in ("perplexity", "perplexity_without_oov"))
    name = "perplexity with / without <unk>" if exact else "10^(-log10 / token), not a perplexity,"
    return f"{counts}: log10 {figures['log10']:,.4f}, {name} {both}"


def _lines(files: Iterable[str], kaldi: bool, unit: "Unit") -> Iterator[list[str]]:
    """The units of every line of the files, one file after the other; for kaldi the first is the utterance."""
    from nplm.data.text import open_text

    for file in files:
        yield from _kaldi_lines(file, unit) if kaldi else open_text(file, unit)


def _kaldi_lines(file: str, unit: "Unit") -> Iterator[list[str]]:
    """The utterance and the words of every line, as Kaldi separates them; for another unit the units of the text."""
    from nplm.data.text import A_LINE, open_lines, text_name, without_marks
    from nplm.data.units import toolkit_words

    for number, line in open_lines(file):
        where = f"{text_name(file)}, line {number}"
        utterance, *words = toolkit_words(line) or [""]
        if not utterance:
            raise InputError(f"{where}: empty; a line of Kaldi's text is `utt-id words`")
        words = without_marks(words, where, A_LINE)
        yield [utterance, *(words if unit.kind == "word" else unit.split(" ".join(words)))]


def _what_stands_for_log_z(scorer: "LanguageModel") -> str:
    if scorer.mean_log_z is None:
        return "unnormalised: the model's file holds no mean log Z, 0 is taken; not probabilities"
    return (
        f"unnormalised: for log Z stands its mean at the last validation, {scorer.mean_log_z:+.4f} nats;"
        " not probabilities"
    )
