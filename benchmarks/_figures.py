"""Figures in hand-written text, checked against the recorded results.

A figure is followed by a comment that says which value it is, and how it is printed:

    113.01<!-- study_objectives case=nce-100 test_perplexity .2f -->
    1.6%<!-- study_objectives case=nce-100 test_perplexity below case=softmax test_perplexity .1% -->

A value is named by a result file, what its rows must have (in quotes if it has spaces: link='shared memory'), and a
path in them; it is the mean over seeds.  `seeds`
in place of the path is the number of seeds.  Two values are compared by one of WORDS; the second may be a number, and
what it leaves out (the file, or all but the path) is as in the first.

Between the markers `begin findings` and `end findings` every decimal, percentage and number with a comma must have its
comment.  Where the figure is not a result, the comment is one of FOREIGN.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from statistics import fmean

from _tables import read, value

WORDS: dict[str, Callable[[float, float], float]] = {
    "below": lambda a, b: 1 - a / b,
    "above": lambda a, b: a / b - 1,
    "times": lambda a, b: a / b,
    "minus": lambda a, b: a - b,
}
FOREIGN = ("aim", "quoted", "setting")
COMMENT = re.compile(r"<!--.*?-->", re.S)
FIGURE = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?%?)<!-- (.*?) -->", re.S)
FINDINGS = re.compile(r"<!-- begin findings -->(.*?)<!-- end findings -->", re.S)
BARE = re.compile(r"\d+(?:[.,]\d+)+%?|\d+%")


def faults(text: str) -> Iterator[str]:
    """What is wrong with the figures of a page, a line each.  Exits where a comment names no row, or too many."""
    for figure, source in FIGURE.findall(text):
        if source not in FOREIGN:
            *terms, form = shlex.split(source)
            if (right := format(_evaluate(terms), form)) != figure:
                yield f"{figure} is to be {right}: {' '.join(source.split())}"
    for findings in FINDINGS.findall(text):
        rest = FIGURE.sub("", findings)
        yield from (f"no figure before {comment}" for comment in COMMENT.findall(rest))
        yield from (
            f"{figure} names no result; put a comment behind it" for figure in BARE.findall(COMMENT.sub("", rest))
        )


def _evaluate(terms: list[str]) -> float:
    word = next((place for place, term in enumerate(terms) if term in WORDS), None)
    if word is None:
        return _look_up(*terms)
    left, right = terms[:word], terms[word + 1 :]
    if right[0].replace(".", "").isdigit():
        return WORDS[terms[word]](_look_up(*left), float(right[0]))
    if len(right) == 1:
        right = left[:-1] + right
    elif "=" in right[0]:
        right = left[:1] + right
    return WORDS[terms[word]](_look_up(*left), _look_up(*right))


def _look_up(file: str, *rest: str) -> float:
    *conditions, path = rest
    wanted = dict(condition.split("=") for condition in conditions)
    rows = [row for result in read(f"{file}.json") for row in result["rows"]]
    rows = [row for row in rows if all(str(row.get(key)) == text for key, text in wanted.items())]
    if not rows or len({row.get("seed") for row in rows}) < len(rows):
        sys.exit(f"{file} {' '.join(rest)}: {len(rows)} rows; name conditions that one row of every seed meets")
    return len(rows) if path == "seeds" else fmean(value(row, path) for row in rows)
