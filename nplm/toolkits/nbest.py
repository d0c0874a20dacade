"""N-best lists read from files: the hypotheses of an utterance with their scores.

SRILM   a file is the list of one utterance, each line a hypothesis: `ascore lscore nwords w1 w2 ...`
Kaldi   each line is a hypothesis: `utt-N w1 w2 ...`; those of an utterance are adjacent

Scores are log10; Kaldi's costs, -ln p, are converted to log10 when they are read.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from nplm.data.sources import TextPath, text_name
from nplm.data.text import open_lines, without_marks
from nplm.data.units import toolkit_words
from nplm.errors import InputError
from nplm.logs import LN10
from nplm.toolkits.number import to_number

DECIPHER = ("NBestList1.0", "NBestList2.0")
PAUSE = "-pau-"  # SRILM's word for a pause, which its tools do not score
MAX_DIGITS = 9  # of a number of words
A_HYPOTHESIS = "a hypothesis, but a hypothesis is one sentence; remove it"


class Hypothesis(NamedTuple):
    """One line of a list."""

    label: str  # the first field of the line: SRILM's ascore, Kaldi's utt-N
    words: list[str]  # without <s> and </s>
    acoustic: float = 0.0  # log10
    old: float = 0.0  # log10: the language model score in the list
    num_words: int | None = None  # SRILM's nwords; None: as many words as are scored


class NBest(NamedTuple):
    """The hypotheses of one utterance, in their original order."""

    name: str  # of the utterance
    hypotheses: list[Hypothesis]


# ---- SRILM's format


def read_srilm(path: TextPath, *, finite_old: bool = False) -> NBest:
    """The list in a file `ascore lscore nwords w1 w2 ...`, log10; its name is the file's, without folder and .gz.

    finite_old: lscore must be finite, as mix_old needs it. Raises InputError with file and line.
    """
    hypotheses = []
    for number, line in open_lines(path):
        if fields := toolkit_words(line):  # an empty line is skipped, as in SRILM
            hypotheses.append(_srilm_line(fields, f"{text_name(path)}, line {number}", finite_old))
    if not hypotheses:
        raise _no_hypothesis(path)
    return NBest(list_name(path), hypotheses)


def _srilm_line(fields: list[str], where: str, finite_old: bool) -> Hypothesis:
    if fields[0] in DECIPHER:
        raise InputError(
            f"{where}: {fields[0]} combines acoustic and language model scores in one, and they cannot be separated;"
            " write the list as `ascore lscore nwords words`, as SRILM's nbest-lattice -write-nbest does"
        )
    if len(fields) < 3:
        raise InputError(f"{where}: {len(fields)} fields, but a hypothesis is `ascore lscore nwords words`")
    acoustic = _number(fields[0], "ascore", where)
    old = _number(fields[1], "lscore", where, finite=finite_old)
    words = without_marks(fields[3:], where, A_HYPOTHESIS)
    return Hypothesis(fields[0], words, acoustic, old, _count(fields[2], where))


def list_name(path: TextPath) -> str:
    """The name of the utterance whose list is in the file."""
    return Path(path).name.removesuffix(".gz")


def _number(text: str, what: str, where: str, finite: bool = True) -> float:
    value = to_number(text)
    if math.isnan(value) or (finite and math.isinf(value)):
        raise InputError(f"{where}: {what} {text!r} is not a {'finite ' * finite}number")
    return value


def _count(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise InputError(f"{where}: nwords {text[:40]!r} is not a number of words")
    return int(text)


# ---- Kaldi's format


def read_kaldi(paths: Iterable[TextPath], acoustic: TextPath | None = None) -> Iterator[NBest]:
    """The lists in files of lines `utt-N w1 w2 ...`, utterance by utterance; empty lines are skipped.

    acoustic: a file of lines `utt-N cost` (-ln, scaled or not), for the same hypotheses in the same order.
    Raises InputError with file and line.
    """
    costs = None if acoustic is None else _costs(acoustic)
    begun: set[str] = set()
    for path in paths:
        name = None
        for name, lines in groupby(_kaldi_lines(path, costs, begun), lambda pair: pair[0]):
            yield NBest(name, [hypothesis for _, hypothesis in lines])
        if name is None:
            raise _no_hypothesis(path)
    if costs is not None and (rest := next(costs, None)):
        raise InputError(f"{rest[0]}: {rest[1]!r} has a cost, but the lists have no further hypothesis")


def _kaldi_lines(
    path: TextPath, costs: Iterator[tuple[str, str, float]] | None, begun: set[str]
) -> Iterator[tuple[str, Hypothesis]]:
    """The utterance and the hypothesis of every line; `begun`: utterances seen so far, which must not occur again."""
    before, seen = None, set[str]()
    for number, line in open_lines(path):
        where = f"{text_name(path)}, line {number}"
        if not (fields := toolkit_words(line)):
            continue
        key, *words = fields
        utterance, _, rank = key.rpartition("-")
        if not (utterance and rank.isascii() and rank.isdecimal()):
            raise InputError(f"{where}: {key!r} is not utt-N, but a hypothesis is `utt-N words`")
        if utterance != before:
            if utterance in begun:
                raise InputError(
                    f"{where}: more hypotheses of {utterance!r}, whose list has ended; lines of one utterance must be"
                    " adjacent (sorting by the whole line mixes `a-1` of `a` with `a-1-1` of `a-1`)"
                )
            begun.add(utterance)
            before, seen = utterance, set()
        if rank in seen:
            raise InputError(f"{where}: {key!r} occurs twice; give every hypothesis its own N")
        seen.add(rank)
        cost = 0.0 if costs is None else _cost(costs, key, where)
        yield utterance, Hypothesis(key, without_marks(words, where, A_HYPOTHESIS), -cost / LN10)


def _costs(path: TextPath) -> Iterator[tuple[str, str, float]]:
    """Position, key and cost of every line `utt-N cost`."""
    for number, line in open_lines(path):
        where = f"{text_name(path)}, line {number}"
        if not (fields := toolkit_words(line)):
            continue
        if len(fields) != 2:
            raise InputError(f"{where}: {len(fields)} fields, but an acoustic cost is `utt-N cost`")
        yield where, fields[0], _number(fields[1], "cost", where)


def _cost(costs: Iterator[tuple[str, str, float]], key: str, where: str) -> float:
    """The next cost, which must be that of the hypothesis `key`, read from `where`."""
    found = next(costs, None)
    if found is None:
        raise InputError(f"{where}: {key!r} has no acoustic cost; the file of costs has ended")
    if found[1] != key:
        raise InputError(
            f"{found[0]}: the cost of {found[1]!r}, but that of {key!r} is expected ({where});"
            " put both files in the same order"
        )
    return found[2]


def _no_hypothesis(path: TextPath) -> InputError:
    return InputError(f"{text_name(path)}: empty, contains no hypothesis; leave it out")
