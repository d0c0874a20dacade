"""Plots of the recorded results, benchmarks/results/*.json; needs matplotlib (pip install nplm-nce[plot]).

python benchmarks/plot.py                                 PNG files in benchmarks/results/
python benchmarks/plot.py --format svg --out docs/plots   those of the pages; the same results give the same bytes
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _plot_noise
import _plot_studies as studies
import _record
import matplotlib
from _plot_studies import xy
from _tables import Rows, groups, pick
from matplotlib.figure import Figure
from render import SECTIONS

from nplm.views.plot import save


def train_breakdown(rows: Rows, axes: Any) -> None:
    """Share of a step's time by piece, on one thread."""
    steps = {row["name"]: row["breakdown"] for row in rows}
    left = [0.0] * len(steps)
    pieces = [name for name in next(iter(steps.values())) if name != "total"]
    colours = matplotlib.colormaps["tab20"].colors
    for piece, colour in zip(pieces, colours, strict=False):
        shares = [step[piece] / step["total"] for step in steps.values()]
        axes.barh(list(steps), shares, left=left, label=piece, color=colour)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set(title="Where a step spends its time (one thread)", xlabel="share", xlim=(0, 1))
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))


def vocab(rows: Rows, axes: Any) -> None:
    """Step time against V, as a ratio to the smallest V."""
    for (kind, threads), line in groups(pick(rows, kind="growth"), "text", "threads"):
        axes.plot(*xy(line, "vocab_size", "growth"), marker="o", label=f"{kind}, {threads} threads")
    axes.axhline(1.1, color="grey", linestyle=":")
    axes.set(title="Time of a training step with NCE", xlabel="V", ylabel="relative to the smallest V", xscale="log")
    axes.legend()


def vocab_softmax(rows: Rows, axes: Any) -> None:
    """NCE over softmax, and its ceiling."""
    rows = pick(rows, kind="softmax")
    for (name, threads), line in groups(rows, "softmax", "threads"):
        axes.plot(*xy(line, "vocab_size", "ratio"), marker="o", label=f"{name}'s softmax, {threads} threads")
    ceiling = sorted({(row["vocab_size"], row["ceiling"]) for row in rows})
    axes.plot(*zip(*ceiling, strict=True), color="grey", linestyle=":", label="ratio of operations")
    axes.set(
        title="A step with NCE relative to the full softmax",
        xlabel="V",
        ylabel="ratio of speeds",
        xscale="log",
        yscale="log",
    )
    axes.legend()


def noise(rows: Rows, axes: Any) -> None:
    """Draws a second by method."""
    for (method,), line in groups([row for row in rows if row["draws"] == rows[0]["draws"]], "method"):
        axes.plot(*xy(line, "vocab_size", "draws_per_second"), marker="o", label=method)
    axes.set(title="Drawing noise words on one core", xlabel="V", ylabel="draws per second", xscale="log", yscale="log")
    axes.legend()


def evaluation(rows: Rows, axes: Any) -> None:
    """Tokens a second, exact and unnormalised."""
    for (kind, threads), line in groups(rows, "kind", "threads"):
        axes.plot(*xy(line, "vocab_size", "tokens_per_second"), marker="o", label=f"{kind}, {threads} threads")
    axes.set(title="Evaluation", xlabel="V", ylabel="tokens per second", xscale="log", yscale="log")
    axes.legend()


def memory(rows: Rows, axes: Any) -> None:
    """Peak against what must be held."""
    labels = [f"{row['task']}\nV = {row['vocab_size']:,}" for row in rows]
    axes.bar(labels, [row["peak_mb"] for row in rows], 0.6, label="peak", alpha=0.4)
    axes.bar(labels, [row["held_mb"] for row in rows], 0.3, label="must be held")
    axes.set(title="Memory", ylabel="MB", yscale="log")
    axes.legend()


DRAW: dict[str, Callable[[Rows, Any], None]] = {
    "train-breakdown": train_breakdown, "vocab": vocab, "vocab-softmax": vocab_softmax,
    "noise": noise, "eval": evaluation, "memory": memory, **studies.DRAW,
    **_plot_noise.DRAW,
}  # fmt: skip


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--results", type=Path, default=_record.RESULTS, help="folder of the result files")
    flags.add_argument("--out", type=Path, default=_record.RESULTS, help="folder of the plots")
    flags.add_argument("--format", choices=["png", "svg"], default="png")
    arguments = flags.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, results in [(name, section.results) for section in SECTIONS.values() for name in section.plots]:
        file = arguments.results / results
        if file.exists():
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            axes = figure.subplots()
            DRAW[name](json.loads(file.read_text(encoding="utf-8"))["rows"], axes)
            if axes.has_data() or axes.child_axes:
                path = arguments.out / f"{name}.{arguments.format}"
                save(figure, path)
                print(path)


if __name__ == "__main__":
    main()
