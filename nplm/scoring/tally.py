"""Sums over predicted tokens, from which all figures of a text are computed: nats, log10 totals, SRILM's figures."""

import math
from dataclasses import dataclass, fields

import numpy as np

from nplm.arrays import Array
from nplm.data.vocabulary import Vocabulary


@dataclass
class Tally:
    """Counts, and sums of -log p in float64 nats; merge adds those of another tally."""

    tokens: int = 0  # predicted: words and </s>
    sentences: int = 0  # </s> among them, or lines where </s> is not predicted
    oovs: int = 0  # <unk> among them
    zeros: int = 0  # tokens of probability zero, which are in neither sum
    oov_zeros: int = 0  # <unk> among them
    nats: float = 0.0
    oov_nats: float = 0.0  # of the <unk>

    def add(self, words: Array, nats: Array, sentences: int | None = None) -> None:
        """Add tokens: their ids (n,) and -log p (n,).  sentences: their number; by default the </s> are counted."""
        zero, oov = np.isposinf(nats), words == Vocabulary.unk
        self.tokens += words.size
        self.sentences += int((words == Vocabulary.eos).sum()) if sentences is None else sentences
        self.oovs += int(oov.sum())
        self.zeros += int(zero.sum())
        self.oov_zeros += int((zero & oov).sum())
        self.nats += float(nats[~zero].sum())
        self.oov_nats += float(nats[oov & ~zero].sum())

    def merge(self, other: "Tally") -> None:
        """Add another tally."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def mean_nats(self, with_oovs: bool = True) -> float:
        """Nats per token, over all or over those that are not <unk>; NaN if there is none, inf on zero probability."""
        count, nats, zeros = self.tokens, self.nats, self.zeros
        if not with_oovs:
            count, nats, zeros = count - self.oovs, nats - self.oov_nats, zeros - self.oov_zeros
        if not count:
            return math.nan
        return math.inf if zeros else nats / count


def perplexity(nats: float) -> float:
    """exp(nats), or inf on overflow."""
    return math.exp(nats) if nats < 700 else (math.inf if not math.isnan(nats) else nats)
