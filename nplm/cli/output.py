"""Tables for people, JSON for programs."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import click

from nplm.errors import visible

Rows = list[tuple[str, str]]


def say(text: str = "") -> None:
    """Print a line on stderr: progress and notes, not results."""
    click.echo(seen(text), err=True)


def seen(text: str) -> str:
    """The lines with control characters escaped, so that text from files cannot control the terminal."""
    return "\n".join(map(visible, text.split("\n")))


def show(title: str, rows: Rows, as_json: bool) -> None:
    """Print a table of names and figures on stdout, or on stderr if stdout is reserved for JSON."""
    width = max((len(name) for name, _ in rows), default=0)
    lines = [title, *(f"  {name:<{width}}  {figure}".rstrip() for name, figure in rows)]
    click.echo("\n".join(map(visible, lines)), err=as_json)


def emit(value: Mapping[str, Any]) -> None:
    """Print one JSON object as the last line on stdout; a number that is not finite becomes null."""
    click.echo(json.dumps(_finite(value), allow_nan=False))


def columns(cells: Iterable[str], width: int) -> list[str]:
    """The cells in as many columns as fit into `width`, filled column by column."""
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
    """Rows on log Z: how far the model's scores are from log-probabilities."""
    quantiles = "  ".join(f"{share} {value:+.3f}" for share, value in figures["log_z_quantiles"].items())
    return [
        ("log Z mean, sd", f"{figures['mean_log_z']:+.4f}, {figures['std_log_z']:.4f} nats"),
        ("log Z quantiles", quantiles),
    ]


def raw_text_rows(figures: Mapping[str, Any]) -> Rows:
    """Rows that compare models with different units; none if the raw text is not known."""
    if figures.get("bits_per_byte") is None:
        return []
    spelled, unknown = "", figures["unknown_bits"] / figures["bytes"]
    if unknown:
        spelled = f"; of this, {unknown:.4f} bits spell unknown units"
    per_word = figures["perplexity_per_word"]
    shown = f"{per_word:.3g}" if per_word > 1e7 else perplexity_text(per_word)  # astronomic for a text without spaces
    ends = f"{figures['sentences']:,} line ends"
    return [
        ("bits per byte", f"{figures['bits_per_byte']:.4f}   ({figures['bytes']:,} bytes{spelled})"),
        ("bits per character", f"{figures['bits_per_character']:.4f}   ({figures['characters']:,} characters)"),
        ("perplexity per word", f"{shown}   ({figures['words']:,} words separated by white space, {ends})"),
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
