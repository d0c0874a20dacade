"""Scores of words and of sentences, in bounded memory: what evaluation sums up, word by word.

[V5] log p(w | history) = s(w) - log Z             exact: log Z sums over the whole vocabulary, O(V H) a word
[V6] log p(w | history) ~ s(w) - mean log Z        unnormalised: O(H) a word, whatever V is, after the recurrence

The mean of [V6] was measured on the valid text when the model was last validated, and lies in its file; NCE teaches
the model that log Z hardly differs from word to word.

A sentence is its words, then </s>.  It is read from the zero state, </s> first (bos=True), as `evaluate` does with
reset=True; with bos=False nothing is read before its first word, which is then predicted from the zero state: by
the output bias alone.  Sentences go in lock-step, longest first, and a column is dropped when its sentence has ended.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from nplm.arrays import Array
from nplm.data.vocabulary import check_ids
from nplm.errors import InputError
from nplm.layers import softmax
from nplm.logs import LN10
from nplm.model import LanguageModel
from nplm.network import Packed, State
from nplm.scoring.sentences import SENTENCES, encode, sentence_lengths, totals
from nplm.threads import one_blas_thread, workers

COLUMNS = 64  # sentences in lock-step
POSITIONS = 512  # positions scored at a time, at the most
CHECKED = 64  # positions whose probabilities are summed at a time
WordScores = tuple[Array, Array]  # (n,) float64 each, nats: s(n, target_n), and log Z


def word_scores(model: LanguageModel, ids: Array, *, reset: bool = False) -> WordScores:
    """s(n, target_n) and log Z of every token of a text of ids (n,), in nats; -log p = log Z - s.

    The state is carried through the text as one stream; reset: it goes back to zero at every </s>.
    Raises ValueError on an id outside the vocabulary, and InputError on ids that are not a row.
    """
    return next(stream_scores(model, [ids], reset=reset))


def stream_scores(
    model: LanguageModel, texts: Iterable[Array], *, reset: bool = False
) -> Iterator[WordScores]:
    """`word_scores` of a text that comes in pieces (n,); with reset, a piece holds whole sentences."""
    packed, state, eos = model.pack_all(), model.zero_state(1), model.vocabulary.eos
    before = eos
    for piece in texts:
        check_ids(piece, model.config.vocab_size, "text")
        ids = np.asarray(piece, np.int32)
        if ids.ndim != 1:
            raise InputError(f"a text to score is a row of ids (n,), not {ids.shape}")
        if reset:
            yield sentence_scores(model, ids, sentence_lengths(ids, eos))
            continue
        inputs, scores, log_z = shifted(ids, before), np.zeros(ids.size), np.zeros(ids.size)
        for start in range(0, ids.size, POSITIONS):
            part = slice(start, start + POSITIONS)
            with one_blas_thread():
                hidden, state = model.hidden(inputs[part, None], state, packed)
                scores[part], log_z[part] = _score(model, hidden[:, 0], ids[part], normalize=True)
        before = int(ids[-1]) if ids.size else before
        yield scores, log_z


def score_batch(
    model: LanguageModel,
    sentences: Sequence[str],
    *,
    bos: bool = True,
    eos: bool = True,
    normalize: bool = True,
    threads: int = 0,
) -> Array:
    """Total log10 probability (n,) of each sentence, whatever their lengths, in lock-step.

    bos: read </s> before the first word; eos: predict </s> after the last. normalize=False: [V6], with the mean log Z
    that the model's file holds, 0 where it holds none. threads: 0 for as many as there are cores.
    """
    parts = [np.zeros(0)]
    for start in range(0, len(sentences), SENTENCES):
        words = [sentence.split() for sentence in sentences[start : start + SENTENCES]]
        ids, lengths = encode(model.vocabulary, words, eos)
        scores, log_z = sentence_scores(model, ids, lengths, bos=bos, normalize=normalize, threads=threads)
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
) -> WordScores:
    """`word_scores` of sentences of `lengths` (m,), one after the other in ids (n,), each from the zero state.

    normalize=False: the mean log Z stands for log Z.  The ids are trusted.
    """
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    groups = [order[k : k + COLUMNS] for k in range(0, order.size, COLUMNS)]
    out = np.zeros(ids.size), np.full(ids.size, mean_log_z(model))
    packed = model.pack_all()
    tasks = [
        partial(_score_group, model, ids, starts[g], lengths[g], bos, normalize, packed, out) for g in groups
    ]
    if len(tasks) == 1:
        with one_blas_thread():
            tasks[0]()
    else:
        with workers(threads, max(1, len(tasks))) as run:
            run(tasks)  # each writes the places of its own sentences
    return out


def mean_log_z(model: LanguageModel) -> float:
    """The mean log Z stored with a model at its last validation; 0 where there is none."""
    return getattr(model, "mean_log_z", None) or 0.0


def shifted(ids: Array, before: int) -> Array:
    """The word before each of ids (n,); `before` stands before the first."""
    return np.concatenate([[before], ids])[: ids.size]


def norm_deviation(model: LanguageModel, ids: Array) -> float:
    """Largest |sum_w p(w) - 1| over the positions of a text of ids (n,), read as one stream.

    p is exp(s - log Z) with the log Z that scores are normalised with; scores and sum are made anew, in float64.
    """
    check_ids(ids, model.config.vocab_size, "text")
    weight, bias = model.output_weight, model.params["decoder.bias"]
    state, packed, inputs = model.zero_state(1), model.pack_all(), shifted(ids, model.vocabulary.eos)
    largest = 0.0
    with one_blas_thread():
        for start in range(0, ids.size, CHECKED):
            hidden, state = model.hidden(inputs[start : start + CHECKED, None], state, packed)
            flat = np.ascontiguousarray(hidden[:, 0])  # (n,H)
            log_z, sums = softmax.normaliser(flat, weight, bias), np.zeros(len(flat))
            for first in range(0, len(weight), softmax.BLOCK):
                words = slice(first, first + softmax.BLOCK)
                scores = flat @ weight[words].T.astype(np.float64) + bias[words]  # (n,BLOCK)
                sums += np.exp(scores - log_z[:, None]).sum(axis=1)
            largest = float(np.maximum(largest, np.abs(sums - 1).max()))  # a NaN stays one
    return largest


def _score_group(
    model: LanguageModel,
    ids: Array,
    starts: Array,
    lengths: Array,
    bos: bool,
    normalize: bool,
    packed: Packed,
    out: WordScores,
) -> None:
    """Scores sentences side by side; writes their places in `out`.

    starts, lengths (b,): where each begins in ids (n,), and its tokens; the longest first.
    """
    state, first = model.zero_state(starts.size), 0
    while starts.size:
        last = min(first + max(1, POSITIONS // starts.size), int(lengths[0]))
        times = np.arange(first, last)[:, None]  # (t,1)
        live = times < lengths  # (t,b)
        places = np.where(live, starts + times, starts)  # (t,b)
        inputs = np.where(times > 0, ids[places - 1], model.vocabulary.eos)
        hidden, state = _read(model, inputs, state, packed, bos or first > 0)
        flat, words = hidden[live], places[live]  # (n,H), (n,)
        out[0][words], log_z = _score(model, flat, ids[words], normalize)
        if normalize:
            out[1][words] = log_z
        going_on = int(np.count_nonzero(lengths > last))
        starts, lengths, state, first = (
            starts[:going_on],
            lengths[:going_on],
            state.columns(0, going_on),
            last,
        )


def _read(
    model: LanguageModel, inputs: Array, state: State, packed: Packed, begun: bool
) -> tuple[Array, State]:
    """Hidden states (t,b,H) and the state after inputs (t,b); unless begun, the first row is not read."""
    if begun:
        return model.hidden(inputs, state, packed)
    hidden = np.zeros((*inputs.shape, model.config.hidden_dim), model.dtype)
    if len(inputs) > 1:
        hidden[1:], state = model.hidden(inputs[1:], state, packed)
    return hidden, state


@np.errstate(over="ignore", invalid="ignore")  # a model that is not finite has scores that are not
def _score(model: LanguageModel, hidden: Array, words: Array, normalize: bool) -> WordScores:
    """s (n,) and log Z (n,) of words (n,) after hidden states (n,H); log Z is zero unless normalize."""
    weight, bias = model.output_weight, model.params["decoder.bias"]
    flat = np.ascontiguousarray(hidden)
    scores = softmax.target_scores(flat, words, weight, bias).astype(np.float64)
    return scores, softmax.normaliser(flat, weight, bias) if normalize else np.zeros(len(flat))
