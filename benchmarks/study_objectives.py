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
from pathlib import Path
from typing import Any

import _record
import _training

CASES = {"softmax": ["--objective", "softmax", "--patience", "3"]}  # it overfits: the best epoch comes early
CASES |= {f"nce-{k}": ["--nce", str(k)] for k in (10, 25, 100, 256, 500, 1000)}
CASES |= {
    f"{objective}-{k}": ["--objective", objective, "--nce", str(k)]
    for objective in ("sampled-softmax", "ranking")
    for k in (100, 500)
}
CASES |= {f"nce-100-power-{power:g}": ["--nce", "100", "--nce-unigram-power", f"{power:g}"] for power in (0.5, 0.75)}


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


def merged(path: Path, new: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a result file with one more, or with its like replaced; in the order of CASES and seeds."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = [old for old in rows if (old["case"], old["seed"]) != (new["case"], new["seed"])] + [new]
    return sorted(rows, key=lambda entry: (list(CASES).index(entry["case"]), entry["seed"]))


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
                _record.write(path, merged(path, new))


if __name__ == "__main__":
    main()
