"""Does NCE reach what the full softmax reaches, and what do K, the noise law and the objective buy?

The recipe ptb-small, with one thing changed at a time: the objective, K, or the power of the unigram counts in the
noise law.  The softmax overfits, so it stops three epochs after its best; of every run the best epoch counts.
Perplexity is exact in every case.  A row of a case and seed holds its curve, so that objectives can be compared at
equal epochs and at equal seconds.  Rows are added to the result file as they come; a run that was stopped goes on.

    python benchmarks/study_objectives.py softmax nce-100 nce-500
    python benchmarks/study_objectives.py nce-100 --seeds 2 3
"""

import argparse
import json
import math
from itertools import pairwise
from pathlib import Path
from statistics import stdev
from typing import Any

import _record
import _training
from _tables import Row, Rows, Section, groups, mean, pick

CASES = {"softmax": ["--objective", "softmax", "--patience", "3"]}  # it overfits: the best epoch comes early
CASES |= {f"nce-{k}": ["--nce", str(k)] for k in (10, 25, 100, 256, 500, 1000)}
CASES |= {
    f"{objective}-{k}": ["--objective", objective, "--nce", str(k)]
    for objective in ("sampled-softmax", "ranking")
    for k in (100, 500)
}
CASES |= {f"nce-100-power-{power:g}": ["--nce", "100", "--nce-unigram-power", f"{power:g}"] for power in (0.5, 0.75)}
MOMENTS = (50, 100, 200, 400, 800)  # seconds of training, of the table at equal seconds


def row(case: str, seed: int, runs: Path, quick: bool) -> dict[str, Any]:
    """Train a case; returns its row."""
    folder = runs / f"{case}-seed{seed}"
    changes = [*CASES[case], "--seed", str(seed), *(["--epochs", "1"] if quick else [])]
    result = _training.train(folder, "ptb-small", changes)
    objective = CASES[case][1] if CASES[case][0] == "--objective" else "nce"
    kept = {name: result[name] for name in _training.KEPT}
    return (
        {"recipe": "ptb-small", "case": case, "objective": objective}
        | kept
        | {"commit": _record.commit(), "curve": _training.curve(folder)}
    )


# ---- what the page shows


def objectives(rows: Rows) -> Rows:
    """Rows of study_objectives.py with K, the power of the noise law, and the test perplexity over the softmax's."""
    softmax = pick(rows, case="softmax")
    base = mean(softmax, "test_perplexity") if softmax else None
    return [
        row
        | settings(row["case"])
        | {
            "relative": base and row["test_perplexity"] / base - 1,
            "at": _at_moments(row["curve"]),
            "epochs": len(row["curve"]),
        }
        for row in rows
    ]


def settings(case: str) -> Row:
    """K and the power of the noise law of a case of study_objectives.py; None for the softmax."""
    flags = dict(zip(CASES[case][::2], CASES[case][1::2], strict=True))
    if flags.get("--objective") == "softmax":
        return {"num_noise": None, "power": None}
    return {"num_noise": int(flags["--nce"]), "power": float(flags.get("--nce-unigram-power", "1"))}


def over_seeds(rows: Rows) -> Rows:
    """A row for each case, the mean of its seeds; none if no case has two."""
    shown = ("valid_perplexity", "test_perplexity", "relative", "mean_log_z", "std_log_z", "seconds")
    if len(rows) == len({row["case"] for row in rows}):
        return []
    return [
        {"case": case, "seeds": len(same)}
        | {key: mean(same, key) for key in shown if same[0][key] is not None}
        | {"spread": stdev(row["test_perplexity"] for row in same) if len(same) > 1 else None}
        for (case,), same in groups(objectives(rows), "case")
    ]


def best_at(curve: Rows, seconds: float) -> float | None:
    """The best perplexity by `seconds` of training, between two epochs on a straight line through log perplexity.

    None before the first epoch's end.  After the last the best of them stays, for that is the model that is kept.
    """
    found = [point["perplexity"] for point in curve if point["seconds"] <= seconds]
    for one, two in pairwise(curve):
        if one["seconds"] < seconds < two["seconds"]:
            part = (seconds - one["seconds"]) / (two["seconds"] - one["seconds"])
            logs = math.log(one["perplexity"]), math.log(two["perplexity"])
            found.append(math.exp(logs[0] + part * (logs[1] - logs[0])))
    return min(found, default=None)


def _at_moments(curve: Rows) -> dict[str, float | None]:
    return {str(moment): best_at(curve, moment) for moment in MOMENTS}


TABLE = Section(
    "Objectives",
    "The recipe `ptb-small`, with one thing changed at a time. `power`: of the unigram counts in q; `over softmax`: the"
    " test perplexity over the mean of the softmax's seeds, less 1. log Z over the test text. Run with"
    " `python benchmarks/study_objectives.py CASE ...`.",
    "study_objectives.json",
    {
        "case": "case", "objective": "objective", "K": "num_noise:,", "power": "power:g", "seed": "seed",
        "valid": "valid_perplexity:.2f", "test": "test_perplexity:.2f", "over softmax": "relative:+.1%",
        "log Z": "mean_log_z:+.3f", "sd": "std_log_z:.3f", "epochs": "epochs", "training s": "seconds:,.0f",
    },
    objectives,
    ("objectives-epochs", "objectives-num-noise"),
)  # fmt: skip
SEEDS = TABLE._replace(
    title="Objectives: means over seeds",
    text="Of the rows above; `sd of test`: standard deviation of the test perplexity from seed to seed.",
    columns={
        "case": "case", "seeds": "seeds", "valid": "valid_perplexity:.2f", "test": "test_perplexity:.2f",
        "sd of test": "spread:.2f", "over softmax": "relative:+.1%", "log Z": "mean_log_z:+.3f",
        "sd": "std_log_z:.3f", "training s": "seconds:,.0f",
    },
    rows=over_seeds,
    plots=(),
)  # fmt: skip
SECONDS = TABLE._replace(
    title="Objectives at equal seconds",
    text="The best valid perplexity by so many seconds of training, read off the curves of the same runs: between two"
    " epochs on a straight line of log perplexity against time; after the last epoch the best one stays. The rate is"
    " halved by epochs, so a fast run is further on in its schedule.",
    columns={"case": "case", "seed": "seed"}
    | {f"{moment:,} s": f"at.{moment}:.1f" for moment in MOMENTS}
    | {"training s": "seconds:,.0f"},
    plots=("objectives-seconds",),
)
SECTIONS = {"objectives": TABLE, "objectives-seeds": SEEDS, "objectives-seconds": SECONDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", choices=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs" / "objectives", metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="one epoch only, for tests: written only with --json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: benchmarks/results/study_objectives.json")
    arguments = parser.parse_args()
    path = arguments.json or _record.RESULTS / "study_objectives.json"
    for seed in arguments.seeds:
        for case in arguments.cases:
            new = row(case, seed, arguments.runs, arguments.quick)
            print(json.dumps({name: value for name, value in new.items() if name != "curve"}), flush=True)
            if arguments.json or not arguments.quick:
                _record.merge(path, [new], lambda row: (list(CASES).index(row["case"]), row["seed"]))


if __name__ == "__main__":
    main()
