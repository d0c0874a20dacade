"""Readers of settings and metrics: config.json of a run, a config file in TOML, metrics.jsonl.

The oracle is Python's own parser of the same bytes, and the declarations in nplm/config/, read here by themselves.
"""

import json
import shutil
import tomllib
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np
from conftest import make_model
from hostile import mutate
from hostile.binary import RECIPES, SIZES, toy
from hostile.reader import Reader, same

import nplm
from nplm.cli.settings import read_config_file
from nplm.config import CONFIGS, ModelConfig, TextConfig, TrainConfig
from nplm.training.run_config import read_config
from nplm.training.run_folder import RunFolder
from nplm.views.metrics_log import read_history, series

PARTS = {"model": ModelConfig, "train": TrainConfig, "source": TextConfig}
CHUNKS = "chunks"  # a setting of the command alone
SEVERAL = ("train", "valid", "test", "weight")  # lists of texts; one alone may stand for a list of one


def is_declared(field: Any, value: Any) -> bool:
    """Whether a value has the type, the choice and the range that a field declares."""
    hint = field.type
    if type(None) in get_args(hint):
        if value is None:
            return True
        hint = get_args(hint)[0]
    if field.name in SEVERAL:
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    if choices := get_args(hint):
        return isinstance(value, str) and value in choices
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is str:
        return isinstance(value, str)
    if not isinstance(value, int if hint is int else (int, float)) or (isinstance(value, int) and abs(value) >= 2**64):
        return False
    return not (interval := field.metadata["interval"]) or in_interval(float(value), interval)


def in_interval(value: float, interval: str) -> bool:
    """Whether a number lies in an interval such as "[1, 2^20]" or "(0, inf)"."""
    low, high = map(bound, interval[1:-1].split(", "))
    above = value >= low if interval[0] == "[" else value > low
    return above and (value <= high if interval[-1] == "]" else value < high)


def bound(text: str) -> float:
    base, _, power = text.partition("^")
    return float(base) ** float(power or 1)


class ConfigJson(Reader):
    """config.json, as `--resume` reads it."""

    name = "config.json"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.rmtree(folder)
        nplm.train(make_model(np.float32, scale=0.3), toy(), nplm.TrainConfig(**SIZES | {"epochs": 1}), save=folder)
        self.good = json.loads((folder / "config.json").read_text())
        self.good["source"] = {"train": "/texts/train.txt", "min_count": 2, "unit": "word"}

    def trial(self, rng: Random) -> None:
        text = mutate.of_json_text(rng, self.good)
        data = mutate.of_bytes(rng, text.encode()) if rng.randrange(4) == 0 else text.encode("utf-8", "replace")
        (self.folder / "config.json").write_bytes(data)
        got = read_config(self.folder)
        told = json.loads(data.decode("utf-8-sig"))
        for name, value in got.items():
            if name == "products":
                assert same({n: told.get(name, {}).get(n) for n in value}, value)
            elif name in told or name != "unit":
                assert same(value, told[name]), f"{name} = {value!r}"
        for part, config in PARTS.items():
            for field in fields(config):
                if field.name in got[part]:
                    value = got[part][field.name]
                    assert is_declared(field, value), f"{part}.{field.name} = {value!r} was taken"


class Toml(Reader):
    """`--config FILE.toml`."""

    name = "TOML"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "recipe.toml"
        self.fields = {field.name: field for config in CONFIGS for field in fields(config)}
        flags = {f.name: f.metadata["flag"] or f.name.replace("_", "-") for f in self.fields.values()}
        self.names = {s: n for n, flag in flags.items() for s in (flag, flag.replace("-", "_"), n)}

    def trial(self, rng: Random) -> None:
        lines = [self._line(rng) for _ in range(rng.randrange(1, 6))]
        tables = rng.choice(([], ["[model]"], ["[train]"], ["[text]"], ["[train]", "[text]"]))
        for table in tables:
            lines.insert(rng.randrange(len(lines) + 1), table)
        text = rng.choice(("\n", "\n", "\r\n")).join(lines) + "\n"
        data = mutate.of_text(rng, text) if rng.randrange(2) else text.encode()
        self.path.write_bytes(data)
        got = read_config_file(str(self.path))
        told: dict[str, Any] = {}
        document = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
        for name, value in document.items():
            inside = value if isinstance(value, dict) and name in ("model", "train", "text") else {name: value}
            for key, one in inside.items():
                setting = CHUNKS if key == CHUNKS else self.names[key]
                assert setting not in told, f"{setting} was given twice"
                told[setting] = [one] if setting in SEVERAL and isinstance(one, str) else one
        assert same(got, told), f"{got} of {told}"
        for name, value in got.items():
            assert name == CHUNKS or is_declared(self.fields[name], value), f"{name} = {value!r} was taken"

    def _line(self, rng: Random) -> str:
        """A setting by one of its names, with a value that is often allowed."""
        name = rng.choice(sorted(self.names))
        hint = self.fields[self.names[name]].type
        choices = get_args(hint)
        if choices and isinstance(choices[0], str):
            value = json.dumps(rng.choice(choices))
        elif hint is bool:
            value = rng.choice(("true", "false"))
        elif rng.randrange(3) == 0:
            value = rng.choice(("1", "0", "0.5", "1e3", "inf", "nan", "-1", '"a b"', "[1]", "1_0", "0x1", "9" * 400))
        else:
            value = {int: str(rng.randrange(2, 60)), float: rng.choice(("0.25", "1", "0.5"))}.get(hint, '"a b"')
        return f"{name} = {value}"


class Metrics(Reader):
    """metrics.jsonl, as plot and report read it, and as a run that goes on does."""

    name = "metrics.jsonl"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.rmtree(folder)
        config = nplm.TrainConfig(**SIZES | RECIPES["adagrad"] | {"epochs": 1})
        nplm.train(make_model(np.float32, scale=0.3), toy(), config, save=folder)
        self.path = folder / "metrics.jsonl"
        self.good = self.path.read_text().splitlines()

    def trial(self, rng: Random) -> None:
        lines = list(self.good)
        for _ in range(rng.randrange(3)):
            k = rng.randrange(len(lines))
            lines[k] = mutate.of_json_text(rng, json.loads(self.good[k]))
        data = "\n".join(lines).encode("utf-8", "replace") + b"\n" * rng.randrange(2)
        data = mutate.of_bytes(rng, data) if rng.randrange(3) == 0 else data
        self.path.write_bytes(data)
        told = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        self._resumed(told)
        records = [(n, self._record(line)) for n, line in enumerate(told.split("\n")) if line.strip()]
        whole = all(record is not None for _, record in records[:-1])
        got = read_history(self.folder)
        assert whole, "a damaged line was passed over"
        expected = [record for _, record in records if record is not None]
        for kind in ("train", "valid"):
            assert same(getattr(got, kind), [r for r in expected if r["kind"] == kind]), kind
        for name in ("loss", "perplexity", "lr"):
            for value, record in zip(series(got.train, name), got.train, strict=True):
                assert isinstance(value, float) and (value != value or same(value, float(record[name])))

    def _resumed(self, text: str) -> None:
        """RunFolder.history has every whole line, and no other."""
        history = RunFolder(self.folder, {}).history()
        expected = []
        for line in text.split("\n")[:-1]:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            expected += [record] if isinstance(record, dict) else []
        assert same(history, expected), "another history"

    @staticmethod
    def _record(line: str) -> dict[str, Any] | None:
        """A line of metrics: an object with its kind, and three figures of at least 0 that a float can hold."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
            return None
        for name in ("epoch", "tokens_trained", "seconds"):
            value = record.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return None
            if not 0 <= value < 2**1000:  # NaN is neither
                return None
        return record
