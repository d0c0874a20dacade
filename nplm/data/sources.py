"""Sources: from what a user gives for a text (files, folders, patterns, pipes) to a list of files to read in order.

    file      as it is
    folder    its files and those of its subfolders, sorted by path; hidden ones are skipped, and it is said
    pattern   * ? [] and **, sorted, where no file has that name; it has to match
    -         standard input
What they hold is opened by unpack.py.
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
FEW = 3  # names that a message lists


@dataclass(frozen=True)
class Source:
    """One file to read, and how often."""

    path: str
    weight: int = 1
    kept: BinaryIO | None = None  # what a pipe held

    @property
    def name(self) -> str:
        """As messages show it."""
        return text_name(self.path)

    def status(self) -> os.stat_result | None:
        """Of the file; None for standard input, and where there is no file to be seen."""
        try:
            if self.kept is not None:
                return os.fstat(self.kept.fileno())
            return None if self.path == STDIN else os.stat(self.path)  # noqa: PTH116
        except (OSError, ValueError):  # the error comes when it is opened, with the reason
            return None

    @property
    def is_pipe(self) -> bool:
        """Whether it can be read only once."""
        found = self.status()
        return self.path == STDIN if found is None else not stat.S_ISREG(found.st_mode)


Texts = TextPath | Iterable["TextPath | Source"]


def text_name(path: TextPath) -> str:
    """The path as messages show it: on one line, whatever is in it."""
    name = "standard input" if str(path) == STDIN else str(path)
    return name if name and name.isprintable() else repr(name)


def find_sources(
    given: Texts | Source, reading: Reading | None = None, weights: Mapping[str, int] | None = None
) -> list[Source]:
    """The files to read, in order; weights: how often what was given under this name is read.

    Raises InputError where a pattern matches nothing, a folder has no file, standard input is given twice, or a
    weight is not that of a text that was given.
    """
    weights, reading = dict(weights or {}), reading or Reading()
    found: list[Source] = []
    names = [given] if isinstance(given, (str, os.PathLike, Source)) else list(given)
    if not names:
        raise InputError("no text was given; name a file")
    for name in names:
        if isinstance(name, Source):
            found.append(name)
            continue
        times = weights.pop(str(name), 1)
        found += [Source(path, weights.pop(path, times)) for path in _files(str(name), reading)]
    if weights:
        raise InputError(
            f"`weight` of {text_name(min(weights))}: no such text is trained on; use a name as it was given"
        )
    _check_twice(found, reading)
    return found


def _files(name: str, reading: Reading) -> list[str]:
    """What one name stands for."""
    if name != STDIN and Path(name).is_dir():
        return _folder(name, reading)
    if name == STDIN or not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
    if not matches:
        raise InputError(f"{text_name(name)}: no file of this name, and the pattern matches nothing; check the path")
    return [path for match in matches for path in (_folder(match, reading) if Path(match).is_dir() else [match])]


def _folder(name: str, reading: Reading) -> list[str]:
    """The files of a folder and its subfolders, sorted by path."""
    found, skipped = list[tuple[str, str]](), list[tuple[str, str]]()
    for path in sorted(_entries(Path(name))):
        hidden = any(part.startswith(".") for part in path.relative_to(name).parts)
        kind = "hidden" if hidden else "a link to a folder" if path.is_dir() else "" if path.is_file() else "no file"
        (skipped if kind else found).append((str(path), kind))
    if skipped:
        listed = ", ".join(f"{text_name(path)} ({kind})" for path, kind in skipped[:FEW])
        more = f" and {len(skipped) - FEW} more" if len(skipped) > FEW else ""
        reading.warning(f"{text_name(name)}: skipped {listed}{more}")
    if not found:
        raise InputError(f"{text_name(name)}: a folder without a text file in it; name a folder with texts, or a file")
    return [path for path, _ in found]


def _entries(folder: Path) -> Iterator[Path]:
    """All that is in a folder and its subfolders, those folders themselves aside; a hidden folder is one entry."""
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield from _entries(path)
            else:
                yield path
    except OSError as error:
        raise InputError(f"{text_name(folder)}: cannot be read ({error.strerror}); check its permissions") from None


def _check_twice(sources: list[Source], reading: Reading) -> None:
    """Say which file stands twice in the list; refuse standard input there."""
    seen: dict[Any, str] = {}
    for source in sources:
        status = source.status()
        key = STDIN if status is None else (status.st_dev, status.st_ino)
        if key in seen and source.is_pipe and (status is not None or source.path == STDIN):
            raise InputError(f"{source.name} is given twice; it can be read only once")
        if key in seen and status is not None:
            reading.warning(
                f"{source.name} is given twice{_as(seen[key], source.name)}, so it counts twice;"
                f" `weight` {source.name}=2 says so without this warning"
            )
        if status is not None or source.path == STDIN:
            seen[key] = source.name


def _as(first: str, second: str) -> str:
    return "" if first == second else f", the first time as {first}"


def size_of(sources: Iterable[Source]) -> int:
    """Bytes of the files, each as often as it is read; a pipe counts for nothing."""
    files = ((source, None if source.is_pipe else source.status()) for source in sources)
    return sum(status.st_size * source.weight for source, status in files if status is not None)


def name_sources(sources: Sequence[Source]) -> str:
    """The sources as messages show them."""
    return sources[0].name + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
