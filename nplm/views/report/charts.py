"""Small charts as SVG text, which need no script, font or network, and take their colours from the page."""

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 340, 190  # units of the viewBox: about a phone's pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 34
MOST_POINTS = 240  # of a curve; more are averaged, neighbour with neighbour

Point = tuple[float, float]


def line_chart(
    label: str,
    x_label: str,
    points: Sequence[Point],
    *,
    dots: bool = False,
    spread: Sequence[float] = (),
    include: Sequence[float] = (),
    x_max: float = 0.0,
) -> str:
    """A curve through the points that are finite, at least one.

    dots: mark each point. spread: a band of this half-width about each. include: values the y axis must reach.
    """
    good = [k for k, point in enumerate(points) if all(map(math.isfinite, point))]
    curve = [points[k] for k in good]
    around = [spread[k] if math.isfinite(spread[k]) else 0.0 for k in good] if spread else []
    values = [y for _, y in curve] + list(include)
    values += [y + sign * s for (_, y), s in zip(curve, around, strict=False) for sign in (-1, 1)]
    x_axis = Axis(0.0, max(x_max, max(x for x, _ in curve)), LEFT, WIDTH - RIGHT, 6)
    floor = 0.0 if min(values) == 0.0 else -math.inf
    y_axis = Axis(min(values), max(values), HEIGHT - BOTTOM, TOP, 4, pad=0.06, floor=floor)
    parts = [_frame(x_axis, y_axis, x_label)]
    if min(values) < 0.0 < max(values):
        parts.append(_line("zero", LEFT, y_axis.at(0), WIDTH - RIGHT, y_axis.at(0)))
    if around:
        both = list(zip(curve, around, strict=True))
        rim = [(x, y + s) for (x, y), s in both] + [(x, y - s) for (x, y), s in reversed(both)]
        parts.append(f'<polygon class="spread" points="{_path(rim, x_axis, y_axis)}"/>')
    thin = _thinned(curve)
    parts.append(f'<polyline class="curve" points="{_path(thin, x_axis, y_axis)}"/>')
    if dots or len(thin) == 1:
        parts += [f'<circle class="dot" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="3"/>' for x, y in thin]
    return _svg(label, parts)


def bar_chart(label: str, x_label: str, heights: Sequence[float], edges: Sequence[float], mean: float) -> str:
    """Bars between edges, with zero and the mean marked if they are in range."""
    x_axis = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT, 6)
    y_axis = Axis(0.0, max(heights), HEIGHT - BOTTOM, TOP, 4, pad=0.06, floor=0.0)
    parts = [_frame(x_axis, y_axis, x_label)]
    for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
        if height:
            x, y = x_axis.at(low), y_axis.at(height)
            size = f'width="{max(x_axis.at(high) - x - 0.6, 0.4):.1f}" height="{y_axis.at(0) - y:.1f}"'
            parts.append(f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" {size}/>')
    for name, value in (("zero", 0.0), ("mean", mean)):
        if edges[0] <= value <= edges[-1]:
            parts.append(_line(name, x_axis.at(value), TOP, x_axis.at(value), HEIGHT - BOTTOM))
    return _svg(label, parts)


def share_bar(share: float) -> str:
    """A small bar, `share` of it filled, to be shown next to the number."""
    return (
        '<svg class="share" viewBox="0 0 60 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="60" height="6"/><rect class="bar" width="{60 * share:.2f}" height="6"/></svg>'
    )


class Axis:
    """Values low to high on the units start to stop, with about `count` round ticks."""

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        stop: float,
        count: int,
        *,
        pad: float = 0.0,
        floor: float = -math.inf,
    ) -> None:
        if not high > low:
            low, high = low - max(abs(low), 1.0) * 0.05, high + max(abs(high), 1.0) * 0.05
        room = pad * (high - low)
        self.low, self.high = max(low - room, floor), high + room
        self.start, self.stop = start, stop
        step = round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        self.ticks = [k * step for k in range(first, last + 1)]
        self.step = step

    def at(self, value: float) -> float:
        """The position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def text(self, value: float) -> str:
        """A tick's label."""
        if self.step >= 1000:
            return f"{value / 1000:,.{_decimals(self.step / 1000)}f}k" if value else "0"
        return f"{value:,.{_decimals(self.step)}f}".replace("-", "−")


def round_step(span: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten: the smallest that is not below `span`."""
    power = 10.0 ** math.floor(math.log10(span))
    return next((m * power for m in (1, 2, 2.5, 5) if m * power >= span * (1 - 1e-9)), 10 * power)


def _decimals(step: float) -> int:
    return next((k for k in range(9) if abs(step * 10**k - round(step * 10**k)) < 1e-6), 9)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most MOST_POINTS points, each the mean of its neighbourhood."""
    width = -(-len(points) // MOST_POINTS)
    groups = (points[k : k + width] for k in range(0, len(points), width))
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _path(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> str:
    return " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _frame(x_axis: Axis, y_axis: Axis, x_label: str) -> str:
    """Hairlines at the ticks of y, the base line, and the labels."""
    base = HEIGHT - BOTTOM
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts.append(_line("grid", LEFT, y, WIDTH - RIGHT, y))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{y_axis.text(tick)}</text>')
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        parts.append(_line("axis", x, base, x, base + 3))
        parts.append(f'<text x="{x:.1f}" y="{base + 14}" text-anchor="middle">{x_axis.text(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_line("axis", LEFT, base, WIDTH - RIGHT, base))
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def _svg(label: str, parts: Sequence[str]) -> str:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return head + "".join(parts) + "</svg>"
