"""N-best lists ranked anew with a language model's scores, in SRILM's and in Kaldi's format.

[R1] lm = (1 - w) new + w old                               w = mix_old: 0 leaves the old score out
[R2] total = acoustic + lm_scale lm - word_penalty words    the highest is the best; of equals the first

Everything is log10 here; Kaldi's costs, -ln p, become log10 when they are read.

SRILM   a file is the list of one utterance, a line a hypothesis: `ascore lscore nwords w1 w2 ...`
Kaldi   a line a hypothesis: `utt-N w1 w2 ...`; those of an utterance stand together
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nplm.errors import InputError
from nplm.log10 import LN10
from nplm.text import TextPath, open_lines, text_name
from nplm.vocabulary import BOS, EOS
from nplm.workspace import Array

GROUP = 512  # hypotheses scored at a time, if a list has no more
DECIPHER = ("NBestList1.0", "NBestList2.0")
Score = Callable[[Sequence[str]], Array]  # sentences -> log10 (n,)


class Hypothesis(NamedTuple):
    """One line of a list."""

    label: str  # what stands first on the line: SRILM's ascore, Kaldi's utt-N
    words: list[str]  # without <s> and </s>
    acoustic: float = 0.0  # log10
    old: float = 0.0  # log10: the language model score in the list
    num_words: int | None = None  # SRILM's nwords; None: as many words as are scored


class NBest(NamedTuple):
    """The hypotheses of one utterance, as they came."""

    name: str
    hypotheses: list[Hypothesis]


class Ranked(NamedTuple):
    """A list and what became of it."""

    nbest: NBest
    lm: Array  # (n,) log10, [R1]
    total: Array  # (n,) log10, [R2]
    order: Array  # (n,) indices into the hypotheses, best first

    @property
    def best(self) -> Hypothesis:
        return self.nbest.hypotheses[int(self.order[0])]


def rescore(
    lists: Iterable[NBest],
    score: Score,
    *,
    lm_scale: float = 8.0,
    word_penalty: float = 0.0,
    mix_old: float = 0.0,
    skip: Collection[str] = (),
    group: int = GROUP,
) -> Iterator[Ranked]:
    """Each list, ranked by [R2], in the order they come.

    score: total log10 of each of some sentences, as `score_batch` gives it; it is asked for `group` hypotheses or
    more at a time, across lists. skip: words that are not scored (pauses, noises). Memory is bounded by the longest
    list. Raises InputError where a weight or a score is not finite.
    """
    if not (math.isfinite(lm_scale) and math.isfinite(word_penalty) and 0 <= mix_old <= 1):
        raise InputError(
            f"LM scale {lm_scale}, word penalty {word_penalty}, share of the old score {mix_old}:"
            " the first two must be finite, the share from 0 to 1"
        )
    for batch in _batches(lists, group):
        spoken = [
            [word for word in hyp.words if word not in skip] for nbest in batch for hyp in nbest.hypotheses
        ]
        scores = np.asarray(score([" ".join(words) for words in spoken]), np.float64)
        start = 0
        for nbest in batch:
            part = slice(start, start := start + len(nbest.hypotheses))
            _check_scores(nbest, scores[part])
            old, acoustic = np.array([(hyp.old, hyp.acoustic) for hyp in nbest.hypotheses]).T
            counts = [
                len(words) if hyp.num_words is None else hyp.num_words
                for hyp, words in zip(nbest.hypotheses, spoken[part], strict=True)
            ]
            lm = (1 - mix_old) * scores[part] + mix_old * old if mix_old else scores[part]  # [R1]
            total = acoustic + lm_scale * lm - word_penalty * np.array(counts)  # [R2]
            yield Ranked(nbest, lm, total, np.argsort(-total, kind="stable"))


def one_best(ranked: Ranked) -> str:
    """The utterance's name and the words of its best hypothesis."""
    return " ".join([ranked.nbest.name, *ranked.best.words])


def whole_list(ranked: Ranked) -> list[str]:
    """The list's lines in its own format, best first; SRILM's have the new language model score in them."""
    lines = []
    for k in ranked.order:
        hyp = ranked.nbest.hypotheses[k]
        scores = [] if hyp.num_words is None else [f"{ranked.lm[k]:.5f}", str(hyp.num_words)]
        lines.append(" ".join([hyp.label, *scores, *hyp.words]))
    return lines


def _batches(lists: Iterable[NBest], size: int) -> Iterator[list[NBest]]:
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


def _check_scores(nbest: NBest, scores: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        words = " ".join(nbest.hypotheses[bad[0]].words)
        raise InputError(
            f"{nbest.name}: the model gives {words!r} the score {scores[bad[0]]}; it has diverged, take another"
        )


# ---- SRILM's format


def read_srilm(path: TextPath, *, finite_old: bool = False) -> NBest:
    """The list in a file `ascore lscore nwords w1 w2 ...`, log10; its name is the file's, without folder and .gz.

    finite_old: lscore must be finite, as mix_old needs it. Raises InputError with file and line.
    """
    hypotheses = []
    for number, line in open_lines(path):
        where = f"{text_name(path)}, line {number}"
        fields = line.split()
        if not fields:
            continue  # as SRILM does
        if fields[0] in DECIPHER:
            raise InputError(
                f"{where}: {fields[0]} has acoustic and language model scores in one, and they cannot be told apart;"
                " write the list as `ascore lscore nwords words`, as SRILM's nbest-lattice -write-nbest does"
            )
        if len(fields) < 3:
            raise InputError(
                f"{where}: {len(fields)} fields, but a hypothesis is `ascore lscore nwords words`"
            )
        acoustic = _number(fields[0], "ascore", where)
        old = _number(fields[1], "lscore", where, finite=finite_old)
        words = _without_marks(fields[3:], where)
        hypotheses.append(Hypothesis(fields[0], words, acoustic, old, _count(fields[2], where)))
    if not hypotheses:
        raise _no_hypothesis(path)
    return NBest(list_name(path), hypotheses)


def list_name(path: TextPath) -> str:
    """The name of the utterance whose list is in the file."""
    return Path(path).name.removesuffix(".gz")


def _number(text: str, what: str, where: str, finite: bool = True) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or "_" in text or (finite and math.isinf(value)):
        raise InputError(f"{where}: {what} {text!r} is not a {'finite ' * finite}number")
    return value


def _count(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"{where}: nwords {text!r} is not a number of words")
    return int(text)


# ---- Kaldi's format


def read_kaldi(paths: Iterable[TextPath], acoustic: TextPath | None = None) -> Iterator[NBest]:
    """The lists in files of lines `utt-N w1 w2 ...`, utterance by utterance.

    acoustic: a file of lines `utt-N cost` (-ln, scaled or not), for the same hypotheses in the same order.
    Raises InputError with file and line.
    """
    costs = None if acoustic is None else _costs(acoustic)
    for path in paths:
        name = None
        for name, lines in groupby(_kaldi_lines(path, costs), lambda pair: pair[0]):
            yield NBest(name, [hypothesis for _, hypothesis in lines])
        if name is None:
            raise _no_hypothesis(path)
    if costs is not None and (rest := next(costs, None)):
        raise InputError(f"{rest[0]}: {rest[1]!r} has a cost, but there is no such hypothesis after the last")


def _kaldi_lines(
    path: TextPath, costs: Iterator[tuple[str, str, float]] | None
) -> Iterator[tuple[str, Hypothesis]]:
    """The utterance and the hypothesis of every line."""
    before, seen = None, set[str]()
    for number, line in open_lines(path):
        where = f"{text_name(path)}, line {number}"
        key, *words = line.split() or [""]
        utterance, _, rank = key.rpartition("-")
        if not (utterance and rank.isascii() and rank.isdecimal()):
            raise InputError(f"{where}: {key!r} is not utt-N, but a hypothesis is `utt-N words`")
        if utterance != before:
            before, seen = utterance, set()
        if rank in seen:
            raise InputError(f"{where}: {key!r} is there already; give every hypothesis its own N")
        seen.add(rank)
        cost = 0.0 if costs is None else _cost(costs, key, where)
        yield utterance, Hypothesis(key, _without_marks(words, where), -cost / LN10)


def _costs(path: TextPath) -> Iterator[tuple[str, str, float]]:
    """Place, key and cost of every line `utt-N cost`."""
    for number, line in open_lines(path):
        where = f"{text_name(path)}, line {number}"
        fields = line.split()
        if len(fields) != 2:
            raise InputError(f"{where}: {len(fields)} fields, but an acoustic cost is `utt-N cost`")
        yield where, fields[0], _number(fields[1], "cost", where)


def _cost(costs: Iterator[tuple[str, str, float]], key: str, where: str) -> float:
    found = next(costs, None)
    if found is None:
        raise InputError(f"{where}: {key!r} has no acoustic cost; the file of costs has ended")
    if found[1] != key:
        raise InputError(
            f"{found[0]}: the cost of {found[1]!r} where that of {key!r} is due ({where});"
            " bring both files into the same order"
        )
    return found[2]


def _without_marks(words: list[str], where: str) -> list[str]:
    """The words without one <s> before them and one </s> after them."""
    if words and words[0] == BOS:
        words = words[1:]
    if words and words[-1] == EOS:
        words = words[:-1]
    for mark in (BOS, EOS):
        if mark in words:
            raise InputError(f"{where}: {mark} inside a hypothesis, but it is one sentence; take it out")
    return words


def _no_hypothesis(path: TextPath) -> InputError:
    return InputError(f"{text_name(path)}: empty, there is no hypothesis in it; leave it out")
