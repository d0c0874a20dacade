"""Exact evaluation: nats per predicted token, perplexity, and how far the model is from being normalised.

[V1] nats = -1/n sum_n log p(target_n | words before it)        p normalised over the whole vocabulary
[V2] perplexity = exp(nats)
[V3] log Z_n = log sum_w exp(s(n, w)): zero for a self-normalised model, which NCE training approaches
[V4] unnormalised nats = -1/n sum_n s(n, target_n): what [V1] would be if Z were 1; not a perplexity
[V7] s'(n, w) = s(n, w) - c, with c the mean of [V3]: the same p, and log Z zero on average

Every token of the text is predicted and counted once, out-of-vocabulary tokens as <unk>.  Memory is bounded:
scores are computed for a block of positions and a block of words at a time, and log Z goes into a histogram.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.data.size import TextSize
from nplm.data.streams import Streams, bounds
from nplm.data.tokens import check_ids
from nplm.errors import InputError
from nplm.model import HasLanguageModel, LanguageModel, language_model_of
from nplm.ranks.alone import ALONE, Ranks
from nplm.scoring.raw_text import raw_figures
from nplm.scoring.scorer import Window, read_sentences, read_streams, score_words
from nplm.scoring.sentences import longest_first, sentence_lengths
from nplm.scoring.tally import Tally, perplexity
from nplm.threads import workers

POSITIONS = 256  # most positions scored at a time
HISTOGRAM_LOW, HISTOGRAM_WIDTH, HISTOGRAM_BINS = -64.0, 1.0 / 512, 2**16  # log Z in nats, up to +64
SHARDS = 4  # parts that a text is split into; their number affects rounding
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a model on a text.  All figures are in nats, or derived from nats.

    Parameters
    ----------
    nats : float
        Mean of -log p over the predicted tokens, [V1].
    perplexity : float
        exp(nats), [V2], </s> and <unk> counted.
    tokens, sentences, oovs : int
        Number of predicted tokens, of </s> among them, and of <unk> among them.
    nats_without_oov, perplexity_without_oov : float
        `nats` and `perplexity` over the tokens that are not <unk>.
    unnormalised_nats : float
        Nats per token if Z were 1, [V4]; not comparable with any other figure.
    mean_log_z, std_log_z : float
        Mean and standard deviation of log Z, [V3], in nats.
    log_z_quantiles : dict of str to float
        The quantiles "5%", "25%", "50%", "75%" and "95%" of log Z, in nats, to within 1/512.
    streams : int
        Number of parallel streams; each starts from the zero state.
    state : {"carried", "reset"}
        Whether the state was carried through the text, or reset at every sentence.
    bytes, characters, words : int, optional
        Size of the raw text, see `TextSize`; like the figures below, None if only the ids are known.
    unknown_bits : float, optional
        Bits needed to spell the unknown units, [V8].
    bits_per_byte, bits_per_character, perplexity_per_word : float, optional
        Of the raw text, [V9] and [V10]; these can be compared between models with different units.
    """

    nats: float
    perplexity: float
    tokens: int
    sentences: int
    oovs: int
    nats_without_oov: float
    perplexity_without_oov: float
    unnormalised_nats: float
    mean_log_z: float
    std_log_z: float
    log_z_quantiles: dict[str, float]
    streams: int
    state: str
    bytes: int | None = None
    characters: int | None = None
    words: int | None = None
    unknown_bits: float | None = None
    bits_per_byte: float | None = None
    bits_per_character: float | None = None
    perplexity_per_word: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain Python values.

        Returns
        -------
        dict
        """
        return asdict(self)


@dataclass
class LogZTally(Tally):
    """A tally that also sums the scores and log Z, which an evaluation reports in addition to -log p."""

    score: float = 0.0
    log_z: float = 0.0
    log_z_squared: float = 0.0
    histogram: Array = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS, np.int64))  # positions by log Z

    def add_scores(self, words: Array, scores: Array, log_z: Array) -> None:
        """Add positions: their words (n,), the scores s of these (n,), and log Z (n,)."""
        self.add(words, log_z - scores)
        self.score += float(scores.sum())
        self.log_z += float(log_z.sum())
        self.log_z_squared += float((log_z * log_z).sum())
        bins = np.nan_to_num((log_z - HISTOGRAM_LOW) / HISTOGRAM_WIDTH).clip(0, HISTOGRAM_BINS - 1)
        np.add.at(self.histogram, bins.astype(np.int64), 1)

    def quantile(self, share: float) -> float:
        """The quantile of log Z for `share` of the positions, as the middle of its bin; NaN if any log Z is NaN."""
        if math.isnan(self.log_z):
            return math.nan
        place = int(np.searchsorted(self.histogram.cumsum(), share * self.tokens))
        return HISTOGRAM_LOW + (place + 0.5) * HISTOGRAM_WIDTH


def evaluate(
    model: LanguageModel | HasLanguageModel,
    ids: Array,
    *,
    size: TextSize | None = None,
    batch_size: int = 10,
    reset: bool = False,
    shards: int = SHARDS,
    threads: int = 0,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Exact evaluation of a model on a text.

    Parameters
    ----------
    model : LanguageModel or Model
    ids : ndarray (n,)
        The text: the word ids of every line, each line followed by </s>.
    size : TextSize, optional
        Size of the raw text, for figures per byte, per character and per word: `corpus.sizes["test"]`.
    batch_size : int
        Number of parallel streams; each starts from the zero state, so 1 means a single unbroken stream.
    reset : bool
        Reset the state to zero at every sentence; batch_size then affects only the speed.
    shards : int
        Parts that the work is split into, summed in a fixed order; their number affects rounding.
    threads : int
        0: one per core, at most one per shard; does not change the result.
    ranks : Ranks
        The ranks that share the work, each with the model and the text; they do not change the result.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        On an empty text.
    ValueError
        On an id outside the vocabulary.
    """
    how: Any = {"batch_size": batch_size, "reset": reset, "shards": shards}
    tally = tally_text(language_model_of(model), ids, **how, threads=threads, ranks=ranks)
    return summary(tally, min(batch_size, tally.tokens), "reset" if reset else "carried", size)


def tally_text(
    model: LanguageModel,
    ids: Array,
    *,
    batch_size: int,
    reset: bool,
    shards: int = SHARDS,
    threads: int,
    ranks: Ranks = ALONE,
) -> LogZTally:
    """The sums from which `evaluate` computes its figures."""
    ids = np.asarray(ids)
    check_ids(ids, model.config.vocab_size, "text")
    if ids.ndim != 1:
        raise InputError(f"a text to evaluate must be an array of ids (n,), not {ids.shape}")
    if ids.size == 0:
        raise InputError("nothing to evaluate: the text has no tokens")
    if min(batch_size, shards, threads + 1) < 1:
        raise InputError(f"batch_size = {batch_size}, shards = {shards}, threads = {threads}: too small")
    batch_size = min(batch_size, ids.size)
    network = model.network()
    windows: list[Iterator[Window]]  # of each shard
    if reset:
        read = partial(read_sentences, model, network, ids)
        groups = longest_first(sentence_lengths(ids, model.vocabulary.eos), batch_size)
        windows = [chain.from_iterable(read(*group, POSITIONS) for group in groups[k::shards]) for k in range(shards)]
    else:
        streams = Streams(ids, batch_size)
        windows = [read_streams(model, network, streams, *bound, POSITIONS) for bound in bounds(batch_size, shards)]

    def count(windows: Iterator[Window]) -> LogZTally:
        tally = LogZTally()
        for hidden, found in windows:
            words = ids[found] if reset else found
            tally.add_scores(words, *score_words(network, hidden, words))
        return tally

    own = [partial(count, part) for part in windows[ranks.rank :: ranks.size]]
    with workers(threads, max(len(own), 1)) as run:
        tallies = ranks.gather(run(own))
    total = LogZTally()
    for k in range(len(windows)):  # in this order, whichever finishes first
        total.merge(tallies[k % ranks.size][k // ranks.size])
    return total


def without_mean_log_z(model: LanguageModel, valid: Evaluation | None) -> tuple[LanguageModel, Evaluation | None]:
    """[V7] The model with the mean log Z of a text subtracted from its output bias, and that text's new evaluation.

    The other parameters are shared with the model.  Without a finite mean, both are returned unchanged.
    """
    c = valid.mean_log_z if valid is not None else math.nan
    if valid is None or not math.isfinite(c):
        return model, valid
    bias = model.params["decoder.bias"]
    params = model.params | {"decoder.bias": bias - bias.dtype.type(c)}
    quantiles = {share: value - c for share, value in valid.log_z_quantiles.items()}
    fitted = replace(valid, mean_log_z=0.0, unnormalised_nats=valid.unnormalised_nats + c, log_z_quantiles=quantiles)
    return model.with_params(params, 0.0), fitted


def summary(tally: LogZTally, streams: int, state: str, size: TextSize | None = None) -> Evaluation:
    """The figures [V1] to [V4] of at least one position, and [V8] to [V10] if the size of the raw text is given."""
    n, nats, nats_known = tally.tokens, tally.mean_nats(), tally.mean_nats(with_oovs=False)
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
        **(raw_figures(tally, size)._asdict() if size is not None else {}),
    )
