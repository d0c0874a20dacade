"""The evaluation of a text in the format and with the arithmetic of SRILM's `ngram -ppl`.

[P1] ppl  = 10^(-logprob / (words - OOVs - zeroprobs + sentences))
[P2] ppl1 = 10^(-logprob / (words - OOVs - zeroprobs))               </s> is in logprob, but not counted

SRILM counts words without a probability as OOVs.  A model with <unk> in its vocabulary gives an unknown word the
probability of <unk>; SRILM, with -unk, then counts no OOVs, and neither does this module: logprob and ppl are of all
tokens, including <unk>.
With skip_oov the model is treated as one with a closed vocabulary, as without -unk: <unk> has no probability, is
counted as OOV and left out of logprob.  It is still read.
Source: SRILM 1.7, lm/src/LM.cc (sentenceProb, pplFile) and lm/src/TextStats.cc.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.data.tokens import BOS
from nplm.logs import LN10, power
from nplm.model import LanguageModel
from nplm.scoring.score import stream_scores
from nplm.scoring.sentences import encode, in_pieces
from nplm.scoring.tally import Tally

TOKENS = 4096  # tokens scored at a time
DIGITS = ".7g"  # SRILM's LogP_Precision


@dataclass(frozen=True)
class TextStats:
    """A tally in SRILM's terms; with skip_oov <unk> has no probability."""

    tally: Tally
    skip_oov: bool = False

    @property
    def sentences(self) -> int:
        return self.tally.sentences

    @property
    def words(self) -> int:
        """Without </s>."""
        return self.tally.tokens - self.tally.sentences

    @property
    def oovs(self) -> int:
        return self.tally.oovs if self.skip_oov else 0

    @property
    def zeroprobs(self) -> int:
        """Known words of probability zero."""
        return self.tally.zeros - (self.tally.oov_zeros if self.skip_oov else 0)

    @property
    def logprob(self) -> float:
        """Total log10 probability, without OOVs and zeroprobs."""
        return -(self.tally.nats - (self.tally.oov_nats if self.skip_oov else 0.0)) / LN10

    def ppl(self, ends: bool = True) -> float | None:
        """[P1], or [P2] if not ends, computed from the printed logprob; None if it is not defined."""
        count = self.words - self.oovs - self.zeroprobs + (self.sentences if ends else 0)
        return power(-float(f"{self.logprob:{DIGITS}}") / count) if count > 0 else None

    def __str__(self) -> str:
        """SRILM's two lines."""
        ppl, ppl1 = (_figure(self.ppl(ends)) for ends in (True, False))
        return (
            f"{self.sentences} sentences, {self.words} words, {self.oovs} OOVs\n"
            f"{self.zeroprobs} zeroprobs, logprob= {self.logprob:{DIGITS}} ppl= {ppl} ppl1= {ppl1}\n"
        )

    def as_dict(self) -> dict[str, Any]:
        """All of these by name."""
        names = ("sentences", "words", "oovs", "zeroprobs", "logprob")
        return {name: getattr(self, name) for name in names} | {"ppl": self.ppl(), "ppl1": self.ppl(ends=False)}


def describe(
    model: LanguageModel,
    sentences: Iterable[list[str]],
    *,
    reset: bool = False,
    skip_oov: bool = False,
    words: bool = False,
) -> Iterator[tuple[str, Tally]]:
    """For every sentence, a list of units, its text as with -debug 1, or -debug 2 if words, and its tally.

    The state is carried through the text as one stream; reset: every sentence begins with the zero state.
    Memory is bounded, whatever the length of the text.
    """
    pieces, same = tee(in_pieces(sentences, TOKENS))
    ids = (encode(model.vocabulary, piece)[0] for piece in same)
    for piece, (scores, log_z) in zip(pieces, stream_scores(model, ids, reset=reset), strict=False):
        nats, place = log_z - scores, 0
        for sentence in piece:
            stop = place + len(sentence) + 1
            yield _sentence(model, sentence, nats[place:stop], skip_oov, words)
            place = stop


def _sentence(model: LanguageModel, sentence: list[str], nats: Array, skip_oov: bool, words: bool) -> tuple[str, Tally]:
    """A sentence's text and tally, of its tokens' -log p (n,), </s> last."""
    ids, tally = encode(model.vocabulary, [sentence])[0], Tally()
    tally.add(ids, nats, sentences=1)
    lines = [model.unit.join(sentence) + "\n"]
    if words:
        tokens = [BOS, *model.vocabulary.decode(ids)]
        log10 = np.where((ids == model.vocabulary.unk) & skip_oov, -math.inf, -nats / LN10)
        for n, value in enumerate(log10.tolist(), start=1):
            lines.append(_word(tokens[n], tokens[n - 1], n, value))
    return "".join([*lines, str(TextStats(tally, skip_oov)), "\n"]), tally


def _word(word: str, before: str, n: int, log10: float) -> str:
    """A line of -debug 2; the n of the n-gram is replaced by the number of words from <s> to this one."""
    context = f"{before} {'' if n == 1 else '...'}"
    kind = f"{n + 1}gram" if log10 > -math.inf else "OOV"
    return f"\tp( {word} | {context}) \t= [{kind}] {power(log10):{DIGITS}} [ {log10:{DIGITS}} ]\n"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:{DIGITS}}"
