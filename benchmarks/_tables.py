"""Rows of the recorded results, and tables of them, printed by a script or on a page of docs/."""

import json
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean
from typing import Any, NamedTuple

import _record

Row = dict[str, Any]
Rows = list[Row]


class Section(NamedTuple):
    """A table of a page: declared by the script that measures its rows, collected in render.py."""

    title: str
    text: str
    results: str  # glob of the result files whose rows it shows
    columns: dict[str, str]  # heading -> key of the row, with a format; a.b is key b of the dict under a
    rows: Callable[[Rows], Rows] = list  # the rows it shows, of those of the files
    plots: Mapping[str, str] = {}  # name in plot.py -> alternative text; drawn from the same file
    command: str = ""  # which measures the rows
    trained: bool = False  # whether `seconds` of the files' rows are the time of a training run each

    def cells(self, row: Row) -> list[str]:
        """The text of a row's cells; empty where there is no value."""
        return [_cell(row, spec) for spec in self.columns.values()]

    def show(self, rows: Iterable[Row]) -> Rows:
        """Print rows as a table, each as it comes; returns them."""
        self._print(self.columns)
        shown = []
        for row in rows:
            self._print(self.cells(row))
            shown.append(row)
        return shown

    def _print(self, cells: Iterable[str]) -> None:
        texts = (f"{cell:>{max(len(name), 9)}}" for cell, name in zip(cells, self.columns, strict=True))
        print("  ".join(texts), flush=True)


def _cell(row: Row, spec: str) -> str:
    path, _, form = spec.partition(":")
    found = value(row, path)
    if isinstance(found, list):
        return ", ".join(map(str, found))
    return "" if found is None else format(found, form)


def value(row: Row, path: str) -> Any:
    """The value under a.b.c, names of dicts and places in lists; None if a name is missing."""
    found: Any = row
    for key in path.split("."):
        if found is not None:
            found = found[int(key)] if isinstance(found, list) else found.get(key)
    return found


def read(results: str) -> list[dict[str, Any]]:
    """The result files whose names match a glob: {"machine": ..., "rows": [...]}."""
    files = sorted(_record.RESULTS.glob(results))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def pick(rows: Rows, **values: Any) -> Rows:
    """Rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def only(**values: Any) -> Callable[[Rows], Rows]:
    """`pick`, to be called later."""
    return lambda rows: pick(rows, **values)


def groups(rows: Rows, *keys: str) -> Iterable[tuple[tuple[Any, ...], Rows]]:
    """Rows with equal values of the keys, under these values, in the order of the first of each."""
    found: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found.items()


def mean(rows: Rows, key: str) -> float:
    """Mean over rows, which are those of several seeds."""
    return fmean(row[key] for row in rows)
