"""Ids: texts in the units of a vocabulary, in bounded memory, memory-mapped where they are large.

sources  --read_ids-->  ids (n,) int32, every line's units, then </s>
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from nplm.data.blocks import Block, find_words, is_fast, read_blocks, units_of
from nplm.data.cache import SIZE, Cache, identity
from nplm.data.checks import Seen, check_bytes
from nplm.data.reading import Reading
from nplm.data.sources import Source, TextPath, Texts, find_sources, name_sources, size_of
from nplm.data.table import Table
from nplm.data.text import no_words
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import EOS, Vocabulary
from nplm.errors import InputError
from nplm.threads import cores, in_order

Ids = npt.NDArray[np.int32]

LARGE_TEXT = 64 * 2**20  # bytes of texts above which their ids are kept on disk
BLOCK = 2**20  # ids looked at together, where a text is not in memory


def read_ids(
    texts: Texts,
    vocabulary: Vocabulary,
    *,
    unit: Unit = WORDS,
    large: int = LARGE_TEXT,
    cache: TextPath | None = None,
    reading: Reading | None = None,
    threads: int = 0,
) -> Ids:
    """The texts' ids (n,) int32: every line's units, then </s>.

    The ids of more than `large` bytes of files are kept in the folder `cache` (default `cache_folder()`), and
    memory-mapped, read-only; so are those of a long pipe, in a temporary file.  Raises InputError if no unit is known.
    """
    reading = reading or Reading()
    sources = find_sources(texts, reading)
    return encode(sources, vocabulary, unit, Cache(cache, reading), reading, large=large, threads=threads)


def encode(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    unit: Unit,
    cache: Cache,
    reading: Reading,
    *,
    large: int = LARGE_TEXT,
    threads: int = 0,
) -> Ids:
    """What `read_ids` gives, for sources that are known."""
    identify = partial(identity, sources, "ids", unit.identity, _digest(vocabulary))
    read = partial(_encoded, sources, vocabulary, unit, reading, threads)
    key, ids = identify(), None
    if key is None:
        return _collect(read(), large)
    if size_of(sources) > large:
        ids = _kept(cache, key)
        ids = _keep(read, cache, key) if ids is None and cache.usable else ids
    if ids is None:
        ids = _collect(read(), large)
    if identify() != key:
        cache.remove("ids", key)
        raise InputError(f"{name_sources(sources)}: it changed while it was read; start again when it is complete")
    return ids


def _digest(vocabulary: Vocabulary) -> str:
    return hashlib.sha256("\n".join(vocabulary.tokens).encode()).hexdigest()


def _encoded(
    sources: Sequence[Source], vocabulary: Vocabulary, unit: Unit, reading: Reading, threads: int
) -> Iterator[Ids]:
    """The ids in blocks; raises InputError at the end if there was no unit, or no known one."""
    seen, known = Seen(), 0
    table = Table.of(vocabulary.tokens[2:]) if is_fast(unit) else None

    def work(block: Block) -> tuple[Block, Ids, int]:
        if table is not None:
            found = find_words(block)
            return block, table.look_up(found), found.filled
        lines = units_of(block, unit)
        return block, vocabulary.encode(chain.from_iterable((*line, EOS) for line in lines)), sum(map(bool, lines))

    name = name_sources(sources)
    reading.begin("encoding", name, size_of(sources) or None)
    repeated = chain.from_iterable([source] * source.weight for source in sources)
    for block, ids, filled in in_order(work, read_blocks(repeated), (threads or cores()) if table else 1):
        seen.add(block, filled, int(np.count_nonzero(ids != Vocabulary.eos)))
        known = known or int(np.count_nonzero(ids > Vocabulary.eos))
        yield ids
        reading.advance(seen.read, seen.lines, seen.tokens)
    seen.end_source()
    reading.end()
    if not seen.tokens:
        raise no_words(sources[0])
    if not known:
        raise InputError(
            f"{name}: no word of it is in the vocabulary; give a text in the training text's language, tokenised in the"
            " same way"
        )
    check_bytes(seen, name, reading)


def _keep(read: Callable[[], Iterable[Ids]], cache: Cache, key: bytes) -> Ids | None:
    """The ids, written to the cache and mapped; None where the cache cannot be written."""
    try:
        with cache.write("ids", key) as content:
            for ids in read():
                content.write(ids.astype("<i4", copy=False).data.cast("B"))
    except OSError as error:
        cache.do_without(error)
        return None
    return _kept(cache, key)


def _kept(cache: Cache, key: bytes) -> Ids | None:
    file = cache.find("ids", key)
    return None if file is None else _mapped(file, SIZE)


def _collect(blocks: Iterable[Ids], large: int) -> Ids:
    """The ids in one array: in memory, or, where they are many and there is room, in a temporary file."""
    blocks, parts, size = iter(blocks), list[Ids](), 0
    while size <= large:
        if (ids := next(blocks, None)) is None:
            return np.concatenate(parts)
        parts.append(ids)
        size += ids.nbytes
    file, written = None, 0  # bytes, in whole blocks
    blocks = chain(parts, blocks)
    for ids in blocks:
        try:
            file = file or cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
            data = ids.astype("<i4", copy=False).data.cast("B")
            while data:
                data = data[file.write(data) :]
        except OSError:  # the disk is full: all is kept in memory
            if file is None:
                return np.concatenate([ids, *blocks])
            file.seek(0)
            return np.concatenate([np.fromfile(file, "<i4", written // 4), ids, *blocks])
        written += ids.nbytes
    return _mapped(cast(BinaryIO, file), 0)


def _mapped(file: BinaryIO, start: int) -> Ids:
    """The ids in an open file, memory-mapped; the file may be closed and have no name."""
    with file:
        return np.memmap(file, dtype="<i4", mode="r", offset=start)
