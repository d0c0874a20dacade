"""Text in blocks of whole lines, and its words found in them by compiled code.

sources  --read_blocks-->  blocks  --find_words--> words and their hashes
                                   --lines_of----> lines, for units that compiled code does not know

What a block holds that is not plain text is left to the plain reader, text.py, which says what is wrong and where.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.sources import Source
from nplm.data.text import (
    A_LINE,
    BYTE_ORDER_MARK,
    MAX_LINE,
    check_line,
    check_start,
    rest_of_line,
    too_long,
    unreadable,
    without_marks,
)
from nplm.data.units import WORDS, Unit, Words
from nplm.data.unpack import open_source

BLOCK = 2**19  # bytes read at a time


class Block(NamedTuple):
    """Whole lines of one source, all ended by line feeds."""

    source: Source
    line: int  # number of the first one, from 1
    text: bytes
    read: int  # bytes of this source, as they lie in the file, that were read so far

    @property
    def skipped(self) -> int:
        """Bytes of the byte order mark at the source's start."""
        return len(BYTE_ORDER_MARK) if self.line == 1 and self.text.startswith(BYTE_ORDER_MARK) else 0


class Found(NamedTuple):
    """The words of a block."""

    text: Array  # (..,) uint8
    spans: Array  # (m, 2) int32, as in nplm/kernels/words.py
    keys: Array  # (m,) int64
    filled: int  # lines with a word
    words: int


def is_fast(unit: Unit) -> bool:
    """Whether compiled code can find these units."""
    return isinstance(unit, Words) and unit.rule == WORDS.rule


def read_blocks(sources: Iterable[Source], size: int | None = None) -> Iterator[Block]:
    """The sources in blocks of whole lines of about this many bytes; a last line without an end gets one.

    Raises InputError as text.py does.
    """
    for source in sources:
        line = 1
        try:
            with open_source(source) as (file, raw):
                for text in _whole_lines(file, source.name, size or BLOCK):
                    if text.endswith(b"\n"):
                        yield Block(source, line, text, _position(raw))
                        line += text.count(b"\n")
                    elif len(text) > MAX_LINE and b"\0" not in text:
                        raise too_long(text, len(text) + rest_of_line(file), f"{source.name}, line {line}")
                    else:
                        yield Block(source, line, text + b"\n", _position(raw))
        except Exception as error:
            raise unreadable(source, error, line - 1) from None


def _whole_lines(file: Any, name: str, size: int) -> Iterator[bytes]:
    """Pieces of a file, cut at line feeds; the last may have none, and so may one that is longer than MAX_LINE."""
    rest = piece = file.read(size)
    check_start(rest, name)
    while piece:
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        if len(rest) > MAX_LINE:
            yield rest
            return
        piece = file.read(size)
        rest += piece
    if rest:
        yield rest


def _position(raw: Any) -> int:
    with suppress(OSError, ValueError):  # of a pipe
        return int(raw.tell())
    return 0


def find_words(block: Block) -> Found:
    """The words of a block.  Raises InputError, with file and line, where it is not a text."""
    from nplm.kernels.words import FILLED, ODD, WORDS, split

    text = np.frombuffer(block.text, np.uint8)[block.skipped :]
    spans, keys = np.empty((text.size, 2), np.int32), np.empty(text.size, np.int64)
    tally = np.zeros(4, np.int64)
    if not _is_utf8(block.text):
        lines_of(block, marks=True)
    m = int(split(text, MAX_LINE, spans, keys, tally))
    if tally[ODD] >= 0:
        lines_of(block, marks=True)
    return Found(text, spans[:m], keys[:m], int(tally[FILLED]), int(tally[WORDS]))


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def lines_of(block: Block, *, marks: bool = False) -> list[str]:
    """The lines of a block without their ends.  Raises the InputError of the first that the plain reader refuses.

    marks: refuse <s> and </s> inside a line as well.
    """
    found, name = [], block.source.name
    for number, raw in enumerate(block.text[:-1].split(b"\n"), block.line):
        where = f"{name}, line {number}"
        if len(raw) > MAX_LINE and b"\0" not in raw:
            raise too_long(raw, len(raw), where)
        line = check_line(raw, name, number)
        if marks and "s>" in line:
            without_marks(WORDS.split(line), where, A_LINE)
        found.append(line.removesuffix("\r"))
    if block.skipped:
        found[0] = found[0].removeprefix("\ufeff")
    return found


def units_of(block: Block, unit: Unit) -> list[list[str]]:
    """The units of each line of a block, by the plain reader's rules."""
    if not isinstance(unit, Words):
        return [unit.split(line) for line in lines_of(block)]
    lines = enumerate(map(unit.split, lines_of(block)), block.line)
    return [without_marks(words, f"{block.source.name}, line {number}", A_LINE) for number, words in lines]
