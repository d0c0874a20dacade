"""The metrics of a run so far: the lines of its metrics.jsonl, and its settings.

A run may be read while it is training: an incomplete last line is ignored.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nplm.errors import InputError
from nplm.storage.records import is_number, parse_object, regular

Record = dict[str, Any]
KINDS = ("train", "valid")
ALWAYS = ("epoch", "tokens_trained", "seconds")  # figures that every line has


@dataclass(frozen=True)
class History:
    """The metrics of a run, in the order of training."""

    train: list[Record]  # every few chunks: loss, gradient_norm, lr, tokens_per_second, ...
    valid: list[Record]  # at every epoch's end: perplexity, mean_log_z, ..., if there is a validation text
    config: Record = field(default_factory=dict)  # config.json: model, train, corpus, source; {} without it

    @property
    def tokens_per_epoch(self) -> float:
        """Tokens of the training text, </s> counted; NaN before the first epoch's end."""
        if not self.valid:
            return math.nan
        first = self.valid[0]
        return float(first["tokens_trained"] / max(first["epoch"], 1))


Runs = Mapping[str, History]  # by name


def read_history(folder: str | Path) -> History:
    """The history of the run in `folder`.

    Raises InputError if there is no run, if it has written no line yet, and, with the line's number, if a line
    other than the last is damaged.
    """
    path = Path(folder) / "metrics.jsonl"
    lines = [(n, line) for n, line in enumerate(_read(path).split("\n"), start=1) if line.strip()]
    records = []
    for number, line in lines:
        record = _record(line)
        if record is not None:
            records.append(record)
        elif number != lines[-1][0]:
            raise InputError(
                f"{path}, line {number}: damaged, not a line of metrics; delete it, or copy the file again"
            )
    if not records:
        raise InputError(f"{path}: has no metrics yet; wait until the run has written a line")
    train, valid = ([record for record in records if record["kind"] == kind] for kind in KINDS)
    return History(train, valid, _config(Path(folder) / "config.json"))


def read_runs(folders: Sequence[str | Path]) -> dict[str, History]:
    """The histories of runs, by the folders' names, or by their paths if two have the same name.

    Raises InputError on a folder named twice, and as `read_history` does.
    """
    paths = [Path(folder) for folder in folders]
    names = [path.name or path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise InputError(f"{twice}: named twice; name each run once")
    return {name: read_history(path) for name, path in zip(names, paths, strict=True)}


def series(records: list[Record], name: str) -> list[float]:
    """One figure of the records; NaN where it is null or missing."""
    values: list[Any] = [record.get(name) for record in records]
    return [float(value) if is_number(value, finite=False) else math.nan for value in values]


def _read(path: Path) -> str:
    try:
        return regular(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        what = "no such file" if path.parent.is_dir() else "no such folder"
        raise InputError(f"{path}: {what}; name the folder of a run, as given to `save`") from None
    except NotADirectoryError:
        raise InputError(f"{path.parent}: a file, not the folder of a run; name the folder it is in") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _record(line: str) -> Record | None:
    """The line's record, or None if it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(record, dict) and isinstance(record.get("kind"), str)
    return record if good and all(is_number(record.get(name)) and record[name] >= 0 for name in ALWAYS) else None


def _config(path: Path) -> Record:
    if not path.is_file():
        return {}
    try:
        return parse_object(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
