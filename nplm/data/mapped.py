"""Ids in a memory-mapped file, read in pieces that are then released: a large text is never whole in memory."""

import mmap
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]

BLOCK = 2**20  # ids per piece


def map_ids(file: BinaryIO, size: int) -> Ids:
    """The ids in `size` bytes of an open file, from its position on; the file may be unnamed, and closed afterwards."""
    ids: Any = np.memmap(file, dtype="<i4", mode="r", offset=file.tell(), shape=(size // 4,))
    return cast(Ids, ids)


def in_blocks(ids: Ids, size: int = BLOCK) -> Iterator[Ids]:
    """The ids in pieces; of a memory-mapped text at most one piece is kept in memory."""
    mapped = getattr(ids, "_mmap", None)
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
        if mapped is not None and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)
