"""Several ranks over MPI.  Oracle: one process with the same shards, byte for byte."""

import importlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nplm.errors import InputError
from nplm.layers.row_gradient import in_pairs
from nplm.ranks import agreement, tree
from nplm.ranks.alone import ALONE, Ranks
from nplm.ranks.launcher import Launch, launch

ROOT = Path(__file__).parent.parent
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
needs_mpi = pytest.mark.skipif(
    MPIRUN is None or importlib.util.find_spec("mpi4py") is None,
    reason="no MPI here: pip install 'nplm-nce[mpi-local]'",
)
COMMAND = [sys.executable, "-m", "nplm"]
SMALL = [
    *("train", "--train", "a.txt", "--valid", "b.txt", "--hidden", "8", "--emsize", "6", "--layers", "1"),
    *("--nce", "8", "--bptt", "5", "--batch-size", "6", "--sequence-length", "20", "--lr", "1", "--shards", "4"),
]


def run(ranks, command, folder=ROOT, timeout=600, stdin=None, **variables):
    """Exit code, stdout and stderr of a job, which must end in time; one rank is a process without mpirun."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"} | variables
    line = [*([MPIRUN, "-n", str(ranks)] if ranks > 1 else []), *map(str, command)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(line, cwd=folder, env=environment, start_new_session=True, **streams)
    try:
        out, err = job.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        raise
    return job.returncode, out, err


@pytest.fixture
def texts(tmp_path):
    rng = random.Random(1)
    for name, lines in (("a.txt", 150), ("b.txt", 50)):
        sentences = (" ".join(rng.choices("abcdefghijkl", k=rng.randint(1, 12))) for _ in range(lines))
        (tmp_path / name).write_text("".join(f"{sentence}\n" for sentence in sentences))
    return tmp_path


# ---- without MPI


@pytest.mark.parametrize("shards", range(1, 18))
def test_sums_over_ranks_are_those_of_the_tree(shards):
    """row_gradient's tree over all shards, for every number of ranks: the formula itself is compared."""
    whole = [str(k) for k in range(shards)]
    while len(whole) > 1:
        whole = ["(" + "+".join(pair) + ")" if len(pair) > 1 else pair[0] for pair in in_pairs(whole)]

    def subtree(start, stop):
        parts = [str(k) for k in range(start, stop)]
        while len(parts) > 1:
            parts = ["(" + "+".join(pair) + ")" if len(pair) > 1 else pair[0] for pair in in_pairs(parts)]
        return parts[0]

    for ranks in range(1, 20):
        cut = tree.runs(shards, ranks)
        assert len(cut) == ranks and [k for run in cut for k in range(*run)] == list(range(shards))
        live = [run for run in cut if run[0] < run[1]]
        assert len(live) == min(shards, ranks) and cut[: len(live)] == live
        assert tree.fold([subtree(*run) for run in live], live, lambda a, b: f"({a}+{b})") == whole[0]


def test_launchers(monkeypatch):
    """By hand: what each launcher sets, mpirun inside a Slurm step, and no launcher."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert launch() == Launch(1, 0, "")
    for size, rank, values in (
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", (2, 1)),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", (5, 4)),
        ("PMI_SIZE", "PMI_RANK", (3, 2)),
    ):
        monkeypatch.setenv(size, str(values[0]))
        monkeypatch.setenv(rank, str(values[1]))
        assert launch() == Launch(*values, size)


def test_mpi_is_not_imported_without_a_launcher():
    """sys.modules of a process that has joined, alone."""
    code = "import sys; from nplm.ranks.mpi import join; print(join().size, 'mpi4py' in sys.modules)"
    assert run(1, [sys.executable, "-c", code])[1].split() == ["1", "False"]


class Two(Ranks):
    """Two ranks, of which the other has other facts."""

    size = 2

    def __init__(self, **others):
        self.others = others

    def gather(self, value):
        host, facts = value
        return [value, (host + "2", facts | self.others)]


@pytest.mark.parametrize("name", ["NumPy", "nplm", "`lr`", "processor"])
def test_ranks_that_differ_are_refused(name):
    """Planted differences: the message says which, on which host; processors pass where that is allowed."""
    facts = {"`lr`": 20.0}
    agreement.check(Two(), facts, allow_mixed=False)
    with pytest.raises(InputError, match=f"{name} is .* on rank 0 .* and other on rank 1"):
        agreement.check(Two(**{name: "other"}), facts, allow_mixed=False)
    if name == "processor":
        agreement.check(Two(**{name: "other"}), facts, allow_mixed=True)


def test_ranks_and_threads_beyond_the_shards_are_refused():
    """By hand."""
    agreement.check_threads(Two(), 4, 20, 2)
    agreement.check_threads(ALONE, 1, 1, 8)
    with pytest.raises(InputError, match="raise `shards` to 6"):
        agreement.check_threads(Two(), 4, 20, 3)
    with pytest.raises(InputError, match="raise `batch_size` to 2"):
        agreement.check_threads(Two(), 4, 1, 0)


# ---- with MPI


@needs_mpi
def test_same_bytes_for_any_number_of_ranks():
    """One process: five recipes, averaged SGD with early stopping, random settings; 2 to 4 ranks, 1 and 2 threads."""
    script = ROOT / "tests" / "rank_cases.py"
    for shards, jobs in ((0, ((2, 2), (3, 1), (4, 1))), (8, ((3, 2), (4, 2)))):
        code, expected, err = run(1, [sys.executable, script, 6, 1, shards])
        assert code == 0, err
        for ranks, threads in jobs:
            code, got, err = run(ranks, [sys.executable, script, 6, threads, shards])
            assert code == 0, err
            found, wanted = json.loads(got), json.loads(expected)
            assert [name for name in wanted if found[name] != wanted[name]] == []


@needs_mpi
def test_the_commands_write_the_same(texts):
    """One process: best.safetensors, and what eval, score and rescore print, with text on standard input too."""
    for ranks in (1, 2):
        assert run(ranks, [*COMMAND, *SMALL, "--epochs", 2, "--save", f"run{ranks}"], texts)[0] == 0
    best = [(texts / f"run{ranks}" / "best.safetensors").read_bytes() for ranks in (1, 2)]
    assert best[0] == best[1]
    lists = "".join(f"-1.5 -2 3 a b {word}\n" for word in "cdefgh")
    for arguments, stdin in (
        (["eval", "run1", "b.txt"], None),
        (["eval", "run1", "b.txt", "--reset"], None),
        (["eval", "run1", "b.txt", "-v", "word"], None),
        (["score", "run1"], (texts / "a.txt").read_text()),
        (["rescore", "run1", "--nbest"], lists),
    ):
        alone, job = (run(ranks, [*COMMAND, *arguments], texts, stdin=stdin) for ranks in (1, 3))
        assert alone[0] == job[0] == 0 and alone[1] and job[1] == alone[1], arguments


@needs_mpi
def test_refused_in_one_line_before_a_folder_is_made(texts):
    """The contract: one line, exit code 2, nothing written."""
    for arguments, says in (
        ([*SMALL, "--save", "run", "--threads", "3"], "raise --shards to 6"),
        ([*SMALL, "--save", "run", "--valid", "-"], "give files"),
        (["sample", "run"], "without mpirun"),
    ):
        code, out, err = run(2, [*COMMAND, *arguments], texts)
        lines = [line for line in err.splitlines() if not line.startswith("Abort(")]  # MPI's own
        assert (code, out, len(lines)) == (2, "", 1) and says in lines[0]
        assert not (texts / "run").exists()


@needs_mpi
def test_the_wrong_mpi_is_refused(texts):
    """Planted: srun's variables without its MPI, so that each process would do all the work; nothing is written."""
    slurm = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
    code, out, err = run(1, [*COMMAND, *SMALL, "--save", "run"], texts, **slurm)
    assert (code, out) == (2, "") and "started 2 processes (SLURM_STEP_NUM_TASKS), but MPI sees 1" in err, err
    assert err.count("\n") == 1 and not (texts / "run").exists()


@needs_mpi
def test_a_rank_without_its_text_ends_the_job(texts):
    """Planted: a text that only rank 0 finds; the line names the rank, and nothing hangs."""
    script = (
        "import os, sys; os.environ['PMI_RANK'] != '0' and os.chdir('/'); from nplm.cli import main; main(sys.argv[1:])"
    )
    code, _, err = run(2, [sys.executable, "-c", script, *SMALL, "--save", "run"], texts, timeout=60)
    assert code == 2 and "rank 1 on " in err and "a.txt" in err and not (texts / "run").exists()


@needs_mpi
def test_a_hanging_rank_ends_the_job(texts):
    """Planted: rank 1 sleeps in the middle of training; the watchdog of the other ends the job."""
    script = (
        "import os, sys, time; from nplm.training import trainer; step = trainer.Trainer.step\n"
        "hangs = lambda self: self.progress.chunk == 3 and self.ranks.rank and time.sleep(900)\n"
        "trainer.Trainer.step = lambda self, span: hangs(self) or step(self, span)\n"
        "from nplm.cli import main; main(sys.argv[1:])"
    )
    arguments = [*SMALL, "--save", "run", "--mpi-timeout", "5"]
    code, _, err = run(2, [sys.executable, "-c", script, *arguments], texts, timeout=90)
    assert code not in (0, None) and "has waited 5 s" in err and "resume from the last checkpoint" in err


@pytest.fixture
def study_kills(monkeypatch):
    """benchmarks/study_kills.py, which starts jobs and kills their ranks."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("study_kills")


@needs_mpi
def test_killed_ranks(tmp_path, study_kills):
    """The run that nobody kills: NPLM_KILLS jobs (3) lose a rank, none hangs, and what is resumed gives its bytes."""
    kills = int(os.environ.get("NPLM_KILLS", "3"))
    found = list(study_kills.study(tmp_path, kills))
    assert [row["hanging"] for row in found if row["kind"] == "kill"] == [False] * kills
    ends = [row["same"] for row in found if row["kind"] == "run"]
    assert ends and all(ends)


SLOW = (  # a step takes 30 ms more, so that a signal comes in the middle of training
    "import sys, time; from nplm.training import trainer; step = trainer.Trainer.step\n"
    "trainer.Trainer.step = lambda self, span: time.sleep(0.03) or step(self, span)\n"
    "from nplm.cli import main; main(sys.argv[1:])"
)


@needs_mpi
@pytest.mark.parametrize(
    ("number", "to_rank_0", "code"), [("SIGINT", False, 130), ("SIGTERM", False, 143), ("SIGTERM", True, 143)]
)
def test_a_signal_saves_and_ends_all_ranks(tmp_path, study_kills, number, to_rank_0, code):
    """One process without a signal: sent to mpirun, or to rank 0 alone; three ranks go on to the same bytes."""
    study_kills.write_texts(tmp_path)
    whole, broken = (["--epochs", "3", "--save", name] for name in ("whole", "broken"))
    assert run(1, [*COMMAND, *SMALL, *whole], tmp_path)[0] == 0
    job = study_kills.start(tmp_path, 2, [*SMALL, *broken, "--save-interval", "0.3"], [sys.executable, "-c", SLOW])
    until_training(tmp_path / "broken" / "last.safetensors")
    os.kill(study_kills.processes(job)[0] if to_rank_0 else job.pid, getattr(signal, number))
    _, err = job.communicate(timeout=300)
    assert job.returncode == code and "nplm train --save broken --resume" in err, err
    assert run(3, [*COMMAND, "train", "--save", "broken", "--resume"], tmp_path)[0] == 0
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "broken")]
    assert best[0] == best[1]


@needs_mpi
def test_a_signal_to_another_rank_is_not_its_decision(tmp_path, study_kills):
    """By hand: SIGTERM to rank 1 alone changes nothing; rank 0 decides."""
    study_kills.write_texts(tmp_path)
    arguments = [*SMALL, "--epochs", "2", "--save", "run", "--save-interval", "0.3"]
    job = study_kills.start(tmp_path, 2, arguments, [sys.executable, "-c", SLOW])
    until_training(tmp_path / "run" / "last.safetensors")
    os.kill(study_kills.processes(job)[1], signal.SIGTERM)
    _, err = job.communicate(timeout=300)
    assert job.returncode == 0, err


def until_training(last, timeout=300):
    """Wait until a checkpoint is the second one: the first is written before training begins."""
    deadline, times = time.monotonic() + timeout, set()
    while len(times) < 2:
        assert time.monotonic() < deadline
        times |= {last.stat().st_mtime_ns} if last.exists() else set()
        time.sleep(0.01)


def test_alone_has_every_shard():
    """By hand."""
    assert ALONE.runs(5) == [(0, 5)] and list(ALONE.each(lambda: [1, 2])) == [1, 2]
    assert np.array_equal(ALONE.gather(3), [3])
