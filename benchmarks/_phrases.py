"""Phrases that findings are made of: figures, and which of two is larger."""

from collections.abc import Iterable

from _rows import Rows, mean


def versus(value: float, base: float) -> str:
    """How a value stands to another: "3.1 % below", "equal to", or "2.4 times" from twice on."""
    side = direction(value, base)
    if value >= 2 * base:
        return f"{value / base:,.{0 if value >= 100 * base else 1}f} times"
    return f"{percent(abs(value / base - 1))} {'above' if side > 0 else 'below'}" if side else "equal to"


def direction(value: float, base: float) -> int:
    """1 if a value is above another, -1 if below, 0 if nearer to it than 0.05 %."""
    change = value / base - 1
    return 0 if abs(change) < 0.0005 else 1 if change > 0 else -1


def figure(perplexity: float) -> str:
    """A perplexity with one decimal, from 1000 on with none."""
    return f"{perplexity:,.1f}" if perplexity < 1000 else f"{perplexity:,.0f}"


def seeds(*cases: Rows) -> str:
    """How many seeds the means of cases are of."""
    counts = sorted({len(rows) for rows in cases})
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return "1 seed" if counts == [1] else f"means of {span} seeds"


def compared(rows: Rows, base: Rows, than: str, key: str = "test_perplexity") -> str:
    """The mean over one case's seeds against another's: "3.1 % below THAN (112.8 against 116.4; 1 seed)"."""
    value, other = mean(rows, key), mean(base, key)
    return f"{versus(value, other)} {than} ({figure(value)} against {figure(other)}; {seeds(rows, base)})"


def listed(parts: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def percent(share: float) -> str:
    """3.1 %, or "less than 0.1 %"."""
    return "less than 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
