"""A safetensors file in one buffer, with its tensors as views: reading needs no memory beyond the file's size.

file    length of the header (8 bytes, little-endian), header (JSON), tensors without gaps
buffer  the file's bytes, so that the first tensor begins at a multiple of 64 bytes

The file is read, not memory-mapped: if another program truncates a mapped file, the process is killed.
"""

import json
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nplm.arrays import Array

DTYPES = {
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    **{f"{sign.upper()}{8 * size}": f"<{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)},
    "BOOL": "?",
}
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
MAX_HEADER = 100_000_000  # bytes, as in the safetensors package


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises OSError if it cannot be read, and ValueError if it is incomplete or not in the format.
    """
    with path.open("rb", buffering=0) as file:
        header, metadata, size = _start(file)
        data = _aligned(size)
        _fill(file, data)
    return _views(header, data), metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, from the start of the file; raises as `read_tensors`."""
    with path.open("rb", buffering=0) as file:
        return _start(file)[1]


def _start(file: BinaryIO) -> tuple[dict[str, Any], dict[str, str], int]:
    """The header's tensors, the metadata, and the number of bytes of tensors that follow."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    start = 8 + int.from_bytes(file.read(8), "little")  # of the first tensor
    if not 10 <= start <= min(status.st_size, 8 + MAX_HEADER):
        raise ValueError("its header is longer than the file, or empty")
    header = _header(file.read(start - 8))
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not strings")
    return header, metadata, status.st_size - start


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode())
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header


def _aligned(size: int) -> Array:
    """A buffer of `size` bytes that begins at a multiple of ALIGNMENT."""
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    return buffer[first : first + size]


def _fill(file: BinaryIO, data: Array) -> None:
    """Read the rest of the file into data; raises ValueError if its length differs."""
    place, view = 0, data.data
    while place < data.size:
        got = file.readinto(view[place:])  # type: ignore[attr-defined]
        if not got:
            raise ValueError("it became shorter while it was read")
        place += got
    if file.read(1):
        raise ValueError("it became longer while it was read")


def _views(header: dict[str, Any], data: Array) -> dict[str, Array]:
    """The tensors that a header describes; they must fill the data without gaps."""
    tensors, ends = {}, [(0, 0)]
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r} has not exactly a dtype, a shape and data_offsets")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in DTYPES:
            raise ValueError(f"{name!r} has the type {kind!r}, which NumPy does not have")
        if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
            raise ValueError(f"{name!r} has a shape or data_offsets that are not whole numbers")
        first, last = offsets
        dtype = np.dtype(DTYPES[kind])
        size = dtype.itemsize
        for length in shape:
            size *= length
        if not first <= last <= data.size or last - first != size:
            raise ValueError(f"{name!r} is not within the file, or its size does not match its shape")
        tensors[name] = data[first:last].view(dtype).reshape(shape)
        ends.append((first, last))
    ends.sort()
    if any(first != before for (_, before), (first, _) in pairwise(ends)) or ends[-1][1] != data.size:
        raise ValueError("its tensors overlap, or leave gaps")
    return tensors


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)
