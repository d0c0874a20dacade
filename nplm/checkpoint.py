"""One file holds a model, or a model with all that a run needs to go on: safetensors, written whole or not at all.

tensors   PyTorch's names and shapes: encoder.weight, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0 (the
          layer's one bias), rnn.bias_hh_l0 (zero), decoder.weight, decoder.bias, and `vocabulary`, uint8, lines
          of "token<TAB>count"
metadata  format, version, config (JSON), provenance (JSON), sha256 over all of these and the tensors
A run's last.safetensors has in addition the tensors run.* and the metadata key `run` (JSON).
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nplm.config import ModelConfig
from nplm.errors import InputError
from nplm.layers.rows import Array
from nplm.model import LanguageModel, Params
from nplm.vocabulary import Vocabulary

FORMAT, VERSION = "nplm", "1"
Tensors = dict[str, Array]
Metadata = dict[str, str]


def save_model(model: LanguageModel, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a model to one file.  The same model and provenance give the same bytes."""
    write(path, *_pack(model, provenance or {}))


def load_model(path: str | Path) -> LanguageModel:
    """Read a model.  Raises InputError if the file is missing, damaged, of another version, or no model."""
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

    Temporary file in the same folder, fsync, rename, fsync of the folder.  Arrays are made C-contiguous first:
    safetensors writes others in the order of their memory, without a word.
    """
    path = Path(path)
    tensors = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    metadata = metadata | {"format": FORMAT, "version": VERSION}
    metadata["sha256"] = _digest(tensors, metadata)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        temporary = Path(name)
        os.close(handle)
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: not written ({reason}); what was there before is untouched") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged, or not a model file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: a safetensors file, but not one of nplm's")
    if metadata.get("version") != VERSION:
        raise InputError(
            f"{path}: written in version {metadata.get('version')!r} of the format, this nplm reads {VERSION!r};"
            " read it with the nplm that wrote it"
        )
    if metadata.get("sha256") != _digest(tensors, metadata):
        raise InputError(f"{path}: damaged (its checksum does not match); take a copy that is whole")
    return tensors, metadata


def _pack(model: LanguageModel, provenance: Mapping[str, Any]) -> tuple[Tensors, Metadata]:
    tensors: Tensors = {"vocabulary": np.frombuffer(model.vocabulary.to_bytes(), np.uint8)}
    for name, value in model.params.items():
        if name.startswith("rnn.bias_l"):  # PyTorch has two biases a layer: ours, and zero
            layer = name.removeprefix("rnn.bias_")
            tensors[f"rnn.bias_ih_{layer}"] = value
            tensors[f"rnn.bias_hh_{layer}"] = np.zeros_like(value)
        else:
            tensors[name] = value
    return tensors, {"config": _to_json(asdict(model.config)), "provenance": _to_json(provenance)}


def _unpack(path: str | Path, tensors: Tensors, metadata: Metadata) -> LanguageModel:
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
        return LanguageModel(config, vocabulary, params)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a model this nplm can use ({error})") from error


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


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
