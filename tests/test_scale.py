"""The growth benchmark.  Oracles: figures by hand; a line; the bytes that a job of two ranks counts itself."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_ranks import needs_mpi

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Modules of benchmarks/ can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def model():
    return importlib.import_module("_scale_model")


@pytest.fixture
def shape():
    return importlib.import_module("_workload").Shape(B=8, T=2, E=3, H=4, L=2, K=5, V=10)


def test_formulas(model, shape):
    """By hand: [W2], [W3] and [W4] with rates that keep their terms apart."""
    dense = 4 * (16 * (3 + 4 + 1) + 16 * (4 + 4 + 1))
    assert model.dense_bytes(shape) == dense
    rows = model.row_bytes(shape, 2)
    wire = model.Wire(alpha=1.0, beta=0.0, overhead=1e3)
    assert model.transfer(shape, 4, wire) == 5 * 2 + 3 * (3 * 6 + 2 * 3 + 1) * 1e3
    assert model.transfer(shape, 4, model.Wire(0.0, 1.0, 0.0)) == pytest.approx(2 * 3 / 4 * dense + 3 * rows)
    machine = model.Machine(fixed=7.0, column=100.0, dense_rate=0.0, row_rate=1.0)
    assert model.merge(shape, 4, machine) == pytest.approx(4 * rows)
    assert model.merge(shape, 4, machine._replace(dense_rate=1.0)) == pytest.approx(4 * rows + 3 / 4 * dense)
    free = model.Wire(0.0, 0.0, 0.0)
    assert model.step(shape, 1, machine, free) == 7 + 800
    assert model.step(shape, 4, machine._replace(row_rate=0.0), free) == 7 + 200
    assert model.step(shape, 3, machine._replace(row_rate=0.0), free) == 7 + 300  # the rank with most columns


def test_expected_rows(model, shape):
    """Drawn: the mean number of distinct words of many texts."""
    np = importlib.import_module("numpy")
    probs, rng = importlib.import_module("_workload").zipf(shape.V), np.random.default_rng(0)
    inputs, outputs = (
        np.mean([np.unique(rng.choice(shape.V, n, p=probs)).size for _ in range(4000)]) for n in (6, 6 + shape.K)
    )
    assert model.row_bytes(shape, 3) == pytest.approx(inputs * (4 * 3 + 4) + outputs * (4 * 5 + 8), rel=0.01)


def test_where_more_machines_stop_paying():
    """By hand: the shortest step, the last that is half as fast as it could be, and the page's sentence."""
    tables = importlib.import_module("_scale_tables")
    figures = ((1, 1.0, 1.0, 1.0), (2, 1.5, 1.6, 0.8), (4, 1.2, 2.0, 0.5), (8, None, 2.4, 0.3))
    names = "machines", "strong_speedup", "weak_speedup", "efficiency"
    same = {"kind": "growth", "name": "a", "shape": [1], "gbit": 10}
    rows = [same | dict(zip(names, values, strict=True)) for values in figures]
    found = {"shape": [1], "gbit": 10, "fastest": 2, "speedup": 1.5, "half": 4, "half_speedup": 2.0, "all": 2.4}
    assert tables.limits([*rows, {"kind": "speed"}]) == [found]
    recorded = json.loads((ROOT / "benchmarks" / "results" / "bench_scale.json").read_text())["rows"]
    slow, ten = ([row for row in tables.limits(recorded) if row["gbit"] == gbit] for gbit in (1, 10))
    page = " ".join((ROOT / "docs" / "scale.md").read_text(encoding="utf-8").split())
    assert [row["fastest"] for row in slow] == [1, 1, 1] and {row["fastest"] for row in ten} == {4, 8}
    speedups = [f"{row['speedup']:.1f}" for row in ten]
    assert (min(speedups), max(speedups)) == ("1.4", "2.6")
    fastest = (
        "At 1 Gbit/s one machine is the fastest for all three models; at 10 Gbit/s 4 or 8 machines are, and they are"
    )
    assert f"{fastest} 1.4 to 2.6 times as fast as one." in page
    assert max(row["half"] for row in slow) == 2 and {row["half"] for row in ten} == {16, 32}
    half = "up to 16 or 32 machines with a full batch each work at half their speed or more; over 1 Gbit/s, at most two"
    assert f"{half} do." in page
    ratios = [row["ratio"] for row in recorded if row["kind"] == "check"]
    assert len(ratios) == 12 and min(ratios) == min(ratios, key=lambda ratio: -abs(ratio - 1))
    assert "of all twelve measurements" in page


def test_a_link_is_fitted(model):
    """Times on a line: the line."""
    job = importlib.import_module("_scale_job")
    assert job.fit([10, 100, 1000], [500.0, 50.0, 700.0]) == (50.0, 0.7)  # no line: shortest and longest
    assert job.fit([10, 100, 1000], [7.0, 16.0, 106.0]) == pytest.approx((6.0, 0.1))
    tenfold = model.ethernet(10, model.Wire(3.0, 2.0, 1.0), 1)
    assert tenfold == (3.0, 0.2, 1.0)


@needs_mpi
def test_two_ranks_are_measured(tmp_path, model):
    """The promised keys; bytes sent are those that the formula expects; the parts of a step are not more than it."""
    file = tmp_path / "scale.json"
    command = [sys.executable, "benchmarks/bench_scale.py", "--quick", "--only", "speed", "--samples", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--json", file], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert [(row["scaling"], row["ranks"]) for row in rows] == [("strong", 2), ("weak", 2)]
    for row in rows:
        assert all(math.isfinite(row[name]) and row[name] > 0 for name in ("ms", "reference_ms", "speed", "megabytes"))
        assert 0 < row["waiting"] < 1
        size = importlib.import_module("_workload").Shape(*row["shape"])
        columns = size.B // 2 if row["scaling"] == "strong" else size.B
        expected = model.dense_bytes(size) + model.row_bytes(size, columns)
        assert 1e6 * row["megabytes"] == pytest.approx(expected, rel=0.35)  # states and numbers of rows come on top
