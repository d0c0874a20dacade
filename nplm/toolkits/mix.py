"""The best weights for a mixture of language models, by EM on a text that each of them has scored.

[M1] p(w_n) = sum_m lambda_m p_m(w_n)
[M2] lambda_m <- 1/N sum_n lambda_m p_m(w_n) / p(w_n)      no step decreases the likelihood of the text
[M3] gain <= max_m 1/N sum_n p_m(w_n) / p(w_n) - 1         nats per word that the best weights can still gain,
                                                           since the log-likelihood is concave in lambda
Words to which no model gives a probability are left out, as SRILM does.  Source: SRILM, compute-best-mix.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.sources import TextPath, text_name
from nplm.data.text import open_lines
from nplm.data.tokens import UNK
from nplm.data.units import toolkit_words
from nplm.errors import InputError
from nplm.logs import LN10, power
from nplm.toolkits.number import to_number

BLOCK = 2**16  # words in one step of a sum
CERTAIN = 1e-3  # log10: the most that rounding may add to a probability of one
MAX_ITERATIONS = 10_000


class Mixture(NamedTuple):
    """Weights, and the resulting figures on the text."""

    weights: Array  # (M,), sum 1
    perplexity: float  # of the mixture
    perplexities: Array  # (M,) of each model alone, over the words to which it gives a probability
    words: float  # predicted words, including </s>, to which some model gives a probability
    zeros: float  # words left out: no model gives them a probability
    model_zeros: Array  # (M,) words to which this model gives no probability: OOVs and zeroprobs
    iterations: int
    gain: float  # nats per word, [M3]


class Line(NamedTuple):
    """A word of a -debug 2 output."""

    number: int
    word: str
    log10_prob: float  # -inf for zero
    times: float  # its count


def best_mix(
    log10_probs: Array,
    counts: Array | None = None,
    *,
    start: Sequence[float] | None = None,
    precision: float = 1e-6,
    fixed: bool = False,
) -> Mixture:
    """The weights that give a text the highest likelihood, and the resulting perplexities.

    log10_probs: (n,M) float64, -inf for zero. counts: (n,) the count of each word; default: 1. start: (M,) initial
    weights, default: equal; with `fixed` they are kept. EM ends when no weight changes by more than precision.
    Needs one copy of log10_probs. Raises InputError if no word has a probability.
    """
    log10_probs = np.asarray(log10_probs, np.float64)
    counts = np.ones(len(log10_probs)) if counts is None else np.asarray(counts, np.float64)
    weights, iterations = _check_start(start, log10_probs.shape[1]), 0
    if not precision > 0:
        raise InputError(f"precision = {precision}: must be above 0")
    best = log10_probs.max(axis=1, initial=-np.inf)  # (n,)
    some = np.isfinite(best)
    best, kept = best[some], counts[some]  # (n',)
    words = float(kept.sum())
    if not words > 0:
        raise InputError("no word has a probability, so weights cannot be found")
    ratios = _ratios(log10_probs[some], best)
    if not fixed:
        weights, iterations = _climb(ratios, kept, weights, precision)
    pulls, log10_total = _sums(ratios, kept, weights)
    perplexities, model_zeros = _alone(log10_probs, counts)
    return Mixture(
        weights,
        perplexity=power(-(float(kept @ best) + log10_total) / words),
        perplexities=perplexities,
        words=words,
        zeros=float(counts[~some].sum()),
        model_zeros=model_zeros,
        iterations=iterations,
        gain=max(0.0, float(pulls.max()) / words - 1),  # [M3]
    )


def read_scores(paths: Sequence[TextPath]) -> tuple[Array, Array]:
    """log10 probabilities (n,M), -inf for zero, and counts (n,), of M outputs of -debug 2 on the same text.

    The files are read in parallel; this takes 8 (M + 1) bytes per word.  An <unk> of one model matches any word.
    Raises InputError, with file and line, on malformed lines, NaN, probabilities above one, and mismatching words.
    """
    scores, counts = array("d"), array("d")
    for lines in zip_longest(*map(_word_lines, paths)):
        found = [line for line in lines if line is not None]
        if len(found) < len(paths):
            if not counts:
                raise _no_words(paths[lines.index(None)])
            short = text_name(paths[lines.index(None)])
            longer = text_name(paths[lines.index(found[0])])
            raise InputError(
                f"{short}: ends after {len(counts)} words, but {longer}, line {found[0].number} has"
                f" {found[0].word!r} next; score the same text with every model"
            )
        _check_same(found, paths)
        scores.extend(line.log10_prob for line in found)
        counts.append(found[0].times)
    if not counts:
        raise _no_words(paths[0])
    return np.frombuffer(scores).reshape(-1, len(paths)), np.frombuffer(counts)


# ---- EM


def _ratios(log10_probs: Array, best: Array) -> Array:
    """p_m / p_best (n,M) of every word, overwriting log10_probs; dividing by the best avoids underflow."""
    log10_probs -= best[:, None]
    log10_probs *= LN10
    return np.exp(log10_probs, out=log10_probs)


def _climb(ratios: Array, counts: Array, weights: Array, precision: float) -> tuple[Array, int]:
    """Weights (M,) after EM, and the number of iterations, at most MAX_ITERATIONS."""
    words, iterations, moving = counts.sum(), 0, True
    while moving and iterations < MAX_ITERATIONS:
        pulls, _ = _sums(ratios, counts, weights)
        before, weights = weights, weights * pulls / words  # [M2]
        weights /= weights.sum()
        iterations += 1
        moving = bool(np.abs(weights - before).max() > precision)
    return weights, iterations


def _sums(ratios: Array, counts: Array, weights: Array) -> tuple[Array, float]:
    """sum_n c_n r_nm / p_n (M,) and sum_n c_n log10 p_n, where p_n = sum_m weight_m r_nm."""
    pulls, log10_total = np.zeros(len(weights)), 0.0
    for k in range(0, len(counts), BLOCK):
        part, count = ratios[k : k + BLOCK], counts[k : k + BLOCK]
        mixed = part @ weights  # [M1]
        pulls += (count / mixed) @ part
        log10_total += float(count @ np.log10(mixed))
    return pulls, log10_total


def _alone(log10_probs: Array, counts: Array) -> tuple[Array, Array]:
    """Each model's own perplexity (M,), and its number of words with zero probability (M,)."""
    perplexities, zeros = [], []
    for column in log10_probs.T:
        some = np.isfinite(column)
        words = float(counts[some].sum())
        perplexities.append(power(-float(counts[some] @ column[some]) / words) if words else math.nan)
        zeros.append(float(counts[~some].sum()))
    return np.array(perplexities), np.array(zeros)


def _check_start(start: Sequence[float] | None, models: int) -> Array:
    """Initial weights (M,); those that are not given share the rest equally."""
    given = np.array([] if start is None else start, np.float64)
    missing = models - given.size
    if missing > 0:
        given = np.append(given, np.full(missing, (1 - given.sum()) / missing))
    if given.size != models or not (given > 0).all() or abs(given.sum() - 1) > 1e-6:
        shown = " ".join(f"{weight:g}" for weight in given)
        raise InputError(f"initial weights {shown} for {models} models: they must be above 0 and sum to 1")
    return np.asarray(given / given.sum())


# ---- SRILM's -debug 2


def _word_lines(path: TextPath) -> Iterator[Line]:
    """The lines `<TAB>p( word | context ...) <TAB>= [2gram] prob [ log10 ]`; all others are skipped."""
    for number, line in open_lines(path):
        if line[:1].isspace() and line.lstrip().startswith("p( "):
            yield _parse(toolkit_words(line), number, f"{text_name(path)}, line {number}")


def _parse(fields: list[str], number: int, where: str) -> Line:
    """A line's word, log10 probability and count, from its fields."""
    if len(fields) > 2 and fields[-2] == "/":
        fields = fields[:-2]  # -debug 3: the sum over the vocabulary
    times = 1.0
    if len(fields) > 8 and fields[-2].startswith("*"):  # -counts: how often the word counts
        times = _float(fields.pop(-2)[1:], "count", where)
    if len(fields) < 8 or fields[2] != "|" or "=" not in fields[4:] or (fields[-3], fields[-1]) != ("[", "]"):
        raise InputError(f"{where}: not `p( word | context ...) = [2gram] prob [ log10 ]`; write the file again")
    text = fields[-2]
    log10_prob = -math.inf if text.lower().startswith("-1.#inf") else _float(text, "log10", where)
    if log10_prob > CERTAIN:
        raise InputError(f"{where}: log10 {text} is a probability above 1; only normalised models can be mixed")
    if not 0 < times < math.inf:
        raise InputError(f"{where}: the word counts {times:g} times, which must be a finite number above 0")
    return Line(number, fields[1], log10_prob, times)


def _float(text: str, what: str, where: str) -> float:
    value = to_number(text)
    if math.isnan(value):
        raise InputError(f"{where}: {what} {text!r} is not a number")
    return value


def _no_words(path: TextPath) -> InputError:
    return InputError(
        f"{text_name(path)}: has no line `p( word | context ...) = ... [ log10 ]`;"
        " make the file with `nplm eval -v word` or `ngram -ppl TEXT -debug 2`"
    )


def _check_same(lines: list[Line], paths: Sequence[TextPath]) -> None:
    """Raise InputError unless the lines (M,) of one position have the same word and count."""
    first = next((line for line in lines if line.word != UNK), lines[0])
    for line, path in zip(lines, paths, strict=True):
        if line.word not in (first.word, UNK) or line.times != first.times:
            other = f"{text_name(paths[lines.index(first)])}, line {first.number}"
            theirs, ours = (f"{x.word!r} * {x.times:g}" if x.times != 1 else repr(x.word) for x in (line, first))
            raise InputError(
                f"{text_name(path)}, line {line.number}: {theirs}, but {other} has {ours};"
                " score the same text with every model"
            )
