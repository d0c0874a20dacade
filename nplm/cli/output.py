"""Tables for people, JSON for programs."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import click

from nplm.errors import visible

Rows = list[tuple[str, str]]


def say(text: str = "") -> None:
    """A line on stderr: what happens, not what came out."""
    click.echo(seen(text), err=True)


def seen(text: str) -> str:
    """Lines with the control characters of what came from files written out, so that they cannot steer a terminal."""
    return "\n".join(map(visible, text.split("\n")))


def show(title: str, rows: Rows, as_json: bool) -> None:
    """A table of names and figures on stdout; on stderr where stdout is kept for JSON."""
    width = max((len(name) for name, _ in rows), default=0)
    lines = [title, *(f"  {name:<{width}}  {figure}".rstrip() for name, figure in rows)]
    click.echo("\n".join(map(visible, lines)), err=as_json)


def emit(value: Mapping[str, Any]) -> None:
    """One JSON object as the last line on stdout; a number that is not finite becomes null."""
    click.echo(json.dumps(_finite(value), allow_nan=False))


def columns(cells: Iterable[str], width: int) -> list[str]:
    """Cells in as many columns as fit into `width`, read downwards."""
    cells = list(cells)
    wide = max(map(len, cells)) + 3
    count = max(1, (width + 3) // wide)
    height = -(-len(cells) // count)
    rows = (cells[k::height] for k in range(height))
    return ["".join(f"{cell:<{wide}}" for cell in row).rstrip() for row in rows]


def perplexity_text(value: float | None) -> str:
    """A perplexity with two decimals, or "not defined"."""
    return "not defined" if value is None or math.isnan(value) else f"{value:,.2f}"


def log_z_rows(figures: Mapping[str, Any]) -> Rows:
    """log Z of an evaluation: how far the model's scores are from log-probabilities."""
    quantiles = "  ".join(f"{share} {value:+.3f}" for share, value in figures["log_z_quantiles"].items())
    return [
        ("log Z mean, sd", f"{figures['mean_log_z']:+.4f}, {figures['std_log_z']:.4f} nats"),
        ("log Z quantiles", quantiles),
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
