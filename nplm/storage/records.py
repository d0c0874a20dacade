"""Values from JSON in a file, checked for type and range before they are used.

A checksum shows that a file is as it was written, not that its content makes sense.
"""

import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nplm.errors import InputError

LARGEST = 2**62  # of a count, so that additions to it still fit into 64 bits


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object in a text.  Raises InputError on everything else, including JSON nested too deeply for Python."""
    try:
        value = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged, not JSON ({_reason(error)})") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: damaged: {_shown(value)} instead of an object")
    return value


def is_number(value: Any, *, finite: bool = True) -> bool:
    """Whether a value is a number that a float can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1000
    return isinstance(value, float) and (math.isfinite(value) or not finite)


def check_fields(
    record: Mapping[str, Any], kinds: Mapping[str, type], where: str, anything: tuple[str, ...] = ()
) -> None:
    """Raise InputError unless each value of a record has its type; numbers must be at least 0.

    kinds: int, float, bool, str or dict by name; names may be missing from the record.
    anything: names of numbers that may be negative, infinite or NaN.
    """
    for name, kind in kinds.items():
        if name in record and not _fits(record[name], kind, name in anything):
            raise InputError(f"{where}: {name} = {_shown(record[name])} is not {_described(kind, name in anything)}")


def regular(path: Path) -> Path:
    """The path itself; raises InputError if it is a pipe or a device, on which reading would block."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return path  # opening it will say what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: a pipe or a device, not a file; name a file")
    return path


def _fits(value: Any, kind: type, anything: bool) -> bool:
    if kind is float:
        return is_number(value, finite=not anything) and (anything or value >= 0)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return isinstance(value, kind)


def _described(kind: type, anything: bool) -> str:
    names = {int: "a whole number in [0, 2^62]", float: "a number", bool: "true or false", str: "a string"}
    return names.get(kind, "an object") + (" of at least 0" if kind is float and not anything else "")


def _shown(value: Any) -> str:
    """A value as JSON, shortened for an error message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    try:
        text = json.dumps(value)
    except (ValueError, TypeError, RecursionError):
        return "a value"
    return text if len(text) <= 60 else f"{text[:60]}..."


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
