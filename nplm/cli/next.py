"""`nplm next`: the most likely next words after a context."""

import math
from typing import TYPE_CHECKING, Any

import click

from nplm.cli.common import open_model, shown_option
from nplm.cli.output import emit, seen

if TYPE_CHECKING:
    from nplm.scoring.generate import Reader

EPILOG = """\b
Examples:
  nplm next run the meaning of
  nplm next run -k 3 --json "the meaning of"
  head -5 test.txt | nplm next run -
"""


@click.command("next", epilog=EPILOG, short_help="Print the most likely next words, with their probabilities.")
@click.argument("model")
@click.argument("words", nargs=-1)
@shown_option("-k", type=click.IntRange(1), metavar="K", default=10, help="Number of words to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per context.")
def command(model: str, words: tuple[str, ...], k: int, as_json: bool) -> None:
    """Print the K most likely words after WORDS, the beginning of a sentence; </s> stands for its end.

    For a model of characters or pieces, these are shown instead of words, with a space written as ▁.

    Without WORDS, print the most likely first words. With - for WORDS, contexts are read from stdin, one per line.
    """
    from nplm.data.text import open_text
    from nplm.scoring.generate import Reader

    path, loaded = open_model(model)
    reader = Reader(loaded)
    unit = loaded.unit
    for context in open_text("-", unit) if words == ("-",) else [unit.split(" ".join(words))]:
        figures = {"model": str(path)} | _likeliest(reader, context, k)
        if as_json:
            emit(figures)
        else:
            click.echo(seen("\n".join(_table(figures))))


def _likeliest(reader: "Reader", context: list[str], k: int) -> dict[str, Any]:
    from nplm.scoring.generate import next_after

    words, cumulative = [], 0.0
    for word, probability in next_after(reader, context, k):
        cumulative += probability
        log10_prob = math.log10(probability) if probability else -math.inf
        words.append({"word": word, "probability": probability, "log10_prob": log10_prob, "cumulative": cumulative})
    known = reader.model.vocabulary
    unknown = [word for word in dict.fromkeys(context) if word not in known]
    return {"context": reader.model.unit.join(context), "unknown": unknown, "words": words}


def _table(figures: dict[str, Any]) -> list[str]:
    title = f"after {figures['context']!r}" if figures["context"] else "at the beginning of a sentence"
    if figures["unknown"]:
        title += f"   (read as <unk>: {' '.join(figures['unknown'])})"
    width = max(len("word"), *(len(row["word"]) for row in figures["words"]))
    lines = [title, f"  {'word':<{width}}  probability    log10  cumulative"]
    for row in figures["words"]:
        lines.append(
            f"  {row['word']:<{width}}  {row['probability']:11.6f} {row['log10_prob']:8.4f}  {row['cumulative']:10.6f}"
        )
    return lines
