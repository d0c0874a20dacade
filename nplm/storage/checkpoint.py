"""One safetensors file for a model, alone or with everything needed to resume its run; written whole or not at all.

tensors   PyTorch's names and shapes: encoder.weight, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0 (the
          layer's one bias), rnn.bias_hh_l0 (zero), decoder.weight, decoder.bias, and `vocabulary`, uint8, lines
          of "token<TAB>count"; `tokenizer`, uint8, the bytes of a tokenizer's file, where the unit has one
metadata  format, version, config (JSON), provenance (JSON), mean_log_z (JSON, if known), sha256 over all of
          these and the tensors; white_space, the rule that separates words, "unicode" if missing; unk, the
          texts' word for unknown words, if it is not <unk>; for units other than words, version 2 and unit
          (JSON, decision 0014)
A run's last.safetensors also has the tensors run.* and the metadata key `run` (JSON).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nplm.arrays import non_finite
from nplm.config import ModelConfig
from nplm.data.units import FIRST_RULE, Unit, Words, describe, restore
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError, NotFiniteError
from nplm.model import HasLanguageModel, LanguageModel, language_model_of
from nplm.network import Params
from nplm.storage.records import LARGEST, is_number, parse_object
from nplm.storage.tensorfile import UNITS_VERSION, Metadata, Tensors, read, read_metadata, to_json, write


def _is_valid(value: Any) -> bool:
    names = ("perplexity", "tokens", "mean_log_z", "std_log_z")
    return isinstance(value, Mapping) and all(is_number(value.get(name), finite=False) for name in names)


MADE: dict[str, Callable[[Any], bool]] = {  # the entries that nplm itself writes into a provenance, and their types
    "nplm": lambda value: isinstance(value, str),
    "corpus": lambda value: isinstance(value, str),
    "epoch": lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST,
    "valid": _is_valid,
    "train": lambda value: isinstance(value, Mapping),
    "products": lambda value: isinstance(value, Mapping) and {"precision", "maker"} <= value.keys(),
}


def save_model(
    model: LanguageModel | HasLanguageModel, path: str | Path, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a model to one .safetensors file, completely or not at all.  This is `nplm.save`.

    Parameters
    ----------
    model : LanguageModel or Model
        Its mean log Z is saved with it.
    path : path
        Replaced if it exists.
    provenance : mapping, optional
        How the model was made, for `nplm info`; the values must be valid JSON.  The same model and provenance give
        the same bytes.

    Raises
    ------
    InputError, OSError
        If the file cannot be written, or if a parameter is not finite (NotFiniteError), since such a file could not be
        read back; an older file of that name is then unchanged.
    """
    tensors, metadata = _pack(language_model_of(model), provenance or {})
    _check_finite(path, tensors)
    write(path, tensors, metadata)


def load_model(path: str | Path) -> LanguageModel:
    """Read a model from its file, or the best model from the folder of a run.  This is `nplm.load`.

    Parameters
    ----------
    path : path
        A model file, or a folder that contains best.safetensors or last.safetensors.

    Raises
    ------
    InputError
        If the file is missing, damaged, of a newer format version, or not a model.
    """
    path = model_file(path)
    return _unpack(path, *read(path))


def model_file(path: str | Path) -> Path:
    """The model file for a path: the path itself, or in the folder of a run the best model, or else the last."""
    path = Path(path)
    files = (path / name for name in ("best.safetensors", "last.safetensors"))
    return next((file for file in files if file.is_file()), path)


def save_run(
    model: LanguageModel, path: str | Path, provenance: Mapping[str, Any], run: Mapping[str, Any], extra: Tensors
) -> None:
    """Write a model with the state of its run: JSON values in `run`, arrays in `extra`, all of them finite."""
    tensors, metadata = _pack(model, provenance)
    tensors |= {f"run.{name}": value for name, value in extra.items()}
    _check_finite(path, tensors)
    write(path, tensors, metadata | {"run": to_json(run)})


def load_run(path: str | Path) -> tuple[LanguageModel, dict[str, Any], Tensors]:
    """Read what `save_run` wrote: the model, and `run` and `extra`, which the caller must check."""
    tensors, metadata = read(path)
    if "run" not in metadata:
        raise InputError(f"{path}: a model without the state of its run; resume from last.safetensors")
    extra = {name[4:]: value for name, value in tensors.items() if name.startswith("run.")}
    run = parse_object(metadata["run"], f"{path}: run")
    return _unpack(path, tensors, metadata), run, extra


def load_unit(path: str | Path) -> Unit:
    """The unit of the model in the file, without the model."""
    tensors, metadata = read(path)
    try:
        return _unpack_unit(tensors, metadata)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not a model this nplm can use ({error})") from error


def provenance(path: str | Path) -> dict[str, Any]:
    """How the model in the file was made: whatever `save_model` was given.  The tensors are not read."""
    return _provenance(path, read_metadata(path))


def split_provenance(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of a provenance that nplm writes, if they have the right type, and all other entries."""
    known = {name: value for name, value in record.items() if name in MADE and MADE[name](value)}
    return known, {name: value for name, value in record.items() if name not in known and value is not None}


def torch_tensors(model: LanguageModel) -> Tensors:
    """The parameters under PyTorch's names."""
    tensors: Tensors = {"decoder.weight": model.output_weight}  # a separate tensor in PyTorch, even if ours is tied
    for name, value in model.params.items():
        if name.startswith("rnn.bias_l"):  # PyTorch has two biases per layer: ours, and zero
            layer = name.removeprefix("rnn.bias_")
            tensors[f"rnn.bias_ih_{layer}"] = value
            tensors[f"rnn.bias_hh_{layer}"] = np.zeros_like(value)
        else:
            tensors[name] = value
    return tensors


def _check_finite(path: str | Path, tensors: Tensors) -> None:
    """Raise NotFiniteError unless all numbers are finite: the loss may be finite when a parameter is not."""
    if name := non_finite(tensors):
        raise NotFiniteError(f"{path}: not written, because {name} holds numbers that are not finite")


def _pack(model: LanguageModel, provenance: Mapping[str, Any]) -> tuple[Tensors, Metadata]:
    tensors = {"vocabulary": np.frombuffer(model.vocabulary.to_bytes(), np.uint8)} | torch_tensors(model)
    metadata = {"config": to_json(asdict(model.config)), "provenance": to_json(provenance)}
    if model.mean_log_z is not None and math.isfinite(model.mean_log_z):
        metadata["mean_log_z"] = json.dumps(model.mean_log_z)
    return tensors, metadata | _pack_unit(model.unit, tensors)


def _pack_unit(unit: Unit, tensors: Tensors) -> Metadata:
    """The metadata of a unit; its tokenizer's bytes are added to the tensors."""
    if isinstance(unit, Words):  # files with the first rule have no key for it, so their bytes stay the same
        about = {name: value for name, value in describe(unit).items() if name != "kind"}
        return about if unit.rule != FIRST_RULE else {name: about[name] for name in about.keys() - {"white_space"}}
    if unit.data:
        tensors["tokenizer"] = np.frombuffer(unit.data, np.uint8)
    return {"version": UNITS_VERSION, "unit": to_json(describe(unit))}


def _unpack_unit(tensors: Tensors, metadata: Metadata) -> Unit:
    if metadata["version"] != UNITS_VERSION:
        return restore({"kind": "word"} | {name: metadata[name] for name in ("white_space", "unk") if name in metadata})
    data = tensors["tokenizer"].tobytes() if "tokenizer" in tensors else b""
    return restore(parse_object(metadata["unit"], "unit"), data)


def _provenance(path: str | Path, metadata: Metadata) -> dict[str, Any]:
    return parse_object(metadata.get("provenance", "{}"), f"{path}: provenance")


def _mean_log_z(path: str | Path, metadata: Metadata) -> float | None:
    """The mean log Z; None if it is not known."""
    try:
        value = json.loads(metadata.get("mean_log_z", "null"))
    except RecursionError:
        raise ValueError("mean_log_z is nested too deeply") from None
    if value is None:  # the first files of version 1 have it only in the record of their validation
        valid = _provenance(path, metadata).get("valid")
        value = valid.get("mean_log_z", math.nan) if isinstance(valid, Mapping) else math.nan
        value = value if is_number(value) else math.nan
    if not is_number(value, finite=False):
        raise ValueError("mean_log_z is not a number")
    return float(value) if math.isfinite(value) else None


def _unpack(path: str | Path, tensors: Tensors, metadata: Metadata) -> LanguageModel:
    try:
        config = ModelConfig(**parse_object(metadata["config"], "config"))
        vocabulary = Vocabulary.from_bytes(tensors["vocabulary"].tobytes())
        params: Params = {}
        for name, value in tensors.items():
            if name.startswith("rnn.bias_ih_"):
                second = tensors[name.replace("_ih_", "_hh_")]  # zero in our files: keep every bit
                if second.shape != value.shape:
                    raise ValueError(f"the two biases {name} and {name.replace('_ih_', '_hh_')} differ in shape")
                params[name.replace("bias_ih_", "bias_")] = value + second if second.any() else value
            elif name not in ("vocabulary", "tokenizer") and not name.startswith(("run.", "rnn.bias_hh_")):
                params[name] = value
        if config.tied:
            del params["decoder.weight"]  # a copy of encoder.weight, for PyTorch
        model = LanguageModel(config, vocabulary, params, _mean_log_z(path, metadata), _unpack_unit(tensors, metadata))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a model this nplm can use ({error})") from error
    if odd := non_finite(params):
        raise InputError(
            f"{path}: {odd} holds numbers that are not finite, so the model is unusable; use an earlier one"
        )
    return model
