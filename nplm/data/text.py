"""Text: from files to words, in bounded memory, with one clear line for what is wrong.

text  --open_text-----> lists of words, line by line
      --count_tokens--> counts, for Vocabulary.from_counts

From words to ids: encode.py.
"""

import gzip
import io
import os
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

from nplm.data.size import Meter
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import BOS, EOS, UNK
from nplm.errors import InputError

TextPath = str | os.PathLike[str]

MAX_LINE = 2**20  # bytes of a line of text
A_LINE = "a line, but a line is one sentence; break the line there"


def open_text(path: TextPath, unit: Unit = WORDS, meter: Meter | None = None) -> Iterator[list[str]]:
    """Each line's units, without </s>; an empty line is an empty sentence.

    UTF-8, one sentence per line, divided into units; gzip by the suffix .gz; "-" is standard
    input.  A byte order mark is dropped, CRLF is as good as LF.  One <s> at a line's start and one </s> at
    its end, as other tools write them, are dropped.  Memory is bounded by the longest line allowed, MAX_LINE.
    Raises InputError with file and line: unreadable, not UTF-8, binary, too long a line, damaged gzip, <s> or
    </s> inside a line.
    """
    for number, line in open_lines(path):
        line = without_end(line)
        if meter is not None:
            meter.line(line)
        words = unit.split(line)
        yield without_marks(words, f"{text_name(path)}, line {number}", A_LINE) if "s>" in line else words


def open_tokens(path: TextPath, unit: Unit = WORDS, meter: Meter | None = None) -> Iterator[str]:
    """Each token of a text, read as in `open_text`: every line's units, then </s>."""
    return (token for sentence in open_text(path, unit, meter) for token in (*sentence, EOS))


def without_end(line: str) -> str:
    """The line without its line end, LF or CRLF."""
    return line[:-1].removesuffix("\r") if line.endswith("\n") else line


def open_lines(path: TextPath) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line, read and refused as in `open_text`; <s> and </s> stay where they are."""
    name = text_name(path)
    number = 0
    try:
        with _open_bytes(path) as file:
            while raw := file.readline(MAX_LINE + 1):
                number += 1
                yield number, _line(raw, file, name, number)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        what = f"damaged gzip, found when {number} lines were read ({_one_line(error)})"
        raise InputError(f"{name}: {what}; compress or copy the file again") from None
    except OSError as error:
        raise InputError(f"{name}: {_explain(error)}") from None


def count_tokens(paths: TextPath | Iterable[TextPath], unit: Unit = WORDS) -> Counter[str]:
    """How often each token occurs in the texts, </s> once a line.  Raises InputError if one has no words."""
    counts: Counter[str] = Counter()
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        lines = words = 0
        for sentence in open_text(path, unit):
            counts.update(sentence)
            lines += 1
            words += len(sentence)
        if not words:
            raise no_words(path)
        counts[EOS] += lines
    return counts


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


def _open_bytes(path: TextPath) -> AbstractContextManager[BinaryIO]:
    if str(path) == "-":
        if sys.stdin is None:
            raise InputError("standard input: it is closed; give a file, or a pipe that is open")
        return nullcontext(sys.stdin.buffer)
    if Path(path).suffix == ".gz":
        return cast(AbstractContextManager[BinaryIO], io.BufferedReader(gzip.open(path, "rb")))
    return Path(path).open("rb")


def _line(raw: bytes, file: BinaryIO, name: str, number: int) -> str:
    where = f"{name}, line {number}"
    if number == 1:
        _check_start(raw, name)
    if b"\0" in raw:
        raise InputError(f"{where}: a NUL byte; this looks like a binary file, not UTF-8 text")
    if len(raw) > MAX_LINE and not raw.endswith(b"\n"):
        length = len(raw) + _rest_of_line(file)
        raise InputError(f"{where}: {length} bytes long, more than {MAX_LINE}; put one sentence on a line")
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at offset {error.start} of the line"
        raise InputError(f"{where}: {byte} is not UTF-8; convert the file to UTF-8") from None
    return line.removeprefix("\ufeff") if number == 1 else line


def _check_start(raw: bytes, name: str) -> None:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name}, line 1: a UTF-16 byte order mark; convert the file to UTF-8")
    if raw.startswith(b"\x1f\x8b"):
        raise InputError(f"{name}: this is gzip; give the file a name that ends in .gz")


def _rest_of_line(file: BinaryIO) -> int:
    length = 0
    while piece := file.readline(MAX_LINE):
        length += len(piece.rstrip(b"\n"))
        if piece.endswith(b"\n"):
            break
    return length


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


def text_stat(path: TextPath) -> os.stat_result | None:
    """Size and time of a file; None for standard input, or where there is no file to be seen."""
    try:
        return None if str(path) == "-" else Path(path).stat()
    except OSError:  # the error comes when it is opened, with the reason
        return None


def is_pipe(path: TextPath) -> bool:
    """Whether the text can be read only once."""
    now = text_stat(path)
    if now is None:
        return str(path) == "-"
    return not (stat.S_ISREG(now.st_mode) or stat.S_ISDIR(now.st_mode))


def text_name(path: TextPath) -> str:
    """The path as messages show it: on one line, whatever is in it."""
    name = "standard input" if str(path) == "-" else str(path)
    return name if name and name.isprintable() else repr(name)


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


def no_words(path: TextPath) -> InputError:
    """The one line for a text without a word."""
    return InputError(f"{text_name(path)}: empty, there is no word in it; give a text with one sentence per line")
