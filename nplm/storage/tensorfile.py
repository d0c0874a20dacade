"""One .safetensors file of tensors and metadata, with a checksum over both, written whole or not at all.

metadata  the caller's, and format, version (VERSION, unless the caller gives one), sha256 over the rest and the
          tensors
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nplm import atomic
from nplm.arrays import Array
from nplm.errors import InputError
from nplm.storage import buffer
from nplm.storage.records import regular

FORMAT, VERSION = "nplm", "1"
UNITS_VERSION = "2"  # of models whose unit is not the word: a reader of version 1 would split text at white space

DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}  # NumPy's names and the format's

Tensors = dict[str, Array]

Metadata = dict[str, str]


def write(path: str | Path, tensors: Tensors, metadata: Metadata) -> None:
    """Write a file so that `path` holds either its old content or all of the new, whatever happens.

    We write the bytes ourselves, not with safetensors' `save_file`, which silently writes arrays that are not
    C-contiguous in the order of their memory, and the metadata in an order that changes from call to call
    (decision 0007).
    """
    tensors = {name: _plain(value) for name, value in tensors.items()}
    metadata = {"version": VERSION} | metadata | {"format": FORMAT}
    metadata["sha256"] = _digest(tensors, metadata)
    atomic.write(path, blocks(tensors, metadata))


def read(path: str | Path) -> tuple[Tensors, Metadata]:
    """All tensors, as views of one buffer, and the metadata of a file.

    Raises InputError unless it is complete and of a version that this nplm reads.
    """
    tensors, metadata = _read(Path(path), buffer.read_tensors)
    if metadata.get("sha256") != _digest(tensors, metadata):
        raise InputError(f"{path}: damaged (its checksum does not match); use an intact copy")
    return tensors, metadata


def read_metadata(path: str | Path) -> Metadata:
    """The metadata alone, in the header of the file: the checksum, which covers the tensors too, is not verified."""
    return _read(Path(path), lambda path: ({}, buffer.read_metadata(path)))[1]


def _read(path: Path, reader: Callable[[Path], tuple[Tensors, Metadata]]) -> tuple[Tensors, Metadata]:
    if regular(path).is_dir():
        raise InputError(f"{path}: a folder, not a model file; name the .safetensors file in it")
    try:
        tensors, metadata = reader(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except ValueError as error:
        what = f"{path}: damaged, or not a model file ({error})"
        raise InputError(f"{what}; name a .safetensors file of nplm, or use an intact copy") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: a safetensors file, but not of nplm; name a model that nplm wrote")
    if metadata.get("version") not in (VERSION, UNITS_VERSION):
        raise InputError(
            f"{path}: written in version {metadata.get('version')!r} of the format, but this nplm reads {VERSION!r} and"
            f" {UNITS_VERSION!r}; read it with the version of nplm that wrote it"
        )
    return tensors, metadata


def blocks(tensors: Tensors, metadata: Metadata) -> Iterator[bytes | memoryview]:
    """The bytes of a file: length of the header, header (JSON), tensors, wider types first so that all are aligned."""
    header: dict[str, Any] = {"__metadata__": metadata}
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    place = 0
    for name in names:
        value = tensors[name]
        offsets = [place, place := place + value.nbytes]
        header[name] = {"dtype": DTYPES[value.dtype.name], "shape": value.shape, "data_offsets": offsets}
    text = to_json(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield tensors[name].data


def _plain(value: Array) -> Array:
    """The array as it is written to a file: C-contiguous, little-endian."""
    return np.ascontiguousarray(value, value.dtype.newbyteorder("<"))


def to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(tensors: Tensors, metadata: Metadata) -> str:
    digest = hashlib.sha256()
    for key in sorted(set(metadata) - {"sha256"}):
        digest.update(f"{key}={metadata[key]}\n".encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
