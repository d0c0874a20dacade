"""Makes the figures and files of this folder; to be run once, by the version that later ones are held to.

    PYTHONPATH=<checkout>:tests python tests/golden/make.py      the checkout: f9218ac, before nplm was refactored

values.json         float64: losses, gradient norms and parameters of the five recipes in recipes.py
sgd/, adam/         folders of runs that were stopped in their second epoch by an exception; last.safetensors is zipped,
                    because Adam's table of past rates takes 131 kB and is nearly all zeros
model.safetensors   a model that was trained to the end
runs.json           what those models evaluate to, and where the runs end when they are resumed

Random weights and texts are drawn with fixed seeds; see `text` in recipes.py.
"""

import gzip
import json
import math
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from golden.recipes import ADAM, DROPOUT, RECIPES, SHARDS, text, train, vocabulary

import nplm

HERE = Path(__file__).resolve().parent
COMMAND = "PYTHONPATH=<checkout>:tests python tests/golden/make.py"
SMALL_V = 12
STOP_AT = 21  # chunks that a run is stopped after, which are eight of its second epoch
SMALL: dict[str, Any] = {
    "bptt": 4, "batch_size": 5, "sequence_length": 10, "num_noise": 6, "lr": 2.0, "clip": 0.5, "epochs": 4,
    "schedule": "constant", "log_interval": 3, "save_interval": 0.0, "shards": 2, "threads": 1,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {"sgd": {}, "adam": ADAM | DROPOUT}  # the latter tied


class StopError(Exception):
    """Ends a run midway."""


class Stop(nplm.Observer):
    """Ends training by an exception, after which nothing more is saved."""

    def __init__(self) -> None:
        self.seen = 0

    def step(self, step: Any) -> None:
        self.seen += 1
        if self.seen == STOP_AT:
            raise StopError


def parts(value: Any) -> dict[str, Any]:
    """What is recorded of an array: its first, middle and last entry, the largest magnitude, and its norm."""
    flat = np.asarray(value, np.float64).ravel()
    entries = [flat[0], flat[len(flat) // 2], flat[-1], np.abs(flat).max()]
    return {"entries": [float(entry) for entry in entries], "norm": math.sqrt(math.fsum(flat**2))}


def small_corpus() -> nplm.Corpus:
    """203 tokens to train on, which are 12 chunks and a tail, and 50 to validate on."""
    return nplm.Corpus("small", vocabulary(SMALL_V), text(SMALL_V, 203, seed=2), text(SMALL_V, 50, seed=3))


def small_model(run: str) -> nplm.LanguageModel:
    """An untrained model."""
    sizes = nplm.ModelConfig(SMALL_V, 6 if run == "adam" else 4, 6, 2, tied=run == "adam", init_scale=1.0)
    return nplm.LanguageModel.init(sizes, vocabulary(SMALL_V), np.random.default_rng(4))


def config(run: str) -> nplm.TrainConfig:
    """The settings of a run."""
    return nplm.TrainConfig(**SMALL | RUNS[run])


def evaluation(model: nplm.LanguageModel) -> dict[str, float]:
    """Figures of a model on the valid text."""
    return evaluation_on(model, small_corpus())


def evaluation_on(model: nplm.LanguageModel, corpus: nplm.Corpus) -> dict[str, float]:
    """Figures of a model on the valid text of a corpus."""
    found = asdict(nplm.evaluate(model, corpus.valid, threads=1))
    return {name: found[name] for name in ("nats", "perplexity", "unnormalised_nats", "mean_log_z", "std_log_z")}


def resume(run: str, folder: Path) -> dict[str, Any]:
    """Where a stopped run ends: losses of the metrics, the best model's figures, the last parameters."""
    model = small_model(run)
    result = nplm.train(model, small_corpus(), config(run), save=folder, resume=True)
    return {
        "train": [line["loss"] for line in result.history if line["kind"] == "train"],
        "valid": [line["nats"] for line in result.history if line["kind"] == "valid"],
        "best_epoch": result.progress.best_epoch,
        "best": evaluation(result.best),
        "params": {name: parts(value) for name, value in model.params.items()},
    }


def unpack(run: str, scratch: Path) -> Path:
    """A copy of a stopped run's folder, to go on with."""
    folder = scratch / run
    shutil.copytree(HERE / run, folder)
    packed = folder / "last.safetensors.gz"
    (folder / "last.safetensors").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def record_run(run: str, scratch: Path) -> dict[str, Any]:
    """Start a run, stop it, keep its folder, and go on with a copy of it."""
    folder = HERE / run
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(StopError):
        nplm.train(small_model(run), small_corpus(), config(run), save=folder, observer=Stop())
    last = folder / "last.safetensors"
    (folder / "last.safetensors.gz").write_bytes(gzip.compress(last.read_bytes(), mtime=0))
    last.unlink()
    copy = unpack(run, scratch)
    found: dict[str, Any] = {file: evaluation(nplm.load(copy / f"{file}.safetensors")) for file in ("best", "last")}
    return found | {"end": resume(run, copy)}


def record_model() -> dict[str, float]:
    """Train a model to the end and keep it in a file."""
    model = small_model("sgd")
    nplm.train(model, small_corpus(), config("sgd"))
    model.save(HERE / "model.safetensors")  # nplm.save(model, path) in later versions
    return evaluation(model)


def record_recipe(recipe: str, shards: int) -> dict[str, Any]:
    """Figures of one float64 training."""
    params, figures = train(recipe, shards, np.float64)
    return {
        "losses": figures.losses,
        "norms": figures.norms,
        "params": {name: parts(value) for name, value in params.items()},
    }


def main() -> None:
    """Write all of it."""
    checkout = Path(nplm.__file__).resolve().parent.parent
    git = subprocess.run(["git", "-C", checkout, "describe", "--always", "--dirty"], capture_output=True, text=True)
    made = {"command": COMMAND, "commit": git.stdout.strip()}
    values = {recipe: {str(shards): record_recipe(recipe, shards) for shards in SHARDS} for recipe in RECIPES}
    with tempfile.TemporaryDirectory() as scratch:
        runs = {run: record_run(run, Path(scratch)) for run in RUNS}
    for name, found in (("values", values), ("runs", runs | {"model": record_model()})):
        (HERE / f"{name}.json").write_text(json.dumps(made | {name: found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
