"""Counting: from sources to how often each unit occurs, exactly, in bounded memory.

sources --blocks, a table for each thread--> counts        a full table is sorted into a file and emptied
counts, files  --merged by word-->           pieces: words and counts, sorted by word, in memory or in a file
"""

import heapq
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, groupby, islice
from operator import itemgetter
from queue import LifoQueue
from typing import BinaryIO, NamedTuple, Protocol, cast

import numpy as np

from nplm.arrays import Array
from nplm.data.cache import Cache, check_unchanged, identity
from nplm.data.checks import Seen
from nplm.data.reading import Reading
from nplm.data.sources import Source, name_sources, size_of
from nplm.data.table import MOST_WORDS, Table, find_words
from nplm.data.text import Block, no_words, read_blocks, units_of
from nplm.data.units import Unit
from nplm.errors import InputError
from nplm.threads import cores, in_order

PIECE = 2**16  # words in a piece
READERS = 4  # threads at most; one more thread reads and decompresses


class Piece(NamedTuple):
    """Some words and their counts."""

    words: bytes  # UTF-8, each followed by a line feed
    counts: Array  # int64


class FilePieces:
    """Pieces in `size` bytes of a file, from its current position on; they can be read repeatedly."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.start, self.size = file, file.tell(), size

    def __iter__(self) -> Iterator[Piece]:
        self.file.seek(self.start)
        while self.file.tell() < self.start + self.size:
            words, counts = np.frombuffer(self.file.read(16), "<i8").tolist()
            yield Piece(self.file.read(words), np.frombuffer(self.file.read(8 * counts), "<i8"))


class Writable(Protocol):
    """A file that pieces are written to."""

    def write(self, data: bytes, /) -> object: ...


class Counts(NamedTuple):
    """How often each unit of a text occurs."""

    seen: Seen
    pieces: list[Piece] | FilePieces  # sorted by word, no word twice

    def close(self) -> None:
        """Close the file of pieces, if there is one."""
        if isinstance(self.pieces, FilePieces):
            self.pieces.file.close()


def count_units(
    sources: Sequence[Source], unit: Unit, cache: Cache, reading: Reading, *, large: bool = False, fast: bool = False
) -> Counts:
    """How often each unit occurs in the sources.  Raises InputError on bad text.

    large: read the counts from the cache, or write them to it.  fast: count words with compiled code.
    """
    key = identity(sources, "counts", unit.identity)
    kept = cache.find("counts", key) if large and key is not None else None
    if kept is not None:
        return Counts(Seen(**kept.note), FilePieces(kept.file, kept.size))
    counts = _count(sources, unit, reading, fast)
    check_unchanged(key, identity(sources, "counts", unit.identity), name_sources(sources))
    if large and key is not None and cache.usable:
        try:
            with cache.write("counts", key) as content:
                _write(counts.pieces, content)
                content.note = asdict(counts.seen)
        except OSError as error:
            cache.do_without(error)
    return counts


def _count(sources: Sequence[Source], unit: Unit, reading: Reading, fast: bool) -> Counts:
    seen, runs, threads = Seen(), list[FilePieces](), min(cores(), READERS) if fast else 1
    tables: LifoQueue[Table | Counter[str]] = LifoQueue()  # those that no thread is using
    for _ in range(threads):
        tables.put(Table() if fast else Counter())

    def work(block: Block) -> tuple[Block, int, int]:
        table = tables.get()
        try:
            filled, total = _add(table, block, unit)
            if table.is_full if isinstance(table, Table) else len(table) > MOST_WORDS:
                runs.append(_run(table))
                table = type(table)()
        finally:
            tables.put(table)
        return block, filled, total

    reading.begin("counting", name_sources(sources), size_of(sources))
    if fast:
        reading.compiling()
    for block, filled, total in in_order(work, read_blocks(sources), threads):
        seen.add(block, filled, total)
        reading.advance(seen.read, seen.lines, seen.tokens)
    seen.end_source()
    reading.end()
    if not seen.tokens:
        raise no_words(name_sources(sources))
    rest = [tables.get() for _ in range(threads)]
    if runs:
        runs += [_run(table) for table in rest]
        merged = _temporary(_merged(runs))
        for run in runs:
            run.file.close()
        return Counts(seen, merged)
    first, *others = rest
    for other in others:
        assert isinstance(first, Table) and isinstance(other, Table)
        first.merge(other)
    return Counts(seen, list(_pieces(first)))


def _add(table: Table | Counter[str], block: Block, unit: Unit) -> tuple[int, int]:
    """Count a block's units; returns the number of lines with a unit, and the number of units."""
    if isinstance(table, Table):
        found = find_words(block)
        table.add(found)
        return found.filled, found.words
    lines = list(units_of(block, unit))
    table.update(chain.from_iterable(lines))
    return sum(map(bool, lines)), sum(map(len, lines))


# ---- sorted pieces, in memory and in files


def _pieces(table: Table | Counter[str]) -> Iterator[Piece]:
    """The counts of a table, as sorted pieces."""
    if isinstance(table, Table):
        words, counts = table.in_order()
    else:
        ordered = sorted(table)
        words = [word.encode() for word in ordered]
        counts = np.array([table[word] for word in ordered], np.int64)
    for k in range(0, len(words), PIECE):
        yield Piece(_joined(words[k : k + PIECE]), counts[k : k + PIECE])


def _joined(words: Iterable[bytes]) -> bytes:
    return b"\n".join([*words, b""])


def _write(pieces: Iterable[Piece], file: Writable) -> None:
    for words, counts in pieces:
        file.write(np.array([len(words), len(counts)], "<i8").tobytes())
        file.write(words)
        file.write(counts.astype("<i8").tobytes())


def _temporary(pieces: Iterable[Piece]) -> FilePieces:
    """The pieces in a temporary file, which is deleted when it is closed."""
    try:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
        _write(pieces, file)
        size = file.tell()
        file.seek(0)
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: the counts of the words cannot be stored there ({error.strerror});"
            " set TMPDIR to a folder with enough space"
        ) from None
    return FilePieces(file, size)


def _run(table: Table | Counter[str]) -> FilePieces:
    return _temporary(_pieces(table))


def _merged(runs: Sequence[FilePieces]) -> Iterator[Piece]:
    """The pieces of all runs merged, with the counts of equal words added."""
    by_word = itemgetter(0)
    merged = heapq.merge(*map(_entries, runs), key=by_word)
    totals = ((word, sum(count for _, count in same)) for word, same in groupby(merged, by_word))
    while entries := list(islice(totals, PIECE)):
        words, counts = zip(*entries, strict=True)
        yield Piece(_joined(words), np.array(counts, np.int64))


def _entries(pieces: Iterable[Piece]) -> Iterator[tuple[bytes, int]]:
    for words, counts in pieces:
        yield from zip(words.split(b"\n"), counts.tolist(), strict=False)  # nothing follows the last line feed
