"""Plots of study_noise.py: functions of its trials that draw on axes."""

from typing import Any

import matplotlib
from _noise_arms import KS
from _noise_tables import arms, is_fresh
from _plot_studies import legend, plain_log, xy
from _tables import Rows


def noise_map(rows: Rows, axes: Any) -> None:
    """Validation perplexity against K: fresh noise, pools by M, stratified pools; a band of two standard deviations."""
    found = [row for row in arms(rows) if row["optimizer"] == "sgd" and row["objective"] == "nce" and row["chunks"] > 1]
    found.sort(key=lambda row: row["num_noise"])
    pools = [row for row in found if row["redraw"] == "sequence" and row["draw"] == "independent"]
    shades = sorted({row["groups"] for row in pools})
    series = {f"pool, M = {m}": [row for row in pools if row["groups"] == m] for m in shades}
    colours = {name: matplotlib.colormaps["viridis"](0.9 * k / len(series)) for k, name in enumerate(series)}
    series["fresh (claim 2)"] = [row for row in found if is_fresh(row)]
    series["stratified, M = 32"] = [row for row in found if row["draw"] == "stratified" and row["groups"] == 32]
    for name, line in series.items():
        style = "--" if name.startswith("strat") else "-"
        colour = colours.get(name, "black")
        axes.plot(*xy(line, "num_noise", "perplexity"), style, marker="o", markersize=3, color=colour, label=name)
        band = [row for row in line if row["spread"] is not None]
        low, high = ([row["perplexity"] + sign * row["spread"] for row in band] for sign in (-1, 1))
        axes.fill_between([row["num_noise"] for row in band], low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(title="32 chunks that share M groups of K noise words", xlabel="K", ylabel="validation perplexity")
    plain_log(axes, "y")
    plain_log(axes, "x", KS)
    legend(axes)


DRAW = {"noise-map": noise_map}
