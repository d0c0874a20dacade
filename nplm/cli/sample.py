"""`nplm sample`: sample text from a model."""

import click

from nplm.cli.common import open_model, shown_option
from nplm.cli.output import emit, say, seen

EPILOG = """\b
Examples:
  nplm sample run
  nplm sample run --lines 20 --temperature 0.8 --top-p 0.95 --seed 1
  nplm sample run --prompt "the meaning of" --top-k 40 --max-words 20
"""


@click.command("sample", epilog=EPILOG, short_help="Sample text from a model.")
@click.argument("model")
@shown_option(
    "-n", "--lines", type=click.IntRange(1), metavar="N", default=1, help="Lines to draw, each from the zero state."
)
@shown_option(
    "--max-words",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=40,
    help="At most N words (or other units of the model) are drawn per line; </s> ends it sooner.",
)
@shown_option(
    "--temperature",
    type=float,
    metavar="X",
    default=1.0,
    help="Below 1 sharpens the distribution, above 1 flattens it; 0: always the most likely word.",
)
@shown_option(
    "--top-k", type=click.IntRange(0), metavar="K", default=0, help="Draw from the K most likely words; 0: from all."
)
@shown_option(
    "--top-p",
    type=float,
    metavar="P",
    default=1.0,
    help="Draw from the smallest set of most likely words (of the top K) whose probabilities add up to P; 1: all.",
)
@click.option("--prompt", metavar="TEXT", default="", help="Text that every line begins with.")
@click.option("--allow-unk", is_flag=True, help="Allow <unk> to be drawn.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    metavar="N",
    help="The same seed gives the same lines; without this option a seed is chosen and printed.",
)
@click.option("--json", "as_json", is_flag=True, help="Each line as a JSON object.")
def command(
    model: str,
    lines: int,
    max_words: int,
    temperature: float,
    top_k: int,
    top_p: float,
    prompt: str,
    allow_unk: bool,
    seed: int | None,
    as_json: bool,
) -> None:
    """Draw lines of text from MODEL, a model file or the folder of a run, and print each as soon as it is drawn."""
    import secrets

    import numpy as np

    from nplm.scoring.generate import Sampling, draw_lines

    _, loaded = open_model(model)
    words = loaded.unit.split(prompt)
    for word in dict.fromkeys(word for word in words if word not in loaded.vocabulary):
        say(f"{word!r} is not in the model's vocabulary: it is read as <unk>")
    if seed is None:
        seed = secrets.randbelow(2**32)
        say(f"--seed {seed}")
    sampling = Sampling(temperature, top_k, top_p, allow_unk)
    drawn = draw_lines(loaded, np.random.default_rng(seed), sampling, lines, max_words, words)
    for number, line in enumerate(drawn, start=1):
        text = loaded.unit.join(line.words)
        if as_json:
            drawn_words = len(line.words) - len(words)
            emit({"line": number, "text": text, "words": drawn_words, "ended": line.ended, "seed": seed})
        else:
            click.echo(seen(text))
