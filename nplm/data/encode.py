"""Ids: a text in the words of a vocabulary, in bounded memory, memory-mapped where the text is large.

text  --read_ids-->  ids (n,) int32, every line's words, then </s>
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nplm import atomic
from nplm.data.size import Meter
from nplm.data.text import TextPath, no_words, open_tokens, text_name, text_stat
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import Vocabulary, check_ids
from nplm.errors import InputError

Ids = npt.NDArray[np.int32]

LARGE_TEXT = 64 * 2**20  # bytes of a text file above which its ids are kept on disk
BLOCK = 2**20  # tokens encoded at a time


def read_ids(
    path: TextPath,
    vocabulary: Vocabulary,
    unit: Unit = WORDS,
    *,
    meter: Meter | None = None,
    large: int = LARGE_TEXT,
    cache: TextPath | None = None,
) -> Ids:
    """The text's ids (n,) int32: every line's units, then </s>.  Raises InputError if no unit is known.

    The ids of a file of more than `large` bytes are written once to the folder `cache` (default
    `cache_folder()`) and memory-mapped, read-only.  What lies there is used only while the text's path, size
    and time, and the vocabulary, stay the same; it may be deleted at any time.  The meter counts a text that is not
    kept there.
    """
    now = text_stat(path)
    if now is not None and stat.S_ISREG(now.st_mode) and now.st_size > large:
        return _cached_ids(Path(path), now, vocabulary, unit, Path(cache or cache_folder()))
    return np.concatenate(list(_encoded(path, vocabulary, unit, meter)))


def cache_folder() -> Path:
    """Where the ids of large texts are kept: $NPLM_CACHE, or ~/.cache/nplm."""
    if folder := os.environ.get("NPLM_CACHE"):
        return Path(folder)
    try:
        return Path.home() / ".cache" / "nplm"
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / "nplm"


def _encoded(path: TextPath, vocabulary: Vocabulary, unit: Unit = WORDS, meter: Meter | None = None) -> Iterator[Ids]:
    """The text's ids in blocks; raises InputError at its end if it had no unit, or no known one."""
    tokens, words, known = open_tokens(path, unit, meter), 0, 0
    while units := list(islice(tokens, BLOCK)):
        block = vocabulary.encode(units)
        if meter is not None:
            meter.unknown([units[k] for k in np.flatnonzero(block == vocabulary.unk)])
        words += int(np.count_nonzero(block != vocabulary.eos))
        known += int(np.count_nonzero(block > vocabulary.eos))
        yield block
    if not words:
        raise no_words(path)
    if not known:
        raise InputError(
            f"{text_name(path)}: no word of it is in the vocabulary; give a text in the training text's language,"
            " tokenised in the same way"
        )


def _cached_ids(path: Path, before: os.stat_result, vocabulary: Vocabulary, unit: Unit, folder: Path) -> Ids:
    identity = (1, str(path.resolve()), before.st_size, before.st_mtime_ns, vocabulary.tokens, unit.identity)
    target = folder / f"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}.ids"
    ids = _map_ids(target, vocabulary)
    if ids is not None:
        return ids
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_ids(target, _encoded(path, vocabulary, unit))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot keep the encoded text there ({error.strerror});"
            " set NPLM_CACHE to a folder with enough space"
        ) from None
    after = text_stat(path)
    ids = _map_ids(target, vocabulary)
    same = after is not None and (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if ids is None or not same:
        target.unlink(missing_ok=True)
        raise InputError(f"{text_name(path)}: it changed while it was read; start again when it is complete")
    return ids


def _write_ids(target: Path, blocks: Iterable[Ids]) -> None:
    """Write the number of ids (int64), then the ids (int32), both little-endian; all of it or nothing."""
    with atomic.atomic(target) as file:
        file.write(bytes(8))
        total = 0
        for block in blocks:
            file.write(block.astype("<i4", copy=False).tobytes())
            total += len(block)
        file.seek(0)
        file.write(total.to_bytes(8, "little"))


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
