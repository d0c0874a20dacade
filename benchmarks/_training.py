"""Runs of `nplm train` for the studies: a recipe, changes to it, a folder that it is kept in and resumed from."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _record

from nplm.views.metrics_log import read_history

RECIPES = _record.ROOT / "benchmarks" / "recipes"
KEPT = (
    "seed", "valid_perplexity", "test_perplexity", "unigram_perplexity", "floor_perplexity", "mean_log_z", "std_log_z",
    "tokens", "tokens_per_second", "seconds",
)  # fmt: skip
INTERRUPTED = 130  # exit code
CURVE = ("epoch", "seconds", "perplexity", "mean_log_z", "std_log_z", "unnormalised_nats")


def ptb() -> list[str]:
    """The flags of the Penn Treebank's three texts, from the folder that NPLM_DATA names."""
    folder = Path(os.environ.get("NPLM_DATA", _record.ROOT.parent / "shared" / "data")) / "ptb"
    return [part for name in ("train", "valid", "test") for part in (f"--{name}", str(folder / f"{name}.txt"))]


def train(folder: Path, recipe: str, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of a recipe trained with changed flags; a run that was stopped goes on, if it is the same run."""
    text = ptb() if recipe.startswith("ptb") else []
    command = [sys.executable, "-m", "nplm", "train", "--save", str(folder), "--json"]
    command += ["--config", str(RECIPES / f"{recipe}.toml"), *text, *changes]
    if (folder / "last.safetensors").exists():
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
    """The valid text after every epoch."""
    return [{name: line[name] for name in CURVE} for line in read_history(folder).valid]
