"""The workload of the benchmarks: words with a Zipf distribution like the Penn Treebank's, our model, a training step.

The distribution is Zipf-Mandelbrot, p(rank r) proportional to (r + SHIFT)^-EXPONENT, where the word of rank r has the
id r - 1.  Its two constants are maximum-likelihood estimates for the 10,000 word counts of PTB's training text, `</s>`
counted: `python benchmarks/_workload.py FOLDER` fits them again.  Cross-entropy of PTB under it: 6.544 nats per
token; entropy of PTB's own unigram: 6.529.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nplm.config import ModelConfig, Objective, Optimizer, Precision, TrainConfig
from nplm.data.streams import Streams
from nplm.data.tokens import EOS, UNK
from nplm.data.vocabulary import Vocabulary
from nplm.model import LanguageModel, param_shapes
from nplm.ranks.alone import ALONE, Ranks
from nplm.training.trainer import Trainer

EXPONENT, SHIFT = 1.0835, 1.3617
LR, CLIP = 1.0, 0.25
CHUNKS = 50  # of a stream, before it starts again
TOKENS = 1e9  # counted in the vocabulary: enough for every word to be seen


class Shape(NamedTuple):
    """Sizes of a training step."""

    B: int
    T: int
    E: int
    H: int
    L: int
    K: int
    V: int

    @property
    def tokens(self) -> int:
        """Positions of a chunk."""
        return self.T * self.B

    def lstm_flops(self) -> int:
        """Operations a token of the LSTM layers, forward and backward: 3 products of (D+H) x 4H a layer."""
        return sum(24 * self.H * ((self.E if k == 0 else self.H) + self.H) for k in range(self.L))

    def flops(self) -> int:
        """Operations a token that a step cannot do without: LSTM, and 6 H (K+1) for NCE."""
        return self.lstm_flops() + 6 * self.H * (self.K + 1)


def zipf(vocab_size: int) -> np.ndarray:
    """p (V,), most frequent word first."""
    weights = (np.arange(1, vocab_size + 1) + SHIFT) ** -EXPONENT
    return np.asarray(weights / weights.sum())


def fit(counts: np.ndarray) -> tuple[float, float]:
    """EXPONENT and SHIFT of greatest likelihood for counts (V,), by a search that halves its steps."""
    counts = np.sort(counts)[::-1]
    ranks, shares = np.arange(1, len(counts) + 1), counts / counts.sum()

    def nats(exponent: float, shift: float) -> float:
        logs = -exponent * np.log(ranks + shift)
        return float(np.log(np.exp(logs).sum()) - shares @ logs)

    here, step = (1.0, 2.0), (0.5, 2.0)
    while step[0] > 1e-5:
        around = [(here[0] + i * step[0], max(0.0, here[1] + j * step[1])) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        best = min(around, key=lambda point: nats(*point))
        if best == here:
            step = (step[0] / 2, step[1] / 2)
        here = best
    return here


def text(vocab_size: int, shape: Shape, seed: int = 1) -> np.ndarray:
    """Word ids (CHUNKS T + 1, B) int32, independent draws from the distribution over `vocab_size` words."""
    draws = np.random.default_rng(seed).random((CHUNKS * shape.T + 1, shape.B))
    ids = np.searchsorted(zipf(vocab_size).cumsum(), draws)
    return np.minimum(ids, vocab_size - 1).astype(np.int32)


def vocabulary(probs: np.ndarray) -> Vocabulary:
    """A vocabulary with the counts of probs (V,)."""
    tokens = (UNK, EOS, *(f"w{k}" for k in range(2, len(probs))))
    return Vocabulary(tokens, np.maximum(1, probs * TOKENS).astype(np.int64).tolist())


def make_model(shape: Shape, probs: np.ndarray | None = None, seed: int = 2) -> LanguageModel:
    """A model with no weight zero, as after some training: with a decoder of zeros the gradients would vanish."""
    config = ModelConfig(shape.V, shape.E, shape.H, shape.L)
    rng = np.random.default_rng(seed)
    params = {}
    for name, size in param_shapes(config).items():
        params[name] = rng.random(size, np.float32)
        params[name] -= np.float32(0.5)
        params[name] *= np.float32(2 * config.init_scale)
    words = vocabulary(zipf(shape.V) if probs is None else probs)
    params["decoder.bias"][...] = np.log(np.maximum(words.counts, 1) / words.counts.sum())
    return LanguageModel(config, words, params)


class OurTrainer:
    """Our side: the package's own Trainer on a stream of words, with fresh noise for every chunk.

    num_shards: as many as threads unless given.  A word that two shards share is computed in both, so who has one core
    cuts the chunk into one.  ranks: those of a job, each of which has such a trainer.
    """

    def __init__(
        self,
        model: LanguageModel,
        shape: Shape,
        ids: np.ndarray,
        threads: int,
        num_shards: int | None = None,
        objective: Objective = "nce",
        optimizer: Optimizer = "sgd",
        precision: Precision = "float32",
        ranks: Ranks = ALONE,
    ) -> None:
        self.threads, num_shards = threads, min(num_shards or threads, shape.B)
        config = TrainConfig(
            bptt=shape.T,
            batch_size=shape.B,
            sequence_length=CHUNKS * shape.T,
            num_noise=shape.K,
            shards=num_shards,
            threads=threads,
            objective=objective,
            optimizer=optimizer,
            precision=precision,
            lr=LR,
            clip=CLIP,
            schedule="constant",
        )
        self.trainer = Trainer(model, Streams(ids[1:].T.ravel(), shape.B), config, ranks=ranks)
        self.spans = cycle(self.trainer.spans)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its threads."""
        with self.trainer.threads():
            yield

    def step(self) -> float:
        """Train on the next chunk; returns the loss."""
        return self.trainer.step(next(self.spans)).loss


def main() -> None:
    """Fit the distribution to PTB again."""
    data = Path(os.environ.get("NPLM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "ptb"
    path = Path(sys.argv[1] if sys.argv[1:] else data) / "train.txt"
    counts: Counter[str] = Counter()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update([*line.split(), EOS])
    found: tuple[Any, ...] = fit(np.array(list(counts.values()), float))
    print("EXPONENT, SHIFT = {:.4f}, {:.4f}".format(*found))


if __name__ == "__main__":
    main()
