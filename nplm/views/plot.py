"""Curves of one or several runs as a picture.

loss of training · validation perplexity · log Z of the validation text, mean and standard deviation · speed
"""

import io
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nplm import atomic, optional
from nplm.arrays import Array
from nplm.errors import InputError
from nplm.views.metrics_log import History, Record, Runs, series

SUFFIXES = (".png", ".svg")
# Okabe and Ito's colours, which colour-blind readers can distinguish; black last. Further runs use other dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
INK, FAINT = "#333333", "#DDDDDD"
STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": 9.5,
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 9.0,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
TIMES = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
COUNTS = ((1e9, "billions of tokens"), (1e6, "millions of tokens"), (1e3, "thousands of tokens"), (1, "tokens"))


class Abscissa(NamedTuple):
    """The x axis of the curves."""

    label: str
    figure: str  # its name in a line of metrics
    units: dict[str, float]  # the value of the figure at 1 on the axis, for each run


def plot(runs: Runs, output: str | Path, x: str | None = None) -> None:
    """Write the curves of the runs to a .png or .svg file, whole or not at all; the same runs give the same bytes.

    x: epochs, seconds (of training) or tokens (trained on); None: epochs, or tokens if a run has not finished one.
    Raises InputError on another suffix, without matplotlib, and for epochs before the first is finished.
    """
    path = Path(output)
    check_suffix(path)
    matplotlib = optional.load("matplotlib", "plot", "a plot")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user's own settings are
        matplotlib.rcParams.update(STYLE)
        save(draw(runs, x), path)


def save(figure: Any, path: Path) -> None:
    """Write a matplotlib Figure to a .png or .svg file, whole or not at all; the same figure gives the same bytes."""
    matplotlib = optional.load("matplotlib", "plot", "a plot")
    kind = path.suffix[1:].lower()
    about = {"Date": None} if kind == "svg" else {}
    with matplotlib.rc_context({"svg.hashsalt": "nplm"}), io.BytesIO() as picture:
        figure.savefig(picture, format=kind, dpi=150, metadata=about)
        atomic.write(path, [picture.getvalue()])


def check_suffix(path: Path) -> None:
    """Raise InputError unless the suffix is one that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: the suffix {path.suffix!r} is not supported; use {' or '.join(SUFFIXES)}")


def draw(runs: Runs, x: str | None = None) -> Any:
    """The figure (matplotlib's Figure) with the four panels."""
    axis = _abscissa(runs, x)
    figure = optional.load("matplotlib.figure", "plot", "a plot").Figure(figsize=(11, 7.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    titles = ("Training loss", "Validation perplexity", "log Z of the validation text: mean ± sd", "Training speed")
    labels = ("nats per position", "perplexity", "nats", "tokens per second")
    for panel, title, label in zip(panels.flat, titles, labels, strict=True):
        panel.set_title(title, loc="left")
        panel.set_ylabel(label)
        panel.margins(x=0.02)
    for panel in panels[1]:
        panel.set_xlabel(axis.label)
    panels[1, 0].axhline(0, color="#888888", linewidth=1)
    handles = []
    for k, (name, run) in enumerate(runs.items()):
        look = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // len(COLOURS) % len(DASHES)]}
        handles.append(_draw_run(panels, run, _places(axis, name, run), look))
    _finish(panels, runs)
    title = ", ".join(map(_plain, runs)) if len(runs) < 5 else f"{len(runs)} runs"
    figure.suptitle(f"Training of {title}", x=0.012, ha="left", fontsize=14, fontweight="bold")
    figure.align_ylabels(panels)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.03)
    names = [_describe(name, run) for name, run in runs.items()]
    figure.legend(handles, names, loc="outside lower left", ncols=1 if len(runs) < 4 else 2)
    return figure


def _abscissa(runs: Runs, x: str | None) -> Abscissa:
    unfinished = [name for name, run in runs.items() if not math.isfinite(run.tokens_per_epoch)]
    if x == "epochs" and unfinished:
        raise InputError(f"{unfinished[0]}: its first epoch is not finished; use `x` tokens, or wait")
    if x == "epochs" or (x is None and not unfinished):
        return Abscissa("epochs", "tokens_trained", {name: run.tokens_per_epoch for name, run in runs.items()})
    figure = "seconds" if x == "seconds" else "tokens_trained"
    most = max(max(series(run.train + run.valid, figure)) for run in runs.values())
    scales = TIMES if x == "seconds" else COUNTS
    unit, word = next(((unit, word) for unit, word in scales if most >= 2 * unit), scales[-1])
    return Abscissa(f"{word} of training" if x == "seconds" else word, figure, dict.fromkeys(runs, unit))


def _places(axis: Abscissa, name: str, run: History) -> tuple[list[float], list[float]]:
    """Positions of the lines of train and of valid on the axis."""
    unit = axis.units[name]
    train, valid = ([v / unit for v in series(lines, axis.figure)] for lines in (run.train, run.valid))
    return train, valid


def _draw_run(panels: Any, run: History, places: tuple[list[float], list[float]], look: dict[str, Any]) -> Any:
    """The run's four curves; returns one of them, for the legend."""
    train, valid = places
    thick, thin = look | {"linewidth": 1.8}, look | {"linewidth": 0.7, "alpha": 0.3}
    few = {"marker": "o", "markersize": 3.5}
    loss, reach = series(run.train, "loss"), len(train) // 30
    if reach > 1:  # what was measured, and its running mean
        panels[0, 0].plot(train, loss, **thin)
        panels[1, 1].plot(train, speeds(run.train), **thin)
    (handle,) = panels[0, 0].plot(train, smooth(loss, reach), **thick, **(few if len(train) == 1 else {}))
    panels[1, 1].plot(train, speeds(run.train, reach), **thick, **(few if len(train) == 1 else {}))

    dots = few if len(valid) <= 40 else {}
    perplexity, best = series(run.valid, "perplexity"), _best(run)
    panels[0, 1].plot(valid, perplexity, **thick, **dots)
    if best is not None:
        ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.6}
        panels[0, 1].plot(valid[best], perplexity[best], color=look["color"], **ring)
    mean, sd = np.array(series(run.valid, "mean_log_z")), np.array(series(run.valid, "std_log_z"))
    panels[1, 0].plot(valid, mean, **thick, **dots)
    band = {"color": look["color"], "alpha": 0.13}
    panels[1, 0].fill_between(valid, mean - sd, mean + sd, **band, linewidth=0)
    if len(valid) == 1:  # a band needs two points
        panels[1, 0].vlines(valid, mean - sd, mean + sd, **band, linewidth=5)
    return handle


def speeds(records: list[Record], reach: int = 0) -> Array:
    """Tokens per second (n,) between each line and the line before it, or `reach` lines further on either side.

    The figure in the line itself is the mean since training began.
    """
    tokens, seconds = (np.array([0.0, *series(records, name)]) for name in ("tokens_trained", "seconds"))
    last = np.arange(1, tokens.size)
    first, last = np.maximum(last - 1 - reach, 0), np.minimum(last + reach, tokens.size - 1)
    time = seconds[last] - seconds[first]
    return np.where(time > 0, (tokens[last] - tokens[first]) / np.where(time > 0, time, 1), np.nan)


def smooth(values: list[float], reach: int) -> Array:
    """The mean (n,) of the finite values among each value and the `reach` values before and after it."""
    finite = np.isfinite(values)
    sums, counts = (np.append(0.0, np.cumsum(x)) for x in (np.where(finite, values, 0), finite))
    middle = np.arange(len(values))
    first, stop = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, len(values))
    count = counts[stop] - counts[first]
    return np.where(count > 0, (sums[stop] - sums[first]) / np.maximum(count, 1), np.nan)


def _finish(panels: Any, runs: Runs) -> None:
    """Set scales and ticks, and write a note where there is nothing to draw."""
    perplexity = [v for run in runs.values() for v in series(run.valid, "perplexity") if math.isfinite(v)]
    ticker = optional.load("matplotlib.ticker", "plot", "a plot")
    if perplexity and max(perplexity) > 4 * min(perplexity) > 0:
        panels[0, 1].set_yscale("log")
        panels[0, 1].yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        panels[0, 1].yaxis.set_minor_locator(ticker.NullLocator())
    panels[0, 1].yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, place: f"{value:,.6g}"))
    panels[1, 1].set_ylim(bottom=0)
    panels[1, 1].set_xlim(left=0)
    panels[1, 1].yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, place: f"{value:,.0f}"))
    if not perplexity:
        why = "no validation text" if any(run.valid for run in runs.values()) else "no epoch is finished yet"
        for panel in (panels[0, 1], panels[1, 0]):
            panel.text(0.5, 0.6, why, ha="center", transform=panel.transAxes, color="#888888")
            panel.set_yticks([])


def _best(run: History) -> int | None:
    """Index of the line with the best validation perplexity."""
    perplexity = series(run.valid, "perplexity")
    finite = [k for k, value in enumerate(perplexity) if math.isfinite(value)]
    return min(finite, key=lambda k: perplexity[k]) if finite else None


def _describe(name: str, run: History) -> str:
    """A run's line in the legend: its settings and its best result."""
    parts = [_plain(name)]
    with suppress(KeyError, TypeError, ValueError, OverflowError):  # settings of another version
        model, train = run.config["model"], run.config["train"]
        shape = f"{model['num_layers']} × {model['hidden_dim']} units, V = {model['vocab_size']:,}"
        parts += [shape, f"K = {train['num_noise']} noise words, lr {train['lr']:g}"]
    best = _best(run)
    if best is not None:
        line = run.valid[best]
        parts.append(f"best validation perplexity {line['perplexity']:,.2f} in epoch {line['epoch']}")
    return "   ".join(parts)


def _plain(name: str) -> str:
    """A name escaped for matplotlib, so that $ does not begin a formula and _ does not hide it from the legend."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")
