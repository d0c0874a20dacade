"""Exact evaluation: nats per predicted token, perplexity, and how far the model is from being normalised.

[V1] nats = -1/n sum_n log p(target_n | words before it)        log p normalised over the whole vocabulary
[V2] perplexity = exp(nats)
[V3] log Z_n = log sum_w exp(s(n, w)): zero for a model that NCE has taught to normalise itself
[V4] unnormalised nats = -1/n sum_n s(n, target_n): what [V1] would be if Z were 1; not a perplexity
[V7] s'(n, w) = s(n, w) - c, with c the mean of [V3]: the same p, and log Z zero on average

Every token of the text is predicted and counted once, the out-of-vocabulary ones as <unk>.  Memory is bounded:
the scores of a block of positions are made for a block of words at a time, and log Z goes into a histogram.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.data.streams import Streams, bounds, split
from nplm.data.vocabulary import check_ids
from nplm.errors import InputError
from nplm.layers import softmax
from nplm.model import LanguageModel
from nplm.network import Packed, State
from nplm.threads import workers

POSITIONS = 256  # positions scored at a time, at the most
HISTOGRAM_LOW, HISTOGRAM_WIDTH, HISTOGRAM_BINS = -64.0, 1.0 / 512, 2**16  # log Z in nats, up to +64
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a text.  All figures are in nats or derived from nats."""

    nats: float  # per predicted token, [V1]
    perplexity: float  # [V2], </s> counted, <unk> counted
    tokens: int  # predicted tokens: words and </s>
    sentences: int  # </s> among them
    oovs: int  # <unk> among them
    nats_without_oov: float  # [V1] over the tokens that are not <unk>
    perplexity_without_oov: float
    unnormalised_nats: float  # [V4]: not comparable with anything but itself
    mean_log_z: float  # [V3]
    std_log_z: float
    log_z_quantiles: dict[str, float]  # right to 1/512 nat
    streams: int  # columns in lock-step; each starts from the zero state
    state: str  # "carried" through the text or "reset" at every sentence

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain Python values."""
        return asdict(self)


@dataclass
class Tally:
    """Sums over positions, in float64 nats; `summary` makes figures of them."""

    tokens: int = 0
    sentences: int = 0  # </s> among the tokens
    oovs: int = 0  # <unk> among the tokens
    nats: float = 0.0
    oov_nats: float = 0.0  # of the <unk>
    score: float = 0.0
    log_z: float = 0.0
    log_z_squared: float = 0.0
    histogram: Array = field(
        default_factory=lambda: np.zeros(HISTOGRAM_BINS, np.int64)
    )  # of log Z, positions

    def add(self, targets: Array, scores: Array, log_z: Array, unk: int, eos: int) -> None:
        """Adds positions: their words (n,), s of these (n,), log Z (n,)."""
        nats = log_z - scores
        oov = targets == unk
        self.tokens += targets.size
        self.sentences += int((targets == eos).sum())
        self.oovs += int(oov.sum())
        self.nats += float(nats.sum())
        self.oov_nats += float(nats[oov].sum())
        self.score += float(scores.sum())
        self.log_z += float(log_z.sum())
        self.log_z_squared += float((log_z * log_z).sum())
        bins = np.nan_to_num((log_z - HISTOGRAM_LOW) / HISTOGRAM_WIDTH).clip(0, HISTOGRAM_BINS - 1)
        np.add.at(self.histogram, bins.astype(np.int64), 1)

    def merge(self, other: "Tally") -> None:
        """Adds another's positions."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def quantile(self, share: float) -> float:
        """The log Z below which `share` of the positions lie: the middle of its bin; NaN if one of them is NaN."""
        if math.isnan(self.log_z):
            return math.nan
        place = int(np.searchsorted(self.histogram.cumsum(), share * self.tokens))
        return HISTOGRAM_LOW + (place + 0.5) * HISTOGRAM_WIDTH


def evaluate(
    model: LanguageModel,
    ids: Array,
    *,
    batch_size: int = 10,
    reset: bool = False,
    shards: int = 4,
    threads: int = 0,
) -> Evaluation:
    """Exact evaluation of `model` on a text of ids (n,) int32.

    batch_size: streams in lock-step; each starts from the zero state, so 1 is one unbroken stream. reset: the
    state goes back to zero at every sentence, and batch_size changes nothing but the speed. threads: 0 for
    as many as there are cores and shards.
    Raises InputError on an empty text and ValueError on an id outside the vocabulary.
    """
    ids = np.asarray(ids)
    check_ids(ids, model.config.vocab_size, "text")
    if ids.ndim != 1:
        raise InputError(f"a text to evaluate is a row of ids (n,), not {ids.shape}")
    if ids.size == 0:
        raise InputError("nothing to evaluate: the text has no tokens")
    if min(batch_size, shards, threads + 1) < 1:
        raise InputError(f"batch_size = {batch_size}, shards = {shards}, threads = {threads}: too small")
    batch_size = min(batch_size, ids.size)
    tasks: list[Callable[[], Tally]]
    if reset:
        groups = sentence_groups(ids, model.vocabulary.eos, batch_size)
        tasks = [partial(_score_sentences, model, ids, groups[k::shards]) for k in range(shards)]
    else:
        streams = Streams(ids, batch_size)
        tasks = [partial(_score_streams, model, streams, *bound) for bound in bounds(batch_size, shards)]
    total = Tally()
    with workers(threads, len(tasks)) as run:
        for tally in run(tasks):  # in the order of the tasks, whichever thread was first
            total.merge(tally)
    return summary(total, batch_size, "reset" if reset else "carried")


def without_mean_log_z(
    model: LanguageModel, valid: Evaluation | None
) -> tuple[LanguageModel, Evaluation | None]:
    """[V7] The model with the mean log Z of a text taken off its output bias, and what its evaluation there becomes.

    The other parameters are the model's own arrays.  Without a finite mean both stay as they are.
    """
    c = valid.mean_log_z if valid is not None else math.nan
    if valid is None or not math.isfinite(c):
        return model, valid
    bias = model.params["decoder.bias"]
    params = model.params | {"decoder.bias": bias - bias.dtype.type(c)}
    quantiles = {share: value - c for share, value in valid.log_z_quantiles.items()}
    fitted = replace(
        valid, mean_log_z=0.0, unnormalised_nats=valid.unnormalised_nats + c, log_z_quantiles=quantiles
    )
    return LanguageModel(model.config, model.vocabulary, params), fitted


def perplexity(nats: float) -> float:
    """exp(nats), and inf where that is beyond floating point."""
    return math.exp(nats) if nats < 700 else (math.inf if not math.isnan(nats) else nats)


def sentence_groups(ids: Array, eos: int, columns: int) -> list[tuple[int, Array]]:
    """Sentences of equal length side by side: for each group its length, and where its sentences start (b,)."""
    ends = np.flatnonzero(ids == eos) + 1
    if ends.size == 0 or ends[-1] != ids.size:
        ends = np.append(ends, ids.size)  # the text breaks off within a sentence
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    groups = []
    for length in np.unique(lengths):
        same = starts[lengths == length]
        groups += [(int(length), same[k : k + columns]) for k in range(0, same.size, columns)]
    return groups


def _score_streams(model: LanguageModel, streams: Streams, start: int, stop: int) -> Tally:
    """Streams start to stop, from their first step to their last, the state carried."""
    tally, state, packed = Tally(), model.zero_state(stop - start), model.pack_all()
    steps = max(1, POSITIONS // (stop - start))
    for span in split(streams.full_steps, streams.tail > 0, streams.num_steps, steps):
        inputs, targets = streams.window(span.start, span.stop)
        inputs, targets = inputs[:, start:stop], targets[:, start:stop]  # (t,b); the tail may be narrower
        if inputs.size:
            carried = state.columns(0, inputs.shape[1])
            state = _score(model, inputs, targets, carried, packed, tally)
    return tally


def _score_sentences(model: LanguageModel, ids: Array, groups: list[tuple[int, Array]]) -> Tally:
    """Groups of sentences, each from the zero state, with </s> before its first word."""
    tally, packed = Tally(), model.pack_all()
    for length, starts in groups:
        state = model.zero_state(starts.size)
        steps = max(1, POSITIONS // starts.size)
        for first in range(0, length, steps):
            places = starts + np.arange(first, min(first + steps, length))[:, None]  # (t,b)
            inputs = np.where(places > 0, ids[places - 1], model.vocabulary.eos)
            state = _score(model, inputs, ids[places], state, packed, tally)
    return tally


@np.errstate(over="ignore", invalid="ignore")  # a model that is not finite has figures that are not
def _score(
    model: LanguageModel, inputs: Array, targets: Array, state: State, packed: Packed, tally: Tally
) -> State:
    """Adds the positions of one window (t,b) to the tally; returns the state after it."""
    hidden, state = model.hidden(inputs, state, packed)
    flat, words = hidden.reshape(targets.size, -1), targets.ravel()
    weight, bias = model.output_weight, model.params["decoder.bias"]
    log_z = softmax.normaliser(flat, weight, bias)
    scores = softmax.target_scores(flat, words, weight, bias).astype(np.float64)
    tally.add(words, scores, log_z, model.vocabulary.unk, model.vocabulary.eos)
    return state


def summary(tally: Tally, streams: int, state: str) -> Evaluation:
    """The figures of at least one position, [V1] to [V4]; streams and state are passed on."""
    n, known = tally.tokens, tally.tokens - tally.oovs
    nats = tally.nats / n
    nats_known = (tally.nats - tally.oov_nats) / known if known else math.nan
    mean = tally.log_z / n
    return Evaluation(
        nats=nats,
        perplexity=perplexity(nats),
        tokens=n,
        sentences=tally.sentences,
        oovs=tally.oovs,
        nats_without_oov=nats_known,
        perplexity_without_oov=perplexity(nats_known),
        unnormalised_nats=-tally.score / n,
        mean_log_z=mean,
        std_log_z=math.sqrt(max(tally.log_z_squared / n - mean * mean, 0.0)),
        log_z_quantiles={f"{share:.0%}": tally.quantile(share) for share in QUANTILES},
        streams=streams,
        state=state,
    )
