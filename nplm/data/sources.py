"""Sources: from what a user gives for a text (files, folders, patterns, pipes) to a list of files to read in order.

    file      the file
    folder    its files and those of its subfolders, sorted by path; hidden ones are skipped with a warning
    pattern   * ? [] and **, sorted, unless a file has that name; it must match something
    -         standard input
unpack.py opens them.
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nplm.data.reading import Reading
from nplm.errors import InputError

TextPath = str | os.PathLike[str]
STDIN = "-"
FEW = 3  # most names that a message lists


@dataclass(frozen=True)
class Source:
    """One file to read, and how many times."""

    path: str
    weight: int = 1
    kept: BinaryIO | None = None  # a copy of a pipe's content

    @property
    def name(self) -> str:
        """The name for messages."""
        return text_name(self.path)

    def status(self) -> os.stat_result | None:
        """os.stat of the file; None for standard input, or if that fails."""
        try:
            if self.kept is not None:
                return os.fstat(self.kept.fileno())
            return None if self.path == STDIN else os.stat(self.path)  # noqa: PTH116
        except (OSError, ValueError):  # opening the file will raise the error, with the reason
            return None

    @property
    def is_pipe(self) -> bool:
        """Whether it can be read only once."""
        found = self.status()
        return self.path == STDIN if found is None else not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))


Texts = TextPath | Source | Iterable["TextPath | Source"]  # one or several, to be read one after the other


def text_name(path: TextPath) -> str:
    """The path for messages: on one line, with unprintable characters escaped."""
    name = "standard input" if str(path) == STDIN else str(path)
    return name if name and name.isprintable() else repr(name)


def find_sources(
    given: Texts, reading: Reading | None = None, weights: Mapping[str, int] | None = None
) -> list[Source]:
    """The files to read, in order; weights: how many times to read the texts given by a name, or a file among them.

    Raises InputError if a pattern matches nothing, a folder has no files, a pipe is given twice, or a weight does not
    belong to a text that was given.
    """
    weights, unused, reading = dict(weights or {}), set(weights or {}), reading or Reading()
    found: list[Source] = []
    for name in [given] if isinstance(given, (str, os.PathLike, Source)) else given:
        if isinstance(name, Source):
            found.append(name)
            continue
        for path in _files(str(name), reading):
            unused -= {str(name), path}
            found.append(Source(path, weights.get(path, weights.get(str(name), 1))))
    if not found:
        raise InputError("no text was given; name a file")
    if unused:
        raise InputError(
            f"`weight` of {text_name(min(unused))}: no training text has this name; give it to `train` as well"
        )
    _check_twice(found, reading)
    return found


def _files(name: str, reading: Reading) -> list[str]:
    """The files that one name stands for."""
    if name == STDIN:
        return [name]
    if _is_folder(name):
        return _folder(name, reading)
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    matches = sorted(glob.glob(name, recursive=True), key=lambda match: Path(match).parts)  # noqa: PTH207
    if not matches:
        raise InputError(f"{text_name(name)}: no file has this name, and the pattern matches none; check the path")
    found = [path for match in matches for path in (_folder(match, reading) if _is_folder(match) else [match])]
    return list(dict.fromkeys(found))  # ** matches a folder and also its contents


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):  # the name is too long: opening it will raise the error
        return False


def _folder(name: str, reading: Reading) -> list[str]:
    """The files of a folder and its subfolders, sorted by path."""
    found, skipped = list[str](), list[tuple[str, str]]()
    for path in sorted(_entries(Path(name))):
        if path.name.startswith("."):
            skipped.append((str(path), "hidden"))
        elif path.is_dir():
            skipped.append((str(path), "a link to a folder"))
        elif not path.is_file():
            skipped.append((str(path), "not a file"))
        else:
            found.append(str(path))
    if skipped:
        listed = ", ".join(f"{text_name(path)} ({why})" for path, why in skipped[:FEW])
        more = f" and {len(skipped) - FEW} more" if len(skipped) > FEW else ""
        reading.warning(f"{text_name(name)}: skipped {listed}{more}")
    if not found:
        raise InputError(f"{text_name(name)}: a folder without a text file; name a folder with texts, or a file")
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """All entries of a folder and its subfolders, except the subfolders themselves; a hidden folder is one entry."""
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield from _entries(path)
            else:
                yield path
    except OSError as error:
        raise InputError(f"{text_name(folder)}: cannot be read ({error.strerror}); check its permissions") from None


def _check_twice(sources: list[Source], reading: Reading) -> None:
    """Warn about a file that is in the list twice; raise InputError for a pipe."""
    seen: dict[Any, str] = {}
    for source in sources:
        status = source.status()
        key = source.path if status is None else (status.st_dev, status.st_ino)
        if key in seen and source.is_pipe:
            raise InputError(f"{source.name} is given twice; it can be read only once")
        if key in seen:
            also = "" if seen[key] == source.name else f", the first time as {seen[key]}"
            reading.warning(f"{source.name} is given twice{also}, so it counts twice; if intended, use `weight` FILE=2")
        seen[key] = source.name


def check_pipes(parts: Iterable[Sequence[Source]]) -> None:
    """Raise InputError if a pipe is given for two texts."""
    pipes = [source.path for part in parts for source in part if source.is_pipe]
    for path in pipes:
        if pipes.count(path) > 1:
            raise InputError(f"{text_name(path)} is given twice; it can be read only once")


def size_of(sources: Iterable[Source]) -> int:
    """Bytes of the files, each counted as many times as it is read; a pipe counts as 0."""
    files = ((source, None if source.is_pipe else source.status()) for source in sources)
    return sum(status.st_size * source.weight for source, status in files if status is not None)


def name_sources(sources: Sequence[Source]) -> str:
    """The sources' name for messages."""
    return sources[0].name + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
