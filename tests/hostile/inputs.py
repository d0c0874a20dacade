"""Mutated files for every reader, in batches: how many were read, how many refused, and what went wrong."""

import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from hostile import binary, foreign, settings_files, toolkit_files
from hostile.children import Place, forked
from hostile.reader import Reader, quiet

READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (
        *(binary.Models, binary.Runs, settings_files.ConfigJson, settings_files.Toml, settings_files.Metrics),
        *(foreign.Kernels, foreign.StateDicts, foreign.TorchFiles, toolkit_files.Lists, toolkit_files.KaldiLists),
        *(toolkit_files.Scores, toolkit_files.Tokens, toolkit_files.Text, toolkit_files.WordList),
    )
    if reader is not foreign.TorchFiles or find_spec("torch")
}
BATCH, SLOW_BATCH = 3000, 500  # files for one child
SLOW = ("model", "run state", "state_dict (safetensors)", "state_dict (torch.save)")
SHOWN = 5  # faults of a batch that are recorded in full


def prepare(folder: Path) -> dict[str, Reader]:
    """Every reader, warm: its good files are made, and what it calls is compiled."""
    quiet()
    readers = {}
    for name, reader in READERS.items():
        readers[name] = reader(folder / name.replace(" ", "-"))
        for n in range(20):
            try:
                readers[name].attempt(Random(f"warm {n}"))
            except Exception:
                continue  # it will be found again, and counted
    return readers


def one(reader: Reader, seed: str, n: int) -> str:
    """The n-th file of a seed; the same file whenever it is asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader.attempt(Random(f"{reader.name}/{seed}/{n}"))


def batch(reader: Reader, seed: str, start: int, count: int) -> dict[str, Any]:
    """A child reads so many files: counts by outcome, and the faults with what is needed to see them again.

    A child that dies or hangs is a fault of the file it was at; the next one goes on after that.
    """
    counts: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    stop, k = start + count, start

    def work(place: Place) -> Any:
        seen: Counter[str] = Counter()
        wrong: list[dict[str, Any]] = []
        for n in range(k, stop):
            place.set(n)
            try:
                seen[one(reader, seed, n)] += 1
            except Exception as error:
                seen["fault"] += 1
                if len(wrong) < SHOWN:
                    wrong.append({"n": n, "error": f"{type(error).__name__}: {error}"[:500], "where": where(error)})
        return [seen, wrong]

    while k < stop:
        ending = forked(work)
        if ending.result is not None:
            counts.update(ending.result[0])
            faults += ending.result[1]
            break
        # what became of the files before that one is lost with the child, and they are not counted
        how = "hung" if ending.hung else f"crashed with {ending.code}"
        faults.append({"n": ending.at, "error": how, "where": ""})
        counts.update({"hung" if ending.hung else "crashed": 1})
        k = ending.at + 1
    return {"counts": dict(counts), "faults": faults}


def where(error: BaseException) -> str:
    """The last lines of code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def stage(seed: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Batches of every reader in turn, without end: rows to be added up by reader."""
    readers = prepare(folder)
    turn = 0
    while True:
        for name, reader in readers.items():
            count = SLOW_BATCH if name in SLOW else BATCH
            yield {"kind": "inputs", "reader": name, **batch(reader, seed, turn * count, count)}
        turn += 1


def replay(text: str) -> str:
    """One file again, named as reader/seed/n, in this process."""
    name, seed, n = text.rsplit("/", 2)
    with tempfile.TemporaryDirectory() as folder:
        return one(READERS[name](Path(folder)), seed, int(n))
