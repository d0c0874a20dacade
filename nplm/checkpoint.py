"""One file holds a model, or a model with all that a run needs to go on: safetensors, written whole or not at all.

tensors   PyTorch's names and shapes: encoder.weight, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0 (the
          layer's one bias), rnn.bias_hh_l0 (zero), decoder.weight, decoder.bias, and `vocabulary`, uint8, lines
          of "token<TAB>count"
metadata  format, version, config (JSON), provenance (JSON), sha256 over all of these and the tensors
A run's last.safetensors has in addition the tensors run.* and the metadata key `run` (JSON).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from nplm import files
from nplm.chunk import Params
from nplm.config import ModelConfig
from nplm.errors import InputError
from nplm.kenlm import Scorer
from nplm.model import LanguageModel
from nplm.vocabulary import Vocabulary
from nplm.workspace import Array

FORMAT, VERSION = "nplm", "1"
DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}  # NumPy's names and the format's
Tensors = dict[str, Array]
Metadata = dict[str, str]


def save_model(model: LanguageModel, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a model to one file.  The same model and provenance give the same bytes."""
    write(path, *_pack(model, provenance or {}))


def load_model(path: str | Path) -> Scorer:
    """Read a model, with its mean log Z if the file has one.

    Raises InputError if the file is missing, damaged, of another version, or no model.
    """
    return _unpack(path, *read(path))


def save_run(
    model: LanguageModel,
    path: str | Path,
    provenance: Mapping[str, Any],
    run: Mapping[str, Any],
    extra: Tensors,
) -> None:
    """Write a model with the state of its run: JSON values in `run`, arrays in `extra`."""
    tensors, metadata = _pack(model, provenance)
    tensors |= {f"run.{name}": value for name, value in extra.items()}
    write(path, tensors, metadata | {"run": _to_json(run)})


def load_run(path: str | Path) -> tuple[LanguageModel, dict[str, Any], Tensors]:
    """Read what `save_run` wrote: the model, `run` and `extra`."""
    tensors, metadata = read(path)
    if "run" not in metadata:
        raise InputError(f"{path}: a model without the state of its run; resume from last.safetensors")
    extra = {name[4:]: value for name, value in tensors.items() if name.startswith("run.")}
    return _unpack(path, tensors, metadata), json.loads(metadata["run"]), extra


def provenance(path: str | Path) -> dict[str, Any]:
    """How the model in the file came to be: settings and figures of its training."""
    value: dict[str, Any] = json.loads(read(path)[1]["provenance"])
    return value


def write(path: str | Path, tensors: Tensors, metadata: Metadata) -> None:
    """Write a file so that `path` holds either its old content or all of the new one, whatever happens.

    The bytes are our own business, not safetensors' `save_file`: that one writes arrays that are not C-contiguous
    in the order of their memory, without a word, and the metadata in an order that changes from call to call
    (decision 0007).
    """
    tensors = {name: _plain(value) for name, value in tensors.items()}
    metadata = metadata | {"format": FORMAT, "version": VERSION}
    metadata["sha256"] = _digest(tensors, metadata)
    files.write(path, blocks(tensors, metadata))


def read(path: str | Path) -> tuple[Tensors, Metadata]:
    """All tensors and the metadata of a file.  Raises InputError unless it is whole and of this version."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a model file; name the .safetensors file in it")
    try:
        with path.open("rb"):
            pass
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{path}: damaged, or not a model file ({error})"
        raise InputError(
            f"{what}; name a .safetensors file of nplm's, or take a copy that is whole"
        ) from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: a safetensors file, but not one of nplm's; name a model that nplm wrote")
    if metadata.get("version") != VERSION:
        raise InputError(
            f"{path}: written in version {metadata.get('version')!r} of the format, this nplm reads {VERSION!r};"
            " read it with the nplm that wrote it"
        )
    if metadata.get("sha256") != _digest(tensors, metadata):
        raise InputError(f"{path}: damaged (its checksum does not match); take a copy that is whole")
    return tensors, metadata


def torch_tensors(model: LanguageModel) -> Tensors:
    """The parameters under PyTorch's names."""
    tensors: Tensors = {"decoder.weight": model.output_weight}  # of its own there, where ours is tied
    for name, value in model.params.items():
        if name.startswith("rnn.bias_l"):  # PyTorch has two biases a layer: ours, and zero
            layer = name.removeprefix("rnn.bias_")
            tensors[f"rnn.bias_ih_{layer}"] = value
            tensors[f"rnn.bias_hh_{layer}"] = np.zeros_like(value)
        else:
            tensors[name] = value
    return tensors


def _pack(model: LanguageModel, provenance: Mapping[str, Any]) -> tuple[Tensors, Metadata]:
    tensors = {"vocabulary": np.frombuffer(model.vocabulary.to_bytes(), np.uint8)} | torch_tensors(model)
    return tensors, {"config": _to_json(asdict(model.config)), "provenance": _to_json(provenance)}


def _unpack(path: str | Path, tensors: Tensors, metadata: Metadata) -> Scorer:
    try:
        config = ModelConfig(**json.loads(metadata["config"]))
        vocabulary = Vocabulary.from_bytes(tensors["vocabulary"].tobytes())
        params: Params = {}
        for name, value in tensors.items():
            if name.startswith("rnn.bias_ih_"):
                second = tensors[name.replace("_ih_", "_hh_")]  # zero in files of ours: keep every bit
                params[name.replace("bias_ih_", "bias_")] = value + second if second.any() else value
            elif name != "vocabulary" and not name.startswith(("run.", "rnn.bias_hh_")):
                params[name] = value
        if config.tied:
            del params["decoder.weight"]  # a copy of encoder.weight, for PyTorch
        valid = json.loads(metadata["provenance"]).get("valid") or {}
        model = Scorer(config, vocabulary, params, path, valid.get("mean_log_z"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a model this nplm can use ({error})") from error
    for name, value in params.items():  # its extremes, which are NaN if any number is: no array is made
        if not np.isfinite([value.min(), value.max()]).all():
            raise InputError(
                f"{path}: {name} holds numbers that are not finite, so the model says nothing; take an earlier one"
            )
    return model


def blocks(tensors: Tensors, metadata: Metadata) -> Iterator[bytes | memoryview]:
    """The bytes of a file: length of the header, header (JSON), tensors; the wider types first, so all are aligned."""
    header: dict[str, Any] = {"__metadata__": metadata}
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    place = 0
    for name in names:
        value = tensors[name]
        offsets = [place, place := place + value.nbytes]
        header[name] = {"dtype": DTYPES[value.dtype.name], "shape": value.shape, "data_offsets": offsets}
    text = _to_json(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield tensors[name].data


def _plain(value: Array) -> Array:
    """The array as its bytes stand in a file: C-contiguous, little-endian."""
    return np.ascontiguousarray(value, value.dtype.newbyteorder("<"))


def _to_json(value: Mapping[str, Any]) -> str:
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
