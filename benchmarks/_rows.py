"""Rows of the results: read, picked, and what follows from them."""

import json
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import _record
from study_objectives import CASES

Row = dict[str, Any]
Rows = list[Row]
MOMENTS = (50, 100, 200, 400, 800)  # seconds of training


def read(results: str) -> list[dict[str, Any]]:
    """The result files whose names match a glob: {"machine": ..., "rows": [...]}."""
    files = sorted(_record.RESULTS.glob(results))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def rows_of(results: str) -> Rows:
    """The rows of these files."""
    return [row for result in read(results) for row in result["rows"]]


def pick(rows: Rows, **values: Any) -> Rows:
    """Rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def only(**values: Any) -> Callable[[Rows], Rows]:
    """`pick`, to be called later."""
    return lambda rows: pick(rows, **values)


def groups(rows: Rows, *keys: str) -> Iterable[tuple[tuple[Any, ...], Rows]]:
    """Rows with equal values of the keys, under these values, in the order of the first of each."""
    found: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found.items()


def mean(rows: Rows, key: str) -> float:
    """Mean over rows, which are those of several seeds."""
    return fmean(row[key] for row in rows)


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


def seconds_to(curve: Rows, perplexity: float) -> float | None:
    """Seconds of training, whole epochs, after which a curve is no longer above `perplexity`; None if it never is."""
    return next((point["seconds"] for point in curve if point["perplexity"] <= perplexity), None)


def _at_moments(curve: Rows) -> dict[str, float | None]:
    return {str(moment): best_at(curve, moment) for moment in MOMENTS}
