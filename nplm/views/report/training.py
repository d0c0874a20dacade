"""The part of the page that shows how the model was trained: its curves, and the figures behind them."""

import math
from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import Any, NamedTuple

from nplm.views.metrics_log import History, series
from nplm.views.report.charts import line_chart
from nplm.views.report.numbers import number


class Curve(NamedTuple):
    """One figure of the metrics, in the order of training."""

    title: str
    what: str  # its unit and how it was measured
    tokens: list[float]  # trained on before each value
    values: list[float]  # NaN where there is none
    digits: int = 3  # decimals of the last value in the caption
    options: Mapping[str, Any] = MappingProxyType({})  # of `line_chart`


def training_section(history: History | None, best_epoch: int | None) -> str:
    """Where the model comes from, the curves that have a finite value, and a table of the epochs."""
    if history is None:
        return '<p class="note">There are no metrics next to the model: give the run folder to see the curves.</p>'
    per_epoch = history.tokens_per_epoch
    known = math.isfinite(per_epoch) and per_epoch > 0
    x_label, unit = ("epochs", per_epoch) if known else ("tokens", 1.0)
    curves = _curves(history)
    x_max = max(tokens / unit for curve in curves for tokens in curve.tokens)
    charts = "".join(_figure(curve, x_label, unit, x_max) for curve in curves)
    best = f'<p class="note">The model is that of epoch {escape(str(best_epoch))}.</p>' if best_epoch else ""
    return f'{best}<div class="charts">{charts}</div>{_epochs(history)}'


def _curves(history: History) -> list[Curve]:
    train, valid = history.train, history.valid
    steps, epochs = series(train, "tokens_trained"), series(valid, "tokens_trained")
    log_z = {"dots": True, "spread": series(valid, "std_log_z"), "include": (0.0,)}
    return [
        Curve("Training loss", "of the objective, nats per position", steps, series(train, "loss")),
        Curve(
            "Validation perplexity",
            "exact, at every epoch's end",
            epochs,
            series(valid, "perplexity"),
            options={"dots": True},
        ),
        Curve(
            "log Z of the validation text",
            "nats, mean and one standard deviation",
            epochs,
            series(valid, "mean_log_z"),
            options=log_z,
        ),
        Curve(
            "Speed",
            "tokens per second, mean since the start",
            steps,
            series(train, "tokens_per_second"),
            digits=0,
            options={"include": (0.0,)},
        ),
    ]


def _figure(curve: Curve, x_label: str, unit: float, x_max: float) -> str:
    """The chart of a curve against tokens / unit, with its last value; nothing if no value is finite."""
    points = [(tokens / unit, y) for tokens, y in zip(curve.tokens, curve.values, strict=True)]
    last = next((y for x, y in reversed(points) if math.isfinite(x) and math.isfinite(y)), None)
    if last is None:
        return ""
    what = f"{curve.what}; {number(last, curve.digits)} at the end"
    chart = line_chart(f"{curve.title}, {what}", x_label, points, x_max=x_max, **curve.options)
    return f"<figure><figcaption><strong>{curve.title}</strong>{escape(what)}</figcaption>{chart}</figure>"


def _epochs(history: History) -> str:
    """The figures behind the curves, epoch by epoch."""
    if not history.valid:
        return ""
    columns = [
        ("Perplexity", series(history.valid, "perplexity"), 2),
        ("log Z", series(history.valid, "mean_log_z"), 3),
        ("sd", series(history.valid, "std_log_z"), 3),
        ("Tokens/s", series(history.valid, "tokens_per_second"), 0),
    ]
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Epoch", *(c[0] for c in columns)))
    rows = "".join(
        f'<tr><th scope="row">{escape(str(line["epoch"]))}</th>'
        + "".join(f"<td>{number(values[k], digits)}</td>" for _, values, digits in columns)
        + "</tr>"
        for k, line in enumerate(history.valid)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<details class="wide scroll"><summary>Figures by epoch</summary>{table}</details>'
