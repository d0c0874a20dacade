"""Five ways to train, by the public interface alone, so that any checkout of nplm can run them.

benchmarks/compare_bits.py compares two checkouts with them, tests/test_golden.py one with recorded figures.
"""

from typing import Any

import numpy as np

import nplm

V, CHUNKS, TAIL = 203, 50, 3  # words, chunks of an epoch, streams that have a token in the last of them
SETTINGS: dict[str, Any] = {
    "bptt": 5, "batch_size": 8, "sequence_length": 42, "num_noise": 20, "lr": 4.0, "clip": 0.5, "epochs": 1,
    "schedule": "constant", "threads": 1,
}  # fmt: skip
STEPS = 228  # five sequences in nine chunks, the last of them short, one in four; the 50th chunk is the tail
ADAM = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1}
DROPOUT = {"dropout": 0.3, "dropout_words": 0.1, "dropout_recurrent": 0.2, "variational": True}
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam, dropout": ADAM | DROPOUT,
    "tied": {},
    "pool": {"noise": "pool", "noise_groups": 3},
    "softmax": {"objective": "softmax"},
}
SHARDS = (1, 2)


class Figures(nplm.Observer):
    """Keeps the loss of every chunk, and the norm of its gradient before clipping."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []

    def step(self, step: Any) -> None:
        self.losses.append(step.loss)
        self.norms.append(step.norm)


def text(size: int, n: int, seed: int) -> Any:
    """A text (n,) over `size` words in which a word leaves four for the next, low ids being the more frequent."""
    ids, word = [], 0
    for choice in (4 * np.random.default_rng(seed).random(n)).astype(int).tolist():
        word = (7 * word + 3 * choice) % size
        ids.append(word * word // size)
    return np.array(ids, np.int32)


def vocabulary(size: int) -> nplm.Vocabulary:
    """`size` words with <unk> and </s>, all with different counts."""
    return nplm.Vocabulary.from_counts({f"w{k}": 2 * size - k for k in range(size - 2)})


def train(recipe: str, shards: int, dtype: Any) -> tuple[dict[str, Any], Figures]:
    """Parameters after one epoch, which has 50 chunks, and the figures of each chunk."""
    words, tied = vocabulary(V), recipe == "tied"
    sizes = nplm.ModelConfig(V, 56 if tied else 40, 56, 2, tied=tied, init_scale=0.3)
    model = nplm.LanguageModel.init(sizes, words, np.random.default_rng(1), dtype)
    decoder = model.params.get("decoder.weight", model.params["encoder.weight"])
    decoder[...] = np.random.default_rng(2).normal(0, 0.2, decoder.shape)  # at 0 the layers below would hardly learn
    corpus = nplm.Corpus("synthetic", words, text(V, SETTINGS["batch_size"] * STEPS + TAIL, seed=0))
    observer = Figures()
    config = nplm.TrainConfig(shards=shards, **SETTINGS | RECIPES[recipe])
    nplm.train(model, corpus, config, observer=observer)
    if len(observer.losses) != CHUNKS:
        raise RuntimeError(f"{recipe}: {len(observer.losses)} chunks, not {CHUNKS}")
    return model.params, observer
