"""Ids: texts in the units of a vocabulary, in bounded memory, memory-mapped where they are large.

sources  --encode-->  ids (n,) int32, every line's units, then </s>; and the size of the raw text
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import BinaryIO, cast

import numpy as np

from nplm.data.cache import Cache, Content, Kept, check_unchanged, identity
from nplm.data.checks import Seen, check_bytes, check_unknown
from nplm.data.count import READERS
from nplm.data.mapped import Ids, map_ids
from nplm.data.reading import Reading
from nplm.data.size import Meter, TextSize
from nplm.data.sources import Source, TextPath, Texts, find_sources, name_sources, size_of
from nplm.data.table import Table, find_words, is_fast
from nplm.data.text import Block, no_words, read_blocks, units_of
from nplm.data.tokens import EOS
from nplm.data.units import WORDS, Unit
from nplm.data.unpack import text_size
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.threads import cores, in_order

LARGE_TEXT = 16 * 2**20  # bytes of text above which counts and ids are cached on disk, and compiled code splits words


def read_ids(
    texts: Texts,
    vocabulary: Vocabulary,
    unit: Unit = WORDS,
    *,
    large: int = LARGE_TEXT,
    cache: TextPath | None = None,
    reading: Reading | None = None,
) -> Ids:
    """The texts' ids (n,) int32: every line's units, then </s>.  Raises InputError if no unit is known.

    The ids of more than `large` bytes of text are cached in the folder `cache` (default `cache_folder()`) and
    memory-mapped, read-only.
    """
    reading = reading or Reading()
    sources = find_sources(texts, reading)
    return encode(sources, vocabulary, unit, Cache(cache, reading), reading, large=large)[0]


def encode(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    unit: Unit,
    cache: Cache,
    reading: Reading,
    *,
    measured: bool = False,
    large: int = LARGE_TEXT,
) -> tuple[Ids, TextSize]:
    """The ids, and the size of the raw text, which is measured only on request, by the plain Python reader."""
    identify = partial(identity, sources, "ids", measured, unit.identity, _digest(vocabulary))
    read = _Encoding(sources, vocabulary, unit, reading, measured)
    key, name = identify(), name_sources(sources)
    if text_size(sources) > large:
        read.fast = is_fast(unit) and not measured
        kept = _kept(read, cache, key, lambda: check_unchanged(key, identify(), name)) or _temporary(read)
        with kept.file:
            ids = map_ids(kept.file, kept.size)
        read.seen, size = Seen(**kept.note["seen"]), TextSize(*kept.note["size"])
    else:
        ids = np.concatenate(list(read.blocks()))
        size = read.meter.size
        check_unchanged(key, identify(), name)
    check_bytes(read.seen, name, reading)
    if measured:
        check_unknown(ids, vocabulary, name, reading)
    return ids, size


def _digest(vocabulary: Vocabulary) -> str:
    return hashlib.sha256("\n".join(vocabulary.tokens).encode()).hexdigest()


@dataclass
class _Encoding:
    """A text that is read and encoded every time `blocks` is called, with statistics of the last time."""

    sources: Sequence[Source]
    vocabulary: Vocabulary
    unit: Unit
    reading: Reading
    measured: bool
    fast: bool = False  # by compiled code
    seen: Seen = field(default_factory=Seen)
    meter: Meter = field(default_factory=Meter)

    def blocks(self) -> Iterator[Ids]:
        """The ids in blocks; raises InputError at the end if there was no unit, or no known unit."""
        self.seen, self.meter = Seen(), Meter()
        seen, name, reading = self.seen, name_sources(self.sources), self.reading
        reading.begin("encoding", name, size_of(self.sources))
        table = Table.of(self.vocabulary.tokens[2:]) if self.fast else None
        work = partial(self._look_up, table) if table is not None else self._plainly
        threads, known = min(cores(), READERS) if table is not None else 1, False
        for block, ids, filled in in_order(work, read_blocks(self.sources), threads):
            seen.add(block, filled, int(np.count_nonzero(ids != Vocabulary.eos)))
            known = known or bool((ids > Vocabulary.eos).any())
            yield ids
            reading.advance(seen.read, seen.lines, seen.tokens)
        seen.end_source()
        reading.end()
        if not seen.tokens:
            raise no_words(name)
        if not known:
            raise InputError(
                f"{name}: none of its words is in the vocabulary; give a text in the language of the training text,"
                " tokenised in the same way"
            )

    def write(self, content: Content) -> None:
        """Write the ids of the whole text."""
        for ids in self.blocks():
            content.write(ids.astype("<i4", copy=False).data.cast("B"))
        content.note = {"seen": asdict(self.seen), "size": self.meter.size}

    def _look_up(self, table: Table, block: Block) -> tuple[Block, Ids, int]:
        found = find_words(block)
        return block, table.look_up(found), found.filled

    def _plainly(self, block: Block) -> tuple[Block, Ids, int]:
        vocabulary, meter = self.vocabulary, self.meter if self.measured else None
        lines = list(units_of(block, self.unit, meter))
        units = [*chain.from_iterable((*line, EOS) for line in lines)]
        ids = vocabulary.encode(units)
        if meter is not None:
            meter.unknown([units[k] for k in np.flatnonzero(ids == vocabulary.unk).tolist()])
        return block, ids, sum(map(bool, lines))


def _kept(read: _Encoding, cache: Cache, key: bytes | None, check: Callable[[], None]) -> Kept | None:
    """A text's ids in the cache, written now if they are missing; None if they cannot be cached."""
    if key is None or (found := cache.find("ids", key)) is not None or not cache.usable:
        return None if key is None else found
    try:
        with cache.write("ids", key) as content:
            read.write(content)
            check()
    except OSError as error:
        cache.do_without(error)
        return None
    return cache.find("ids", key)


def _temporary(read: _Encoding) -> Kept:
    """A text's ids in an unnamed temporary file."""
    try:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
        content = Content(file)
        read.write(content)
        file.flush()
        file.seek(0)
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: the encoded text cannot be stored there ({error.strerror}); set NPLM_CACHE or"
            " TMPDIR to a folder with enough space"
        ) from None
    return Kept(file, content.size, content.note)
