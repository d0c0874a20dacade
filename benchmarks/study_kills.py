"""Does a job end when a rank of it is killed, and does the resumed run give the bytes of one that nobody killed?

A tiny model is trained by 2 to 4 ranks, with a checkpoint at every chunk.  A rank gets SIGKILL: while the job starts,
at a random moment of training, or, for rank 0, in the middle of writing a file.  The job has to end by itself with an
exit code other than 0.  It is resumed with a random number of ranks and killed again, eight times at the most, until a
job reaches the end of training unharmed; then best.safetensors is compared with that of one process.

    python benchmarks/study_kills.py --kills 200
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import _record
from _links import mpirun
from _tables import Row, Rows, Section

HANGS = 60.0  # seconds after which a job that has lost a rank counts as hanging
RANKS = (2, 3, 4)
KILLS_A_RUN = 8  # then it may reach its end
NPLM = (sys.executable, "-m", "nplm")
MOMENTS = ("start", "training", "training", "save", "save")
TRAIN = [
    *("train", "--train", "a.txt", "--valid", "b.txt", "--hidden", "8", "--emsize", "6", "--layers", "1", "--nce", "8"),
    *("--bptt", "5", "--batch-size", "6", "--sequence-length", "20", "--lr", "1", "--shards", "4", "--epochs", "8"),
    *("--save-interval", "0", "--save", "run"),
]
SECTION = Section(
    "Killed ranks",
    "A rank is killed at a random moment. While starting: before the job's first checkpoint. In a save: a file was"
    f" left half written. Hanging: the job had not ended after {HANGS:.0f} s. Runs: those that reached their end after"
    " being killed and resumed with other numbers of ranks; same bytes: of those, how many wrote the same"
    " `best.safetensors`, byte for byte, as a run without kills.",
    "study_kills.json",
    {
        "ranks": "ranks", "kills": "kills", "of rank 0": "of_rank_0", "while starting": "starting",
        "in a save": "in_a_save", "hanging": "hanging", "seconds to end, median": "seconds:.2f",
        "longest": "longest:.2f", "runs": "runs", "same bytes": "same_bytes",
    },
    command="python benchmarks/study_kills.py --kills 200",
)  # fmt: skip
SECTIONS = {"kills": SECTION}


def study(folder: Path, kills: int, seed: int = 0) -> Iterator[Row]:
    """A row for every kill, and one for every run that has reached its end."""
    rng, run = random.Random(seed), folder / "run"
    write_texts(folder)
    _end(start(folder, 1, TRAIN))
    whole = (run / "best.safetensors").read_bytes()
    shutil.rmtree(run)
    done = of_this_run = 0
    while done < kills or run.exists():
        before, is_spared = _written(run), done == kills or of_this_run == KILLS_A_RUN
        job = start(folder, ranks := rng.choice(RANKS), _command(run))
        row: Row = {"ranks": ranks, "moment": rng.choice(MOMENTS)}
        if not is_spared and _reached(job, run, row["moment"], rng):
            row["rank"] = 0 if row["moment"] == "save" else rng.randrange(ranks)
            killed = _kill(job, row["rank"])
            row |= _ending(job) if killed else {}
            row["starting"], row["in_a_save"] = _written(run) == before, any(run.glob(".*.partial"))
        if row.get("code"):
            done, of_this_run = done + 1, of_this_run + 1
            yield row | {"kind": "kill"}
            continue
        _end(job)
        yield {"kind": "run", "ranks": ranks, "same": (run / "best.safetensors").read_bytes() == whole}
        shutil.rmtree(run)
        of_this_run = 0


def start(folder: Path, ranks: int, arguments: Sequence[str], program: Sequence[str] = NPLM) -> "subprocess.Popen[str]":
    """A job of so many ranks, which can be found by its token."""
    environment = os.environ | {"PYTHONPATH": str(_record.ROOT), "OMP_NUM_THREADS": "1"}
    environment["NPLM_JOB"] = token = os.urandom(8).hex()
    line = [*([mpirun(), "-n", str(ranks)] if ranks > 1 else []), *program, *arguments]
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(line, cwd=folder, env=environment, start_new_session=True, **streams)
    job.token = token  # type: ignore[attr-defined]
    return job


def processes(job: "subprocess.Popen[str]") -> dict[int, int]:
    """Process ids of a job's ranks, by rank: found by the environment that `start` and the launcher gave them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            pairs = (entry.partition(b"=") for entry in (path / "environ").read_bytes().split(b"\0"))
        except OSError:  # gone, or another user's
            continue
        environment = {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}
        if environment.get("NPLM_JOB") == job.token and "PMI_RANK" in environment:  # type: ignore[attr-defined]
            found[int(environment["PMI_RANK"])] = int(path.name)
    return found


def write_texts(folder: Path) -> None:
    """a.txt and b.txt: random sentences."""
    rng = random.Random(1)
    for name, lines in (("a.txt", 150), ("b.txt", 50)):
        sentences = (" ".join(rng.choices("abcdefghijkl", k=rng.randint(1, 12))) for _ in range(lines))
        (folder / name).write_text("".join(f"{sentence}\n" for sentence in sentences))


def _command(run: Path) -> list[str]:
    """That goes on with the run, or begins it."""
    return ["train", "--save", "run", "--resume"] if (run / "config.json").exists() else TRAIN


def _reached(job: "subprocess.Popen[str]", run: Path, moment: str, rng: random.Random) -> bool:
    """Wait for a random moment; whether the job was still running then."""
    if moment == "start":
        deadline = time.monotonic() + rng.uniform(0, 2)
    else:  # a checkpoint shows that training is under way
        before = _written(run)
        while job.poll() is None and _written(run) == before:
            time.sleep(0.005)
        deadline = time.monotonic() + rng.uniform(0, 0.5)
    while job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    while moment == "save" and job.poll() is None and not any(run.glob(".*.partial")):
        pass  # a save takes a few milliseconds
    return job.poll() is None


def _written(run: Path) -> int:
    try:
        return (run / "last.safetensors").stat().st_mtime_ns
    except OSError:
        return 0


def _kill(job: "subprocess.Popen[str]", rank: int) -> bool:
    """SIGKILL for a rank, as soon as it is there; False where the job has ended before."""
    while job.poll() is None:
        try:
            os.kill(processes(job)[rank], signal.SIGKILL)
            return True
        except (KeyError, ProcessLookupError):
            time.sleep(0.005)
    return False


def _ending(job: "subprocess.Popen[str]") -> Row:
    """The exit code of a job that has lost a rank, how long it took to end, and whether it hung."""
    begun = time.monotonic()
    try:
        job.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        return {"code": -1, "seconds": HANGS, "hanging": True}
    return {"code": job.returncode, "seconds": time.monotonic() - begun, "hanging": False}


def _end(job: "subprocess.Popen[str]") -> None:
    """Wait for the end of a job that nobody kills."""
    _, err = job.communicate()
    if job.returncode:
        sys.exit(f"a job that was not killed ended with {job.returncode}: {err}")


def summed(found: Rows) -> Rows:
    """Counts by number of ranks, and over all."""
    rows = []
    for ranks in (*RANKS, "all"):
        some = [row for row in found if ranks in (row["ranks"], "all")]
        kills, runs = ([row for row in some if row["kind"] == kind] for kind in ("kill", "run"))
        times = [row["seconds"] for row in kills] or [0.0]
        row: Row = {"ranks": ranks, "kills": len(kills), "of_rank_0": sum(row["rank"] == 0 for row in kills)}
        row |= {name: sum(row[name] for row in kills) for name in ("starting", "in_a_save", "hanging")}
        row |= {"seconds": median(times), "longest": max(times), "runs": len(runs)}
        rows.append(row | {"same_bytes": sum(row["same"] for row in runs)})
    return rows


def main() -> None:
    flags: argparse.ArgumentParser = _record.parser(__doc__, "three kills", "study_kills")
    flags.add_argument("--kills", type=int, metavar="N", help="default 200, quick 3")
    arguments = flags.parse_args()
    found: Rows = []
    with tempfile.TemporaryDirectory(prefix="nplm-kills-") as folder:
        for row in study(Path(folder), arguments.kills or (3 if arguments.quick else 200)):
            found.append(row)
            if path := _record.path_of(arguments, "study_kills"):  # after every kill, so that none is lost
                _record.write(path, summed(found))
    SECTION.show(summed(found))


if __name__ == "__main__":
    main()
