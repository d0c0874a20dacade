"""The trials of study_softmax.py as a table: an arm's tuned rate, and means over its seeds."""

from statistics import stdev

from _noise_tables import over_rates
from _softmax_arms import ARMS
from _tables import Row, Rows, Section, groups, mean, pick


def best(curve: Rows) -> Row:
    """The point of the curve with the lowest perplexity."""
    return min(curve, key=lambda point: point["perplexity"])


def table(rows: Rows) -> Rows:
    """A row for each arm that was run to the end: the rate chosen by its first seed, and means over its seeds."""
    found = [arm_row(trials) for _, trials in groups(rows, "text", "arm")]
    done = [row for row in found if row is not None]
    for row in done:
        arm = ARMS[row["arm"]]._replace(objective="softmax", num_noise=None, penalty=0.0)
        base = pick(done, text=row["text"], arm=arm.name)
        row["over_softmax"] = row["perplexity"] / base[0]["perplexity"] - 1 if base and base[0] is not row else None
    return sorted(done, key=lambda row: (row["text"], list(ARMS).index(row["arm"])))


def arm_row(trials: Rows) -> Row | None:
    """The row of one arm; None while no rate was run to the end."""
    last = [row for row in trials if row.get("test_perplexity") is not None]  # measured after the last epoch only
    if not last:
        return None
    first = min(row["seed"] for row in last)
    chosen = min(pick(last, seed=first), key=lambda row: row["perplexity"])
    seeds = pick(last, lr=chosen["lr"])
    names = ("perplexity", "test_perplexity", "train_perplexity", "mean_log_z", "std_log_z", "best_epoch", "clipped")
    values = [row["perplexity"] for row in seeds]
    return (
        chosen
        | {name: mean(seeds, name) for name in names}
        | {
            "spread": stdev(values) if len(values) > 1 else None,
            "seeds": len(seeds),
            "rates": over_rates(pick(trials, seed=first)),
        }
    )


TABLE = Section(
    "NCE against its own softmax, on Python's documentation",
    "Half of the training text, 2 x 100 units; `dropout`: tied, variational, 0.2 and 0.1 of words. Unless the name of"
    " the arm says otherwise, training starts at the unigram distribution and clips gradients to a norm of 0.25. The"
    " best epoch of a run counts. `train`: perplexity of the training text; `clipped`: share of the last epoch's"
    " gradients that were clipped; `over softmax`: by how much the validation perplexity exceeds that of the softmax"
    " with the same dropout, start and clipping, without a penalty. `rates`: validation perplexity by rate, with the"
    " number of epochs in parentheses.",
    "study_softmax-python.json",
    {
        "arm": "arm", "rate": "lr:g", "validation": "perplexity:.2f", "sd": "spread:.2f", "test": "test_perplexity:.2f",
        "train": "train_perplexity:.2f", "best epoch": "best_epoch:.1f", "log Z": "mean_log_z:+.3f",
        "sd of log Z": "std_log_z:.3f", "clipped": "clipped:.0%", "over softmax": "over_softmax:+.1%",
        "seeds": "seeds", "rates": "rates",
    },
    table,
    command="python benchmarks/study_softmax.py --seeds 1 2 3",
)  # fmt: skip
SECTIONS = {"softmax": TABLE}
