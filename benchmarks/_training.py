"""Runs of `nplm train` for the studies: a recipe, changes to it, a folder that it is kept in and resumed from."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _record
import numpy as np

from nplm.views.metrics_log import read_history

RECIPES = _record.ROOT / "benchmarks" / "recipes"
KEPT = (
    "seed", "valid_perplexity", "test_perplexity", "unigram_perplexity", "floor_perplexity", "mean_log_z", "std_log_z",
    "tokens", "tokens_per_second", "seconds",
)  # fmt: skip
DIVERGED, INTERRUPTED = 1, 130  # exit codes
LAST = "last.safetensors"  # the checkpoint that a run is resumed from
CURVE = ("epoch", "seconds", "perplexity", "mean_log_z", "std_log_z", "unnormalised_nats")


def texts(name: str, *parts: str) -> list[str]:
    """The flags of a text's parts, by default all three, from its folder in the one that NPLM_DATA names."""
    folder = Path(os.environ.get("NPLM_DATA", _record.ROOT.parent / "shared" / "data")) / name
    return [word for part in parts or ("train", "valid", "test") for word in (f"--{part}", str(folder / f"{part}.txt"))]


def train(folder: Path, recipe: str, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of a recipe trained with changed flags; a run that was stopped goes on, if it is the same run."""
    text = texts("ptb") if recipe.startswith("ptb") else []
    command = [sys.executable, "-m", "nplm", "train", "--save", str(folder), "--json"]
    command += ["--config", str(RECIPES / f"{recipe}.toml"), *text, *changes]
    if (folder / LAST).exists():
        command += ["--resume"]
    return figures(command)


def figures(command: Sequence[str]) -> dict[str, Any]:
    """What a command with --json prints last.  Where it fails, or is interrupted and has saved, the study ends too."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:  # Ctrl-C: the command had it too and is saving
            process.communicate()
            sys.exit(process.returncode or INTERRUPTED)
    if process.returncode:
        sys.exit(process.returncode)
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def curve(folder: Path) -> list[dict[str, Any]]:
    """The validation text after every epoch."""
    return [{name: line[name] for name in CURVE} for line in read_history(folder).valid]


def perplexity_at(curve: list[dict[str, Any]], time: float) -> float | None:
    """Perplexity after `time` seconds of training; None before the first epoch's end and after the last's."""
    seconds = [point["seconds"] for point in curve]
    if not seconds[0] <= time <= seconds[-1]:
        return None
    return math.exp(np.interp(time, seconds, [math.log(point["perplexity"]) for point in curve]))
