"""Five recipes and one training, by public names only, so that checkouts of different ages can run them.

benchmarks/compare_bits.py compares two checkouts with them, make.py records golden values, test_golden.py checks those.
"""

from typing import Any, NamedTuple

import numpy as np

import nplm


class Recipe(NamedTuple):
    """What a recipe sets besides the sizes."""

    model: dict[str, Any]
    train: dict[str, Any]


RECIPES = {
    "sgd": Recipe({}, {"num_noise": 12}),
    "adam with dropout": Recipe(
        {},
        {
            "num_noise": 12,
            "optimizer": "adam",
            "lr": 0.01,
            "weight_decay": 0.1,
            "warmup": 3,
            "schedule": "cosine",
            "dropout": 0.3,
            "dropout_words": 0.1,
            "dropout_recurrent": 0.2,
            "variational": True,
        },
    ),
    "tied": Recipe({"tied": True}, {"num_noise": 12, "reset_at_eos": True}),
    "pool noise": Recipe({"noise_power": 0.75}, {"num_noise": 30, "noise": "pool", "noise_groups": 2}),
    "softmax": Recipe({}, {"objective": "softmax", "log_z_penalty": 0.01}),
}
SHARDS = (1, 2)


class Sizes(NamedTuple):
    """The shape of a model and of its chunks."""

    embed: int  # E; a tied model takes H
    hidden: int  # H
    batch: int  # B
    bptt: int  # T
    chunks: int  # N, chunks of a sequence


class Recorder(nplm.Observer):
    """Collects the loss of every chunk, in nats per position."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, step: Any) -> None:
        self.losses.append(float(step.loss))


def text(num_tokens: int, vocab_size: int, seed: int) -> np.ndarray:
    """Ids (num_tokens,) int32 of a text in which half of the words follow from the word before; the last is </s>."""
    uniform = np.random.default_rng(seed).random((num_tokens, 2))
    ids = np.ones(num_tokens, np.int32)
    for i in range(num_tokens - 1):
        successor = (3 * ids[i - 1] + 5) % vocab_size
        ids[i] = successor if uniform[i, 0] < 0.5 else int(vocab_size * uniform[i, 1] ** 3)
    return ids


def vocabulary(train: np.ndarray, vocab_size: int) -> nplm.Vocabulary:
    """<unk>, </s>, w2, w3 ... with their counts in the training text."""
    tokens = ["<unk>", "</s>", *(f"w{k}" for k in range(2, vocab_size))]
    return nplm.Vocabulary(tokens, np.bincount(train, minlength=vocab_size).tolist())


def train(
    recipe: Recipe, corpus: nplm.Corpus, sizes: Sizes, dtype: Any, **changes: Any
) -> tuple[nplm.LanguageModel, list[float]]:
    """The model after one epoch, and the loss of every chunk."""
    embed = sizes.hidden if recipe.model.get("tied") else sizes.embed
    config = nplm.ModelConfig(len(corpus.vocabulary), embed, sizes.hidden, 2, **recipe.model)
    model = nplm.LanguageModel.init(config, corpus.vocabulary, np.random.default_rng(3), dtype)
    settings = {"bptt": sizes.bptt, "batch_size": sizes.batch, "sequence_length": sizes.bptt * sizes.chunks}
    settings |= {"epochs": 1, "seed": 4} | recipe.train | changes
    recorder = Recorder()
    nplm.train(model, corpus, nplm.TrainConfig(**settings), observer=recorder)
    return model, recorder.losses
