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
        return self.path == STDIN if found is None else not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))


Texts = TextPath | Source | Iterable["TextPath | Source"]  # one or several, to be read one after the other


def text_name(path: TextPath) -> str:
    """The path as messages show it: on one line, whatever is in it."""
    name = "standard input" if str(path) == STDIN else str(path)
    return name if name and name.isprintable() else repr(name)


def find_sources(
    given: Texts, reading: Reading | None = None, weights: Mapping[str, int] | None = None
) -> list[Source]:
    """The files to read, in order; weights: how often what was given under this name, or a file in it, is read.

    Raises InputError where a pattern matches nothing, a folder has no file, a pipe is given twice, or a weight is not
    that of a text that was given.
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
            f"`weight` of {text_name(min(unused))}: no text of this name is trained on; give `train` it too"
        )
    _check_twice(found, reading)
    return found


def _files(name: str, reading: Reading) -> list[str]:
    """What one name stands for."""
    if name == STDIN:
        return [name]
    if _is_folder(name):
        return _folder(name, reading)
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    matches = sorted(glob.glob(name, recursive=True), key=lambda match: Path(match).parts)  # noqa: PTH207
    if not matches:
        raise InputError(f"{text_name(name)}: no file of this name, and the pattern matches nothing; check the path")
    found = [path for match in matches for path in (_folder(match, reading) if _is_folder(match) else [match])]
    return list(dict.fromkeys(found))  # ** matches a folder, and what is in it


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):  # too long a name: the error comes when it is opened
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
            skipped.append((str(path), "no file"))
        else:
            found.append(str(path))
    if skipped:
        listed = ", ".join(f"{text_name(path)} ({why})" for path, why in skipped[:FEW])
        more = f" and {len(skipped) - FEW} more" if len(skipped) > FEW else ""
        reading.warning(f"{text_name(name)}: skipped {listed}{more}")
    if not found:
        raise InputError(f"{text_name(name)}: a folder without a text file in it; name a folder with texts, or a file")
    return found


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
    """Say which file stands twice in the list; refuse a pipe there."""
    seen: dict[Any, str] = {}
    for source in sources:
        status = source.status()
        key = source.path if status is None else (status.st_dev, status.st_ino)
        if key in seen and source.is_pipe:
            raise InputError(f"{source.name} is given twice; it can be read only once")
        if key in seen:
            also = "" if seen[key] == source.name else f", the first time as {seen[key]}"
            reading.warning(f"{source.name} is given twice{also}, so it counts twice; to mean it, give `weight` FILE=2")
        seen[key] = source.name


def check_pipes(parts: Iterable[Sequence[Source]]) -> None:
    """Raise InputError where a pipe is given for two texts."""
    pipes = [source.path for part in parts for source in part if source.is_pipe]
    for path in pipes:
        if pipes.count(path) > 1:
            raise InputError(f"{text_name(path)} is given twice; it can be read only once")


def size_of(sources: Iterable[Source]) -> int:
    """Bytes of the files, each as often as it is read; a pipe counts for nothing."""
    files = ((source, None if source.is_pipe else source.status()) for source in sources)
    return sum(status.st_size * source.weight for source, status in files if status is not None)


def name_sources(sources: Sequence[Source]) -> str:
    """The sources as messages show them."""
    return sources[0].name + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
