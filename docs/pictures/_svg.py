"""Pictures as SVG: text, boxes, arrows and axes, in colours that follow the theme of the page or of the system.

Coordinates are in pixels, y downwards.  A colour is a name: ink, faint, soft, or one of a, b, c, d, which
the colour-blind can distinguish.  The same calls give the same bytes.
"""

import math
from collections.abc import Sequence
from html import escape

LIGHT = "--ink:#1f2328;--faint:#d0d7de;--soft:#f3f5f7;--a:#0072b2;--b:#c04f00;--c:#00805c;--d:#a8518a"
DARK = "--ink:#e6edf3;--faint:#444c56;--soft:#21262d;--a:#66b8f0;--b:#ff9a57;--c:#4fd0a5;--d:#e6a0c8"
STYLE = f"svg.nplm{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg.nplm{{{DARK}}}}}"
FONT = "system-ui, sans-serif"
MONO = "ui-monospace, monospace"


class Picture:
    """A picture of some width and height, to which things are added from back to front."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        words: str,
        colour: str = "ink",
        size: int = 14,
        anchor: str = "middle",
        mono: bool = False,
        bold: bool = False,
    ) -> None:
        """Words whose middle, or start or end, is at x, and whose middle in height is at y."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y + 0.35 * size:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' font-family="{MONO if mono else FONT}"{weight} fill="var(--{colour})">{escape(words)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, words: str = "", colour: str = "ink", fill: str = "soft"
    ) -> None:
        """A box with words in the middle."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4"'
            f' fill="var(--{fill})" stroke="var(--{colour})" stroke-width="1.3"/>'
        )
        if words:
            self.text(x + width / 2, y + height / 2, words, colour)

    def dot(self, x: float, y: float, colour: str = "ink", radius: float = 3.5) -> None:
        """A point, such as where a quantity fans out."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="var(--{colour})"/>')

    def node(self, x: float, y: float, words: str, colour: str = "ink") -> None:
        """An operation: a small circle with a sign in it."""
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="13" fill="var(--soft)" stroke="var(--{colour})" stroke-width="1.3"/>'
        )
        self.text(x, y, words, colour)

    def line(
        self,
        *points: tuple[float, float],
        colour: str = "ink",
        arrow: bool = False,
        dashed: bool = False,
        width: float = 1.6,
    ) -> None:
        """A line through points, with a head at its end if it is an arrow."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="var(--{colour})" stroke-width="{width}"{dash}/>'
        )
        if arrow:
            self._head(points[-2], points[-1], colour)

    def arrow(self, *points: tuple[float, float], colour: str = "ink", dashed: bool = False) -> None:
        """A line with a head."""
        self.line(*points, colour=colour, arrow=True, dashed=dashed)

    def _head(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        corners = [end] + [
            (end[0] - 9 * math.cos(angle + turn), end[1] - 9 * math.sin(angle + turn)) for turn in (-0.42, 0.42)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.parts.append(f'<polygon points="{path}" fill="var(--{colour})"/>')

    def svg(self) -> str:
        """The file's text."""
        head = (
            '<svg xmlns="http://www.w3.org/2000/svg" class="nplm" role="img"'
            f' width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}">'
        )
        return "\n".join([head, f"<style>{STYLE}</style>", *self.parts, "</svg>", ""])


class Axes:
    """Axes in a picture, linear or logarithmic, and curves in them."""

    def __init__(
        self,
        picture: Picture,
        frame: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float],
        log: str = "",
    ) -> None:
        """frame: left, top, width, height; x and y: the first and last value; log: "x", "y" or "xy"."""
        self.picture, self.frame, self.x, self.y, self.log = picture, frame, x, y, log
        left, top, width, height = frame
        picture.line((left, top), (left, top + height), (left + width, top + height))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is in the picture."""
        left, top, width, height = self.frame
        return left + width * self._share(x, self.x, "x"), top + height * (1 - self._share(y, self.y, "y"))

    def _share(self, value: float, ends: tuple[float, float], axis: str) -> float:
        if axis in self.log:
            return math.log(value / ends[0]) / math.log(ends[1] / ends[0])
        return (value - ends[0]) / (ends[1] - ends[0])

    def ticks(self, xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str, form: str = "g") -> None:
        """Numbers at the axes, faint lines across, and what the axes are."""
        left, top, width, height = self.frame
        for x in xs:
            at = self.place(x, self.y[0])[0]
            self.picture.line((at, top + height), (at, top + height + 5))
            self.picture.text(at, top + height + 16, format(x, form), size=12)
        for y in ys:
            at = self.place(self.x[0], y)[1]
            self.picture.line((left, at), (left + width, at), colour="faint", width=0.8)
            self.picture.text(left - 8, at, format(y, form), size=12, anchor="end")
        self.picture.text(left + width / 2, top + height + 36, x_label, size=13)
        if y_label:
            self.picture.text(left - 36, top - 16, y_label, size=13, anchor="start")

    def curve(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        colour: str,
        label: str = "",
        dashed: bool = False,
        shift: float = 0,
    ) -> None:
        """A curve, and its label to the right of its last point, shifted down by some pixels."""
        points = [self.place(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        self.picture.line(*points, colour=colour, dashed=dashed, width=2)
        if label:
            self.picture.text(points[-1][0] + 6, points[-1][1] + shift, label, colour, size=13, anchor="start")
