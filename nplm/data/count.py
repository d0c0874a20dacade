"""Counting: from sources to how often each unit occurs, exactly, in bounded memory.

sources --blocks, a table for each thread--> counts        a full table is sorted into a file, and begun again
counts, files  --merged by word-->           pieces: words and counts, sorted by word, in memory or in a file
"""

import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from operator import itemgetter
from queue import LifoQueue
from typing import BinaryIO, NamedTuple, Protocol, cast

import numpy as np

from nplm.arrays import Array
from nplm.data.blocks import Block, find_words, is_fast, read_blocks, units_of
from nplm.data.cache import Cache
from nplm.data.checks import Seen
from nplm.data.reading import Reading
from nplm.data.sources import Source, name_sources, size_of
from nplm.data.table import Table
from nplm.data.units import Unit
from nplm.errors import InputError
from nplm.threads import cores, in_order

MAX_TYPES = 2**21  # words in a table, some 50 bytes each
PIECE = 2**16  # words in a piece


class Piece(NamedTuple):
    """Some words and their counts."""

    words: bytes  # UTF-8, each followed by a line feed
    counts: Array  # int64


class FilePieces:
    """Pieces in a file, from its present place on; they can be read again and again."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.start = file, file.tell()

    def __iter__(self) -> Iterator[Piece]:
        self.file.seek(self.start)
        while len(sizes := self.file.read(16)) == 16:
            words, counts = (int.from_bytes(sizes[k : k + 8], "little") for k in (0, 8))
            yield Piece(self.file.read(words), np.frombuffer(self.file.read(8 * counts), "<i8"))


class Writable(Protocol):
    """What pieces are written to."""

    def write(self, data: bytes, /) -> object: ...


@dataclass
class Counts:
    """How often each unit of a text occurs."""

    seen: Seen
    pieces: list[Piece] | FilePieces  # sorted by word, no word twice


def count_units(
    sources: Sequence[Source],
    unit: Unit,
    reading: Reading,
    *,
    cache: Cache | None = None,
    identity: bytes = b"",
    threads: int = 0,
) -> Counts:
    """How often each unit occurs in the sources, in each as often as its weight says.

    With a cache, the counts are kept there under this identity.  Raises InputError on bad text.
    """
    if cache is not None and (file := cache.find("counts", identity)) is not None:
        return Counts(Seen(**json.loads(file.readline())), FilePieces(file))
    reading.begin("counting", name_sources(sources), size_of(sources) or None)
    counts = _count(sources, unit, reading, threads or cores())
    reading.end()
    if cache is not None and cache.usable:
        try:
            with cache.write("counts", identity) as content:
                content.write(json.dumps(asdict(counts.seen)).encode() + b"\n")
                _write(counts.pieces, content)
        except OSError as error:
            cache.do_without(error)
    return counts


def _count(sources: Sequence[Source], unit: Unit, reading: Reading, threads: int) -> Counts:
    seen, runs = Seen(), list[FilePieces]()
    threads = threads if is_fast(unit) else 1
    tables: LifoQueue[Table | Counter[str]] = LifoQueue()  # those that no thread is busy with
    for _ in range(threads):
        tables.put(Table() if is_fast(unit) else Counter())

    def work(block: Block) -> tuple[Block, int, int]:
        table = tables.get()
        try:
            if isinstance(table, Table):
                found = find_words(block)
                table.add(found, block.source.weight)
                filled, total = found.filled, found.words
            else:
                filled, total = _count_plainly(block, unit, table)
            if len(table) > MAX_TYPES:
                runs.append(_run(table))
                table = type(table)()
        finally:
            tables.put(table)
        return block, filled, total

    for block, filled, total in in_order(work, read_blocks(sources), threads):
        seen.add(block, filled, total)
        reading.advance(seen.read, seen.lines, seen.tokens)
    seen.end_source()
    rest = [tables.get() for _ in range(threads)]
    if runs:
        runs += [_run(table) for table in rest]
        merged = _temporary(_merged(runs))
        for run in runs:
            run.file.close()
        return Counts(seen, merged)
    while len(rest) > 1:
        rest[0].merge(rest.pop())  # type: ignore[union-attr, arg-type]
    return Counts(seen, list(_pieces(rest[0])))


def _count_plainly(block: Block, unit: Unit, counter: Counter[str]) -> tuple[int, int]:
    """Count a block's units; returns how many lines have some, and how many there are."""
    lines = units_of(block, unit)
    found = Counter(chain.from_iterable(lines))
    for word in found if block.source.weight > 1 else ():
        found[word] *= block.source.weight
    counter.update(found)
    return sum(map(bool, lines)), sum(map(len, lines))


# ---- sorted pieces, in memory and in files


def _pieces(table: Table | Counter[str]) -> Iterator[Piece]:
    """What a table has counted."""
    if isinstance(table, Table):
        words, counts = table.in_order()
    else:
        words = [word.encode() for word in sorted(table)]
        counts = np.array([table[word.decode()] for word in words], np.int64)
    for k in range(0, len(words), PIECE):
        yield Piece(_joined(words[k : k + PIECE]), counts[k : k + PIECE])


def _joined(words: Iterable[bytes]) -> bytes:
    return b"\n".join([*words, b""])


def _write(pieces: Iterable[Piece], file: Writable) -> None:
    for words, counts in pieces:
        file.write(len(words).to_bytes(8, "little") + len(counts).to_bytes(8, "little"))
        file.write(words)
        file.write(counts.astype("<i8").tobytes())


def _temporary(pieces: Iterable[Piece]) -> FilePieces:
    """The pieces in a temporary file, which is gone when nobody reads it any more."""
    try:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
        _write(pieces, file)
        file.seek(0)
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: the counts of so many different words cannot be kept there ({error.strerror});"
            " set TMPDIR to a folder with enough space"
        ) from None
    return FilePieces(file)


def _run(table: Table | Counter[str]) -> FilePieces:
    return _temporary(_pieces(table))


def _merged(runs: Sequence[FilePieces]) -> Iterator[Piece]:
    """The pieces of all runs in one, with the counts of equal words added up."""
    by_word = itemgetter(0)
    merged = heapq.merge(*map(_entries, runs), key=by_word)
    totals = ((word, sum(count for _, count in same)) for word, same in groupby(merged, by_word))
    while entries := list(islice(totals, PIECE)):
        words, counts = zip(*entries, strict=True)
        yield Piece(_joined(words), np.array(counts, np.int64))


def _entries(pieces: Iterable[Piece]) -> Iterator[tuple[bytes, int]]:
    for words, counts in pieces:
        yield from zip(words.split(b"\n"), counts.tolist(), strict=False)  # nothing is after the last line feed
