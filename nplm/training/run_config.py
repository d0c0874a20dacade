"""config.json of a run: its settings and the source of its texts, and the check that a resumed run is the same.

The settings are also in last.safetensors, where a checksum covers them: resuming.py compares those.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nplm._version import __version__
from nplm.config import ModelConfig, TextConfig, TrainConfig
from nplm.config.setting import settings
from nplm.data.corpus import Corpus
from nplm.data.mapped import in_blocks
from nplm.data.units import FIRST_RULE, Words
from nplm.errors import InputError
from nplm.layers.precision import Products
from nplm.storage.records import check_fields, parse_object, regular
from nplm.training.resuming import DEFAULTS, FREE_SETTINGS, KEPT_SETTINGS

PARTS = {"model": ModelConfig, "train": TrainConfig, "source": TextConfig}  # and the classes that declare them


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read config.json of a run.  Raises InputError if the folder does not contain a run."""
    path = Path(folder) / "config.json"
    try:
        record = parse_object(regular(path).read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: no run to resume here ({error.strerror}); start one without `resume`") from error
    record = {"products": {}, "unit": Words(FIRST_RULE).identity} | record  # runs of old versions lack these
    parts = {"nplm": str, "unit": str, "model": dict, "train": dict, "corpus": dict, "source": dict, "products": dict}
    if missing := parts.keys() - record.keys():
        raise InputError(f"{path}: damaged, not the settings of a run (no {min(missing)!r})")
    where = f"{path}: damaged, not the settings of a run"
    check_fields(record, parts, where)
    for part, config in PARTS.items():
        _check_declared(record[part], config, where)
    check_fields(record["corpus"], {"name": str, "sha256": str}, where)
    products = {name: record["products"][name] for name in Products._fields if name in record["products"]}
    check_fields(products, dict.fromkeys(Products._fields, str), where)
    if record["products"] and len(products) < len(Products._fields):
        raise InputError(f"{where} (its products are incomplete)")
    return {part: record[part] for part in parts} | {"products": products}


def _check_declared(values: Mapping[str, Any], config: type, where: str) -> None:
    """Raise InputError unless each value that a dataclass declares is valid; other values are not checked."""
    for declared in settings(config):
        if declared.name in values:
            try:
                declared.check(values[declared.name])
            except InputError as error:
                raise InputError(f"{where} ({error})") from None


def check_same(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError unless a resumed run has the settings and texts of the old one."""
    cosine = new["train"]["schedule"] == "cosine"  # its rates depend on the number of epochs
    free = {name for name in FREE_SETTINGS if not (cosine and name == "epochs")}
    free |= {name for name in KEPT_SETTINGS if new["train"][name]}  # may be switched on, but not off
    _check_products(old, new, folder)
    _check_unit(old["unit"], new["unit"], folder)
    free |= {"precision"}  # its effect has just been compared
    for part in ("model", "train", "corpus"):
        for name, value in new[part].items():
            was = old[part].get(name, DEFAULTS.get(name))  # a setting added after the run had its default value
            if name not in free and was != value:
                if name == "sha256":
                    raise InputError(f"{folder}: the texts or the vocabulary are not those of the run; restore them")
                what = "the training text" if part == "corpus" else f"`{name}`"
                why = ", and the rates of the cosine schedule depend on it" if name == "epochs" else ""
                raise InputError(
                    f"{folder}: {what} was {was} and is now {value}{why}; a resumed run must keep its"
                    " settings and texts: undo the change, or start again with another `save`"
                )


def _check_products(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError if operands are rounded or multiplied differently, which would change the bits."""
    now = Products(**new["products"])
    was = Products(**old["products"]) if old["products"] else Products("float32", "fma")
    if now != was and (now.bfloat16 or was.bfloat16):
        raise InputError(
            f"{folder}: `precision` was {was} and is now {now}; a resumed run must stay bit-identical: ask for"
            f" {was.precision} on a processor that has {was.maker}, or start again with another `save`"
        )


def _check_unit(was: str, now: str, folder: Path) -> None:
    """Raise InputError if the tokenizer differs.  Versions of its library may differ: the ids are compared, too."""
    was_what, now_what = (unit.partition(" by ")[0] for unit in (was, now))
    both_words = was_what.startswith("word ") and now_what.startswith("word ")  # the ids tell if the rule matters
    if was_what != now_what and not both_words:
        raise InputError(
            f"{folder}: the `unit` was {was_what} and is now {now_what}; a resumed run must keep it: undo the change,"
            " or start again with another `save`"
        )


def record_of(
    model: ModelConfig, train: TrainConfig, corpus: Corpus, source: Mapping[str, Any], products: Products
) -> dict[str, Any]:
    """The content of config.json."""
    record = {
        "nplm": __version__,
        "unit": corpus.unit.identity,
        "model": asdict(model),
        "train": asdict(train),
        "products": products._asdict(),
        "corpus": {"name": corpus.name, "sha256": fingerprint(corpus)},
        "source": dict(source),
    }
    normal: dict[str, Any] = json.loads(json.dumps(record))  # as it will be when it is read back
    return normal


def provenance_of(train: TrainConfig, corpus: Corpus, products: Products) -> dict[str, Any]:
    """How a model was made, for its file."""
    free = [name for name in FREE_SETTINGS if not (name == "epochs" and train.schedule == "cosine")]
    settings = {name: value for name, value in asdict(train).items() if name not in free}
    made = {"nplm": __version__, "corpus": corpus.name, "train": settings}
    return made | {"products": products._asdict()}


def fingerprint(corpus: Corpus) -> str:
    """SHA-256 of the vocabulary and of the training and valid ids."""
    digest = hashlib.sha256(corpus.vocabulary.to_bytes())
    for ids in (corpus.train, corpus.valid):
        if ids is not None:
            digest.update(len(ids).to_bytes(8, "little"))
            for block in in_blocks(ids):  # a memory-mapped text is never whole in memory
                digest.update(block.tobytes())
    return digest.hexdigest()
