"""What is odd about a text, but not wrong: one line each, with the setting that mends it.

Nothing here reads a text: the figures are by-products of counting and encoding, and samples of ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nplm.arrays import Array
from nplm.data.blocks import Block
from nplm.data.reading import Reading
from nplm.data.text import BYTE_ORDER_MARK
from nplm.data.units import Unit, Words
from nplm.data.vocabulary import Vocabulary

LINE_FEED = b"\n"
ENOUGH_LINES, ENOUGH_WORDS = 100, 1000  # in a smaller text most shares mean nothing
WORDS_A_LINE = 1.5  # with fewer, most lines are one word
WORD_BYTES = 8  # and these are no list of words: letters of such a word, in bytes
NEW_WORDS = 0.6  # share of tokens that are types
OOV = 0.2  # share of words
PIECES = 0.02  # share of words that are marked as parts of words
COPIES = 0.5  # share of lines that stand in the training text
LINE_TOKENS, SAMPLED_LINES, MIN_LINES = (
    8,
    1000,
    20,
)  # of a line that is not there by chance; lines looked up; the fewest
UNKNOWN_MARKS = ("<UNK>", "[UNK]", "<Unk>", "[unk]", "<oov>", "<OOV>", "<unknown>", "<UNKNOWN>", "UNK", "__unk__")


@dataclass
class Seen:
    """Sums over a text while it is read, and the first place of what is odd."""

    size: int = 0  # bytes, unpacked
    lines: int = 0
    filled: int = 0  # lines with a unit
    tokens: int = 0  # units, without line ends
    weighted_lines: int = 0  # every source as often as it is to be read
    returns: int = 0  # carriage returns before anything but a line feed
    marked: str = ""  # where a byte order mark stands inside the text
    name: str = ""  # of the source seen last
    empty: str = ""  # name of the first source that has no word
    in_source: int = 0  # tokens in the source seen last
    before: int = 0  # bytes of the sources before it, as they lie in their files
    read: int = 0  # and with what was read of it

    def add(self, block: Block, filled: int, tokens: int) -> None:
        """A block was read."""
        text, lines = block.text, block.text.count(b"\n")
        if block.line == 1:
            self.end_source()
            self.name, self.in_source, self.before = block.source.name, 0, self.read
        self.read = self.before + block.read
        self.size, self.lines, self.filled = self.size + len(text), self.lines + lines, self.filled + filled
        self.tokens, self.in_source = self.tokens + tokens, self.in_source + tokens
        self.weighted_lines += lines * block.source.weight
        if b"\r" in text:
            self.returns += text.count(b"\r") - text.count(b"\r\n")
        if not self.marked and (place := text.find(BYTE_ORDER_MARK, block.skipped)) >= 0:
            self.marked = f"{block.source.name}, line {block.line + text.count(LINE_FEED, 0, place)}"

    def end_source(self) -> None:
        """The source seen last was read to its end."""
        if self.name and not self.in_source and not self.empty:
            self.empty = self.name


def check_bytes(seen: Seen, name: str, reading: Reading) -> None:
    """Warn of byte order marks, line ends and empty files."""
    if seen.empty and seen.tokens:
        reading.warning(f"{seen.empty}: empty, there is no word in it")
    if seen.marked:
        reading.warning(
            f"{seen.marked}: a byte order mark inside the text is read as part of a word; take it out, for example with"
            r"  sed 's/\xef\xbb\xbf//g'"
        )
    if seen.returns > seen.lines:
        reading.warning(
            f"{name}: {seen.returns:,} carriage returns, but only {seen.lines:,} line feeds, which alone end a line;"
            r" convert it with  tr '\r' '\n'"
        )


def check_counts(seen: Seen, types: int, vocabulary: Vocabulary, unit: Unit, name: str, reading: Reading) -> None:
    """Warn of a training text whose units are not what they should be."""
    if not isinstance(unit, Words):
        return
    if (
        seen.filled >= ENOUGH_LINES
        and seen.tokens < WORDS_A_LINE * seen.filled
        and seen.size > WORD_BYTES * seen.tokens
    ):
        reading.warning(
            f"{name}: {seen.filled:,} lines have {seen.tokens:,} words, so most lines are one word; for a language"
            " that is written without spaces give `unit` char"
        )
    elif seen.tokens >= ENOUGH_WORDS and types > NEW_WORDS * seen.tokens:
        reading.warning(
            f"{name}: {types:,} of {seen.tokens:,} words are different, so most are seen once and nothing is learned"
            " of them; give `min_count` 2, `max_vocab`, or `unit` char"
        )
    counts = vocabulary.counts
    for mark in UNKNOWN_MARKS:
        if mark in vocabulary:
            times = int(counts[vocabulary.id(mark)])
            reading.warning(
                f"{name}: {mark} occurs {times:,} times and counts as a word; if it stands for unknown words, give"
                f" `unk` '{mark}'"
            )
    if seen.tokens >= ENOUGH_WORDS:
        for what, share in _marked_pieces(vocabulary, seen.tokens):
            if share > PIECES:
                reading.warning(
                    f"{name}: {share:.0%} of the words are marked with {what} as parts of words, so perplexity is per"
                    " part; give the raw text and `unit` spm:FILE or hf:FILE, and figures can be compared"
                )


def _marked_pieces(vocabulary: Vocabulary, tokens: int) -> Iterator[tuple[str, float]]:
    """How pieces of words are marked by other tools, and the share of the words that are marked so."""
    listed = "\n".join(vocabulary.tokens)
    for mark, found in (("@@", "@@\n"), ("\u2581", "\n\u2581")):
        if found in f"{listed}\n":
            at_end = mark == "@@"
            words = enumerate(vocabulary.tokens)
            marked = [k for k, word in words if (word.endswith(mark) if at_end else word.startswith(mark))]
            yield mark, int(vocabulary.counts[marked].sum()) / tokens


def check_unknown(ids: Array, vocabulary: Vocabulary, name: str, reading: Reading) -> None:
    """Warn of a text to measure on with many unknown words."""
    words = ids.size - int(np.count_nonzero(ids == vocabulary.eos))
    unknown = int(np.count_nonzero(ids == vocabulary.unk))
    if words >= ENOUGH_LINES and unknown > OOV * words:
        reading.warning(
            f"{name}: {unknown / words:.0%} of its words are unknown, so its perplexity says little; give a text"
            " that is tokenised as the training text is, a larger `max_vocab`, or `unit` char"
        )


def check_contained(train: Array, ids: Array, vocabulary: Vocabulary, name: str, reading: Reading) -> None:
    """Warn of a text to measure on whose lines stand in the training text: a sample of the longer ones."""
    lines = _sample(ids, vocabulary)
    if len(lines) < MIN_LINES:
        return
    from nplm.kernels.words import find_lines

    wanted = np.unique(np.array([_line_key(line) for line in lines], np.int64))
    found = np.zeros(wanted.size, np.bool_)
    find_lines(train, wanted, found)
    share = float(found.mean())
    if share > COPIES:
        reading.warning(
            f"{name}: {share:.0%} of its longer lines stand in the training text too, so its perplexity says nothing"
            " about new text; give a text that is not trained on"
        )


def _sample(ids: Array, vocabulary: Vocabulary) -> list[list[int]]:
    """Some of the text's lines that are long enough, with few unknown words, without </s>."""
    ends = np.flatnonzero(ids == vocabulary.eos)
    starts = np.append(0, ends[:-1] + 1)
    long = np.flatnonzero(ends - starts >= LINE_TOKENS)
    picked = long[:: -(-long.size // SAMPLED_LINES) or 1]
    lines = (ids[starts[k] : ends[k]].tolist() for k in picked.tolist())
    return [line for line in lines if line.count(vocabulary.unk) <= OOV * len(line)]


def _line_key(line: Sequence[int]) -> int:
    """The hash that nplm/kernels/words.py gives a line of ids."""
    from nplm.kernels.words import BASIS, MASK, PRIME

    key = BASIS
    for word in line:
        key = ((key ^ word) * PRIME) & MASK
    return key
