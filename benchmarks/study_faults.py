"""Your loss falls.  Is your gradient right?  Faults planted in the package one at a time, and what notices each.

Every fault of FAULTS is a line of tests/planted_bugs.py, changed in a copy of the package.  With it, and without any,
a model is trained on the built-in corpus `hmm` with three seeds, and these instruments are read:

    loss        mean training loss of the last epoch: outside the band of the clean runs?
    perplexity  exact, on the test text: outside the band?
    log Z       its mean over the test text: outside the band?
    first loss  of the untrained model: is it log(1+K) + K log(1+1/K)?
    gradient    `nplm gradcheck`: random chunks against the complex step of the reference
    trace       the order of chunks, updates and noise groups in a run, read off by tests/test_trace.py

The band reaches from the least to the greatest of the clean seeds, widened on both sides by their distance; a fault is
seen there if all of its seeds lie outside.  A run that diverges is seen by all three.

    python benchmarks/study_faults.py                        all of it, in about half an hour on two cores
    python benchmarks/study_faults.py --faults "log K" --seeds 1    those whose names contain the words
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _record
from _tables import Section

sys.path.insert(0, str(_record.ROOT / "tests"))
from planted_bugs import BUGS, Bug, plant

CLEAN = "none"
FAULTS = [bug for bug in BUGS if bug.trains]
RECIPE: dict[str, Any] = {
    "bptt": 10, "batch_size": 20, "sequence_length": 100, "num_noise": 64, "lr": 20.0, "clip": 0.25,
    "epochs": 2, "decay_after": 1, "shards": 2, "threads": 1, "log_interval": 100, "save_interval": math.inf,
}  # fmt: skip
SIZES = {"embed_dim": 24, "hidden_dim": 48, "num_layers": 2}
TRACE = ("-p", "no:cacheprovider", "-p", "no:gradcheck", "tests/test_trace.py", "-k", "claims or pool")
CONFIGS = 20  # models that the gradient check draws
FIRST_LOSS, GRADIENT = 1e-5, 1e-10  # relative differences above which an instrument has seen a fault


def child(seeds: list[int]) -> dict[str, Any]:
    """What the instruments show of the package that this process has imported."""
    import numpy as np

    from nplm.testing.selfcheck import check_one

    rng, error = np.random.default_rng(1), 0.0
    try:
        with np.errstate(all="ignore"):
            for _ in range(CONFIGS):
                error = max(error, *check_one(rng).values())
    except (ArithmeticError, LookupError, ValueError):  # the fault ends the check, which is seen
        error = math.inf
    return {"gradient_error": error, "runs": [train(seed) for seed in seeds]}


def train(seed: int) -> dict[str, Any]:
    """The figures of one training."""
    import numpy as np

    import nplm

    corpus, config = nplm.load_builtin("hmm"), nplm.TrainConfig(seed=seed, **RECIPE)
    sizes = nplm.ModelConfig(len(corpus.vocabulary), **SIZES)
    model = nplm.LanguageModel.init(sizes, corpus.vocabulary, np.random.default_rng(seed))
    first: list[float] = []

    class First(nplm.Observer):
        def step(self, step: Any) -> None:
            if not first:
                first.append(step.loss)

    row: dict[str, Any] = {"seed": seed, "diverged": False}
    try:
        result = nplm.train(model, corpus, config, observer=First())
    except (ArithmeticError, LookupError, ValueError):  # it diverged, or the fault ended it
        return row | {"diverged": True, "first_loss": first[0] if first else math.nan}
    test = nplm.evaluate(result.best, corpus.test, threads=1)
    lines = [line for line in result.history if line["kind"] == "train"]
    last = [line["loss"] for line in lines if line["epoch"] == config.epochs]
    return row | {
        "first_loss": first[0],
        "train_loss": sum(last) / len(last),
        "valid_perplexity": math.exp(result.progress.best_nats),
        "test_perplexity": test.perplexity,
        "mean_log_z": test.mean_log_z,
        "std_log_z": test.std_log_z,
        "seconds": result.progress.seconds,
        "curve": [[line["tokens_trained"], line["loss"]] for line in lines],
    }


def measure(bug: Bug | None, seeds: list[int]) -> list[dict[str, Any]]:
    """Rows of one fault, or of none: the instruments of a process that imports the package with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = _record.ROOT
        if bug is not None:
            plant(bug, Path(folder))
            path = Path(folder)
        environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONWARNINGS": "ignore"}
        run = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(seeds)], env=environment, capture_output=True, text=True
        )
        trace = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", "-q", "-x", *TRACE],  # -P: else the folder's own package comes first
            env=environment | {"NUMBA_DISABLE_JIT": "1"},  # a copy's kernels would be compiled for a second of work
            cwd=_record.ROOT,
            capture_output=True,
        )
    if run.returncode:
        raise RuntimeError(f"{bug.name if bug else CLEAN}: {run.stderr.strip().splitlines()[-1]}")
    found = json.loads(run.stdout.splitlines()[-1])
    common = {"fault": bug.name if bug else CLEAN, "file": bug.file if bug else None}
    common |= {"gradient_error": found["gradient_error"], "trace_fails": trace.returncode != 0}
    return [common | row for row in found["runs"]]


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every fault: the means over its seeds, and which instruments have seen it."""
    clean = [row for row in rows if row["fault"] == CLEAN]
    noise = RECIPE["num_noise"]
    expected = math.log(1 + noise) + noise * math.log(1 + 1 / noise)
    found = []
    for name in dict.fromkeys(row["fault"] for row in rows):
        runs = [row for row in rows if row["fault"] == name]
        seen = {
            "loss": outside(runs, clean, "train_loss"),
            "perplexity": outside(runs, clean, "test_perplexity"),
            "log_z": outside(runs, clean, "mean_log_z"),
            "first_loss": not abs(runs[0]["first_loss"] / expected - 1) < FIRST_LOSS,
            "gradient": not runs[0]["gradient_error"] < GRADIENT,
            "trace": runs[0]["trace_fails"],
        }
        means = {
            key: math.fsum(run[key] for run in runs) / len(runs) if all(key in run for run in runs) else None
            for key in ("train_loss", "test_perplexity", "mean_log_z")
        }
        marks = {f"by_{key}": "yes" if value else "" for key, value in seen.items()}
        checks = [bug.check for bug in BUGS if bug.name == name]
        found.append(
            {"fault": name, **means, **marks, "seen": any(seen.values()), "check": checks[0] if checks else ""}
        )
    return found


def outside(runs: list[dict[str, Any]], clean: list[dict[str, Any]], key: str) -> bool:
    """Whether all runs lie outside the band of the clean ones, or one of them diverged."""
    if any(run["diverged"] for run in runs):
        return True
    low, high = min(row[key] for row in clean), max(row[key] for row in clean)
    low, high = low - (high - low), high + (high - low)
    return all(not low <= run[key] <= high for run in runs)


SECTIONS = {
    "faults": Section(
        "Faults by instrument",
        "Training loss of the last epoch in nats, test perplexity, and mean log Z over the test text: means over three"
        " seeds on the built-in corpus `hmm`. `yes`: the instrument detects the fault. The last column is the test that"
        " fails with the fault.",
        "study_faults.json",
        {
            "fault": "fault", "train loss": "train_loss:.3f", "perplexity": "test_perplexity:.2f",
            "log Z": "mean_log_z:+.3f", "by loss": "by_loss", "by perplexity": "by_perplexity", "by log Z": "by_log_z",
            "by first loss": "by_first_loss", "by gradient check": "by_gradient", "by trace": "by_trace",
            "test": "check",
        },
        rows=judge,
        plots={
            "faults": "Training loss against tokens, a small panel for each fault: three seeds, over a grey band of"
            " the runs without a fault."
        },
        command="python benchmarks/study_faults.py",
        trained=True,
    )
}  # fmt: skip


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--faults", default="", metavar="WORDS", help="those whose names contain this")
    flags.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    flags.add_argument("--epochs", type=int, default=RECIPE["epochs"], metavar="N")
    flags.add_argument("--processes", type=int, default=2, metavar="N", help="trainings side by side")
    flags.add_argument("--json", type=Path, metavar="FILE", help="default: benchmarks/results/study_faults.json")
    flags.add_argument("--resume", action="store_true", help="keep the rows that the file has already")
    flags.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = flags.parse_args()
    RECIPE["epochs"] = int(os.environ.setdefault("STUDY_FAULTS_EPOCHS", str(arguments.epochs)))
    if arguments.child:
        print(json.dumps(child(arguments.child)))
        return
    path = arguments.json or _record.RESULTS / "study_faults.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if arguments.resume else []
    done = {row["fault"] for row in rows}
    chosen = [bug for bug in (None, *FAULTS) if bug is None or arguments.faults in bug.name]
    chosen = [bug for bug in chosen if (bug.name if bug else CLEAN) not in done]
    with ThreadPoolExecutor(arguments.processes) as pool:
        for found in pool.map(lambda bug: measure(bug, arguments.seeds), chosen):
            rows += found
            _record.write(path, rows)
            print(f"{found[0]['fault']:<70} {found[0].get('test_perplexity', math.inf):.2f}", flush=True)
    for row in judge(rows):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
