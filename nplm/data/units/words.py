"""Words separated by white space, by a rule that is stored with the model (decision 0015).

ascii+u3000  ASCII's six white-space characters, and the ideographic space of Chinese and Japanese texts
unicode      what Python calls white space, including U+00A0 and U+2028: for models made before the rule was stored
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nplm.data.tokens import UNK

ASCII_SPACE = " \t\n\v\f\r"
WHITE_SPACE: dict[str, Callable[[str], list[str]]] = {  # by the rule's name: the words of a text
    "ascii+u3000": re.compile(f"[^{ASCII_SPACE}\u3000]+").findall,
    "unicode": str.split,
}
FIRST_RULE = "unicode"
# KenLM, SRILM and Kaldi separate words by ASCII white space only, whatever the model's own rule is.
toolkit_words: Callable[[str], list[str]] = re.compile(f"[^{ASCII_SPACE}]+").findall


@dataclass(frozen=True)
class Words:
    """Words separated by white space; `rule` is a name in WHITE_SPACE, `unk` the text's word for unknown words."""

    rule: str = "ascii+u3000"
    unk: str = UNK
    kind: str = "word"
    name: str = "word"
    data: bytes = b""

    @property
    def identity(self) -> str:
        """The name, the rule, and the word for unknown words if it is not <unk>."""
        return f"word {self.rule}" + ("" if self.unk == UNK else f" unk {self.unk}")

    def split(self, line: str) -> list[str]:
        """The words of a line; the word for unknown words becomes <unk>."""
        words = WHITE_SPACE[self.rule](line)
        return words if self.unk == UNK or self.unk not in line else [UNK if w == self.unk else w for w in words]

    def join(self, units: Sequence[str]) -> str:
        """The words with one space between them."""
        return " ".join(units)

    def normalise(self, line: str) -> str:
        """The line with each run of white space replaced by one space, and none at its ends."""
        if self.rule == "unicode":
            return re.sub(r"\s+", " ", line).strip()
        return re.sub(f"[{ASCII_SPACE}\u3000]+", " ", line).strip(" ")


WORDS = Words()
