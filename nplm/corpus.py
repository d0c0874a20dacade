"""Corpus: from text to ids, to B streams, to sequences, to chunks.

A text of n tokens (every line's words and its </s>) gives n predictions: the target at i is ids[i], the input
is ids[i-1], and the first input is </s>.  Nothing is dropped: not the remainder that does not fill B columns,
not a sequence's or the text's last, short chunk.

    text  --count_tokens-->  Vocabulary.from_counts        the training text only
    text  --read_ids------>  ids (n,)                      memory-mapped where the text is large
    ids   --Streams------->  B columns in lock-step
    steps --split--------->  sequences of S steps, each in chunks of T, earliest first
"""

import gzip
import hashlib
import io
import math
import os
import stat
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from nplm.errors import InputError
from nplm.vocabulary import BOS, EOS, Vocabulary, check_ids

Ids = npt.NDArray[np.int32]
TextPath = str | os.PathLike[str]

MAX_LINE = 2**20  # bytes of a line of text
LARGE_TEXT = 64 * 2**20  # bytes of a text file above which its ids are kept on disk
BLOCK = 2**20  # tokens encoded at a time


# ---- what a corpus is


@dataclass(frozen=True)
class Floor:
    """The lowest loss any model can reach on a synthetic corpus's test text."""

    nats: float  # nats per predicted token
    std_error: float  # standard error of `nats` as a forecast of the loss on the test sample, in nats
    description: str  # how it was computed

    @property
    def perplexity(self) -> float:
        """exp(nats)."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A training text, its vocabulary, and the texts to measure on.  Raises InputError on a bad id."""

    name: str
    vocabulary: Vocabulary
    train: Ids  # (n,) int32, every line ending in </s>
    valid: Ids | None = None  # (n_valid,)
    test: Ids | None = None  # (n_test,)
    floor: Floor | None = None  # synthetic sources only
    baselines: Mapping[str, float] = field(default_factory=dict)  # other models' test perplexity by name

    def __post_init__(self) -> None:
        for what, ids in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            if ids is not None:
                check_ids(ids, len(self.vocabulary), what)


def load_corpus(
    train: TextPath,
    valid: TextPath | None = None,
    test: TextPath | None = None,
    *,
    min_count: int = 1,
    max_size: int | None = None,
    words: TextPath | None = None,
) -> Corpus:
    """The corpus in these text files, its vocabulary from `train` alone, or from the word list `words`.

    train, valid, test, words: paths, see `open_text`; `train` is read twice, so it cannot be a pipe.
    Raises InputError on bad text, or fewer than 2 word types in `train`.
    """
    if _is_pipe(train):
        raise InputError(f"{_name(train)}: the training text is read twice, so it must be a file, not a pipe")
    counts = count_tokens([train])
    types = len(counts.keys() - {EOS})
    if types < 2:
        raise InputError(f"{_name(train)}: only {types} distinct word; a training text needs at least 2")
    listed = None if words is None else read_words(words)
    vocabulary = Vocabulary.from_counts(counts, min_count=min_count, max_size=max_size, words=listed)
    if len(vocabulary) < 3:
        raise InputError(f"{_name(train)}: no word occurs {min_count} times; lower --min-count")
    return Corpus(
        name=Path(train).name,
        vocabulary=vocabulary,
        train=read_ids(train, vocabulary),
        valid=None if valid is None else read_ids(valid, vocabulary),
        test=None if test is None else read_ids(test, vocabulary),
    )


def unigram_perplexity(vocabulary: Vocabulary, ids: npt.NDArray[Any]) -> float:
    """Perplexity over ids (n,) of the unigram model: p(w) = max(count, 1) / sum, </s> counted."""
    if ids.size == 0:
        raise InputError("there are no ids to compute a perplexity of")
    check_ids(ids, len(vocabulary), "token")
    seen = np.zeros(len(vocabulary), dtype=np.int64)
    for start in range(0, len(ids), BLOCK):  # bincount would copy all of a memory-mapped text
        seen += np.bincount(ids[start : start + BLOCK], minlength=len(vocabulary))
    weights = np.maximum(vocabulary.counts, 1).astype(np.float64)
    log_probs = np.log(weights) - math.log(weights.sum())
    return math.exp(-float(seen @ log_probs) / len(ids))


# ---- streams, sequences, chunks


class Span(NamedTuple):
    """Chunk `chunk` of sequence `sequence`: the steps [start, stop) of every stream."""

    sequence: int
    chunk: int
    start: int
    stop: int


def split(num_full_steps: int, has_tail: bool, sequence_length: int, bptt: int) -> list[Span]:
    """The chunks of q full steps, earliest first: sequences of S steps, each cut into chunks of T by time.

    The last sequence and a sequence's last chunk may be short.  The tail, one step in which only some streams
    still have a token, is a last sequence of its own.
    """
    spans = []
    for first in range(0, num_full_steps, sequence_length):
        last = min(first + sequence_length, num_full_steps)
        for start in range(first, last, bptt):
            chunk = (start - first) // bptt
            spans.append(Span(first // sequence_length, chunk, start, min(start + bptt, last)))
    if has_tail:
        sequence = -(-num_full_steps // sequence_length)
        spans.append(Span(sequence, 0, num_full_steps, num_full_steps + 1))
    return spans


class Streams:
    """B contiguous streams of the ids (n,), in lock-step, nothing dropped.

    n = B*q + r: the first r streams have q+1 steps, the others q.  Step q, the tail, has r columns.
    Raises InputError unless 1 <= B <= n and the ids are integers.
    """

    def __init__(self, ids: npt.NDArray[Any], batch_size: int) -> None:
        if ids.ndim != 1 or ids.size == 0:
            raise InputError(f"streams need a row of at least 1 id, not an array of shape {ids.shape}")
        if not 1 <= batch_size <= len(ids):
            raise InputError(f"{len(ids)} tokens cannot be cut into {batch_size} streams; lower --batch-size")
        if ids.dtype != np.int32:
            check_ids(ids, 2**31, "token")
            ids = ids.astype(np.int32)
        self.ids: Ids = ids
        self.batch_size = batch_size
        self.full_steps, self.tail = divmod(len(ids), batch_size)  # q, r
        columns = np.arange(batch_size)
        self._starts = columns * self.full_steps + np.minimum(columns, self.tail)  # (B,)

    @property
    def num_steps(self) -> int:
        """Steps of the longest stream, the tail included."""
        return self.full_steps + (1 if self.tail else 0)

    def window(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Inputs and targets (stop-start, B) of the steps [start, stop); (1, r) for the tail, taken alone.

        The input at a stream's first step is the token before it in the text; </s> for stream 0.
        """
        if not 0 <= start < stop <= self.num_steps:
            raise ValueError(f"window [{start}, {stop}) is outside the {self.num_steps} steps")
        if start < self.full_steps < stop:
            raise ValueError(f"window [{start}, {stop}) runs into the tail, step {self.full_steps}")
        width = self.tail if start == self.full_steps else self.batch_size
        places = np.arange(start, stop)[:, None] + self._starts[:width]  # (t,b), where targets stand in ids
        targets = np.ascontiguousarray(self.ids[places])
        inputs = np.ascontiguousarray(self.ids[places - 1])
        if start == 0:
            inputs[0, 0] = Vocabulary.eos
        return inputs, targets

    def spans(self, sequence_length: int, bptt: int) -> list[Span]:
        """The chunks to train on, see `split`.  Raises InputError if the text does not fill one chunk."""
        n, b = len(self.ids), self.batch_size
        if n < b * bptt:
            raise InputError(
                f"the training text has n = {n} tokens, fewer than one chunk's {b * bptt} (B = {b} streams of"
                f" T = {bptt} steps); lower --batch-size or --bptt"
            )
        return split(self.full_steps, self.tail > 0, sequence_length, bptt)


# ---- from text to ids


def open_text(path: TextPath) -> Iterator[list[str]]:
    """Each line's words, without </s>; an empty line is an empty sentence.

    UTF-8, one sentence per line, words separated by white space; gzip by the suffix .gz; "-" is standard
    input.  A byte order mark is dropped, CRLF is as good as LF.  One <s> at a line's start and one </s> at
    its end, as other tools write them, are dropped.  Memory is bounded by the longest line allowed, MAX_LINE.
    Raises InputError with file and line: unreadable, not UTF-8, binary, too long a line, damaged gzip, <s> or
    </s> inside a line.
    """
    name = _name(path)
    number = 0
    try:
        with _open_bytes(path) as file:
            while raw := file.readline(MAX_LINE + 1):
                number += 1
                yield _words(raw, file, name, number)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        what = f"damaged gzip, found when {number} lines were read ({_one_line(error)})"
        raise InputError(f"{name}: {what}; compress or copy the file again") from None
    except OSError as error:
        raise InputError(f"{name}: {_explain(error)}") from None


def count_tokens(paths: TextPath | Iterable[TextPath]) -> Counter[str]:
    """How often each token occurs in the texts, </s> once a line.  Raises InputError if one has no words."""
    counts: Counter[str] = Counter()
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        lines = words = 0
        for sentence in open_text(path):
            counts.update(sentence)
            lines += 1
            words += len(sentence)
        if not words:
            raise _no_words(path)
        counts[EOS] += lines
    return counts


def read_words(path: TextPath) -> list[str]:
    """The word list in a file, one word a line; empty lines, <s> and </s> are passed over."""
    words = []
    for number, line in enumerate(open_text(path), start=1):
        if len(line) > 1:
            raise InputError(
                f"{_name(path)}, line {number}: {len(line)} words; a word list has one word a line"
            )
        words += line
    if not words:
        raise _no_words(path)
    return words


def read_ids(
    path: TextPath, vocabulary: Vocabulary, *, large: int = LARGE_TEXT, cache: TextPath | None = None
) -> Ids:
    """The text's ids (n,) int32: every line's words, then </s>.  Raises InputError if no word is known.

    The ids of a file of more than `large` bytes are written once to the folder `cache` (default
    `cache_folder()`) and memory-mapped, read-only.  What lies there is used only while the text's path, size
    and time, and the vocabulary, stay the same; it may be deleted at any time.
    """
    now = _stat(path)
    if now is not None and stat.S_ISREG(now.st_mode) and now.st_size > large:
        return _cached_ids(Path(path), now, vocabulary, Path(cache or cache_folder()))
    return np.concatenate(list(_encoded(path, vocabulary)))


def cache_folder() -> Path:
    """Where the ids of large texts are kept: $NPLM_CACHE, or ~/.cache/nplm."""
    return Path(os.environ.get("NPLM_CACHE") or Path.home() / ".cache" / "nplm")


# ---- reading lines


def _open_bytes(path: TextPath) -> AbstractContextManager[BinaryIO]:
    if str(path) == "-":
        return nullcontext(sys.stdin.buffer)
    if Path(path).suffix == ".gz":
        return cast(AbstractContextManager[BinaryIO], io.BufferedReader(gzip.open(path, "rb")))
    return Path(path).open("rb")


def _words(raw: bytes, file: BinaryIO, name: str, number: int) -> list[str]:
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
    words = (line.removeprefix("\ufeff") if number == 1 else line).split()
    return _without_marks(words, where) if "s>" in line else words


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


def _without_marks(words: list[str], where: str) -> list[str]:
    if words and words[0] == BOS:
        words = words[1:]
    if words and words[-1] == EOS:
        words = words[:-1]
    for mark in (BOS, EOS):
        if mark in words:
            raise InputError(
                f"{where}: {mark} inside a line, but a line is one sentence; break the line there"
            )
    return words


def _stat(path: TextPath) -> os.stat_result | None:
    """Size and time of a file; None for standard input, or where there is no file to be seen."""
    try:
        return None if str(path) == "-" else Path(path).stat()
    except OSError:  # opening it will tell why
        return None


def _is_pipe(path: TextPath) -> bool:
    now = _stat(path)
    if now is None:
        return str(path) == "-"
    return not (stat.S_ISREG(now.st_mode) or stat.S_ISDIR(now.st_mode))


def _name(path: TextPath) -> str:
    name = "standard input" if str(path) == "-" else str(path)
    return name if name.isprintable() else repr(name)


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


def _no_words(path: TextPath) -> InputError:
    return InputError(f"{_name(path)}: empty, there is no word in it; give a text with one sentence per line")


# ---- encoding, and its cache on disk


def _encoded(path: TextPath, vocabulary: Vocabulary) -> Iterator[Ids]:
    """The text's ids in blocks; raises InputError at its end if it had no word, or no known one."""
    tokens = (token for sentence in open_text(path) for token in (*sentence, EOS))
    words = known = 0
    while (block := vocabulary.encode(islice(tokens, BLOCK))).size:
        words += int(np.count_nonzero(block != vocabulary.eos))
        known += int(np.count_nonzero(block > vocabulary.eos))
        yield block
    if not words:
        raise _no_words(path)
    if not known:
        raise InputError(
            f"{_name(path)}: no word of it is in the vocabulary; give a text in the training text's language,"
            " tokenised in the same way"
        )


def _cached_ids(path: Path, before: os.stat_result, vocabulary: Vocabulary, folder: Path) -> Ids:
    identity = (1, str(path.resolve()), before.st_size, before.st_mtime_ns, vocabulary.tokens)
    target = folder / f"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}.ids"
    ids = _map_ids(target, vocabulary)
    if ids is not None:
        return ids
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_ids(target, _encoded(path, vocabulary))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot keep the encoded text there ({error.strerror});"
            " set NPLM_CACHE to a folder with room"
        ) from None
    after = _stat(path)
    ids = _map_ids(target, vocabulary)
    same = after is not None and (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if ids is None or not same:
        target.unlink(missing_ok=True)
        raise InputError(f"{_name(path)}: it changed while it was read; start again when it is complete")
    return ids


def _write_ids(target: Path, blocks: Iterable[Ids]) -> None:
    """Write the number of ids (int64), then the ids (int32), both little-endian; all of it or nothing."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(8))
            total = 0
            for block in blocks:
                file.write(block.astype("<i4", copy=False).tobytes())
                total += len(block)
            file.seek(0)
            file.write(total.to_bytes(8, "little"))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _map_ids(target: Path, vocabulary: Vocabulary) -> Ids | None:
    """The ids written to target, memory-mapped; None if there are none, or they are damaged."""
    try:
        with target.open("rb") as file:
            total = int.from_bytes(file.read(8), "little")
        if total < 1 or target.stat().st_size != 8 + 4 * total:
            return None
        ids: Ids = np.memmap(target, dtype="<i4", mode="r", offset=8, shape=(total,))
        check_ids(ids, len(vocabulary), "token")
    except (OSError, InputError):
        return None
    return ids
