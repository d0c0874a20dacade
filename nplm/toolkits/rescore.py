"""Reranking n-best lists with a language model's scores.

[T1] lm = (1 - w) new + w old                               w = mix_old: 0 leaves the old score out
[T2] total = acoustic + lm_scale lm - word_penalty words    the highest is the best; in a tie, the first

All scores are log10.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.units import toolkit_words
from nplm.errors import InputError
from nplm.model import LanguageModel
from nplm.ranks.alone import ALONE, Ranks
from nplm.scoring.score import score_batch
from nplm.scoring.sentences import encode, totals
from nplm.toolkits.nbest import Hypothesis, NBest

GROUP = 512  # hypotheses scored at a time, unless a list is longer
Score = Callable[[Sequence[str]], Array]  # sentences, their words separated by spaces -> log10 (n,)
Count = Callable[[Sequence[str]], tuple[Array, Array]]  # sentences -> units (n,), unknown units among them (n,)


class Ranked(NamedTuple):
    """A list and its ranking."""

    nbest: NBest
    lm: Array  # (n,) log10, [T1]
    total: Array  # (n,) log10, [T2]
    order: Array  # (n,) indices into the hypotheses, best first
    units: int = 0  # scored in all hypotheses
    unknown: int = 0  # units that the model does not know

    @property
    def best(self) -> Hypothesis:
        """The hypothesis with the highest total."""
        return self.nbest.hypotheses[int(self.order[0])]


def rescore(
    lists: Iterable[NBest],
    score: Score,
    count: Count | None = None,
    *,
    lm_scale: float = 8.0,
    word_penalty: float = 0.0,
    mix_old: float = 0.0,
    skip: Collection[str] = (),
    group: int = GROUP,
) -> Iterator[Ranked]:
    """Each list, ranked by [T2], in the order given.

    score: returns the total log10 of each sentence; it is called for at least `group` hypotheses, across lists.
    count: returns the numbers of units and of unknown units. skip: words that are not scored (pauses, noises).
    Memory is bounded by the longest list.
    Raises InputError if a weight or a score is not finite, and if the model knows no word of the first group.
    """
    if not (math.isfinite(lm_scale) and math.isfinite(word_penalty) and 0 <= mix_old <= 1):
        raise InputError(
            f"LM scale {lm_scale}, word penalty {word_penalty}, share of the old score {mix_old}:"
            " the first two must be finite, the share from 0 to 1"
        )
    for number, batch in enumerate(_batches(lists, group)):
        spoken = [[word for word in hyp.words if word not in skip] for nbest in batch for hyp in nbest.hypotheses]
        texts = [" ".join(words) for words in spoken]
        scores, start = np.asarray(score(texts), np.float64), 0
        units, unknown = count(texts) if count is not None else np.zeros((2, len(texts)), np.int64)
        if number == 0:
            _check_known(batch, spoken, units, unknown)
        for nbest in batch:
            part = slice(start, start := start + len(nbest.hypotheses))
            _check_scores(nbest, scores[part])
            num_words = [len(words) for words in spoken[part]]
            ranked = _rank(nbest, scores[part], num_words, lm_scale, word_penalty, mix_old)
            yield ranked._replace(units=int(units[part].sum()), unknown=int(unknown[part].sum()))


def model_functions(
    model: LanguageModel, *, normalize: bool = True, join: str = " ", threads: int = 0, ranks: Ranks = ALONE
) -> tuple[Score, Count]:
    """Functions that score sentences with a model, and count their units.

    A model of words uses the toolkit's words unchanged.  A model of another unit is given the text, with `join`
    between the words.  ranks: the ranks that share the scoring, each with the model and the sentences.
    """

    def units(sentence: str) -> list[str]:
        words = toolkit_words(sentence)
        return words if model.unit.kind == "word" else model.unit.split(join.join(words))

    def score(sentences: Sequence[str]) -> Array:
        divided = [units(sentence) for sentence in sentences]
        return score_batch(model, divided, normalize=normalize, threads=threads, ranks=ranks)

    def count(sentences: Sequence[str]) -> tuple[Array, Array]:
        ids, lengths = encode(model.vocabulary, [units(sentence) for sentence in sentences], eos=False)
        return lengths, totals((ids == model.vocabulary.unk).astype(np.float64), lengths).astype(np.int64)

    return score, count


def _rank(
    nbest: NBest, new: Array, num_words: list[int], lm_scale: float, word_penalty: float, mix_old: float
) -> Ranked:
    """A list ranked with the new scores (n,); num_words: the number of scored words of each hypothesis."""
    old, acoustic = np.array([(hyp.old, hyp.acoustic) for hyp in nbest.hypotheses]).T
    lm = (1 - mix_old) * new + mix_old * old if mix_old else new  # [T1]; an old score that is left out may be inf
    words = [n if hyp.num_words is None else hyp.num_words for hyp, n in zip(nbest.hypotheses, num_words, strict=True)]
    with np.errstate(over="ignore", invalid="ignore"):
        total = acoustic + lm_scale * lm - word_penalty * np.array(words)  # [T2]
    if not np.isfinite(total).all():
        raise InputError(
            f"{nbest.name}: a total overflows with LM scale {lm_scale:g} and word penalty"
            f" {word_penalty:g}; use smaller values"
        )
    return Ranked(nbest, lm, total, np.argsort(-total, kind="stable"))


def one_best(ranked: Ranked) -> str:
    """The utterance's name and the words of its best hypothesis."""
    return " ".join([ranked.nbest.name, *ranked.best.words])


def whole_list(ranked: Ranked) -> list[str]:
    """The list's lines in their own format, best first; SRILM's lines have the new language model score."""
    lines = []
    for k in ranked.order:
        hyp = ranked.nbest.hypotheses[k]
        scores = [] if hyp.num_words is None else [f"{ranked.lm[k]:.5f}", str(hyp.num_words)]
        lines.append(" ".join([hyp.label, *scores, *hyp.words]))
    return lines


def _batches(lists: Iterable[NBest], size: int) -> Iterator[list[NBest]]:
    """The lists in batches of at least `size` hypotheses, except for the last batch."""
    batch: list[NBest] = []
    waiting = 0
    for nbest in lists:
        batch.append(nbest)
        waiting += len(nbest.hypotheses)
        if waiting >= size:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch


def _check_known(batch: list[NBest], spoken: list[list[str]], units: Array, unknown: Array) -> None:
    """Reject lists in another language, in upper case, or of ids, where every score would be that of <unk>."""
    total = int(units.sum())
    if total and unknown.sum() == total:
        first = next(word for words in spoken for word in words)
        raise InputError(
            f"{batch[0].name}: the model knows none of the first {total} words, such as {first!r}; the words of the"
            " lists must be written as in its training text"
        )


def _check_scores(nbest: NBest, scores: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        words = " ".join(nbest.hypotheses[bad[0]].words)
        raise InputError(
            f"{nbest.name}: the model gives {words!r} the score {scores[bad[0]]}; it has diverged, use another model"
        )
