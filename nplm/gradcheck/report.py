"""The result of a gradient check: a verdict, a table, the worst entries, JSON, and a picture."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.patterns import Pattern

COARSE = 0.01  # resolution, relative to the entry or its array, from which on it is too coarse to be useful
WORST = 5  # entries listed per array


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient that is wrong."""

    index: tuple[int, ...]
    got: float
    expected: float
    resolution: float


@dataclass
class ArrayReport:
    """The verdict on one array; the fields have the parameter's shape and are NaN at entries that were not checked."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    got: Array
    expected: Array
    resolution: Array  # the smallest difference that counts as an error
    wrong: Array  # bool
    kinks: int  # entries at a kink, where any value between the one-sided derivatives is right
    pattern: Pattern | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.pattern is None and not self.wrong.any() and (self.checked > 0 or self.got.size == 0)

    @property
    def checked(self) -> int:
        """The number of entries that have been checked."""
        return int((~np.isnan(self.expected)).sum())

    @property
    def relative_resolution(self) -> float:
        """The median over the entries of resolution / |expected|; NaN if every entry is zero."""
        known = np.abs(self.expected) > 0
        return float(np.median(self.resolution[known] / np.abs(self.expected[known]))) if known.any() else np.nan

    @property
    def coarse(self) -> int:
        """The number of entries that could hardly be checked, because a kink or the edge of the domain is close."""
        tried = ~np.isnan(self.resolution)
        expected = np.nan_to_num(self.expected[tried])
        size = np.sqrt(np.mean(expected**2)) if expected.size else 0.0
        return int(np.sum(self.resolution[tried] > COARSE * np.maximum(np.abs(expected), size)))

    def worst(self, count: int = WORST) -> list[Entry]:
        """The wrong entries with the largest error, measured in resolutions."""
        with np.errstate(all="ignore"):
            ratio = np.abs(self.got - self.expected) / np.maximum(self.resolution, 1e-300)
        ratio = np.where(self.wrong, np.where(np.isnan(ratio), np.inf, ratio), -1.0)
        order = np.argsort(-ratio, axis=None, kind="stable")[: min(count, int(self.wrong.sum()))]
        places = [tuple(int(k) for k in np.unravel_index(j, self.shape)) for j in order]
        columns = (self.got, self.expected, self.resolution)
        return [Entry(place, *(float(column[place]) for column in columns)) for place in places]

    def as_dict(self) -> dict[str, Any]:
        """The verdict in plain types."""
        return {
            "name": self.name,
            "ok": self.ok,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "checked": self.checked,
            "wrong": int(self.wrong.sum()),
            "kinks": self.kinks,
            "coarse": self.coarse,
            "relative_resolution": _number(self.relative_resolution),
            "pattern": self.pattern.kind if self.pattern else None,
            "explanation": self.pattern.text if self.pattern else None,
            "worst": [
                {"index": list(entry.index)}
                | {key: _number(getattr(entry, key)) for key in ("got", "expected", "resolution")}
                for entry in self.worst()
            ],
        }


@dataclass
class Report:
    """The result of a check.

    Attributes
    ----------
    arrays
        The verdict on every array, in order.
    method
        How the expected derivatives were computed.
    notes
        Findings about the function, and what a sampled check may have missed.
    failure
        Why nothing could be checked; empty if the check was possible.
    evaluations, seconds
        The cost of the check.
    """

    arrays: list[ArrayReport]
    method: str
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    evaluations: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return not self.failure and all(array.ok for array in self.arrays)

    def __bool__(self) -> bool:
        return self.ok

    def __getitem__(self, name: str) -> ArrayReport:
        """The verdict on the array with this name."""
        for array in self.arrays:
            if array.name == name:
                return array
        raise KeyError(f"no array {name!r}; there are {', '.join(array.name for array in self.arrays)}")

    def table(self) -> str:
        """The verdicts as a table, with one line per array."""
        rows = [("array", "shape", "checked", "wrong", "resolution", "what is wrong")]
        for array in self.arrays:
            wrong = int(array.wrong.sum())
            share = f"{wrong} ({wrong / array.checked:.0%})" if wrong else "0"
            what = (
                ""
                if array.ok
                else array.pattern.kind
                if array.pattern
                else "no pattern found"
                if wrong
                else "not judged"
            )
            resolution = "" if np.isnan(array.relative_resolution) else f"{array.relative_resolution:.0e}"
            checked = f"{array.checked:,} of {int(np.prod(array.shape)):,}"
            rows.append((array.name, _shape(array.shape), checked, share, resolution, what))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    def as_dict(self) -> dict[str, Any]:
        """The report in plain types."""
        return {
            "ok": self.ok,
            "method": self.method,
            "failure": self.failure or None,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "notes": self.notes,
            "arrays": [array.as_dict() for array in self.arrays],
        }

    def to_json(self, **options: Any) -> str:
        """The report as JSON; the options are those of json.dumps."""
        return json.dumps(self.as_dict(), **options)

    def heatmap(self, axes: Any, name: str | None = None) -> Any:
        """Draw log10(error / resolution) of an array, by default the worst, on the caller's Matplotlib axes.

        Entries that were not checked are blank; an entry above zero is wrong.
        """
        array = self[name] if name else max(self.arrays, key=lambda array: (not array.ok, array.wrong.mean()))
        with np.errstate(all="ignore"):
            ratio = np.log10(np.abs(array.got - array.expected) / np.maximum(array.resolution, 1e-300))
        ratio = np.where(np.isnan(array.expected), np.nan, np.clip(np.nan_to_num(ratio, nan=16.0), -3, 16))
        last = array.shape[-1] if array.shape else 1
        image = axes.imshow(ratio.reshape(-1, last), aspect="auto", cmap="coolwarm", vmin=-3, vmax=3)
        axes.set_title(f"{array.name} {_shape(array.shape)}: log10(error / resolution)")
        axes.set_xlabel("last axis")
        axes.set_ylabel("all other axes")
        return image

    def __str__(self) -> str:
        if self.failure:
            return "\n".join([f"gradient check impossible: {self.failure}", *self.notes])
        bad = [array for array in self.arrays if not array.ok]
        count = len(self.arrays)
        verdict = f"WRONG: {len(bad)} of {count} arrays" if bad else f"right: {count} array{'s' * (count != 1)}"
        cost = f"{self.evaluations:,} evaluations, {self.seconds:.2g} s"
        parts = [f"gradient check, {verdict} ({self.method}; {cost})", "", self.table()]
        for array in bad:
            parts += ["", *_details(array)]
        kinks = sum(array.kinks for array in self.arrays)
        notes = list(self.notes)
        if kinks:
            notes.append(
                f"{kinks} entries lie at a kink (ReLU, max or abs): any value between the two one-sided derivatives"
                " counts as right."
            )
        coarse = sum(array.coarse for array in self.arrays)
        if coarse:
            notes.append(
                f"{coarse} entries could hardly be judged: their resolution is coarser than 1 % of the gradient."
            )
        if notes:
            parts += ["", *(f"- {note}" for note in notes)]
        return "\n".join(parts)

    def __repr__(self) -> str:
        verdict = "impossible" if self.failure else "right" if self.ok else "wrong"
        bad = [array.name for array in self.arrays if not array.ok]
        return f"<gradient check: {verdict}{': ' if bad else ''}{', '.join(bad)}; {self.method}>"


def _details(array: ArrayReport) -> list[str]:
    """What is wrong with one array, and its worst entries."""
    wrong = int(array.wrong.sum())
    text = array.pattern.text if array.pattern else "no known pattern"
    lines = [f"{array.name}: {text}"]
    entries = array.worst()
    if entries:
        lines.append(f"  {wrong} of {array.checked} entries are wrong, the worst of them:")
        rows = [("index", "got", "expected", "resolution")]
        rows += [
            (str(list(entry.index)), f"{entry.got:.10g}", f"{entry.expected:.10g}", f"{entry.resolution:.1e}")
            for entry in entries
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        lines += ["    " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return lines


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ",".join(map(str, shape)) + ")"


def _number(value: float) -> float | str | None:
    """A number for JSON; NaN becomes None and infinity a string."""
    if np.isnan(value):
        return None
    return float(value) if np.isfinite(value) else str(value)
