"""Plots of the studies of objectives, of chunks and of gradients: functions of rows that draw on axes."""

from collections.abc import Iterable
from textwrap import wrap
from typing import Any

import matplotlib
from _tables import Row, Rows, groups, mean, pick
from matplotlib.ticker import LogFormatter, NullLocator
from study_objectives import objectives

COLOURS = [f"C{n}" for n in range(10)]
STYLES = {"sequence": "-", "epoch": "--", "never": ":"}  # by life of the pool


def objectives_epochs(rows: Rows, axes: Any) -> None:
    """Validation perplexity of each case's first seed against epochs: softmax black, NCE by K, the others dashed.

    Without other noise distributions.
    """
    nce = [row["num_noise"] for row in objectives(rows) if row["objective"] == "nce"]
    shades = {k: n / max(len(set(nce)) - 1, 1) for n, k in enumerate(sorted(set(nce)))}
    for (case,), same in groups([row for row in objectives(rows) if row["power"] in (None, 1)], "case"):
        first, colour, line = _first(same), None, "--"
        if first["objective"] == "softmax":
            colour, line = "black", "-"
        elif first["objective"] == "nce":
            colour, line = matplotlib.colormaps["viridis_r"](0.1 + 0.9 * shades[first["num_noise"]]), "-"
        axes.plot(*xy(first["curve"], "epoch", "perplexity"), line, color=colour, label=case)
    axes.set(title="The recipe ptb-small by objective", xlabel="epoch", ylabel="validation perplexity")
    plain_log(axes, "y")
    legend(axes)


def objectives_num_noise(rows: Rows, axes: Any) -> None:
    """Test perplexity against K by objective, a mark for each seed, a line through the means; the softmax a line."""
    shown = [row for row in objectives(rows) if row["power"] == 1]
    for (objective,), same in groups(shown, "objective"):
        by_k = sorted((k, mean(line, "test_perplexity")) for (k,), line in groups(same, "num_noise"))
        colour = axes.plot(*zip(*by_k, strict=True), label=objective)[0].get_color()
        axes.plot(*xy(same, "num_noise", "test_perplexity"), "o", color=colour)
    if softmax := pick(rows, case="softmax"):
        axes.axhline(mean(softmax, "test_perplexity"), color="black", linestyle=":", label="softmax")
    axes.set(title="The recipe ptb-small at the end", xlabel="K", ylabel="test perplexity")
    plain_log(axes, "x", (row["num_noise"] for row in shown))
    legend(axes)


def chunks(rows: Rows, axes: Any) -> None:
    """Validation perplexity against seconds of training, by N."""
    _chunk_curves(pick(rows, kind="split"), axes, "seconds")
    axes.set(title="One sequence in N chunks, B fixed", xlabel="seconds of training")


def chunks_matched(rows: Rows, axes: Any) -> None:
    """Validation perplexity against epochs, by N, at equal updates."""
    _chunk_curves(pick(rows, kind="matched"), axes, "epoch")
    axes.set(title="One sequence in N chunks, equal updates", xlabel="epoch")


def _chunk_curves(rows: Rows, axes: Any, x: str) -> None:
    """Curves of the first seed of each N at the largest K."""
    k, rows = _at_most_noise(rows)
    by_n = sorted((n, same) for (n,), same in groups(rows, "chunks"))
    for place, (n, same) in enumerate(by_n):
        colour = matplotlib.colormaps["viridis_r"](0.1 + 0.9 * place / max(len(by_n) - 1, 1))
        label = f"N = {n}, K = {k}"
        axes.plot(*xy(_first(same)["curve"], x, "perplexity"), marker="o", color=colour, label=label)
    axes.set(ylabel="validation perplexity")
    plain_log(axes, "y")
    legend(axes)


def chunks_pool(rows: Rows, axes: Any) -> None:
    """Validation perplexity after the last epoch against M, by K, map and life of the pool; fresh noise as lines."""
    pools = pick(rows, kind="pool")
    series = dict.fromkeys((row["num_noise"], row["group_map"]) for row in pools)
    colours = dict(zip(series, COLOURS, strict=False))
    for (k, group_map, redraw), same in groups(pools, "num_noise", "group_map", "redraw"):
        by_m = sorted((m, mean(line, "perplexity")) for (m,), line in groups(same, "groups"))
        label = f"K = {k}, {group_map}, {_life(redraw)}"
        axes.plot(*zip(*by_m, strict=True), STYLES[redraw], color=colours[k, group_map], marker="o", label=label)
    for (k, chunks), _ in groups(pools, "num_noise", "chunks"):
        if fresh := pick(rows, kind="split", num_noise=k, chunks=chunks):
            level, colour = mean(fresh, "perplexity"), next(c for (of, _), c in colours.items() if of == k)
            axes.axhline(level, color=colour, linestyle="-.", linewidth=1, label=f"K = {k}, fresh")
    axes.set(title="Chunks that share M noise groups", xlabel="M", ylabel="validation perplexity")
    plain_log(axes, "y")
    plain_log(axes, "x", (row["groups"] for row in pools))
    legend(axes)


def chunks_log_z(rows: Rows, axes: Any) -> None:
    """Mean log Z of the validation text after every epoch, by M and life of the pool, at the largest K."""
    k, pools = _at_most_noise(pick(rows, kind="pool", group_map="contiguous"))
    colours = dict(zip(sorted({row["groups"] for row in pools}), COLOURS, strict=False))
    for (m, redraw), same in groups(pools, "groups", "redraw"):
        line = xy(_first(same)["curve"], "epoch", "mean_log_z")
        axes.plot(*line, STYLES[redraw], color=colours[m], marker="o", label=f"M = {m}, {_life(redraw)}")
    for row in pick(rows, kind="split", num_noise=k, chunks=pools[0]["chunks"])[:1] if pools else []:
        axes.plot(*xy(row["curve"], "epoch", "mean_log_z"), color="black", marker="o", label="fresh")
    axes.set(title=f"log Z with shared noise groups, K = {k}", xlabel="epoch", ylabel="mean log Z, nats")
    axes.set_yscale("symlog", linthresh=0.1)
    legend(axes)


def chunks_truncation(rows: Rows, axes: Any) -> None:
    """Bias of the cut gradient against N, by parameters, at the largest K; that of the decoder is none."""
    k, rows = _at_most_noise(pick(rows, kind="truncation"))
    for (part,), line in groups([row for row in rows if row["bias"] > 0], "parameters"):
        axes.plot(*xy(line, "chunks", "bias"), marker="o", label=part)
    axes.set(title=f"The gradient of a sequence cut into N chunks, K = {k}")
    axes.set(xlabel="N", ylabel="relative bias", ylim=(0, None))
    plain_log(axes, "x", (row["chunks"] for row in rows))
    legend(axes)


def chunks_reuse(rows: Rows, axes: Any) -> None:
    """Growth of the gradient's variance against M, measured (marks) and predicted (lines)."""
    shown = [row for row in rows if row["kind"] == "reuse" and row["parameters"] == "all" and row["groups"]]
    for (k, group_map), line in groups(shown, "num_noise", "group_map"):
        marks = axes.plot(*xy(line, "groups", "growth"), "o", label=f"K = {k}, {group_map}")
        axes.plot(*xy(line, "groups", "predicted"), color=marks[0].get_color())
    axes.set(title="Variance with M groups over that with fresh ones", xlabel="M", ylabel="ratio")
    plain_log(axes, "y")
    plain_log(axes, "x", (row["groups"] for row in shown))
    legend(axes)


def _at_most_noise(rows: Rows) -> tuple[int | None, Rows]:
    """The largest K and its rows."""
    k = max((row["num_noise"] for row in rows), default=None)
    return k, pick(rows, num_noise=k)


def legend(axes: Any) -> None:
    """Beside the axes: curves fill them."""
    if axes.has_data():
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.06, 1))


def xy(rows: Rows, x: str, y: str) -> tuple[list[float], list[float]]:
    """Two columns of rows."""
    return [row[x] for row in rows], [row[y] for row in rows]


def plain_log(axes: Any, which: str, ticks: Iterable[int] = ()) -> None:
    """A logarithmic axis, x or y, with numbers in place of powers of ten; with ticks at these values only."""
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter())
    if values := sorted(set(ticks)):
        axis.set_ticks(values, map(str, values))
        axis.set_minor_locator(NullLocator())


def _first(rows: Rows) -> Row:
    """The row of the first seed."""
    return min(rows, key=lambda row: row["seed"])


def _life(redraw: str) -> str:
    return "never redrawn" if redraw == "never" else f"every {redraw}"


def faults(rows: Rows, axes: Any) -> None:
    """Small multiples: the loss curves of every fault over the band of the clean runs."""
    curves: dict[str, Rows] = {}
    for row in rows:
        curves.setdefault(row["fault"], []).append(row)
    clean, columns = curves.pop("none"), 6
    lines = -(-len(curves) // columns)
    axes.figure.set_size_inches(12, 1.6 * lines)
    axes.axis("off")
    x = [tokens / 1e3 for tokens, _ in clean[0]["curve"]]
    losses = [[loss for _, loss in row["curve"]] for row in clean]
    low, high = ([pick(values) for values in zip(*losses, strict=True)] for pick in (min, max))
    for k, (name, runs) in enumerate(curves.items()):
        place = (k % columns / columns, 1 - (k // columns + 0.8) / lines, 0.82 / columns, 0.52 / lines)
        panel = axes.inset_axes(place)
        panel.fill_between(x, low, high, color="0.6", linewidth=0)
        for row in runs:
            panel.plot(
                *zip(*((tokens / 1e3, loss) for tokens, loss in row.get("curve", [])), strict=True), linewidth=0.7
            )
        panel.set_title("\n".join(wrap(name, 30)), fontsize=6)
        panel.set_ylim(min(low) - 0.3, max(high) + 0.3)
        panel.tick_params(labelsize=5)


DRAW = {
    "objectives-epochs": objectives_epochs, "objectives-num-noise": objectives_num_noise, "chunks": chunks,
    "chunks-matched": chunks_matched, "chunks-pool": chunks_pool, "chunks-log-z": chunks_log_z,
    "chunks-truncation": chunks_truncation, "chunks-reuse": chunks_reuse, "faults": faults,
}  # fmt: skip
