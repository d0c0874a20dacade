"""Text: from files to lines and their units, in bounded memory, with a clear one-line error for bad text.

sources  --read_blocks-->  blocks of whole lines  --lines_of-->  lines
texts    --open_text---->  the units of each line, one text after the other

From units to ids: encode.py.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from nplm.data.size import Meter
from nplm.data.sources import Source, TextPath, Texts, find_sources
from nplm.data.tokens import BOS, EOS
from nplm.data.units import WORDS, Unit
from nplm.data.unpack import FORMATS, damage, open_source
from nplm.errors import InputError

MAX_LINE = 2**20  # bytes of a line of text
BLOCK = 2**19  # bytes read at a time
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
A_LINE = "a line, but a line is one sentence; break the line there"


class Block(NamedTuple):
    """Whole lines of one source, each ended by a line feed; the last line of a source may have had none."""

    source: Source
    line: int  # number of the first one, from 1
    text: bytes
    read: int  # bytes of this source's file (compressed, if it is) read so far

    @property
    def skipped(self) -> int:
        """Bytes of the byte order mark at the source's start."""
        return len(BYTE_ORDER_MARK) if self.line == 1 and self.text.startswith(BYTE_ORDER_MARK) else 0


def open_text(texts: Texts, unit: Unit = WORDS, meter: Meter | None = None) -> Iterator[list[str]]:
    """Each line's units, without </s>; an empty line is an empty sentence.

    The text is UTF-8 with one sentence per line, which is split into units; texts are files, folders, patterns, or "-"
    for standard input; .gz, .bz2, .xz and .zst are decompressed.  A byte order mark at a file's start is dropped.  A
    line ends with LF or CRLF, the last one also with CR alone.  One <s> at the start of a line and one </s> at its end,
    as other tools write them, are dropped.  Memory is bounded by the longest line allowed, MAX_LINE.  Raises
    InputError, with file and line, if a file is unreadable, not UTF-8, binary or damaged, if a line is too long, and on
    <s> or </s> inside a line.
    """
    for source in find_sources(texts):
        for block in read_blocks([source]):
            yield from units_of(block, unit, meter)


def open_tokens(texts: Texts, unit: Unit = WORDS, meter: Meter | None = None) -> Iterator[str]:
    """Each token of a text, read as in `open_text`: every line's units, then </s>."""
    return (token for sentence in open_text(texts, unit, meter) for token in (*sentence, EOS))


def open_lines(path: TextPath | Source) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, read with the checks of `open_text`; <s> and </s> are kept."""
    for block in read_blocks([path if isinstance(path, Source) else Source(str(path))]):
        yield from enumerate(lines_of(block), block.line)


def without_end(line: str) -> str:
    """The line without its line end: LF, CRLF, or the CR of a CRLF that was cut off at the end of a file."""
    return line.removesuffix("\n").removesuffix("\r")


def units_of(block: Block, unit: Unit, meter: Meter | None = None) -> Iterator[list[str]]:
    """The units of each line of a block."""
    for number, line in enumerate(lines_of(block), block.line):
        if meter is not None:
            meter.line(line)
        words = unit.split(line)
        yield without_marks(words, f"{block.source.name}, line {number}", A_LINE) if "s>" in line else words


# ---- blocks and their lines


def read_blocks(sources: Iterable[Source]) -> Iterator[Block]:
    """The sources in blocks of whole lines, each source as many times as its weight says."""
    for source in chain.from_iterable([each] * each.weight for each in sources):
        line = 1
        try:
            with open_source(source) as (file, raw):
                for text in _whole_lines(file, source):
                    if not text.endswith(b"\n") and len(text) > MAX_LINE and b"\0" not in text:
                        raise _too_long(text, len(text) + _rest_of_line(file), f"{source.name}, line {line}")
                    yield Block(source, line, text if text.endswith(b"\n") else text + b"\n", _position(raw))
                    line += text.count(b"\n")
        except Exception as error:
            explained = _explain(source, error, line - 1)
            if explained is None:
                raise
            raise explained from None


def _whole_lines(file: Any, source: Source) -> Iterator[bytes]:
    """Pieces of a file, cut at line feeds; the last, or one that is longer than MAX_LINE, may lack a line feed."""
    read = file.read1 if source.is_pipe else file.read  # so that interactive input is answered line by line
    rest = piece = read(BLOCK)
    _check_start(rest, source.name)
    while piece:
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        if len(rest) > MAX_LINE:
            break
        piece = read(BLOCK)
        rest += piece
    if rest:
        yield rest


def lines_of(block: Block) -> Iterator[str]:
    """The lines of a block without their ends, LF or CRLF.  Raises InputError for the first that is not text."""
    text = block.text[block.skipped :]
    if len(text) <= MAX_LINE and b"\0" not in text:
        with suppress(UnicodeDecodeError):
            lines = text.decode().replace("\r\n", "\n").split("\n")
            lines.pop()
            yield from lines
            return
    for number, raw in enumerate(block.text[:-1].split(b"\n"), block.line):
        line = _line(raw, f"{block.source.name}, line {number}")
        yield (line.removeprefix("\ufeff") if number == 1 else line).removesuffix("\r")


def _line(raw: bytes, where: str) -> str:
    """The line, decoded.  Raises InputError if it is not text."""
    if b"\0" in raw:
        raise InputError(f"{where}: a NUL byte; this looks like a binary file, not UTF-8 text")
    if len(raw) > MAX_LINE:
        raise _too_long(raw, len(raw), where)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at offset {error.start} of the line"
        raise InputError(f"{where}: {byte} is not UTF-8; convert the file to UTF-8") from None


def _check_start(raw: bytes, name: str) -> None:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name}, line 1: a UTF-16 byte order mark; convert the file to UTF-8")
    for suffix, packed in FORMATS.items():
        if raw.startswith(packed.starts):
            raise InputError(f"{name}: this is a {packed.name} file; give it a name that ends in {suffix}")


def _rest_of_line(file: BinaryIO) -> int:
    """The number of bytes up to the line's end, which are read and discarded."""
    length = 0
    while piece := file.readline(MAX_LINE):
        length += len(piece.rstrip(b"\n"))
        if piece.endswith(b"\n"):
            break
    return length


def _too_long(start: bytes, length: int, where: str) -> InputError:
    mac = start.count(b"\r") > 1
    remedy = (
        "its lines end in carriage returns only: convert it with  tr '\\r' '\\n'"
        if mac
        else "put one sentence on each line"
    )
    return InputError(f"{where}: {length} bytes long, more than {MAX_LINE}; {remedy}")


def _position(raw: BinaryIO) -> int:
    with suppress(OSError, ValueError):  # of a pipe
        return raw.tell()
    return 0


def without_marks(words: list[str], where: str, what: str) -> list[str]:
    """The words, without one <s> before them and one </s> after them.

    Raises InputError if there is another among them; `what` says what the words are, and what to do.
    """
    if words and words[0] == BOS:
        words = words[1:]
    if words and words[-1] == EOS:
        words = words[:-1]
    for mark in (BOS, EOS):
        if mark in words:
            raise InputError(f"{where}: {mark} inside {what}")
    return words


def _explain(source: Source, error: Exception, lines: int) -> InputError | None:
    """The error for a source that cannot be read beyond `lines` lines; None for an error of another kind."""
    reason = " ".join(str(error).split())
    if (kind := damage(source, error)) is not None:
        what = f"damaged {kind}, found after {lines} lines ({reason})"
        return InputError(f"{source.name}: {what}; compress or copy the file again")
    if not isinstance(error, OSError):
        return None
    known = {
        FileNotFoundError: "no such file; check the path",
        IsADirectoryError: "a folder, not a text file; name a file in it",
        PermissionError: "not readable; change its permissions",
    }
    return InputError(f"{source.name}: {known.get(type(error)) or f'cannot be read ({error.strerror or reason})'}")


def no_words(name: str) -> InputError:
    """The error for a text without words."""
    return InputError(f"{name}: empty, contains no words; give a text with one sentence per line")
