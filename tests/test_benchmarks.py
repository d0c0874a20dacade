"""The benchmarks.  Oracles: the peer's and our step on the same numbers; scripted clocks; the source of the counts.

No speed is asserted: that every script runs and records what it promises is.
"""

import importlib
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_close

ROOT = Path(__file__).resolve().parent.parent
TORCH = "PyTorch is not installed: pip install nplm-nce[torch]"


def run(script, *arguments):
    """Run a script of benchmarks/; returns its standard output."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def quick(name, folder, *arguments):
    """The rows of a --quick run of bench_NAME.py."""
    file = folder / f"bench_{name}.json"
    printed = run(f"bench_{name}.py", "--quick", "--json", file, *arguments)
    result = json.loads(file.read_text(encoding="utf-8"))
    assert {"cpu", "cores", "python", "numpy", "numba", "commit"} <= set(result["machine"])
    assert len(printed.splitlines()) > len(result["rows"])  # a heading and a line a row
    return result["rows"]


def promised(rows, *keys):
    """Every row has the keys, and the figures among them are finite and positive."""
    assert rows
    for row in rows:
        for key in keys:
            if isinstance(row[key], float):
                assert math.isfinite(row[key]) and row[key] > 0, (key, row[key])


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with the results of every benchmark, without a peer."""
    folder = tmp_path_factory.mktemp("results")
    for name, threads in {"train": (1, 2), "vocab": (1,), "eval": (1, 2), "score": (1,)}.items():
        quick(name, folder, "--threads", *threads)
    for name in ("noise", "memory"):
        quick(name, folder)
    quick("input", folder, "--minutes", 0.01)
    rounded = ("--precision", "bfloat16", "--threads", 1, 2)
    run("bench_train.py", "--quick", "--json", folder / "bench_train-bfloat16.json", *rounded)
    return folder


@pytest.fixture
def rows(results, request):
    """The rows of the benchmark that the test is named after."""
    name = request.node.originalname.removeprefix("test_")
    return json.loads((results / f"bench_{name}.json").read_text(encoding="utf-8"))["rows"]


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_train(rows):
    """The promised keys, a row for each shape and number of threads; the pieces of a step add up to it."""
    promised(rows, "tokens_per_second", "peer", "peer_tokens_per_second", "ratio", "ratio_low", "ratio_high")
    promised(rows, "name", "shape", "threads", "peak_share", "sgemm_peak_gflops", "samples")
    assert [row["threads"] for row in rows] == [1, 2, 1, 2]
    assert [row["shape"][0] for row in rows] == [4, 4, 1, 1]
    for row in rows:
        pieces = dict(row["breakdown"])
        total = pieces.pop("total")
        assert sum(pieces.values()) == pytest.approx(total, abs=1e-3 * len(pieces))
        assert min(pieces.values()) > 0


def test_against_two_peers_in_bfloat16(tmp_path):
    """The peer is the faster of the two; our own float32 step is there too."""
    pytest.importorskip("torch", reason=TORCH)
    flags = ("--against", "torch", "torch-bf16", "--precision", "bfloat16", "--threads", 1)
    for row in quick("train", tmp_path, *flags):
        promised([row], "ratio", "over_float32", "peer_tokens_per_second")
        assert (row["precision"], set(row["peers"])) == ("bfloat16", {"torch", "torch-bf16"})
        assert row["peers"][row["peer"]] == row["peer_tokens_per_second"] == max(row["peers"].values())


@pytest.mark.parametrize("name", ["train", "eval", "vocab"])
def test_against_torch(tmp_path, name):
    """With the peer its figures are there too."""
    pytest.importorskip("torch", reason=TORCH)
    found = quick(name, tmp_path, "--against", "torch", "--threads", 1)
    if name == "vocab":
        assert [row["softmax"] for row in found if row["kind"] == "softmax"] == ["nplm", "torch"]
    else:
        promised(found, "peer_tokens_per_second", "ratio", "ratio_low", "ratio_high")
        assert all(row["ratio"] is not None for row in found)


def test_score(rows):
    """The promised keys; every kind; the unnormalised rows tell how far they are off."""
    promised(rows, "slow_us", "fast_us", "ratio", "ratio_low", "ratio_high", "threads")
    assert {(row["kind"], row["normalize"]) for row in rows} == {
        ("batch", True), ("batch", False), ("unnormalised", False), ("bfloat16", True), ("bfloat16", False),
    }  # fmt: skip
    promised([row for row in rows if row["kind"] == "unnormalised"], "mean_error", "std_log_z")


def test_vocab(rows):
    """Growth for each V and text, the softmax for each V, with the ceiling computed by hand."""
    growth = [row for row in rows if row["kind"] == "growth"]
    promised(growth, "threads", "step_ms", "base_ms", "growth", "growth_low", "growth_high", "samples")
    places = [(row["vocab_size"], row["text"]) for row in growth]
    assert places == [(v, name) for v in (100, 300) for name in ("first", "spread", "zipf")]
    exact = [row for row in rows if row["kind"] == "softmax"]
    promised(exact, "vocab_size", "softmax_ms", "step_ms", "ratio", "ratio_low", "ratio_high", "ceiling_share")
    lstm = 6 * 2 * 8 * 12**2  # L = 2, H = 12, K = 8, V = 100
    assert exact[0]["ceiling"] == pytest.approx((lstm + 6 * 12 * 100) / (lstm + 6 * 12 * 9))


def test_noise(rows):
    """A row for each method."""
    promised(rows, "vocab_size", "draws", "draws_per_second", "ratio", "ratio_low", "ratio_high", "samples")
    assert [row["method"] for row in rows] == ["alias", "choice", "searchsorted"]


def test_eval(rows):
    """A row for each kind and number of threads."""
    promised(rows, "vocab_size", "tokens", "tokens_per_second", "samples")
    kinds = [(row["threads"], row["kind"]) for row in rows]
    assert kinds == [(1, "exact"), (1, "unnormalised"), (2, "exact"), (2, "unnormalised")]


def test_memory(rows):
    """A row for each task; what must be held adds up."""
    promised(rows, "vocab_size", "baseline_mb", "held_mb")
    assert [row["task"] for row in rows] == ["steps", "evaluate", "train"]
    for row in rows:
        assert row["held_mb"] == pytest.approx(sum(row["held"].values()))
        assert row["peak_mb"] >= row["made_mb"]
        assert row["ratio"] == pytest.approx(row["peak_mb"] / row["held_mb"])


def test_input(rows):
    """The text as it was made, and the sums and ratios of what was measured."""
    promised(rows, "megabytes", "first_seconds", "second_seconds", "first_peak_mb", "second_peak_mb")
    for row in rows:
        assert (row["types"], row["tokens"]) == (500, 21_000)
        assert row["held_mb"] == pytest.approx(row["baseline_mb"] + sum(row["held"].values()))
        assert row["ratio"] == pytest.approx(row["train_peak_mb"] / row["held_mb"])


@pytest.mark.parametrize("sizes", [(4, 7, 12, 16, 2, 8, 50), (1, 9, 6, 10, 1, 5, 30)])
@pytest.mark.parametrize("objective", ["nce", "softmax"])
def test_the_peer_computes_the_same(benchmark, sizes, objective):
    """PyTorch: the same losses of two chunks, the second from the carried state, and the same updates."""
    pytest.importorskip("torch", reason=TORCH)
    from torch import from_numpy

    workload = benchmark("_workload")
    shape = workload.Shape(*sizes)
    model, ids = workload.make_model(shape), workload.text(shape.V, shape)
    before = {name: value.copy() for name, value in model.params.items()}
    peer = benchmark("_peer").PeerTrainer(model, shape, ids, 1, objective)
    ours = workload.OurTrainer(model, shape, ids, 1, objective=objective)
    with ours.running(), peer.running():
        for span in ours.trainer.spans[:2]:
            window = ours.trainer.streams.window(span.start, span.stop)
            noise_ids = ours.trainer.noise.group(0, span.sequence, span.chunk)
            chunk = (from_numpy(part.astype(np.int64)) for part in (*window, noise_ids))
            assert ours.step() == pytest.approx(peer.chunk(*chunk), rel=1e-4)
    theirs = peer.arrays()
    assert set(theirs) == set(model.params)
    for name, value in model.params.items():
        assert np.abs(value - before[name]).max() > 1e-5
        assert_close(value, theirs[name], 1e-4)
        assert_close(value - before[name], theirs[name] - before[name], 2e-3)


def test_the_distribution_is_found_again(benchmark):
    """Counts in exact proportion to the distribution give its two constants back."""
    workload = benchmark("_workload")
    exponent, shift = workload.fit(workload.zipf(2000) * 1e6)
    assert exponent == pytest.approx(workload.EXPONENT, abs=1e-4)
    assert shift == pytest.approx(workload.SHIFT, abs=1e-3)


def test_samples_alternate(benchmark):
    """By hand: A B A B, each sample with its threads made before it and ended after it."""
    timing = benchmark("_timing")
    seen = []
    sides = {name: timing.Side(lambda name=name: seen.append(name), nullcontext) for name in "AB"}
    times = timing.in_turns(sides, samples=3, seconds=0.0)
    runs = [name for k, name in enumerate(seen) if k == 0 or seen[k - 1] != name]
    assert runs == list("AB" * 4)  # once to count the steps of a sample, then three samples
    assert {name: len(found) for name, found in times.items()} == {"A": 3, "B": 3}
    assert timing.ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == (3.0, 2.0, 4.0)


def test_the_page(benchmark, monkeypatch, results):
    """Every section shows its result file, and no column is empty for want of a key."""
    render = benchmark("render")
    monkeypatch.setattr(benchmark("_record"), "RESULTS", results)
    assert not list(render.render(render.SECTIONS["recipes"]))  # no such result file
    of_benchmarks = [section for section in render.SECTIONS.values() if section.results.startswith("bench_")]
    for section in [section for section in of_benchmarks if section.results != "bench_scale.json"]:  # test_scale.py
        lines = [line for line in render.render(section) if line.startswith("|")]
        heading, rows = lines[0].split(" | "), [line.split(" | ") for line in lines[2:]]
        assert rows
        for k, name in enumerate(heading):
            filled = any(row[k].strip("| ") for row in rows)
            assert filled or name in ("compared with", "PyTorch tokens/s", "ratio", "lowest", "highest")


def test_plots(tmp_path, results):
    """A plot for each figure of a result file, and none without one."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install nplm-nce[plot]")
    run("plot.py", "--results", results, "--out", tmp_path, "--format", "svg")
    drawn = {file.stem for file in tmp_path.glob("*.svg")}
    assert drawn == {"train-breakdown", "vocab", "vocab-softmax", "noise", "eval", "memory"}
    assert not run("plot.py", "--results", tmp_path, "--out", tmp_path)  # prints what it has written


SAVES_SLOWLY = """
import pathlib, sys, time
try:
    print("begun", file=sys.stderr, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals to a group of processes")
def test_ctrl_c_in_a_study_leaves_the_training_time_to_save(tmp_path):
    """Oracle: a command that takes a second to save, and its exit code."""
    study = "import sys, _training; _training.figures([sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", study, "-c", SAVES_SLOWLY, str(tmp_path / "model")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), *sys.path])}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == ""
    assert (tmp_path / "model").read_text() == "saved"
