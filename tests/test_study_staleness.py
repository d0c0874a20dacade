"""The study of the carried state.  Oracle: a state read at once by the reference, and a run without updates."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_close, make_model

from nplm.config import TrainConfig
from nplm.data.streams import Streams
from nplm.reference import model as reference
from nplm.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def study(monkeypatch):
    """benchmarks/study_staleness.py, with sequences of 10 steps."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("study_staleness")
    monkeypatch.setattr(module, "S", 10)
    return module


def make_trainer(lr):
    """On a random text of three streams, in float64."""
    ids = np.random.default_rng(5).integers(0, 11, 150, np.int32)
    config = TrainConfig(bptt=5, batch_size=3, sequence_length=10, num_noise=7, lr=lr, shards=1)
    return Trainer(make_model(np.float64, scale=0.4), Streams(ids, 3), config)


def test_recomputed_state(study):
    """reference.run_layers over all steps at once."""
    trainer = make_trainer(1.0)
    got = study.recomputed(trainer.model, trainer.streams, 23)
    inputs, _ = trainer.streams.window(0, 23)
    _, kept = reference.run_layers(trainer.model.params, inputs, *trainer.model.zero_state(3))
    for k, (_, h, c, _) in enumerate(kept):
        assert_close(got.h[k], h[-1], 1e-12)
        assert_close(got.c[k], c[-1], 1e-12)


def test_nothing_is_stale_without_updates(study):
    """A rate of almost nothing, and [J3]: the distance is in proportion to the rate."""
    found = {}
    for lr in (1e-14, 1e-3, 2e-3):
        trainer = make_trainer(lr)
        for span in trainer.spans[:6]:
            trainer.step(span)
        found[lr] = study.compare(trainer, trainer.spans[6])
    assert found[1e-14]["distance"] < 1e-12 and abs(found[1e-14]["nats"]) < 1e-12
    assert found[2e-3]["distance"] / found[1e-3]["distance"] == pytest.approx(2, rel=0.02)
    for name in ("nats", "first"):
        assert found[2e-3][name] / found[1e-3][name] == pytest.approx(2, rel=0.1)


def test_quick(study, monkeypatch, tmp_path, capsys):
    """The script: a row for each rate, the larger rate the staler."""
    monkeypatch.setattr(study, "S", 640)
    monkeypatch.setattr(sys, "argv", ["study_staleness", "--quick", "--json", str(tmp_path / "rows.json")])
    study.main()
    slow, fast = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]
    assert (slow["lr"], fast["lr"], slow["bptt"], slow["probes"]) == (5.0, 20.0, 20, 2)
    assert 0 < slow["distance"] < fast["distance"]


def test_the_page_counts_the_rows():
    """The recorded rows: how many costs are within two standard errors of zero, and the largest of a first step."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "study_staleness.json").read_text(encoding="utf-8"))["rows"]
    far = [row for row in rows if abs(row["nats"]) > 2 * row["error"]]
    assert len(rows) == 6 and [(row["lr"], row["nats"] < 0) for row in far] == [(1.25, True)]
    assert max(rows, key=lambda row: abs(row["first"]))["lr"] == 5
    assert min(row["first"] for row in rows) < 0
    assert {round(row["distance"], 2) for row in rows if row["lr"] == 20 and row["bptt"] <= 80} == {0.18, 0.19, 0.20}
    page = " ".join((ROOT / "docs" / "learn" / "bptt.md").read_text(encoding="utf-8").split())
    assert "in five of the six rows it is within two standard errors of zero, and in the sixth" in page
