"""Generation: sampling text from a model, a word at a time, and the most likely next words.

[D1] s' = s / temperature                         s: the model's scores, without <unk> unless it is allowed
[D2] top-k: only the k words with the largest s' are kept
[D3] top-p: of these, the smallest set of likeliest words whose probabilities add up to at least p; at least one
[D4] a word is drawn from the softmax of s' over the words kept, by inverting its cumulative distribution function

The steps are applied in this order, as is usual.  Of words with equal scores the one with the smaller id comes first.
Temperature 0 is the limit of [D1]: the word with the largest score.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.tokens import BOS, EOS
from nplm.errors import InputError
from nplm.layers.workspace import Workspace
from nplm.model import HasLanguageModel, LanguageModel, language_model_of
from nplm.network import State, hidden_states
from nplm.scoring.sentences import Text, as_units

LOCK_STEP = 64  # most lines drawn at a time
SCORES = 2**23  # most scores in memory at a time, which reduces the lines if V is above 131,072
READ = 256  # words of a context read at a time
SUMS = 256  # words per block: a block is drawn first, then a word in it


class Line(NamedTuple):
    """A line drawn from a model."""

    words: list[str]  # those of the prompt, then those drawn; without </s>
    ended: bool  # whether </s> ended it, not the limit on its length


class Sampling(NamedTuple):
    """How a word is drawn from the scores, [D1] to [D4]."""

    temperature: float = 1.0  # >= 0; below 1 sharpens the distribution, above 1 flattens it
    top_k: int = 0  # 0: all
    top_p: float = 1.0  # in (0, 1]; 1: all
    allow_unk: bool = False


class Reader:
    """A model, with its weights packed once, that reads words and returns the scores of the next word."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self._network, self._room = model, model.network(), Workspace()

    @np.errstate(over="ignore", invalid="ignore")  # scores that are not finite raise an error below
    def step(self, ids: Array, state: State) -> tuple[Array, State]:
        """Scores (B,V) and state after the last of ids (T,B); the ids are not checked."""
        hidden, state = hidden_states(self._network, ids, state, self._room)
        scores = hidden[-1] @ self.model.output_weight.T
        scores += self.model.params["decoder.bias"]
        if not np.isfinite(scores).all():
            raise InputError("the model's scores are not finite: its training diverged; use an earlier model")
        return scores, state

    def read(self, words: Sequence[str]) -> tuple[Array, State]:
        """Scores (1,V) and state after </s> and the words, from the zero state.

        An unknown word is read as <unk>.  Raises InputError on <s> or </s> among the words.
        """
        for mark in (BOS, EOS):
            if mark in words:
                raise InputError(f"{mark} in the prompt or context: leave it out; {EOS} is always read first")
        ids = self.model.vocabulary.encode([EOS, *words])[:, None]  # (T,1)
        state = self.model.zero_state(1)
        for start in range(0, len(ids), READ):
            scores, state = self.step(ids[start : start + READ], state)
        return scores, state


def sample(
    model: LanguageModel | HasLanguageModel,
    rng: np.random.Generator,
    *,
    lines: int = 1,
    max_words: int = 40,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    prompt: Text | Iterable[Text] = (),
    allow_unk: bool = False,
) -> list[str]:
    """Sample sentences from a model; each is the prompt, followed by the words drawn up to </s>.

    Parameters
    ----------
    model : LanguageModel or Model
    rng : numpy Generator
        A generator in the same state gives the same lines; asking for fewer lines gives the first of them, though
        rounding can, very rarely, change a word.
    lines : int
        Number of lines.
    max_words : int
        Maximum number of words drawn for a line.
    temperature, top_k, top_p : float, int, float
        As in `nplm sample`: see [D1] to [D4] of generate.py; by default the model's own distribution.
    prompt : str, bytes, or list of units
        Read before the first word.  A word that the model does not know is read as <unk>, but kept in the line.
    allow_unk : bool
        Whether <unk> may be drawn.

    Returns
    -------
    list of str
        The lines; the model starts each from the zero state.

    Raises
    ------
    InputError
        On a setting outside its range.
    """
    sampling = Sampling(temperature, top_k, top_p, allow_unk)
    model = language_model_of(model)
    return [model.unit.join(line.words) for line in draw_lines(model, rng, sampling, lines, max_words, prompt)]


def next_words(
    model: LanguageModel | HasLanguageModel, context: Text | Iterable[Text] = (), k: int = 10
) -> list[tuple[str, float]]:
    """The words most likely to follow a context, with exact probabilities; </s> is read first, from the zero state.

    Parameters
    ----------
    model : LanguageModel or Model
    context : str, bytes, or list of units
        The beginning of the sentence.
    k : int
        Number of words; <unk> and </s> are words too.

    Returns
    -------
    list of (str, float)
        The likeliest first.

    Raises
    ------
    InputError
        If k < 1, or the context contains <s> or </s>.
    """
    return next_after(Reader(language_model_of(model)), context, k)


def next_after(reader: Reader, context: Text | Iterable[Text], k: int) -> list[tuple[str, float]]:
    """`next_words` for one of many contexts, with a reader that is reused."""
    if k < 1:
        raise InputError(f"k = {k} is less than 1")
    scores = reader.read(as_units(context, reader.model.unit))[0][0]  # (V,)
    words = np.argsort(-scores, kind="stable")[:k]  # of equal ones the smaller id first
    mass = np.exp(scores - scores[words[0]], dtype=np.float64)
    return list(zip(reader.model.vocabulary.decode(words), (mass[words] / mass.sum()).tolist(), strict=True))


def draw_lines(
    model: LanguageModel,
    rng: np.random.Generator,
    sampling: Sampling,
    lines: int,
    max_words: int,
    prompt: Text | Iterable[Text] = (),
) -> Iterator[Line]:
    """`sample` as an iterator over lines, so that memory does not grow with their number."""
    _check(sampling, lines, max_words)
    words = as_units(prompt, model.unit)
    reader = Reader(model)
    scores, state = reader.read(words)
    batch = max(1, min(LOCK_STEP, SCORES // scores.size))
    for start in range(0, lines, batch):
        uniform = rng.random((min(batch, lines - start), max_words))  # a line's do not depend on the batch
        for ids, ended in _lock_step(reader, scores, state, sampling, uniform):
            yield Line(words + model.vocabulary.decode(ids), ended)


def _check(sampling: Sampling, lines: int, max_words: int) -> None:
    if not (sampling.temperature >= 0 and np.isfinite(sampling.temperature)):
        raise InputError(f"temperature = {sampling.temperature} is not a number of at least 0")
    if sampling.top_k < 0:
        raise InputError(f"top_k = {sampling.top_k} is less than 0, which keeps all words")
    if not 0 < sampling.top_p <= 1:
        raise InputError(f"top_p = {sampling.top_p} is not in (0, 1]; 1 keeps all words")
    if min(lines, max_words) < 1:
        raise InputError(f"lines = {lines}, max_words = {max_words}: both must be at least 1")


def _lock_step(
    reader: Reader, scores: Array, state: State, sampling: Sampling, uniform: Array
) -> list[tuple[list[int], bool]]:
    """B lines from one state, drawn with the numbers `uniform` (B, most words); finished lines drop out."""
    vocabulary = reader.model.vocabulary
    lines, max_words = uniform.shape
    drawn: list[list[int]] = [[] for _ in range(lines)]
    alive = np.arange(lines)  # (b,), the unfinished lines
    scores = scores.repeat(lines, axis=0)  # (b,V)
    state = State(state.h.repeat(lines, axis=1), state.c.repeat(lines, axis=1))
    for step in range(max_words):
        if not sampling.allow_unk:
            scores[:, vocabulary.unk] = -np.inf
        words = draw(scores, sampling, uniform[alive, step])  # (b,)
        goes_on = words != vocabulary.eos
        alive, words = alive[goes_on], words[goes_on]
        for line, word in zip(alive.tolist(), words.tolist(), strict=True):
            drawn[line].append(word)
        if not alive.size or step + 1 == max_words:
            break
        state = State(state.h[:, goes_on], state.c[:, goes_on])
        scores, state = reader.step(words[None, :], state)
    cut = set(alive.tolist())
    return [(ids, line not in cut) for line, ids in enumerate(drawn)]


def draw(scores: Array, sampling: Sampling, uniform: Array) -> Array:
    """One word (B,) int32 for each row of scores (B,V) and number of uniform (B,) in [0, 1), [D1] to [D4].

    The scores are overwritten.
    """
    if sampling.temperature == 0:
        return np.asarray(np.argmax(scores, axis=1), np.int32)
    scores -= scores.max(axis=1, keepdims=True)
    if sampling.temperature != 1:
        with np.errstate(over="ignore"):  # with a temperature near zero all but the largest become -inf
            limits = np.finfo(scores.dtype)  # beyond them -inf / inf would be NaN
            scores /= float(np.clip(sampling.temperature, limits.tiny, limits.max))  # [D1]
    mass = np.exp(scores, out=scores)
    if sampling.top_k or sampling.top_p < 1:
        return np.array([_among(row, sampling, u) for row, u in zip(mass, uniform, strict=True)], np.int32)
    return _inverse(mass, uniform)


def _among(mass: Array, sampling: Sampling, u: float) -> int:
    """One word drawn in proportion to mass (V,) from those that are kept, [D2] to [D4]."""
    ids = _largest(mass, sampling.top_k or mass.size)
    mass = mass[ids]
    if sampling.top_p < 1:
        total = float(mass.sum(dtype=np.float64))
        # words below this add up to less than 1 - p of the total, so none of them is kept
        likely = mass[mass >= (1 - sampling.top_p) * total / mass.size]
        upto = np.sort(likely)[::-1].cumsum(dtype=np.float64)
        stay = _largest(mass, int(np.searchsorted(upto, sampling.top_p * total)) + 1)
        ids, mass = ids[stay], mass[stay]
    place, _ = _find(mass[None, :], np.array([u * mass.sum(dtype=np.float64)]))
    return int(ids[place[0]])


def _largest(values: Array, n: int) -> Array:
    """Indices, ascending, of the n largest of values (V,); among equal values the first."""
    if n >= values.size:
        return np.arange(values.size)
    least = np.partition(values, -n)[-n]
    places = np.flatnonzero(values >= least)
    equal = np.flatnonzero(values[places] == least)
    return np.delete(places, equal[equal.size - (places.size - n) :])


def _inverse(mass: Array, uniform: Array) -> Array:
    """One word (B,) int32 drawn in proportion to mass (B,V), [D4]: first a block of words, then the word in it."""
    starts = np.arange(0, mass.shape[1], SUMS)
    blocks = np.add.reduceat(mass, starts, axis=1, dtype=np.float64)  # (B,V/SUMS)
    block, rest = _find(blocks, uniform * blocks.sum(axis=1))
    ids = starts[block][:, None] + np.arange(SUMS)  # (B,SUMS)
    inside = np.take_along_axis(mass, ids.clip(max=mass.shape[1] - 1), axis=1)
    inside[ids >= mass.shape[1]] = 0
    place, _ = _find(inside, rest)
    return np.asarray(starts[block] + place, np.int32)


def _find(mass: Array, target: Array) -> tuple[Array, Array]:
    """Where the cumulative sums of mass (B,n) first exceed target (B,), and the remainder of the target there."""
    upto = mass.cumsum(axis=1, dtype=np.float64)
    place = (upto <= target[:, None]).sum(axis=1)
    place = np.minimum(place, (upto < upto[:, -1:]).sum(axis=1))  # rounding must not go past the last mass
    here = np.arange(len(mass)), place
    return place, np.maximum(target - (upto[here] - mass[here]), 0)
