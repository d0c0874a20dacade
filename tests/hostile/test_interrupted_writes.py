"""Faults at every call of commands that write, kills, and runs that are cut.  Oracles: old or new; the whole run.

Each test starts one warm process, `python -m tests.hostile`, whose children are tried; the long version is the same
program with more time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import library_calls, tally

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def trials(path, *words, expect=0):
    """The total that the program writes."""
    line = [sys.executable, "-W", "ignore", "-m", "tests.hostile", "--minutes", "10", "--json", str(path), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    got = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert got.returncode == expect, got.stderr[-4000:]
    return json.loads(got.stdout.splitlines()[-1]), got.stderr


@pytest.mark.slow
def test_faults_at_the_calls_of_python(tmp_path):
    """Oracle: the old file or the new one, one line, a run that goes on to the same bits."""
    total, _ = trials(tmp_path / "a.json", "--only", "faults", "--count", "70")
    assert total["injected_faults"] == 70 and total["injected_wrong"] == total["crashes"] == 0


@pytest.mark.slow
@pytest.mark.skipif(bool(library_calls.why_not()), reason=library_calls.why_not())
def test_faults_at_the_calls_of_the_library(tmp_path):
    """The same, below Python: shim.c, compiled here."""
    total, _ = trials(tmp_path / "a.json", "--only", "library", "--count", "70")
    assert total["injected_faults"] == 70 and total["injected_wrong"] == total["crashes"] == 0


@pytest.mark.slow
def test_killed_and_cut_runs(tmp_path):
    """Oracle: the uninterrupted run, bit for bit; two workers at once, whose figures add up."""
    words = ("--only", "kills", "--only", "configurations", "--count", "2", "--jobs", "2")
    total, _ = trials(tmp_path / "a.json", *words)
    assert total["configurations"] == 40 and total["killed_runs"] == 4
    assert total["configurations_wrong"] == total["kills_wrong"] == total["crashes"] == 0


PLANTED = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
from contextlib import contextmanager
from nplm import atomic

@contextmanager
def in_place(path):
    with path.open("wb") as file:
        yield file

atomic.atomic = in_place
from pathlib import Path
from hostile import faults
from hostile.python_calls import PythonCalls
injector = faults.Injector(Path({folder!r}), PythonCalls())
export = next(c for c in faults.COMMANDS if c.name == "export --to word2vec")
count = injector.made[export.name][0]
print([bool(injector.one(export, n, kind)) for n in range(1, count + 1) for kind in ("short", "kill half")].count(True))
"""


@pytest.mark.slow
def test_planted_bug_files_that_are_written_in_place(tmp_path):
    """Planted: without the temporary file, some faults leave half a file, and are seen."""
    script = PLANTED.format(root=str(ROOT), folder=str(tmp_path))
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    got = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
    assert got.returncode == 0, got.stderr
    assert int(got.stdout.split()[-1]) >= 2


def test_runs_add_up(tmp_path):
    """By hand: two runs of one file, the second written twice as it goes on; the total counts each once."""
    path = tmp_path / "a.json"
    row = {
        "kind": "inputs",
        "reader": "model",
        "counts": {"read": 2, "refused": 3},
        "faults": [],
        "cpu_seconds": 3600.0,
    }
    kill = {"kind": "kills", "counts": {"kills": 7, "runs": 1, "fault": 1}, "faults": [{"n": 1}], "cpu_seconds": 0.0}
    tally.merge(path, 1, [row])
    tally.merge(path, 2, [row])
    total = tally.merge(path, 2, [row | {"counts": {"read": 10, "crashed": 1}}, kill])
    assert (total["runs"], total["inputs"], total["read"], total["crashes"]) == (2, 16, 12, 1)
    assert (total["kills"], total["kills_wrong"], total["inputs_wrong"], total["cpu_hours"]) == (7, 1, 1, 2.0)
    assert len(tally.read(path)) == 3 and not (tmp_path / "a.lock").exists()
