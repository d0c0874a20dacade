"""Does NCE reach what the full softmax reaches, and what do K, the noise distribution and the objective buy?

The recipe ptb-small, with one thing changed at a time: the objective, K, or the power of the unigram counts in the
noise distribution.  The softmax overfits, so it stops three epochs after its best; of every run the best epoch counts.
Perplexity is exact in every case.  A row of a case and seed holds its curve, so that objectives can be compared at
equal epochs and at equal seconds.  Rows are added to the result file as they come; a run that was stopped goes on.

    python benchmarks/study_objectives.py softmax nce-100 nce-500
    python benchmarks/study_objectives.py nce-100 --seeds 2 3
"""

import json
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
    new = {"recipe": "ptb-small", "case": case, "objective": objective}
    new |= {name: result[name] for name in _training.KEPT}
    return new | {"commit": _record.commit(), "curve": _training.curve(folder)}


# ---- what the page shows


def objectives(rows: Rows) -> Rows:
    """Rows of study_objectives.py with K, the power of the noise distribution, and perplexity over the softmax's."""
    softmax = pick(rows, case="softmax")
    base = mean(softmax, "test_perplexity") if softmax else None
    shown = []
    for row in rows:
        relative, curve = base and row["test_perplexity"] / base - 1, row["curve"]
        at = {str(moment): best_at(curve, moment) for moment in MOMENTS}
        shown.append(row | settings(row["case"]) | {"relative": relative, "at": at, "epochs": len(curve)})
    return shown


def settings(case: str) -> Row:
    """K and the power of the noise distribution of a case of study_objectives.py; None for the softmax."""
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
    if (between := _training.perplexity_at(curve, seconds)) is not None:
        found.append(between)
    return min(found, default=None)


TABLE = Section(
    "Objectives",
    "The recipe `ptb-small` with one setting changed at a time. `power`: exponent of the unigram counts in the noise"
    " distribution; `over softmax`: by how much the test perplexity exceeds that of the softmax (mean over seeds);"
    " log Z over the test text.",
    "study_objectives.json",
    {
        "case": "case", "objective": "objective", "K": "num_noise:,", "power": "power:g", "seed": "seed",
        "validation": "valid_perplexity:.2f", "test": "test_perplexity:.2f", "over softmax": "relative:+.1%",
        "mean log Z": "mean_log_z:+.3f", "sd of log Z": "std_log_z:.3f", "epochs": "epochs",
        "training, s": "seconds:,.0f",
    },
    objectives,
    {
        "objectives-epochs": "Validation perplexity against epochs by objective.",
        "objectives-num-noise": "Test perplexity against the number of noise words, by objective.",
    },
    "python benchmarks/study_objectives.py CASE ...",
    trained=True,
)  # fmt: skip
SEEDS = TABLE._replace(
    title="Objectives: means over seeds",
    text="Of the rows above. `sd of test`: standard deviation of the test perplexity over seeds.",
    columns={
        "case": "case", "seeds": "seeds", "validation": "valid_perplexity:.2f", "test": "test_perplexity:.2f",
        "sd of test": "spread:.2f", "over softmax": "relative:+.1%", "mean log Z": "mean_log_z:+.3f",
        "sd of log Z": "std_log_z:.3f", "training, s": "seconds:,.0f",
    },
    rows=over_seeds,
    plots={},
)  # fmt: skip
SECONDS = TABLE._replace(
    title="Objectives at equal training time",
    text="The best validation perplexity after a given number of seconds of training, read off the curves of the same"
    " runs: log perplexity is interpolated linearly between two epochs, and after the last epoch the best value stays."
    " The rate is halved by epochs, so a fast run is further on in its schedule.",
    columns={"case": "case", "seed": "seed"}
    | {f"{moment:,} s": f"at.{moment}:.1f" for moment in MOMENTS}
    | {"training, s": "seconds:,.0f"},
    plots={},
)
SECTIONS = {"objectives": TABLE, "objectives-seeds": SEEDS, "objectives-seconds": SECONDS}


def main() -> None:
    parser = _record.parser(__doc__, "one epoch only", "study_objectives")
    parser.add_argument("cases", nargs="+", choices=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs" / "objectives", metavar="DIR")
    arguments = parser.parse_args()
    path = _record.path_of(arguments, "study_objectives")
    for seed in arguments.seeds:
        for case in arguments.cases:
            new = row(case, seed, arguments.runs, arguments.quick)
            print(json.dumps({name: value for name, value in new.items() if name != "curve"}), flush=True)
            if path:
                _record.merge(path, [new], lambda row: (list(CASES).index(row["case"]), row["seed"]))


if __name__ == "__main__":
    main()
