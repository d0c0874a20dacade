"""How long the trials of study_noise.py will take: a few chunks of every kind of step, timed on the actual text."""

import time
from statistics import median
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.cli.train import load_text
from nplm.config import ModelConfig, TextConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.streams import Streams
from nplm.data.units import open_unit
from nplm.model import LanguageModel
from nplm.noise import NoiseDistribution
from nplm.training.trainer import Trainer, warm_up

CHUNKS = 8  # timed, after one to warm up
START, EPOCH = 6.0, 6.0  # seconds of a process and of validating, on one idle core
SWITCHES = ("--baseline", "--own-counts")
FIELDS = {"nce": "num_noise"}  # flags that have another name than their field


def settings(flags: list[str]) -> dict[str, Any]:
    """The fields of TrainConfig that flags set."""
    found: dict[str, Any] = {flag[2:].replace("-", "_"): True for flag in SWITCHES if flag in flags}
    words = [word for word in flags if word not in SWITCHES]
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        found[FIELDS.get(name, name)] = int(value) if value.isdigit() else value
    return found


def load(flags: list[str]) -> Corpus:
    """The text that flags of nplm train name."""
    text = TextConfig(**{f.removeprefix("--"): value for f, value in zip(flags[::2], flags[1::2], strict=True)})
    return load_text(text, open_unit(text.unit))


def unigram(flags: list[str]) -> Array:
    """The noise distribution of a text (V,)."""
    return NoiseDistribution.from_counts(load(flags).vocabulary.counts).probs


def seconds(flags: list[str], hidden: int, arms: list[dict[str, Any]], epochs: int) -> float:
    """Of so many epochs of every arm, one after the other on one core; arms: fields of TrainConfig."""
    if not arms:
        return 0.0
    corpus = load(flags)
    model = LanguageModel.init(
        ModelConfig(len(corpus.vocabulary), hidden, hidden, 1), corpus.vocabulary, np.random.default_rng(1)
    )
    total, known = 0.0, {}
    for arm in arms:
        kind = (arm["num_noise"], arm["bptt"], arm["objective"])
        if kind not in known:
            known[kind] = of_token(model, corpus, TrainConfig(**arm, lr=0.1, shards=1, threads=1))
        total += epochs * (known[kind] * len(corpus.train) + EPOCH) + 2 * START * epochs / 4
    return total


def steps(flags: list[str], hidden: int, arms: dict[str, dict[str, Any]], repeats: int) -> dict[str, float]:
    """Microseconds of training for a token by each arm, on one core: the median over repeats, in turns."""
    corpus = load(flags)
    vocabulary = corpus.vocabulary
    model = LanguageModel.init(ModelConfig(len(vocabulary), hidden, hidden, 1), vocabulary, np.random.default_rng(1))
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            found[name].append(of_token(model, corpus, TrainConfig(**arm, lr=0.1, shards=1, threads=1)))
    return {name: 1e6 * median(times) for name, times in found.items()}


def of_token(model: LanguageModel, corpus: Corpus, config: TrainConfig) -> float:
    """Seconds of training for a token."""
    warm_up(model.dtype, config)
    trainer = Trainer(model.copy(), Streams(corpus.train, config.batch_size), config)
    trainer.step(trainer.spans[0])
    start, done = time.perf_counter(), trainer.spans[1 : 1 + CHUNKS]
    for span in done:
        trainer.step(span)
    return (time.perf_counter() - start) / sum((span.stop - span.start) * config.batch_size for span in done)
