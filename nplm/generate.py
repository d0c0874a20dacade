"""Text drawn from the model, a word at a time."""

import numpy as np

from nplm.errors import InputError
from nplm.model import LanguageModel
from nplm.workspace import Array


def sample(
    model: LanguageModel,
    rng: np.random.Generator,
    *,
    lines: int = 1,
    max_words: int = 40,
    temperature: float = 1.0,
    allow_unk: bool = False,
) -> list[str]:
    """`lines` sentences drawn in lock-step, each up to its </s> or `max_words` words, from the zero state.

    temperature: below 1 prefers likely words, above 1 evens them out. Raises InputError unless it is positive,
    and lines and max_words are at least 1.
    """
    if not (temperature > 0 and np.isfinite(temperature)):
        raise InputError(f"temperature = {temperature} is not a positive number")
    if min(lines, max_words) < 1:
        raise InputError(f"lines = {lines}, max_words = {max_words}: both must be at least 1")
    eos, unk = model.vocabulary.eos, model.vocabulary.unk
    state = model.zero_state(lines)
    words = np.full(lines, eos, np.int32)  # (B,)
    steps: list[Array] = []
    ended = words != eos  # (B,): none yet
    while len(steps) < max_words and not ended.all():
        logp, state = model.log_probs(words[None, :], state)
        scores = logp[0].astype(np.float64) / temperature  # (B,V)
        if not allow_unk:
            scores[:, unk] = -np.inf
        words = _draw(scores, rng)
        steps.append(words)
        ended |= words == eos
    drawn = np.stack(steps, axis=1)  # (B, words drawn)
    return [" ".join(model.vocabulary.decode(_before(line, eos))) for line in drawn]


def _draw(scores: Array, rng: np.random.Generator) -> Array:
    """One word (B,) int32 from each row of unnormalised log-probabilities (B,V): the largest of scores plus
    independent Gumbel noise is a draw from their softmax."""
    return np.asarray(np.argmax(scores + rng.gumbel(size=scores.shape), axis=1), np.int32)


def _before(line: Array, eos: int) -> Array:
    """The words (n,) before the first </s>."""
    ends = np.flatnonzero(line == eos)
    return line[: ends[0]] if ends.size else line
