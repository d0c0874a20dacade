"""Random configurations, cut at random chunks and resumed.  Oracle: the run that nothing happened to, bit for bit."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hostile.children import Place, forked

import nplm
from nplm.config.setting import settings
from nplm.errors import DivergedError
from nplm.storage import checkpoint

CLOCK = ("seconds", "tokens_per_second")  # what no two runs have in common


class Cut(Exception):
    """Ends a run midway."""


class Cutter(nplm.Observer):
    """Ends training after some chunks: as Ctrl-C does, or by an exception, after which nothing more is saved."""

    def __init__(self, chunks: int, politely: bool) -> None:
        self.left, self.politely = chunks, politely

    def step(self, step: Any) -> bool:
        self.left -= 1
        if self.left <= 0 and not self.politely:
            raise Cut
        return self.left <= 0


def vocabulary(size: int) -> nplm.Vocabulary:
    return nplm.Vocabulary.from_counts({f"w{k}": 2 * size - k for k in range(size - 2)})


class Case:
    """A random run: model, settings and texts, all from one generator."""

    def __init__(self, rng: Random) -> None:
        self.size = rng.randrange(4, 30)
        self.hidden, tied = rng.randrange(1, 9), rng.random() < 0.3
        embed = self.hidden if tied else rng.randrange(1, 9)
        self.config = nplm.ModelConfig(
            self.size, embed, self.hidden, rng.randrange(1, 4), tied, init_scale=rng.choice((0.05, 0.3, 1.0)),
            noise_power=rng.choice((0.0, 0.75, 1.0)), noise_uniform=rng.choice((0.0, 0.1)),
        )  # fmt: skip
        self.dtype = rng.choice((np.float32, np.float32, np.float64))
        ids = np.random.default_rng(rng.randrange(2**31))  # a chunk has 42 words at most
        train, valid = (ids.integers(0, self.size, n, np.int32) for n in (rng.randrange(50, 300), rng.randrange(1, 60)))
        self.corpus = nplm.Corpus("random", vocabulary(self.size), train, valid if rng.random() < 0.9 else None)
        self.train = self._settings(rng)

    def _settings(self, rng: Random) -> nplm.TrainConfig:
        """Settings of every kind that go together; sizes are small."""
        bptt = rng.randrange(1, 8)
        chunks = rng.randrange(2, 5)
        drawn: dict[str, Any] = {
            "bptt": bptt, "sequence_length": rng.randrange(bptt * (chunks - 1) + 1, bptt * chunks + 1),
            "batch_size": rng.randrange(1, 7), "num_noise": rng.randrange(1, 12), "epochs": rng.randrange(1, 4),
            "noise_groups": rng.randrange(2, chunks + 1), "shards": rng.randrange(1, 4), "threads": 1,
            "log_interval": rng.randrange(1, 6), "save_interval": rng.choice((0.0, 0.0, 0.003, 60.0)),
            "seed": rng.randrange(2**40), "eval_batch_size": rng.randrange(1, 5),
            "lr_decay": rng.choice((0.5, 1.0)), "decay_after": rng.randrange(3), "warmup": rng.choice((0, 0, 7)),
            "lr_floor": rng.choice((0.0, 0.1)), "clip": rng.choice((0.1, 1.0, float("inf"))),
            "weight_decay": rng.choice((0.0, 0.0, 0.01)), "patience": rng.choice((0, 0, 2)), "averaging_patience": 1,
        }  # fmt: skip
        for setting in settings(nplm.TrainConfig):
            if setting.choices and setting.name != "precision":
                drawn[setting.name] = rng.choice(setting.choices)
            elif setting.kind is bool:
                drawn[setting.name] = rng.random() < 0.3
            elif setting.name.startswith("dropout"):
                drawn[setting.name] = rng.choice((0.0, 0.0, 0.3))
        drawn["precision"] = "bfloat16" if self.dtype is np.float32 and rng.random() < 0.2 else "float32"
        drawn["lr"] = rng.choice((0.003, 0.05)) if drawn["optimizer"] == "adam" else rng.choice((0.1, 1.0, 5.0))
        drawn["baseline"] = False
        drawn["own_counts"] &= drawn["noise"] == "pool" and drawn["objective"] == "nce"
        drawn["log_z_penalty"] = rng.choice((0.0, 0.1)) if drawn["objective"] == "softmax" else 0.0
        if self.corpus.valid is None:
            drawn |= {"patience": 0, "fit_log_z": False}
            drawn["optimizer"] = "sgd" if drawn["optimizer"] == "asgd" else drawn["optimizer"]
            drawn["schedule"] = "constant" if drawn["schedule"] == "plateau" else drawn["schedule"]
        return nplm.TrainConfig(**drawn)

    def run(self, folder: Path, observer: nplm.Observer | None = None) -> bool:
        """Start the run, or go on with it; whether it was ended early.  A run may diverge."""
        model = nplm.LanguageModel.init(self.config, self.corpus.vocabulary, np.random.default_rng(1), self.dtype)
        resume = (folder / "config.json").exists()
        try:
            with np.errstate(all="ignore"):
                got = nplm.train(model, self.corpus, self.train, save=folder, resume=resume, observer=observer)
        except Cut:
            return True
        except DivergedError:
            return False
        return got.interrupted


def difference(folder: Path, whole: Path) -> str:
    """What differs between the folders of two runs, the clock aside; "" where nothing does."""
    if {path.name for path in folder.iterdir()} != {path.name for path in whole.iterdir()}:
        return f"files: {sorted(path.name for path in folder.iterdir())}"
    best = [path / "best.safetensors" for path in (folder, whole)]
    if best[1].exists() and best[0].read_bytes() != best[1].read_bytes():
        return "best.safetensors"
    (got, at, extra), (model, whole_at, whole_extra) = (
        checkpoint.load_run(path / "last.safetensors") for path in (folder, whole)
    )
    for what, one, other in (("params", got.params, model.params), ("run", extra, whole_extra)):
        for name in other:
            if one[name].tobytes() != other[name].tobytes():
                return f"{what}.{name}"
    for name in whole_at:
        if name != "seconds" and repr(at[name]) != repr(whole_at[name]):
            return f"progress.{name}: {at[name]}, not {whole_at[name]}"
    return "" if metrics(folder) == metrics(whole) else "metrics.jsonl"


def metrics(folder: Path) -> list[Any]:
    """The lines of metrics, without what the clock says."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def cut_and_resumed(seed: str, n: int, folder: Path) -> dict[str, int]:
    """One configuration: a whole run, and one that is cut up to four times.  Raises AssertionError on another bit."""
    rng = Random(f"configuration/{seed}/{n}")
    case = Case(rng)
    for name in ("whole", "cut"):
        shutil.rmtree(folder / name, ignore_errors=True)
    case.run(folder / "whole")
    cuts = 0
    for _ in range(rng.randrange(1, 5)):
        if not case.run(folder / "cut", Cutter(rng.randrange(1, 40), rng.random() < 0.5)):
            break
        cuts += 1
    case.run(folder / "cut")
    odd = difference(folder / "cut", folder / "whole")
    assert not odd, f"{odd} after {cuts} cuts, with {case.config} {case.train}"
    return {"configurations": 1, "cuts": cuts}


def batch(task: Callable[[int], dict[str, int]], start: int, count: int) -> dict[str, Any]:
    """A child does so many tries; counts are summed, and a fault ends it."""
    counts: dict[str, int] = {}
    faults: list[dict[str, Any]] = []

    def work(place: Place) -> Any:
        total: dict[str, int] = {}
        for n in range(start, start + count):
            place.set(n)
            try:
                for name, value in task(n).items():
                    total[name] = total.get(name, 0) + value
            except Exception as error:
                return [total, {"n": n, "error": f"{type(error).__name__}: {error}"[:2000]}]
        return [total, None]

    ending = forked(work)
    if ending.result is None:
        how = "hung" if ending.hung else f"crashed with {ending.code}"
        return {"counts": {"hung" if ending.hung else "crashed": 1}, "faults": [{"n": ending.at, "error": how}]}
    counts |= ending.result[0]
    if ending.result[1] is not None:
        counts["fault"] = 1
        faults.append(ending.result[1])
    return {"counts": counts, "faults": faults}


def stage(seed: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Configurations without end, ten to a child."""
    start = 0
    for n in range(6):  # compiles what the first ones need
        cut_and_resumed("warm", n, folder)
    while True:
        yield {"kind": "configurations", **batch(lambda n: cut_and_resumed(seed, n, folder), start, 10)}
        start += 10
