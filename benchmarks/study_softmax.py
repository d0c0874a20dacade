"""Why does NCE end below its own softmax?  Both with a tuned rate, then one possible cause at a time.

nce-500, softmax          without dropout, and with variational dropout and one matrix for input and output words
nce-100, nce-2000         more and less noise: if noise regularises, the advantage falls with K
sampled-softmax-500       the same noise, but nothing that keeps Z near 1
softmax-penalty-0.5       no noise, but Z is kept near 1: for large K, NCE minimises -log p + Z - 1 - log Z, and for Z
                          near 1 that is the softmax with half of log^2 Z as a penalty
...-unclipped             no clipping: where every gradient is clipped, another norm is another rate, which is tuned
...-uniform               started at the uniform distribution; otherwise both start at the unigram distribution, always
                          with Z = 1 (decision 0005)

Every arm's rate is found by successive halving (_halving.py) with the first seed; the best epoch of a run counts.

    python benchmarks/study_softmax.py --seeds 1 2 3                 python, about an hour on one core
    python benchmarks/study_softmax.py --corpus ptb --arms main      2 x 200 units, in the folder NPLM_DATA: a day

Of the text of Python's documentation every second stretch of 1,000 tokens is trained on: models of this size then
overfit.  Rows are added to the result file as they come; what it holds is not run again, and a trial that was stopped
goes on.
"""

import argparse
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import _halving
import _noise_cost
import _record
import _training
import numpy as np
from _softmax_arms import ARMS, SETS, Arm, make_model
from _softmax_tables import TABLE, best
from _tables import Row
from _trials import Trials, perplexity

from nplm.config import TrainConfig
from nplm.data.builtin import MIN_COUNT
from nplm.data.corpus import Corpus
from nplm.data.vocabulary import Vocabulary
from nplm.errors import DivergedError
from nplm.scoring.evaluate import evaluate
from nplm.training.loop import train

STRETCH = 1000  # tokens
RATES = (10.0, 20.0, 40.0)
PLACE = _record.by("text", "arm", "seed", "lr", "epochs")


class Setting(NamedTuple):
    """A text, and how models are trained on it."""

    flags: list[str]
    hidden: int
    epochs: int
    decay_after: int
    every: int = 1  # of the training text's stretches of 1,000 tokens, every so many-th is trained on


SETTINGS = {"python": Setting(["--corpus", "python"], 100, 8, 4, 2), "ptb": Setting(_training.texts("ptb"), 200, 13, 4)}


class Study:
    """The trials of one text."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.text, self.quick = arguments.corpus, arguments.quick
        quick = {"hidden": 8, "epochs": 2, "every": 20} if self.quick else {}
        self.setting = SETTINGS[self.text]._replace(**quick)
        self.corpus = cut(_noise_cost.load(self.setting.flags), self.setting.every)
        self.trials = Trials(_record.path_of(arguments, f"study_softmax-{self.text}"), PLACE)
        self.runs = arguments.runs / self.text

    def arm(self, arm: Arm, seeds: list[int]) -> None:
        """All trials of an arm: the first seed finds the rate."""
        first, *others = seeds
        rates, epochs = RATES[-2:] if self.quick else RATES, self.setting.epochs
        found = _halving.halve(lambda lr, epochs: self.perplexity(arm, lr, first, epochs), rates, epochs)
        for seed in others:
            self.perplexity(arm, found.rate, seed, epochs)
        for folder in self.runs.glob(f"{arm.name}-rate-*"):
            shutil.rmtree(folder)  # the rows are kept

    def perplexity(self, arm: Arm, lr: float, seed: int, epochs: int) -> float:
        """Of the best epoch of a trial, which is run or gone on with where there is no row of it."""
        given = {"text": self.text, "arm": arm.name, "seed": seed, "lr": lr, "epochs": epochs}
        return perplexity(self.trials.row(given, lambda: self.run(arm, lr, seed, epochs)))

    def run(self, arm: Arm, lr: float, seed: int, epochs: int) -> Row:
        """Train, or go on; the figures of the row."""
        folder, corpus = self.runs / f"{arm.name}-rate-{lr:g}-seed-{seed}", self.corpus
        settings: dict[str, Any] = {"lr": lr, "seed": seed, "epochs": epochs, "decay_after": self.setting.decay_after}
        config = TrainConfig(**arm.settings, **settings, log_interval=1, shards=1, threads=1)
        try:
            model, resume = (
                make_model(arm, corpus.vocabulary, self.setting.hidden, seed),
                (folder / _training.LAST).exists(),
            )
            result = train(model, corpus, config, save=folder, resume=resume)
        except DivergedError:
            return {"perplexity": None, "curve": _training.curve(folder)}
        if result.interrupted:
            sys.exit(_training.INTERRUPTED)
        curve = _training.curve(folder)
        figures = best(curve) | {"best_epoch": best(curve)["epoch"], "seconds": curve[-1]["seconds"]}
        figures.pop("epoch")
        if epochs == self.setting.epochs and corpus.test is not None:
            last = [line for line in result.history if line["kind"] == "train" and line["epoch"] == epochs]
            figures["clipped"] = float(np.mean([line["gradient_norm"] > config.clip for line in last]))
            for name, ids in (("test", corpus.test), ("train", corpus.train)):
                figures[f"{name}_perplexity"] = evaluate(result.best, ids, threads=1).perplexity
        return figures | {"curve": curve}


def cut(corpus: Corpus, every: int) -> Corpus:
    """The corpus with every so many-th stretch of its training text, and a vocabulary from these alone."""
    if every == 1:
        return corpus
    words = {name: [corpus.vocabulary.tokens[w] for w in getattr(corpus, name)] for name in ("train", "valid", "test")}
    words["train"] = [word for k, word in enumerate(words["train"]) if k // STRETCH % every == 0]
    vocabulary = Vocabulary.from_counts(Counter(words["train"]), min_count=MIN_COUNT)
    texts = {name: vocabulary.encode(text) for name, text in words.items()}
    return replace(corpus, vocabulary=vocabulary, **texts, sizes={}, baselines={})


def main() -> None:
    parser = _record.parser(__doc__, "two arms of a tiny model on a short text", "study_softmax-TEXT")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help=f"or a set of them: {', '.join(SETS)}")
    parser.add_argument("--corpus", choices=list(SETTINGS), default="python")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N", help="the first one finds the rate")
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs" / "softmax", metavar="DIR")
    arguments = parser.parse_args()
    named = arguments.arms or (["quick"] if arguments.quick else ["main", "causes"])
    if odd := [name for name in named if name not in SETS and name not in ARMS]:
        sys.exit(f"no such arm: {', '.join(odd)}; there are {', '.join([*SETS, *ARMS])}")
    study = Study(arguments)
    for name in named:
        for arm in SETS[name] if name in SETS else [ARMS[name]]:
            study.arm(arm, arguments.seeds)
    TABLE.show(TABLE.rows(study.trials.rows))


if __name__ == "__main__":
    main()
