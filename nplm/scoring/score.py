"""Scores of words and of sentences, in bounded memory: the word-by-word terms of an evaluation.

[V6] log p(w | history) ~ s(w) - mean log Z        unnormalised: O(H) per word, whatever V is, after the recurrence

Exact scores are [V5] of scorer.py.  The mean in [V6] is the model's mean_log_z, measured at the last validation, on the
validation text; with NCE training, log Z hardly differs from position to position.

A sentence is its words, then </s>.  It starts from the zero state and reads </s> first (bos=True), as `evaluate` does
with reset=True; with bos=False nothing is read before its first word, which is then predicted from the zero state,
that is, by the output bias alone.  Sentences are processed in parallel, longest first.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from nplm.arrays import Array
from nplm.data.tokens import check_ids
from nplm.errors import InputError
from nplm.layers import softmax
from nplm.layers.precision import choose
from nplm.logs import LN10
from nplm.model import HasLanguageModel, LanguageModel, language_model_of
from nplm.network import Network, hidden_states
from nplm.ranks.alone import ALONE, Ranks
from nplm.scoring.scorer import Scores, read_sentences, score_words
from nplm.scoring.sentences import SENTENCES, Text, as_units, encode, longest_first, sentence_lengths, totals
from nplm.threads import one_blas_thread, workers

COLUMNS = 64  # sentences processed in parallel
POSITIONS = 512  # most positions scored at a time
CHECKED = 64  # positions whose probabilities are summed at a time


def word_scores(model: LanguageModel, ids: Array, *, reset: bool = False) -> Scores:
    """s(n, target_n) and log Z of every token of a text of ids (n,), in nats; -log p = log Z - s.

    The text is one stream, through which the state is carried; with reset, the state is zero after every </s>.
    Raises ValueError on an id outside the vocabulary, and InputError if the ids are not one-dimensional.
    """
    return next(stream_scores(model, [ids], reset=reset))


def stream_scores(model: LanguageModel, texts: Iterable[Array], *, reset: bool = False) -> Iterator[Scores]:
    """`word_scores` of a text given in pieces (n,); with reset, each piece consists of whole sentences."""
    network, state, eos = model.network(), model.zero_state(1), model.vocabulary.eos
    before = eos
    for piece in texts:
        check_ids(piece, model.config.vocab_size, "text")
        ids = np.asarray(piece, np.int32)
        if ids.ndim != 1:
            raise InputError(f"a text to score must be an array of ids (n,), not {ids.shape}")
        if reset:
            yield sentence_scores(model, ids, sentence_lengths(ids, eos))
            continue
        inputs, scores, log_z = shifted(ids, before), np.zeros(ids.size), np.zeros(ids.size)
        for start in range(0, ids.size, POSITIONS):
            part = slice(start, start + POSITIONS)
            with one_blas_thread():
                hidden, state = hidden_states(network, inputs[part, None], state)
                scores[part], log_z[part] = score_words(network, hidden[:, 0], ids[part])
        before = int(ids[-1]) if ids.size else before
        yield scores, log_z


def score_batch(
    model: LanguageModel | HasLanguageModel,
    sentences: Sequence[Text | Sequence[str]],
    *,
    bos: bool = True,
    eos: bool = True,
    normalize: bool = True,
    threads: int = 0,
    precision: str = "float32",
    ranks: Ranks = ALONE,
) -> Array:
    """Total log10 probability of each sentence; sentences of any length are scored together.

    Parameters
    ----------
    model : LanguageModel or Model
    sentences : sequence of str, bytes or lists of str
        n sentences; each is a str or UTF-8 bytes, to be split into the model's units, or a list of units.
    bos : bool
        Read </s> before the first word.
    eos : bool
        Predict </s> after the last word.
    normalize : bool
        False: subtract the model's mean_log_z (0 if it has none) instead of log Z, [V6].
    threads : int
        0: one per core.
    precision : str
        Type of the operands of matrix products: float32 (meaning the model's own type), bfloat16, or auto: bfloat16
        where it is known to be faster.  benchmarks/bench_score.py measures how much bfloat16 changes a score.
    ranks : Ranks
        The ranks that share the work, each with the model and the sentences; they do not change the result.

    Returns
    -------
    ndarray (n,), float64
        log10.

    Raises
    ------
    TypeError
        If `sentences` is a single sentence, or one of them is not text.
    InputError
        On bfloat16 for a float64 model.
    """
    if isinstance(sentences, (str, bytes)):
        raise TypeError("score_batch takes a list of sentences, not a single sentence")
    model, parts = language_model_of(model), [np.zeros(0)]
    for start in range(0, len(sentences), SENTENCES):
        units = [as_units(sentence, model.unit) for sentence in sentences[start : start + SENTENCES]]
        ids, lengths = encode(model.vocabulary, units, eos)
        scores, log_z = sentence_scores(
            model, ids, lengths, bos=bos, normalize=normalize, threads=threads, precision=precision, ranks=ranks
        )
        parts.append(totals(scores - log_z, lengths) / LN10)
    return np.concatenate(parts)


def sentence_scores(
    model: LanguageModel,
    ids: Array,
    lengths: Array,
    *,
    bos: bool = True,
    normalize: bool = True,
    threads: int = 0,
    precision: str = "float32",
    ranks: Ranks = ALONE,
) -> Scores:
    """`word_scores` of sentences of `lengths` (m,), concatenated in ids (n,), each from the zero state.

    normalize=False: the mean log Z replaces log Z.  The ids are not checked.
    """
    out = np.zeros(ids.size), np.full(ids.size, model.mean_log_z or 0.0)
    network = model.network(choose(precision, model.dtype, model.config.hidden_dim).bfloat16)

    def fill(starts: Array, lengths: Array) -> None:
        """Each task writes the scores of its own sentences."""
        for hidden, places in read_sentences(model, network, ids, starts, lengths, POSITIONS, bos=bos):
            out[0][places], log_z = score_words(network, hidden, ids[places], normalize)
            if normalize:
                out[1][places] = log_z

    groups = longest_first(lengths, COLUMNS)
    tasks = [partial(fill, *group) for group in groups[ranks.rank :: ranks.size]]
    if len(tasks) == 1:
        with one_blas_thread():
            tasks[0]()
    else:
        with workers(threads, max(1, len(tasks))) as run:
            run(tasks)
    if ranks.size > 1:
        for rank, (scores, log_z) in enumerate(ranks.gather(out)):
            for places in (
                np.arange(s, s + n) for group in groups[rank :: ranks.size] for s, n in zip(*group, strict=True)
            ):
                out[0][places], out[1][places] = scores[places], log_z[places]
    return out


def shifted(ids: Array, before: int) -> Array:
    """The word before each of ids (n,); `before` precedes the first."""
    return np.concatenate([[before], ids])[: ids.size]


def norm_deviation(model: LanguageModel, ids: Array) -> float:
    """Largest |sum_w p(w) - 1| over the positions of a text of ids (n,), read as one stream.

    p is exp(s - log Z), with the log Z that normalises scores; scores and sum are recomputed in float64.
    """
    check_ids(ids, model.config.vocab_size, "text")
    network, state, inputs = model.network(), model.zero_state(1), shifted(ids, model.vocabulary.eos)
    largest = 0.0
    with one_blas_thread():
        for start in range(0, ids.size, CHECKED):
            hidden, state = hidden_states(network, inputs[start : start + CHECKED, None], state)
            sums = _probability_sums(network, np.ascontiguousarray(hidden[:, 0]))
            largest = float(np.maximum(largest, np.abs(sums - 1).max()))  # propagates NaN
    return largest


def _probability_sums(network: Network, hidden: Array) -> Array:
    """sum_w p(w) (n,) after hidden states (n,H), the scores in float64."""
    weight, bias = network.decoder.weight, network.decoder.bias
    log_z, sums = softmax.normaliser(hidden, weight, bias), np.zeros(len(hidden))
    for first in range(0, len(weight), softmax.BLOCK):
        words = slice(first, first + softmax.BLOCK)
        scores = hidden @ weight[words].T.astype(np.float64) + bias[words]  # (n,BLOCK)
        sums += np.exp(scores - log_z[:, None]).sum(axis=1)
    return sums
