"""`nplm demo`: train a model on Python's help texts, evaluate it and sample from it."""

import shlex
from typing import Any

import click

from nplm.cli.settings import GroupedCommand, build, setting_options, values
from nplm.config import ModelConfig, TrainConfig

CORPUS = "python"
PRESET: dict[str, Any] = {
    "embed_dim": 200,
    "hidden_dim": 200,
    "num_layers": 1,
    "tied": True,
    "num_noise": 128,
    "bptt": 20,
    "batch_size": 20,
    "lr": 20.0,
    "epochs": 6,
    "schedule": "cosine",
    "lr_floor": 0.02,
}
LINES = 5  # sampled

EPILOG = """\b
Examples:
  nplm demo
  nplm demo --epochs 2 --json
  nplm demo --save demo-run        keep the model; then try `nplm info demo-run`
"""


@click.command(
    "demo",
    cls=GroupedCommand,
    epilog=EPILOG,
    short_help="Train, evaluate and sample from a small model in two minutes.",
)
@setting_options("epochs", "seed", "threads", preset=PRESET)
@click.option("--save", metavar="DIR", help="New folder for models and metrics.")
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(save: str | None, as_json: bool, **_: Any) -> int:
    """Train a small model on Python's help texts, evaluate it, and sample a few lines from it.

    Nothing is downloaded: the text comes with Python.
    """
    found = values(PRESET | {"corpus": CORPUS})
    config = build(TrainConfig, found)

    import numpy as np

    from nplm.cli import session as _session
    from nplm.cli.output import say, show
    from nplm.data import builtin
    from nplm.scoring.generate import sample

    corpus = builtin.load(CORPUS)
    model_config = build(ModelConfig, found, vocab_size=len(corpus.vocabulary))

    def before() -> None:
        say("1. Text: the docstrings of the standard library, and the reference texts behind help()")
        _session.echo_settings(found, corpus)
        say(f"2. Training: chunks of {config.bptt} time steps, in order, each with {config.num_noise} noise words")

    result, figures = _session.run_session(
        corpus, model_config, config, save=save, source={"corpus": CORPUS}, before=before
    )
    say("3. Results")
    _session.report(figures, as_json)
    figures["ratio"] = figures["unigram_perplexity"] / figures["test_perplexity"]
    figures["samples"] = sample(result.best, np.random.default_rng(config.seed), lines=LINES)
    show("a few sampled lines", [(line, "") for line in figures["samples"]], as_json)
    for line in _next_steps(save):
        say(line)
    return _session.finish(figures, as_json)


def _next_steps(save: str | None) -> list[str]:
    first = shlex.join(["nplm", "info", save]) if save else "nplm demo --save demo-run             keep the model"
    return [
        "what to try next",
        f"  {first}",
        "  nplm train --corpus hmm --epochs 5    a source whose lowest possible perplexity is known",
        "  nplm train --train your.txt --valid your-valid.txt --save run",
    ]
