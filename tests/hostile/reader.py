"""What a hostile file must lead to: the right value, or one line that says what is wrong.

A reader here writes a mutated file, has the package read it, and compares with what an independent reading of the same
bytes gives: safetensors' own package, `json`, `tomllib`, or a few lines written for this purpose.
"""

import logging
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from nplm.errors import InputError

LONGEST = 1200  # characters of a message, the file's name included


class Reader:
    """Makes mutated files of one kind in a folder of its own, and reads them."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def trial(self, rng: Random) -> None:
        """Write one mutated file and read it: AssertionError on a wrong value, InputError where it is refused."""
        raise NotImplementedError

    def attempt(self, rng: Random) -> str:
        """What became of one mutated file: "read" or "refused".  All else is a fault, and is raised."""
        try:
            self.trial(rng)
        except InputError as error:
            line = str(error)
            assert line and "\n" not in line and "\r" not in line and "\x1b" not in line, f"not one line: {line!r}"
            assert len(line) <= LONGEST, f"a message of {len(line)} characters"
            return "refused"
        return "read"


def same(got: Any, expected: Any) -> bool:
    """Whether two values are alike in type and value; a whole number is as good as a float of the same value."""
    if isinstance(got, bool) or isinstance(expected, bool):
        return got is expected
    if isinstance(got, float) or isinstance(expected, float):
        numbers = isinstance(got, (int, float)) and isinstance(expected, (int, float))
        return numbers and (got == expected or (got != got and expected != expected))
    if isinstance(got, dict) and isinstance(expected, dict):
        return got.keys() == expected.keys() and all(same(got[key], expected[key]) for key in got)
    if isinstance(got, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(got) == len(expected) and all(map(same, got, expected))
    return type(got) is type(expected) and bool(got == expected)


def assert_same_array(got: Any, expected: Any, what: str) -> None:
    """Type, shape and every bit."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype and got.shape == expected.shape, f"{what}: {got.dtype} {got.shape}"
    assert got.tobytes() == expected.tobytes(), f"{what}: other numbers"


def quiet() -> None:
    """Keep the warnings of the package from the terminal: there would be one for every file."""
    logging.getLogger("nplm").addHandler(logging.NullHandler())
    logging.getLogger("nplm").propagate = False
