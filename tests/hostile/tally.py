"""The figures of all runs of the hostile trials: rows by run, seed and kind, and the total over all of them.

{"machine": ..., "rows": [{"kind": "inputs", "reader": "model", "run": 3, "counts": {...}, "faults": [...], ...}, ...,
                          {"kind": "total", "runs": 2, "inputs": ..., "kills": ..., ...}]}
A run never takes the number of one that is in the file, so several sessions add up to what was really tried.
"""

import fcntl
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("kind", "reader", "command")  # what rows are added up by
KEPT = 30  # faults of a row
WRONG = ("fault", "crashed", "hung")


def add(rows: dict[tuple[str, ...], dict[str, Any]], new: dict[str, Any], seconds: float) -> None:
    """Add a row of a stage to the run's rows."""
    place = tuple(str(new.get(name, "")) for name in NAMES)
    names = {name: new[name] for name in NAMES if name in new}
    row = rows.setdefault(place, names | {"counts": {}, "faults": [], "cpu_seconds": 0.0})
    row["counts"] = dict(Counter(row["counts"]) + Counter(new["counts"]))
    row["faults"] = (row["faults"] + new["faults"])[:KEPT]
    row["cpu_seconds"] = round(row["cpu_seconds"] + seconds, 3)


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row that sums all others."""
    found: Counter[str] = Counter()
    for row in rows:
        counts = row["counts"]
        wrong = sum(counts.get(name, 0) for name in WRONG)
        if row["kind"] == "inputs":
            found["inputs"] += sum(counts.values())
            found["read"] += counts.get("read", 0)
            found["refused"] += counts.get("refused", 0)
            found["inputs_wrong"] += wrong
        elif row["kind"] == "configurations":
            found["configurations"] += counts.get("configurations", 0)
            found["cuts"] += counts.get("cuts", 0)
            found["configurations_wrong"] += wrong
        elif row["kind"] == "kills":
            found["kills"] += counts.get("kills", 0)
            found["killed_runs"] += counts.get("runs", 0)
            found["kills_wrong"] += wrong
        else:
            found["injected_faults"] += counts.get("faults injected", 0)
            found["injected_wrong"] += wrong
        found["crashes"] += counts.get("crashed", 0) + counts.get("hung", 0)
    runs = len({row["run"] for row in rows})
    names = ("inputs", "read", "refused", "inputs_wrong", "configurations", "cuts", "configurations_wrong", "kills")
    names += ("killed_runs", "kills_wrong", "injected_faults", "injected_wrong", "crashes")
    hours = round(sum(row["cpu_seconds"] for row in rows) / 3600, 3)
    return {"kind": "total", "runs": runs, "cpu_hours": hours} | {name: found[name] for name in names}


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of all runs so far, without their total."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["kind"] != "total"]


def merge(path: Path, run: int, new: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the file with the rows of a run in place of what it had of that run; returns the total."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import _record

    with alone(path):
        rows = [row for row in read(path) if row["run"] != run] + [row | {"run": run} for row in new]
        rows.sort(key=lambda row: (row["run"], *(str(row.get(name, "")) for name in NAMES)))
        summed = total(rows)
        _record.write(path, [*rows, summed])
    return summed


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep two runs from writing the file at once."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    path.with_suffix(".lock").unlink(missing_ok=True)
