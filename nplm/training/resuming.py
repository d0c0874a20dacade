"""Checks of a checkpoint before training is resumed from it: every array, every number, and that it is of this run.

The kernels use the optimiser's clock and dates as indices, so everything is checked before anything is restored.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from nplm.arrays import Array, non_finite
from nplm.config import ModelConfig, TrainConfig
from nplm.errors import InputError
from nplm.model import LanguageModel
from nplm.storage.records import check_fields
from nplm.training.optim import Optimizer, clock_is_possible
from nplm.training.progress import Progress

DEFAULTS = {field.name: field.default for config in (ModelConfig, TrainConfig) for field in fields(config)}
# Settings that do not affect what is learned up to a given chunk, so a resumed run may change them.
FREE_SETTINGS = ("epochs", "threads", "log_interval", "save_interval")
KEPT_SETTINGS = ("fit_log_z",)  # the same, but the best model's file depends on them, and names them
ANY_NUMBER = ("best_nats", "loss_sum")  # of Progress: may be negative, infinite or NaN


def check_model(saved: LanguageModel, model: LanguageModel, where: str) -> None:
    """Raise InputError unless the saved model has the shape, type and words of the model in training."""
    if saved.dtype != model.dtype:
        raise InputError(f"{where}: the run is in {saved.dtype}, but the model in {model.dtype}; use the same type")
    was, now = asdict(saved.config), asdict(model.config)
    for name in now:
        if was[name] != now[name]:
            raise InputError(f"{where}: `{name}` was {was[name]} and is now {now[name]}; undo the change")
    if saved.vocabulary != model.vocabulary:
        raise InputError(f"{where}: its vocabulary is not that of the texts; restore the texts")


def check_settings_of(record: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless a checkpoint was made with the settings of the resumed training.

    config.json also states them, but that file is easily edited.
    """
    was = record.get("train")
    if not isinstance(was, Mapping):
        raise InputError(f"{where}: it has no training settings; use a checkpoint that nplm wrote")
    for name, value in now["train"].items():
        before = was.get(name, DEFAULTS.get(name))
        taken_up = name in KEPT_SETTINGS and value
        if name != "precision" and before != value and not taken_up:  # precision is compared by its products
            raise InputError(
                f"{where}: it was trained with `{name}` = {before}, and config.json or the call says {value};"
                " undo the change"
            )


def check_progress(record: Mapping[str, Any], where: str, largest_rate: float = math.inf) -> Progress:
    """The progress in a checkpoint's record; its rate is at most the one that was set, since no schedule raises it."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Progress)}
    check_fields(record, kinds, where, ANY_NUMBER)
    try:
        progress = Progress(**record)
    except TypeError as error:  # a field of a newer nplm, or the rate is missing
        raise InputError(f"{where}: written by another version of nplm ({error}); resume with that one") from None
    for name in ("best_epoch", "stalled"):
        if record.get(name, 0) > progress.epoch:
            raise InputError(f"{where}: {name} = {record[name]} is beyond epoch = {progress.epoch}")
    if progress.lr > largest_rate:
        raise InputError(f"{where}: lr = {progress.lr:g} is above the run's `lr` = {largest_rate:g}")
    return progress


def check_arrays(extra: Mapping[str, Array], optimizer: Optimizer, model: LanguageModel, where: str) -> None:
    """Raise InputError unless optimiser and carried state have their types, shapes and ranges."""
    columns = extra["h"].shape[1] if "h" in extra and extra["h"].ndim == 3 else 1
    for name, value in {**optimizer.memory, **model.zero_state(columns)._asdict()}.items():
        found = extra.get(name)
        if found is None:
            raise InputError(f"{where}: has no run.{name}; it is from another version of nplm, or another optimizer")
        if found.dtype != value.dtype or found.shape != value.shape:
            raise InputError(
                f"{where}: run.{name} is {found.dtype} {found.shape}, not {value.dtype} {value.shape};"
                " use a checkpoint of this run"
            )
    if odd := non_finite(extra):
        raise InputError(f"{where}: run.{odd} holds numbers that are not finite; use an earlier checkpoint")
    if odd := next((n for n, a in extra.items() if n.startswith("squares.") and a.size and a.min() < 0), None):
        raise InputError(f"{where}: run.{odd} holds negative squares; use an earlier checkpoint")
    if not clock_is_possible(extra, optimizer.kind):
        raise InputError(f"{where}: the optimiser's clock or dates are out of range; use an earlier checkpoint")
