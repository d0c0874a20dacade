"""Where does a shared noise group do its harm?  The arm pool-2-k100 of study_noise.py, changed in one thing at a time.

A group of that pool serves R = 16 chunks in a row, and all parameters are updated after each of them: [Z3] of
docs/learn/reuse.md.  Here the updates of some parameters wait until the last chunk of the group (_waiting.py), so that
the R gradients of these parameters are taken at the same values.

noise   fresh: a group of K = 100 words for every chunk (claim 2); pool: M = 2 groups for the N = 32 chunks (claim 3);
        sparse: fresh groups of only M K / N words, rounded: as many draws in a sequence as the pool has
waits   nothing; the output layer (weight and bias of the decoder); the hidden layers (all the others); everything
move    sum: all R updates are then made in full, so that the parameters move as far as if none had waited;
        mean: an R-th of that, so that they move as far as for one chunk

Fresh noise is treated in the same way.  The difference between fresh and pool is therefore due to sharing, and not to
the smaller number of updates.  Everything else is as in study_noise.py: one layer, S = 640, B = 20, SGD, four epochs,
the rate halved after two.

    python benchmarks/study_reuse.py --seeds 1 2 3       half an hour on one core

Rows are added to the result file as they come, and what it holds is not run again.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import _noise_cost
import _record
import numpy as np
from _noise_arms import CHUNKS, Arm, pool
from _tables import Row
from _trials import Trials
from _waiting import Waiting
from _waiting_tables import TABLE
from study_noise import EPOCHS, TEXTS

from nplm.arrays import Array
from nplm.config import ModelConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.streams import Streams
from nplm.model import LanguageModel
from nplm.scoring.evaluate import evaluate
from nplm.training.trainer import Trainer

K, GROUPS = 100, 2
REUSE = CHUNKS // GROUPS  # R
ARMS = {"fresh": Arm(K), "pool": pool(K, GROUPS), "sparse": Arm(round(GROUPS * K / CHUNKS))}
RATES = (20.0, 5.0)  # the best for fresh noise in study_noise.py, and a lower one
SETTINGS: dict[str, Any] = {"decay_after": 2, "shards": 1, "threads": 1}
WAITS: dict[str, Callable[[str], bool]] = {
    "nothing": lambda name: False,
    "output": lambda name: name.startswith("decoder."),
    "hidden": lambda name: not name.startswith("decoder."),
    "everything": lambda name: True,
}
PLACE = _record.by("noise", "waits", "move", "lr", "seed")


class Case(NamedTuple):
    """What is changed."""

    noise: str
    waits: str = "nothing"
    move: str = "sum"


CASES = [Case("fresh"), Case("pool"), Case("sparse")]
CASES += [Case(n, w, m) for m in ("sum", "mean") for w in list(WAITS)[1:] for n in ("fresh", "pool")]


def make_trainer(case: Case, model: LanguageModel, ids: Array, lr: float, seed: int) -> Trainer:
    """The package's trainer, in which the case's parameters wait."""
    config = TrainConfig(**_noise_cost.settings(ARMS[case.noise].flags), **SETTINGS, lr=lr, seed=seed)
    trainer = Trainer(model, Streams(ids, config.batch_size), config)
    trainer.shards = Waiting(trainer, WAITS[case.waits], case.move)
    return trainer


def run_epoch(trainer: Trainer, shards: Waiting) -> bool:
    """Train for an epoch; what waits is due at the last chunk of every group.  False if it diverged."""
    for _, part in groupby(trainer.spans, key=lambda span: (span.sequence, span.chunk // REUSE)):
        spans = list(part)
        for span in spans:
            shards.due = span == spans[-1]
            trainer.step(span)
            if trainer.progress.non_finite:
                return False
    trainer.end_epoch()
    return True


def trial(corpus: Corpus, case: Case, lr: float, seed: int, hidden: int, epochs: int) -> Row:
    """The figures of one training; no perplexity if it diverged."""
    sizes = ModelConfig(len(corpus.vocabulary), hidden, hidden, 1)
    model = LanguageModel.init(sizes, corpus.vocabulary, np.random.default_rng(seed))
    trainer, curve = make_trainer(case, model, corpus.train, lr, seed), []
    shards: Any = trainer.shards
    while len(curve) < epochs and run_epoch(trainer, shards):
        found = evaluate(model, corpus.valid, threads=1)
        curve.append({"perplexity": found.perplexity, "mean_log_z": found.mean_log_z})
    finite = len(curve) == epochs and all(map(math.isfinite, curve[-1].values()))
    last = curve[-1] if finite else {"perplexity": None, "mean_log_z": None}
    return {"num_noise": trainer.config.num_noise, "epochs": epochs, **last, "curve": curve if finite else []}


def main() -> None:
    parser = _record.parser(__doc__, "two cases of a tiny model on a short text", "study_reuse")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N")
    arguments = parser.parse_args()
    quick, trials = arguments.quick, Trials(_record.path_of(arguments, "study_reuse"), PLACE)
    text, hidden = TEXTS["python"]
    corpus = _noise_cost.load(text)
    if quick:
        corpus = replace(corpus, train=corpus.train[:30_000])
    for seed in arguments.seeds:
        for lr in RATES[:1] if quick else RATES:
            for case in CASES[-2:] if quick else CASES:
                given = {**case._asdict(), "lr": lr, "seed": seed}
                settings = (corpus, case, lr, seed, *((8, 1) if quick else (hidden, EPOCHS)))
                trials.row(given, lambda settings=settings: trial(*settings))
    TABLE.show(TABLE.rows(trials.rows))


if __name__ == "__main__":
    main()
