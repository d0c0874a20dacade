"""Trials of a study: each is run once, and its row is added to the result file as it ends."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import _record
from _tables import Row, Rows


class Trials:
    """The rows of a result file, by the place that `place` gives them; path: None keeps them in memory only."""

    def __init__(self, path: Path | None, place: Callable[[Row], Any]) -> None:
        self.path, self.place, self.lock = path, place, Lock()
        found: Rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path and path.exists() else []
        self.by_place = {place(row): row for row in found}

    @property
    def rows(self) -> Rows:
        """All of them."""
        with self.lock:
            return list(self.by_place.values())

    def row(self, given: Row, run: Callable[[], Row]) -> Row:
        """The row of a trial: `given`, by which it is known, and what `run` measured, now or earlier."""
        place = self.place(given)
        with self.lock:
            known = self.by_place.get(place)
        if known is None:
            known = given | run() | {"commit": _record.commit()}
            with self.lock:
                self.by_place[place] = known
                if self.path is not None:
                    _record.merge(self.path, [known], self.place)
                print(json.dumps({key: value for key, value in known.items() if key != "curve"}), flush=True)
        return known


def perplexity(row: Row) -> float:
    """Of a trial; inf where it diverged."""
    return math.inf if row["perplexity"] is None else float(row["perplexity"])
