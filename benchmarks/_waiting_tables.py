"""The trials of study_reuse.py as a table: fresh noise and the pool side by side."""

from statistics import stdev

from _tables import Row, Rows, Section, groups, mean, pick


def pairs(rows: Rows) -> Rows:
    """Fresh noise and the pool side by side, by rate: means over seeds."""
    shown = []
    for (lr, num_noise, move, waits), same in groups(rows, "lr", "num_noise", "move", "waits"):
        row: Row = {"lr": lr, "num_noise": num_noise, "move": move if waits != "nothing" else None, "waits": waits}
        shared = pick(same, noise="pool")
        row |= {"pool": over_seeds(shared), "fresh": over_seeds([one for one in same if one not in shared])}
        ratio = row["pool"]["perplexity"] and row["pool"]["perplexity"] / row["fresh"]["perplexity"]
        shown.append(row | {"seeds": len({one["seed"] for one in same}), "over_fresh": ratio})
    return sorted(shown, key=lambda row: -row["lr"])


def over_seeds(rows: Rows) -> Row:
    """Mean and spread; no values if there is no row, or if one diverged."""
    values = [row["perplexity"] for row in rows]
    if not values or None in values:
        return {"perplexity": None, "spread": None, "mean_log_z": None}
    spread = stdev(values) if len(values) > 1 else None
    return {"perplexity": mean(rows, "perplexity"), "spread": spread, "mean_log_z": mean(rows, "mean_log_z")}


TABLE = Section(
    "Updates that wait for the end of a group",
    "Validation perplexity after 4 epochs on Python's documentation, 1 x 100 units, N = 32: fresh noise, and a pool of"
    " M = 2 groups, each for 16 chunks in a row. The parameters under `waits` are updated only at the last of these"
    " chunks, with fresh noise too, by the sum or by the mean of the 16 updates. `sd`: standard deviation over seeds."
    " No figure: training diverged, or was not run.",
    "study_reuse.json",
    {
        "rate": "lr:g", "K": "num_noise", "waits": "waits", "move": "move", "fresh": "fresh.perplexity:,.1f",
        "sd": "fresh.spread:,.1f", "log Z": "fresh.mean_log_z:+.2f", "pool": "pool.perplexity:,.1f",
        "sd of pool": "pool.spread:,.1f", "log Z of pool": "pool.mean_log_z:+.2f", "pool / fresh": "over_fresh:.2f",
        "seeds": "seeds",
    },
    pairs,
    command="python benchmarks/study_reuse.py --seeds 1 2 3",
)  # fmt: skip
SECTIONS = {"waiting": TABLE}
