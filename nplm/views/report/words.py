"""The part of the page that shows the text: each word is shaded by its surprisal, and shows its value on demand."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from nplm.data.tokens import EOS
from nplm.views.report.measurement import Measurement
from nplm.views.report.numbers import chance, number

LEVELS = (1, 2, 4, 6, 8, 11, 14)  # bits from which each stronger shade is used
NEWLINE = "\u21b5"  # how </s> is shown
SURPRISING = 12  # rows of the table of the most surprising words


def level(bits: float) -> int:
    """The shade of a surprisal, 0 to 7."""
    return sum(bits >= limit for limit in LEVELS)


def words_section(found: Measurement, words: Sequence[str]) -> str:
    """What surprisal is, the legend, the words, and the most surprising of them."""
    e, shown = found.evaluation, len(words)
    what = f"All {e.tokens:,} tokens are shown."
    if shown < e.tokens:
        what = f"The first {shown:,} of {e.tokens:,} tokens are shown; all figures above are for the whole text."
    return (
        "<p>The darker a word’s shade, the less the model expected it. Its surprisal is −log₂ of the probability"
        " that the model gave it, in bits: 1 bit is the toss of a coin, 10 bits are a chance of one in a thousand."
        f' {what} <span class="withjs">Point at a word, tap it, or move with Tab and the arrow keys to see its'
        f' surprisal.</span><span class="nojs">Point at a word to see its surprisal.</span></p>{_legend()}'
        f'<div class="text" id="words" lang="" translate="no" role="group" aria-label="The text">{_lines(found, words)}'
        f"</div>{_surprising(found, words)}"
    )


def _legend() -> str:
    names = [f"<{LEVELS[0]}", *(f"{a}–{b}" for a, b in pairwise(LEVELS)), f"{LEVELS[-1]}+"]
    scale = "".join(f'<li class="s{k}">{escape(name)}</li>' for k, name in enumerate(names))
    return (
        f'<div class="legend"><span id="scale">Surprisal, bits</span><ol class="scale" aria-labelledby="scale">{scale}'
        '</ol><span><span class="u">word</span> not in the vocabulary</span>'
        f'<span><span class="e">{NEWLINE}</span> end of sentence</span></div>'
    )


def _lines(found: Measurement, words: Sequence[str]) -> str:
    """A paragraph for every sentence, an element for every word."""
    lines: list[list[str]] = [[]]
    for k, (word, bits) in enumerate(zip(words, found.surprisals.tolist(), strict=True)):
        end, unknown = word == EOS, found.ids[k] == 0
        kind = " e" if end else " u" if unknown else ""
        shown = f"{number(bits)} bits&#10;{chance(bits)} · {_seen(int(found.counts[k]), end, unknown)}"
        stop = ' tabindex="0"' if k == 0 else ""
        text = NEWLINE if end else escape(word)
        lines[-1].append(f'<span class="w s{level(bits)}{kind}" data-t="{shown}"{stop}>{text}</span>')
        if end:
            lines.append([])
    return "\n".join(f'<p dir="auto">{" ".join(line)}</p>' for line in lines if line)


def _seen(count: int, end: bool, unknown: bool) -> str:
    if unknown:
        return "not in the vocabulary: scored as &lt;unk&gt;"
    times = "once" if count == 1 else f"{count:,} times"
    return f"{'ends' if end else 'seen'} {times} in training"


def _surprising(found: Measurement, words: Sequence[str]) -> str:
    """The least expected words of the part that is shown, with the words before them."""
    bits = found.surprisals.tolist()
    order = sorted(range(len(words)), key=lambda k: -bits[k] if not math.isnan(bits[k]) else 0.0)[:SURPRISING]
    rows = "".join(
        f'<tr><td dir="auto">{escape(_before(words, k))} <b>{NEWLINE if words[k] == EOS else escape(words[k])}</b></td>'
        f"<td>{number(bits[k])}</td><td>{chance(bits[k])}</td></tr>"
        for k in order
    )
    head = '<th scope="col">Word in context</th><th scope="col">Bits</th><th scope="col">Probability</th>'
    return (
        '<table class="wide surprising"><caption>The most surprising of these words</caption>'
        f"<thead><tr>{head}</tr></thead>"
        f'<tbody lang="" translate="no">{rows}</tbody></table>'
    )


def _before(words: Sequence[str], k: int) -> str:
    """Up to four words before word k in its sentence."""
    start = k
    while start > 0 and k - start < 4 and words[start - 1] != EOS:
        start -= 1
    return " ".join(words[start:k])
