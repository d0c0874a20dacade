"""Hostile trials for as long as you like: mutated files, injected faults, kills, random configurations cut and resumed.

    python -m tests.hostile --minutes 60 --jobs 2 --json benchmarks/results/hostile.json
    python -m tests.hostile --replay "model/7-0/1234"      one mutated file again: reader, seed, number

Warm processes fork, so that a trial costs milliseconds.  Every run has a number of its own, which its seeds are made
of, and its figures are added to those in the file.  Exit code 1: something was found.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a thread pool does not survive a fork

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hostile import configurations, faults, inputs, kills, library_calls, tally  # noqa: E402
from hostile.library_calls import LibraryCalls  # noqa: E402
from hostile.python_calls import PythonCalls  # noqa: E402

STAGES: dict[str, Callable[[str, Path], Iterator[dict[str, Any]]]] = {
    "inputs": inputs.stage,
    "faults": lambda seed, folder: faults.stage(seed, folder, PythonCalls(), "python"),
    "library": lambda seed, folder: faults.stage(seed, folder, LibraryCalls(), "library"),
    "kills": kills.stage,
    "configurations": configurations.stage,
}
SHARES = {"inputs": 0.5, "faults": 0.12, "library": 0.12, "kills": 0.13, "configurations": 0.13}  # of the time
SLICE = 20.0  # seconds that a stage goes on for
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None


def trials(stages: list[str], seed: str, folder: Path, until: float, count: int | None) -> Iterator[tuple[Any, float]]:
    """Rows of the stages by turns, each with the CPU seconds it took, until the time is over, or `count` of each."""
    begun: dict[str, Iterator[dict[str, Any]]] = {}
    spent, done = dict.fromkeys(stages, 0.0), dict.fromkeys(stages, 0)
    while time.time() < until and (left := [s for s in stages if count is None or done[s] < count]):
        stage = min(left, key=lambda s: spent[s] / SHARES[s])  # who has had the least of its share
        if stage not in begun:
            (folder / stage).mkdir()
            begun[stage] = STAGES[stage](seed, folder / stage)
        start = time.time()
        while time.time() < min(until, start + SLICE) and (count is None or done[stage] < count):
            before = sum(os.times()[:4])
            row = next(begun[stage])
            took = sum(os.times()[:4]) - before
            spent[stage] += took
            done[stage] += 1
            yield row, took


def worker(arguments: argparse.Namespace, seed: str, stages: list[str]) -> None:
    """Run the stages in this process; after every slice the figures so far are printed as a line of JSON."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    printed = time.time()
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="hostile-") as folder:
        for row, seconds in trials(stages, seed, Path(folder), arguments.until, arguments.count):
            for fault in row["faults"]:
                print(row["kind"], row.get("reader", row.get("command", "")), seed, fault, file=sys.stderr, flush=True)
            tally.add(rows, row, seconds)
            if time.time() - printed > SLICE:
                printed = time.time()
                print(json.dumps([row | {"seed": seed} for row in rows.values()]), flush=True)
    print(json.dumps([row | {"seed": seed} for row in rows.values()]), flush=True)


def start(arguments: argparse.Namespace, seed: str, stages: list[str], scratch: Path) -> subprocess.Popen[str]:
    """A worker in a process of its own, with the shim preloaded if there is to be one."""
    line = [sys.executable, "-m", "tests.hostile", "--worker", seed, "--until", str(arguments.until)]
    line += [word for stage in stages for word in ("--only", stage)]
    line += ["--count", str(arguments.count)] if arguments.count is not None else []
    env = library_calls.environment(scratch) if "library" in stages else dict(os.environ)
    return subprocess.Popen(line, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


def run(arguments: argparse.Namespace) -> int:
    """Start the workers, and keep the file up to date with what they print; returns what was found wrong."""
    number = arguments.run or 1 + max((row["run"] for row in tally.read(arguments.json)), default=0)
    tally.merge(arguments.json, number, [])  # taken
    stages = arguments.only or list(SHARES)
    if "library" in stages and (reason := library_calls.why_not()):
        print(f"no faults at library calls: {reason}", file=sys.stderr)
        stages.remove("library")
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        children = [start(arguments, f"{number}-{job}", stages, Path(scratch)) for job in range(arguments.jobs)]
        summed = gather(arguments.json, number, children)
    print(json.dumps(summed), flush=True)
    wrong = sum(value for name, value in summed.items() if name.endswith("_wrong"))
    return int(bool(wrong or any(child.returncode for child in children)))


def gather(path: Path, number: int, children: list[subprocess.Popen[str]]) -> dict[str, Any]:
    """Read the workers' figures as they come, until all have ended; returns the total in the file."""
    import select

    latest: dict[int, list[dict[str, Any]]] = {}
    open_pipes = {child.stdout: n for n, child in enumerate(children) if child.stdout}
    summed: dict[str, Any] = {}
    while open_pipes:
        for pipe in select.select(list(open_pipes), [], [])[0]:
            if line := pipe.readline():
                latest[open_pipes[pipe]] = json.loads(line)
                summed = tally.merge(path, number, [row for rows in latest.values() for row in rows])
            else:
                del open_pipes[pipe]
    for child in children:
        child.wait()
    return summed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=1, help="processes at work, and so cores used")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "hostile.json")
    parser.add_argument("--only", choices=list(SHARES), action="append", help="kinds of trials; default: all")
    parser.add_argument("--run", type=int, help="number of this run; default: one more than the file has")
    parser.add_argument("--count", type=int, help="rows of each kind to stop after: batches, faults, runs")
    parser.add_argument("--replay", metavar="READER/SEED/N", help="read one mutated file again")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name in ("SIGINT", "SIGHUP"):  # ignored in the background of a shell
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if arguments.replay:
        print(inputs.replay(arguments.replay))
    elif arguments.worker:
        worker(arguments, arguments.worker, arguments.only)
    else:
        arguments.until = time.time() + 60 * arguments.minutes
        sys.exit(run(arguments))


if __name__ == "__main__":
    main()
