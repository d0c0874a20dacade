"""Text: from files to words, line by line, in bounded memory, with one clear line for what is wrong.

text  --open_text--> lists of words, line by line

The plain reader: blocks.py is a fast one for words, and leaves to this one whatever it does not understand.
From words to ids: encode.py.
"""

from collections.abc import Iterator
from typing import BinaryIO

from nplm.data.sources import Source, TextPath, text_name
from nplm.data.units import WORDS, Unit, Words
from nplm.data.unpack import damage, open_source
from nplm.data.vocabulary import BOS, EOS, UNK
from nplm.errors import InputError

MAX_LINE = 2**20  # bytes of a line of text
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
A_LINE = "a line, but a line is one sentence; break the line there"
MAC = "; its line ends are carriage returns alone: convert the file with  tr '\\r' '\\n'"


def open_text(path: TextPath | Source, unit: Unit = WORDS) -> Iterator[list[str]]:
    """The units of each line, without </s>; an empty line is an empty sentence.

    UTF-8, one sentence per line; .gz, .bz2, .xz and .zst by suffix; "-" is standard input.  A byte order mark is
    dropped, CRLF is as good as LF.  In words, one <s> at a line's start and one </s> at its end, as other tools write
    them, are dropped; other units have them as text.  Memory is bounded by the longest line allowed, MAX_LINE.
    Raises InputError with file and line: unreadable, not UTF-8, binary, too long a line, damaged, <s> or </s> inside
    a line.
    """
    words = isinstance(unit, Words)
    for number, line in open_lines(path):
        parts = unit.split(line.removesuffix("\n").removesuffix("\r"))
        yield without_marks(parts, f"{name_of(path)}, line {number}", A_LINE) if words and "s>" in line else parts


def open_tokens(path: TextPath | Source, unit: Unit = WORDS) -> Iterator[str]:
    """Each token of a text, read as in `open_text`: every line's units, then </s>."""
    return (token for sentence in open_text(path, unit) for token in (*sentence, EOS))


def open_lines(path: TextPath | Source) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line, read and refused as in `open_text`; <s> and </s> stay where they are."""
    source = path if isinstance(path, Source) else Source(str(path))
    number = 0
    try:
        with open_source(source) as (file, _):
            while raw := file.readline(MAX_LINE + 1):
                number += 1
                yield number, _line(raw, file, source.name, number)
    except Exception as error:
        raise unreadable(source, error, number) from None


def read_words(path: TextPath) -> list[str]:
    """The word list in a file, one word a line; empty lines, <s> and </s> are passed over.

    Raises InputError where a line has two words, or where there is no word but <unk>.
    """
    words = []
    for number, line in enumerate(open_text(path), start=1):
        if len(line) > 1:
            raise InputError(f"{text_name(path)}, line {number}: {len(line)} words; a word list has one word a line")
        words += line
    if not set(words) - {UNK}:
        raise InputError(f"{text_name(path)}: there is no word in it; a word list has one word a line")
    return words


# ---- reading lines


def name_of(path: TextPath | Source) -> str:
    """A text as messages show it."""
    return path.name if isinstance(path, Source) else text_name(path)


def _line(raw: bytes, file: BinaryIO, name: str, number: int) -> str:
    if number == 1:
        check_start(raw, name)
    if len(raw) > MAX_LINE and not raw.endswith(b"\n") and b"\0" not in raw:
        raise too_long(raw, len(raw) + rest_of_line(file), f"{name}, line {number}")
    line = check_line(raw, name, number)
    return line.removeprefix("\ufeff") if number == 1 else line


def check_line(raw: bytes, name: str, number: int) -> str:
    """The line, decoded.  Raises InputError where it is not text."""
    where = f"{name}, line {number}"
    if b"\0" in raw:
        raise InputError(f"{where}: a NUL byte; this looks like a binary file, not UTF-8 text")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at offset {error.start} of the line"
        raise InputError(f"{where}: {byte} is not UTF-8; convert the file to UTF-8") from None


def check_start(raw: bytes, name: str) -> None:
    """Raise InputError where a text begins as UTF-16 does, or a packed file that has not the suffix of one."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name}, line 1: a UTF-16 byte order mark; convert the file to UTF-8")
    for start, what, suffix in PACKED:
        if raw.startswith(start):
            raise InputError(f"{name}: this is {what}; give the file a name that ends in {suffix}")


PACKED = (
    (b"\x1f\x8b", "gzip", ".gz"),
    (tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)), "bzip2", ".bz2"),
    (b"\xfd7zXZ\0", "xz", ".xz"),
    (b"\x28\xb5\x2f\xfd", "zstd", ".zst"),
)


def rest_of_line(file: BinaryIO) -> int:
    """Bytes up to the line's end, which are read and let go."""
    length = 0
    while piece := file.readline(MAX_LINE):
        length += len(piece.rstrip(b"\n"))
        if piece.endswith(b"\n"):
            break
    return length


def too_long(start: bytes, length: int, where: str) -> InputError:
    """The error for a line of this length, of which `start` is the start."""
    why = MAC if start.count(b"\r") > 1 else "; put one sentence on a line"
    return InputError(f"{where}: {length} bytes long, more than {MAX_LINE}{why}")


def without_marks(words: list[str], where: str, what: str) -> list[str]:
    """The words without one <s> before them and one </s> after them.

    Raises InputError where there is another among them; `what`: what they are, and what to do.
    """
    if words and words[0] == BOS:
        words = words[1:]
    if words and words[-1] == EOS:
        words = words[:-1]
    for mark in (BOS, EOS):
        if mark in words:
            raise InputError(f"{where}: {mark} inside {what}")
    return words


def unreadable(source: Source, error: Exception, lines: int) -> Exception:
    """The error for a text that cannot be read on after so many lines; any other error as it is."""
    kind = damage(source, error)
    if kind is not None:
        what = f"damaged {kind}, found when {lines} lines were read ({_one_line(error)})"
        return InputError(f"{source.name}: {what}; compress or copy the file again")
    return InputError(f"{source.name}: {_explain(error)}") if isinstance(error, OSError) else error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; check the path"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a text file; name a file in it"
    if isinstance(error, PermissionError):
        return "not readable; change its permissions"
    return f"cannot be read ({error.strerror or _one_line(error)})"


def no_words(path: TextPath | Source) -> InputError:
    """The one line for a text without a word."""
    return InputError(f"{name_of(path)}: empty, there is no word in it; give a text with one sentence per line")
