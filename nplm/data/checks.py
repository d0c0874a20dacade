"""Warnings about texts that are odd but not wrong: one line each, with the setting that helps.

Nothing here reads a text: the figures are by-products of counting and encoding, and samples of ids.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nplm.arrays import Array
from nplm.data.mapped import in_blocks
from nplm.data.reading import Reading
from nplm.data.text import BYTE_ORDER_MARK, Block
from nplm.data.units import Unit, Words
from nplm.data.vocabulary import Vocabulary

ENOUGH_LINES, ENOUGH_WORDS = 50, 1000  # in a smaller text most shares are meaningless
WORDS_A_LINE = 1.5  # with fewer on average, most lines are one word
WORD_BYTES = 8  # a text with shorter words is a list of words
NEW_WORDS = 0.5  # share of words that are types
OOV = 0.2  # share of words
PIECES = 0.02  # share of words that are marked as parts of words
COPIES = 0.5  # share of lines that are in the training text
LINE_TOKENS, MIN_LINES, MAX_LINES = 8, 20, 20_000  # shortest line that is not repeated by chance; lines to compare
CHUNK = 2**22  # ids processed at a time
UNKNOWN_MARKS = ("<UNK>", "[UNK]", "<Unk>", "[unk]", "<oov>", "<OOV>", "<unknown>", "<UNKNOWN>", "UNK", "__unk__")


@dataclass
class Seen:
    """Sums over a text while it is read, and the first position of anything odd."""

    size: int = 0  # bytes, unpacked
    lines: int = 0
    filled: int = 0  # lines with a unit
    tokens: int = 0  # units, without line ends
    returns: int = 0  # carriage returns that no line feed follows
    marked: str = ""  # where a byte order mark is inside the text
    empty: str = ""  # the first source without a word
    name: str = ""  # of the current source
    in_source: int = 0  # units in it
    before: int = 0  # bytes in the files of earlier sources, before decompression
    read: int = 0  # the same, with what was read of the current source

    def add(self, block: Block, filled: int, tokens: int) -> None:
        """Add a block that was read."""
        text, lines = block.text, block.text.count(b"\n")
        if block.line == 1:
            self.end_source()
            self.name, self.in_source, self.before = block.source.name, 0, self.read
        self.read = self.before + block.read
        self.size, self.lines, self.filled = self.size + len(text), self.lines + lines, self.filled + filled
        self.tokens, self.in_source = self.tokens + tokens, self.in_source + tokens
        if b"\r" in text:
            self.returns += text.count(b"\r") - text.count(b"\r\n")
        if not self.marked and (place := text.find(BYTE_ORDER_MARK, block.skipped)) >= 0:
            self.marked = f"{block.source.name}, line {block.line + text[:place].count(10)}"

    def end_source(self) -> None:
        """The current source has been read to its end."""
        if self.name and not self.in_source and not self.empty:
            self.empty = self.name


def check_bytes(seen: Seen, name: str, reading: Reading) -> None:
    """Warn of byte order marks, line ends and empty files."""
    if seen.empty and seen.tokens:
        reading.warning(f"{seen.empty}: empty, contains no words")
    if seen.marked:
        reading.warning(
            f"{seen.marked}: a byte order mark inside the text is read as part of a word; remove it, for example with"
            r"  sed 's/\xef\xbb\xbf//g'"
        )
    if seen.returns > seen.lines:
        reading.warning(
            f"{name}: {seen.returns:,} carriage returns, but only {seen.lines:,} line feeds, which alone end a line;"
            r" convert it with  tr '\r' '\n'"
        )


def check_words(seen: Seen, types: int, vocabulary: Vocabulary, unit: Unit, name: str, reading: Reading) -> None:
    """Warn if the words of a training text look wrong."""
    if not isinstance(unit, Words):
        return
    is_list = seen.size < WORD_BYTES * seen.tokens
    if seen.filled >= ENOUGH_LINES and seen.tokens < WORDS_A_LINE * seen.filled and not is_list:
        reading.warning(
            f"{name}: {seen.filled:,} lines have {seen.tokens:,} words, so most lines are one word; for a language"
            " that is written without spaces use `unit` char"
        )
    elif seen.tokens >= ENOUGH_WORDS and types > NEW_WORDS * seen.tokens:
        reading.warning(
            f"{name}: {types:,} of {seen.tokens:,} words are different, so most occur once and nothing is learned"
            " about them; use `min_count` 2, `max_vocab`, or `unit` char"
        )
    for mark in UNKNOWN_MARKS:
        if mark in vocabulary:
            reading.warning(
                f"{name}: {mark} occurs {int(vocabulary.counts[vocabulary.id(mark)]):,} times and counts as a word; if"
                f" it stands for unknown words, use `unk` '{mark}'"
            )
    for what, share in _marked_pieces(vocabulary, seen.tokens):
        if seen.tokens >= ENOUGH_WORDS and share > PIECES:
            reading.warning(
                f"{name}: {share:.0%} of the words are marked with {what} as parts of words, so perplexity is per part;"
                " to get comparable figures, use the raw text with `unit` spm:FILE or hf:FILE"
            )


def _marked_pieces(vocabulary: Vocabulary, tokens: int) -> Iterator[tuple[str, float]]:
    """Marks that other tools put on pieces of words, each with the share of the words that have it."""
    listed = "\n".join(["", *vocabulary.tokens, ""])
    for mark, found in (("@@", "@@\n"), ("\u2581", "\n\u2581")):
        if found in listed:
            marked = [k for k, word in enumerate(vocabulary.tokens) if found in f"\n{word}\n"]
            yield mark, int(vocabulary.counts[marked].sum()) / tokens


def check_unknown(ids: Array, vocabulary: Vocabulary, name: str, reading: Reading) -> None:
    """Warn if a text for evaluation has many unknown words."""
    words = ids.size - int(np.count_nonzero(ids == vocabulary.eos))
    unknown = int(np.count_nonzero(ids == vocabulary.unk))
    if words >= ENOUGH_LINES and unknown > OOV * words:
        reading.warning(
            f"{name}: {unknown / words:.0%} of its words are unknown, so its perplexity says little; use a text"
            " that is tokenised like the training text, a larger `max_vocab`, or `unit` char"
        )


def check_contained(train: Array, ids: Array, name: str, reading: Reading) -> None:
    """Warn if most of the longer lines of a text for evaluation are also in the training text."""
    own = np.unique(_line_keys(ids[:CHUNK]))[:MAX_LINES]
    if own.size < MIN_LINES:
        return
    found = np.zeros(own.size, np.bool_)
    for block in in_blocks(train, CHUNK):
        found |= np.isin(own, _line_keys(block))
        if found.mean() > COPIES:
            reading.warning(
                f"{name}: more than {COPIES:.0%} of its longer lines are in the training text too, so its perplexity"
                " says nothing about new text; use a text that is not trained on"
            )
            return


def _line_keys(ids: Array) -> Array:
    """A hash of the length and the first words of each line that is long enough; collisions are rare."""
    ends = np.flatnonzero(ids == Vocabulary.eos)
    starts = np.append(0, ends[:-1] + 1) if ends.size else ends
    lengths = ends - starts
    starts, keys = starts[lengths >= LINE_TOKENS], lengths[lengths >= LINE_TOKENS].astype(np.uint64)
    for k in range(LINE_TOKENS):
        keys = (keys ^ ids[starts + k].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    return keys
