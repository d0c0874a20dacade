"""Records the golden values and files in this folder with the nplm that is imported.

    cd tests/golden && PYTHONPATH=CHECKOUT python make.py

train.txt, valid.txt    the text, written by recipes.py
values.json             losses and parameters of five recipes in float64
run-sgd, run-adam       folders of runs that were stopped in the middle of an epoch, in float32
model.safetensors       a model without a run
files.json              what these files gave to the version that wrote them, and how the runs end

They were recorded by the commit named in both JSON files.  Values may be recorded again where a change of the
arithmetic is meant.  The runs and the model are never recorded again: they stand for the files that users have.
"""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from golden import recipes

import nplm

HERE = Path(__file__).resolve().parent
VOCABULARY = 40
SIZES = recipes.Sizes(embed=5, hidden=6, batch=3, bptt=4, chunks=3)
STOP = 23  # chunks after which a run is stopped: an epoch has 18
RUNS: dict[str, recipes.Recipe] = {
    "run-sgd": recipes.Recipe({}, {"num_noise": 12, "lr": 2.0, "epochs": 3}),
    "run-adam": recipes.Recipe(
        {"tied": True, "embed_dim": 6},
        {
            "num_noise": 12,
            "epochs": 3,
            "optimizer": "adam",
            "lr": 0.01,
            "weight_decay": 0.1,
            "reset_at_eos": True,
            "dropout": 0.3,
            "dropout_words": 0.1,
            "dropout_recurrent": 0.2,
        },
    ),
}
SENTENCE = "w3 w14 w7"  # scored by KenLM's interface
CLOCK = ("seconds", "tokens_per_second")  # what no two runs have in common


class Stop(nplm.Observer):
    """Presses Ctrl-C after some chunks."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks

    def step(self, step: Any) -> None:
        self.chunks -= 1
        if self.chunks == 0:
            signal.raise_signal(signal.SIGINT)


def corpus() -> nplm.Corpus:
    """The text in this folder."""
    return nplm.load_corpus(HERE / "train.txt", HERE / "valid.txt")


def write_text(name: str, num_tokens: int, seed: int) -> None:
    """A text of w0, w1, ... in lines."""
    words = [f"w{k}" if k != 1 else "\n" for k in recipes.text(num_tokens, VOCABULARY, seed).tolist()]
    lines = " ".join(words).replace(" \n ", "\n").replace(" \n", "\n").lstrip("\n ")
    (HERE / name).write_text(lines, encoding="utf-8")


def values(recipe: recipes.Recipe, shards: int) -> dict[str, Any]:
    """Loss of every chunk, and of every parameter its norm and five entries, in float64."""
    model, losses = recipes.train(recipe, corpus(), SIZES, np.float64, shards=shards)
    return {"losses": losses, "params": summary(model)}


def summary(model: nplm.LanguageModel) -> dict[str, dict[str, Any]]:
    """Norm of every parameter, and five of its entries from the first to the last."""
    found = {}
    for name, value in model.params.items():
        places = np.linspace(0, value.size - 1, 5).astype(int)
        found[name] = {"norm": float(np.linalg.norm(value)), "entries": value.ravel()[places].tolist()}
    return found


def figures(model: Any) -> dict[str, Any]:
    """Evaluation of a model on the valid text."""
    return asdict(nplm.evaluate(model, corpus().valid))


def run(folder: Path, recipe: recipes.Recipe, **options: Any) -> Any:
    """Train in a run's folder; returns the model and the result."""
    text = corpus()
    sizes = {"embed_dim": SIZES.embed, "hidden_dim": SIZES.hidden, "num_layers": 2} | recipe.model
    config = nplm.ModelConfig(len(text.vocabulary), **sizes)
    model = nplm.LanguageModel.init(config, text.vocabulary, np.random.default_rng(5), np.float32)
    cut = {"bptt": SIZES.bptt, "batch_size": SIZES.batch, "sequence_length": SIZES.bptt * SIZES.chunks}
    settings = nplm.TrainConfig(**cut, seed=6, log_interval=2, eval_batch_size=2, **recipe.train)
    return model, nplm.train(model, text, settings, save=folder, **options)


def end(folder: Path, recipe: recipes.Recipe) -> dict[str, Any]:
    """How a run in a folder ends when it is resumed there: parameters, metrics without the clock, best model."""
    model, result = run(folder, recipe, resume=True)
    history = [{key: value for key, value in line.items() if key not in CLOCK} for line in result.history]
    return {"params": summary(model), "history": history, "best": figures(result.best)}


def file_figures(path: Path) -> dict[str, Any]:
    """What a model file gives: the evaluation, and a sentence's score in base 10, normalised and not."""
    kenlm = nplm.Model(str(path))
    scores = [kenlm.score(SENTENCE, normalize=normalize) for normalize in (True, False)]
    return {"evaluation": figures(nplm.load(path)), "scores": scores}


def main() -> None:
    commit = subprocess.run(
        ["git", "-C", str(Path(nplm.__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    made = {"command": "cd tests/golden && PYTHONPATH=CHECKOUT python make.py", "commit": commit}
    write_text("train.txt", 200, seed=1)
    write_text("valid.txt", 60, seed=2)
    found = {
        name: {str(shards): values(recipe, shards) for shards in recipes.SHARDS}
        for name, recipe in recipes.RECIPES.items()
    }
    (HERE / "values.json").write_text(json.dumps(made | {"recipes": found}, indent=1) + "\n", encoding="utf-8")
    files: dict[str, Any] = {}
    for name, recipe in RUNS.items():
        folder, copy = HERE / name, HERE / f"{name}-resumed"
        shutil.rmtree(folder, ignore_errors=True)
        _, result = run(folder, recipe, observer=Stop(STOP))
        assert result.interrupted and (result.progress.epoch, result.progress.chunk) == (1, 5)
        shutil.copytree(folder, copy)
        files[name] = {
            "best": file_figures(folder / "best.safetensors"),
            "last": file_figures(folder / "last.safetensors"),
            "end": end(copy, recipe),
        }
        shutil.rmtree(copy)
    model, _ = recipes.train(recipes.RECIPES["sgd"], corpus(), SIZES, np.float32)
    getattr(nplm, "save", lambda model, path: model.save(path))(model, HERE / "model.safetensors")
    files["model.safetensors"] = file_figures(HERE / "model.safetensors")
    (HERE / "files.json").write_text(json.dumps(made | {"files": files}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
