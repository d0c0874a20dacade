"""The trials of study_noise.py as tables: the arms with their tuned rates, and the border of harmless pools.

A row of the file is a trial after so many epochs.  An arm's rate is the best of its first seed's after the last epoch;
its other seeds were trained with that rate.
"""

import math
from collections.abc import Iterable
from statistics import fmean, stdev

import _reuse
import _training
import numpy as np
from _tables import Row, Rows, Section, groups, pick

from nplm.arrays import Array

CLOSE = 0.05  # a difference in perplexity that needs more than one seed


def within(perplexity: float, other: float, share: float = CLOSE) -> bool:
    """Whether two perplexities differ by less than that share."""
    return abs(perplexity / other - 1) < share


def arms(rows: Rows) -> Rows:
    """A row for each arm that was run to the end: its best rate, its seeds, and its curve over rates."""
    epochs = max((row["epochs"] for row in rows), default=0)
    found = [arm_row(trials, epochs) for _, trials in groups(rows, "text", "arm", "optimizer")]
    done = [row for row in found if row is not None]
    fresh = {(row["text"], row["optimizer"], row["num_noise"]): row for row in done if is_fresh(row)}
    for row in done:
        base = fresh.get((row["text"], row["optimizer"], row["num_noise"]))
        row["over_fresh"] = base and row["perplexity"] / base["perplexity"] - 1
    return done


def is_fresh(row: Row) -> bool:
    """Independent, fresh noise for each of N > 1 chunks: what an arm with the same K is compared with."""
    plain = row["draw"] == "independent" and row["objective"] == "nce"
    return plain and row["groups"] is None and row["chunks"] > 1


def arm_row(trials: Rows, epochs: int) -> Row | None:
    """The row of one arm; None while no rate was run for all the epochs."""
    last = [row for row in trials if row["epochs"] == epochs and row["perplexity"] is not None]
    if not last:
        return None
    first = min(row["seed"] for row in last)
    best = min(pick(last, seed=first), key=lambda row: row["perplexity"])
    seeds = pick(last, lr=best["lr"])
    values = [row["perplexity"] for row in seeds]
    times = [found for row in seeds if (found := at_time(row)) is not None]
    return best | {
        "perplexity": fmean(values),
        "mean_log_z": fmean(row["mean_log_z"] for row in seeds),
        "spread": stdev(values) if len(values) > 1 else None,
        "seeds": len(values),
        "at_time": fmean(times) if times else None,
        "rates": over_rates(pick(trials, seed=first)),
    }


def at_time(row: Row, seconds: float = 30.0) -> float | None:
    """The validation perplexity after so many seconds of training."""
    return _training.perplexity_at(row["curve"], seconds)


def over_rates(trials: Rows) -> str:
    """The perplexity of each rate after the last epoch that it was run for."""
    told = []
    for (lr,), same in sorted(groups(trials, "lr")):
        last = max(same, key=lambda row: row["epochs"])
        told.append(f"{lr:g}: {in_short(last['perplexity'])} ({last['epochs']})")
    return ", ".join(told)


def in_short(perplexity: float | None) -> str:
    """A decimal; the power of ten where training has failed."""
    if perplexity is None:
        return "diverged"
    return f"{perplexity:.1f}" if perplexity < 1e6 else f"{perplexity:.0e}".replace("e+", "e")


# ---- the border


def ratios(rows: Rows) -> dict[int, dict[int, float]]:
    """M -> K -> perplexity of a pool redrawn for every sequence, over that of fresh noise; independent draws, SGD."""
    found: dict[int, dict[int, float]] = {}
    for row in pick(arms(rows), draw="independent", redraw="sequence", optimizer="sgd", objective="nce"):
        if row["over_fresh"] is not None:
            found.setdefault(row["groups"], {})[row["num_noise"]] = 1 + row["over_fresh"]
    return {m: dict(sorted(by_k.items())) for m, by_k in sorted(found.items())}


def bracket(by_k: dict[int, float], tolerance: float = _reuse.TOLERANCE) -> tuple[int, int] | None:
    """The neighbouring K between which the ratio falls to the tolerance and stays there; None if it does not."""
    above = [k for k, ratio in by_k.items() if ratio > tolerance]
    below = [k for k in by_k if k > max(above, default=0)]
    return (max(above), min(below)) if above and below else None


def border(by_k: dict[int, float], tolerance: float = _reuse.TOLERANCE) -> float | None:
    """K where the ratio is the tolerance: its logarithm on a straight line against K, both on logarithmic scales."""
    if (between := bracket(by_k, tolerance)) is None:
        return None
    excess = [math.log(max(math.log(by_k[k]), 1e-4)) for k in between]
    where = math.log(math.log(tolerance))
    return math.exp(np.interp(-where, [-x for x in excess], [math.log(k) for k in between]))


def refinements(rows: Rows) -> list[tuple[int, int | None]]:
    """K and M of the next cells: half-way (in log K) where the border's neighbours are more than sqrt(2) apart.

    M = None is the fresh noise that a new K is compared with, before the pools of that K.
    """
    new: dict[tuple[int, int | None], None] = {}
    for m, by_k in ratios(rows).items():
        between = bracket(by_k)
        if between is not None and between[1] / between[0] > 1.5:
            k = round(math.sqrt(between[0] * between[1]))
            new |= {(k, None): None, (k, m): None}
    return sorted(new, key=lambda cell: cell[1] or 0)


def border_rows(rows: Rows, probs: Array) -> Rows:
    """A row for each M: the measured border, and the one that [Z5] predicts from fresh noise alone."""
    fresh = [row for row in arms(rows) if is_fresh(row) and row["optimizer"] == "sgd"]
    if len(fresh) < 2:
        return []
    noise, log_perplexity = zip(*((row["num_noise"], math.log(row["perplexity"])) for row in fresh), strict=True)
    step = _reuse.step_of(probs, noise, log_perplexity)
    found = []
    for m, by_k in ratios(rows).items():
        measured, predicted = border(by_k), _reuse.border(probs, step, fresh[0]["chunks"] / m)
        factor = measured and max(measured / predicted, predicted / measured)
        row = {"text": fresh[0]["text"], "groups": m, "step": step, "measured": measured, "predicted": predicted}
        found.append(row | {"factor": factor})
    return found


def best_first(rows: Iterable[Row]) -> Rows:
    """Arms by text, update rule, K and perplexity."""
    return sorted(rows, key=lambda row: (row["text"], row["optimizer"], row["num_noise"], row["perplexity"]))


MEANING = (
    "Validation perplexity after the last epoch. The learning rate is tuned for every arm by successive halving; where"
    " that stopped rates too early, with `--every-rate`, and with `--rates` for those below 2.5. `over fresh`: by how"
    " much the perplexity exceeds that of fresh, independent noise with the same K. `uncovered`: share of the noise"
    " distribution on words that are in none of a sequence's groups. `rates`: validation perplexity by rate, with the"
    " number of epochs in parentheses."
)
COLUMNS = {
    "text": "text", "arm": "arm", "rule": "optimizer", "K": "num_noise", "M": "groups", "rate": "lr:g",
    "perplexity": "perplexity:.2f", "sd": "spread:.2f", "seeds": "seeds", "over fresh": "over_fresh:+.1%",
    "at 30 s": "at_time:.1f", "log Z": "mean_log_z:+.3f", "uncovered": "uncovered:.1%",
    "tokens/s": "tokens_per_second:,.0f", "rates": "rates",
}  # fmt: skip
UNTIMED = {name: COLUMNS[name] for name in COLUMNS if name not in ("text", "at 30 s", "tokens/s")}
ARMS = Section(
    "The method, measured fairly",
    f"{MEANING} `at 30 s`: of training. Run with `python benchmarks/study_noise.py`.",
    "study_noise-*.json",
    COLUMNS,
    lambda rows: best_first(arms(rows)),
)
BORDER = Section(
    "From which K on a pool is harmless",
    f"The smallest K with which a pool's perplexity is at most {_reuse.TOLERANCE:g} times that of fresh noise, as"
    " measured (interpolated between the K that were tried) and as predicted by [Z6] of [reused noise](learn/reuse.md)"
    " from the arms with fresh noise alone. `factor`: between the two. `step`: of [Z3], fitted to fresh noise. Where"
    " nothing is measured, the pool is that good at every K that was tried, or at none.",
    "noise_border-*.json",
    {
        "text": "text", "M": "groups", "measured": "measured:,.0f", "predicted": "predicted:,.0f",
        "factor": "factor:.2f", "step": "step:.1f",
    },
    command="python benchmarks/study_noise.py --corpus TEXT --show",
)  # fmt: skip
COST = Section(
    "What a step costs, by K",
    "Microseconds of training for each token, on one core of the machine below: one layer of 100 units, S = 640,"
    " N = 32, B = 20; the median of seven turns.",
    "noise_cost-python.json",
    {
        "K": "num_noise", "fresh": "fresh:.1f", "pool of 2 groups": "pool-2:.1f",
        "stratified pool of 32 groups": "pool-32-stratified:.1f",
    },
    command="python benchmarks/study_noise.py --corpus python --cost",
)  # fmt: skip
PYTHON = Section(
    "Arms with tuned rates, on Python's documentation",
    f"{MEANING} One layer of 100 units, 4 epochs. Some rows have one seed. Not all of the command's arms were run.",
    "study_noise-python.json",
    UNTIMED,
    ARMS.rows,
    plots={
        "noise-map": "Validation perplexity against K: pools of few groups lie far above fresh noise for small K"
        " and join it for large K, and the fewer groups, the later."
    },
    command="python benchmarks/study_noise.py --corpus python --arms map --refine --every-rate --seeds 1 2 3",
)
PTB = Section(
    "Arms with tuned rates, on the Penn Treebank",
    "As above, with one layer of 200 units and bfloat16 operands, one seed. Not all of the command's arms were run.",
    "study_noise-ptb.json",
    UNTIMED,
    lambda rows: best_first(arms(rows)),
    command="python benchmarks/study_noise.py --corpus ptb --arms map others --refine --precision bfloat16",
)
ZH = Section(
    "Arms with tuned rates, on Chinese characters",
    "As above, in float32, on raw Chinese text, each character a token, with one layer of 200 units. Refinement was"
    " stopped after its first step.",
    "study_noise-zh.json",
    UNTIMED,
    lambda rows: best_first(arms(rows)),
    command="python benchmarks/study_noise.py --corpus zh --arms main fresh-k400 pool-2-k400 pool-8-k100 pool-8-k400"
    " --refine --seeds 1 2 3",
)
SECTIONS = {"noise-python": PYTHON, "noise-ptb": PTB, "noise-zh": ZH, "noise-border": BORDER, "noise-cost": COST}
