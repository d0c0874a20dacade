"""benchmarks/bench_gradcheck.py: a quick run, and the page against the recorded figures.  Oracle: the result file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "bench_gradcheck.json"


@pytest.fixture
def bench(monkeypatch):
    """The script as a module."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import bench_gradcheck

    return bench_gradcheck


def test_the_page_has_the_recorded_figures(bench):
    """The table is filled by the script, and the issue's demands hold in it."""
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    page = bench.PAGE.read_text(encoding="utf-8")
    assert bench.filled(page, rows) == page
    ours = rows[0]
    assert ours["checker"] == "nplm.gradcheck" and ours["found"] == ours["faults"] >= 60
    assert ours["false_alarms"] == 0 and ours["right"] >= 40
    facts = {key: value for row in rows if "checker" not in row for key, value in row.items()}
    assert facts["named"] >= 0.8 * facts["patterns"] and facts["resolution"] < 1e-6
    assert facts["runs"] >= 2000 and facts["false_alarms_of_runs"] == 0


def test_a_quick_run(tmp_path):
    """Every checker that is installed gives a row; ours finds everything."""
    pytest.importorskip("torch")
    file = tmp_path / "out.json"
    command = [sys.executable, ROOT / "benchmarks" / "bench_gradcheck.py", "--quick", "--json", file]
    subprocess.run(command, check=True, capture_output=True)
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert rows[0]["found"] == rows[0]["faults"] > 5 and rows[0]["false_alarms"] == 0
