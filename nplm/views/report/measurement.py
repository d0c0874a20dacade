"""The figures of a report on a text, from one pass over it, in bounded memory.

[B1] surprisal_n = -log2 p(target_n | words before it)      bits, exact: normalised over the whole vocabulary
[B2] perplexity of a band of words = exp(sum of their nats / their number); the nats of all bands add up to the text's
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import log

import numpy as np

from nplm.arrays import Array
from nplm.data.mapped import BLOCK
from nplm.data.measured import open_measured, read_measured
from nplm.data.reading import Reading
from nplm.data.size import Meter, TextSize
from nplm.data.sources import Texts, find_sources, name_sources
from nplm.data.text import open_tokens
from nplm.data.tokens import EOS, UNK
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.model import LanguageModel
from nplm.scoring.evaluate import HISTOGRAM_BINS, HISTOGRAM_LOW, HISTOGRAM_WIDTH, Evaluation, LogZTally, summary
from nplm.scoring.score import stream_scores
from nplm.scoring.tally import perplexity as perplexity_of

PIECE = 2**16  # tokens measured at a time
HISTOGRAM_BARS = 48  # of log Z, at most
OUTSIDE = 5e-4  # share of positions, on either side, that the bars may leave out


@dataclass(frozen=True)
class Band:
    """The tokens of a text whose words were seen about equally often in training."""

    name: str  # <unk>, the range of training counts, or </s>
    tokens: int
    nats: float  # summed over the tokens
    unigram_nats: float  # the same for the unigram model of the training counts

    @property
    def perplexity(self) -> float:
        """[B2]"""
        return perplexity_of(self.nats / self.tokens)

    @property
    def unigram_perplexity(self) -> float:
        """[B2] of the unigram model."""
        return perplexity_of(self.unigram_nats / self.tokens)


@dataclass(frozen=True)
class Measurement:
    """The measurement of a model on a text."""

    evaluation: Evaluation  # of the text read as one stream, or sentence by sentence
    unigram_perplexity: float
    log_z_counts: Array  # (m,) int64, positions
    log_z_edges: Array  # (m+1,) float64, nats
    bands: list[Band]  # those that have tokens: <unk>, rising counts, </s>
    ids: Array  # (k,) int32, the text's first tokens
    counts: Array  # (k,) int64, how often each of them was seen in training
    surprisals: Array  # (k,) float64, bits, [B1]


def measure(
    model: LanguageModel, ids: Array, *, size: TextSize | None = None, reset: bool = False, shown: int = 2000
) -> Measurement:
    """Measure all of a text of ids (n,), and keep the surprisals of its first `shown` tokens.

    size: of the raw text, for the figures per byte.
    reset: begin every sentence with the zero state, instead of carrying the state through the text.
    Raises InputError on an empty text and ValueError on an id outside the vocabulary.
    """
    ids, vocabulary = np.asarray(ids), model.vocabulary
    if ids.size == 0:
        raise InputError("nothing to report on: the text has no tokens")
    names, band_of = frequency_bands(vocabulary)
    tally, kept, start = LogZTally(), [], 0
    seen = np.zeros(len(vocabulary), np.int64)
    band_nats = np.zeros(len(names))
    for scores, log_z in stream_scores(model, _pieces(ids, vocabulary.eos, reset), reset=reset):
        words, nats = ids[start : start + scores.size], log_z - scores
        tally.add_scores(words, scores, log_z)
        seen += np.bincount(words, minlength=seen.size)
        band_nats += np.bincount(band_of[words], nats, len(names))
        kept.append(nats[: max(shown - start, 0)] / log(2))
        start += scores.size
    tokens, unigram = (np.bincount(band_of, part, len(names)) for part in (seen, seen * _unigram(vocabulary)))
    bands = [
        Band(name, int(n), float(own), float(other))
        for name, n, own, other in zip(names, tokens, band_nats, unigram, strict=True)
        if n
    ]
    head = np.array(ids[:shown])
    return Measurement(
        summary(tally, 1, "reset" if reset else "carried", size),
        perplexity_of(float(unigram.sum()) / ids.size),
        *_bars(tally.histogram),
        bands,
        head,
        vocabulary.counts[head],
        np.concatenate(kept),
    )


def frequency_bands(vocabulary: Vocabulary) -> tuple[list[str], Array]:
    """Names of the bands, and each word's band (V,): <unk>, never seen, 1-9, 10-99 and so on, </s>."""
    most = int(vocabulary.counts[2:].max(initial=1))
    decades = len(str(most))
    bounds = 10 ** np.arange(decades, dtype=np.int64)  # 1, 10, 100, ...
    ranges = [f"{low:,}–{10 * low - 1:,}" for low in bounds.tolist()]
    band_of = 1 + np.searchsorted(bounds, vocabulary.counts, side="right")
    band_of[vocabulary.unk], band_of[vocabulary.eos] = 0, decades + 2
    return [UNK, "0", *ranges, EOS], band_of


def read_text(
    texts: Texts, vocabulary: Vocabulary, shown: int, unit: Unit = WORDS, reading: Reading | None = None
) -> tuple[Array, list[str], TextSize]:
    """The text's ids (n,), its first `shown` tokens in their original spelling, and its size; a pipe is read once."""
    sources = find_sources(texts, reading)
    if not any(source.is_pipe for source in sources):
        ids, size = read_measured(sources, vocabulary, unit, reading=reading)
        return ids, list(islice(open_tokens(sources, unit), shown)), size
    words: list[str] = []
    meter, blocks = Meter(), [np.empty(0, np.int32)]
    tokens = (token for units in open_measured(sources, vocabulary, unit, meter) for token in (*units, EOS))
    while block := list(islice(tokens, BLOCK)):
        words += block[: shown - len(words)]
        blocks.append(vocabulary.encode(block))
    ids = np.concatenate(blocks)
    if not (ids > vocabulary.eos).any():
        raise InputError(f"{name_sources(sources)}: none of its words is in the vocabulary; is it the right text?")
    return ids, words, meter.size


def _pieces(ids: Array, eos: int, reset: bool) -> Iterator[Array]:
    """The ids in pieces; with reset, in whole sentences."""
    start = 0
    while start < ids.size:
        stop = start + PIECE
        if reset:
            while stop < ids.size and not (ids[start:stop] == eos).any():
                stop += PIECE
            if stop < ids.size:
                stop = start + int(np.flatnonzero(ids[start:stop] == eos)[-1]) + 1
        yield ids[start:stop]
        start = stop


def _unigram(vocabulary: Vocabulary) -> Array:
    """Nats (V,) of each word under the unigram model: counts of at least 1, as `unigram_perplexity` takes them."""
    weights = np.maximum(vocabulary.counts, 1).astype(np.float64)
    return np.asarray(log(weights.sum()) - np.log(weights))


def _bars(histogram: Array) -> tuple[Array, Array]:
    """The fine histogram of log Z in at most HISTOGRAM_BARS + 1 bars, without its outermost positions."""
    total = histogram.cumsum()
    first, last = np.searchsorted(total, [OUTSIDE * total[-1] + 0.5, (1 - OUTSIDE) * total[-1]])
    width = max(1, -(-(int(last) - int(first) + 1) // HISTOGRAM_BARS))
    first, last = int(first) // width * width, int(last) // width * width + width
    fine = np.zeros(last - first, np.int64)
    inside = histogram[first : min(last, HISTOGRAM_BINS)]
    fine[: inside.size] = inside
    edges = HISTOGRAM_LOW + HISTOGRAM_WIDTH * np.arange(first, last + 1, width)
    return fine.reshape(-1, width).sum(axis=1), edges
