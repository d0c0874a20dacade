"""The tables of the results of the programs in tests/: hostile trials, random mutants, versions of the packages.

python -m tests.hostile --minutes 60      python -m tests.mutants      python -m tests.versions
"""

import re
from collections import Counter

from _tables import Row, Rows, Section

WRONG = ("fault", "crashed", "hung")
TRIED = {"kills": "kills", "configurations": "configurations"}  # what is counted; for others all outcomes


def trials(rows: Rows) -> Rows:
    """A row for every reader, and for every other kind of trial, over all runs."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row["kind"] == "total":
            continue
        name = f"mutated files: {row['reader']}" if row["kind"] == "inputs" else row["kind"]
        counts, total = row["counts"], found.setdefault(name, Counter())
        if row["kind"] == "inputs":
            total["tried"] += sum(counts.values())
        else:
            total["tried"] += counts.get(TRIED.get(row["kind"], "faults injected"), 0)
        total["read"] += counts.get("read", 0)
        total["refused"] += counts.get("refused", 0)
        total["wrong"] += sum(counts.get(name, 0) for name in WRONG)
    return [{"trial": name, "tried": 0, "wrong": 0} | dict(counts) for name, counts in sorted(found.items())]


def by_file(rows: Rows) -> Rows:
    """A row for every folder or file that was mutated."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.get("kind") != "total":
            folder = row["file"].rpartition("/")[0] or row["file"]
            outcome = "equivalent" if row.get("equivalent") else row["outcome"]
            found.setdefault(folder, Counter())[outcome] += 1
    return [{"in": name, "mutants": sum(c.values()), **c} for name, c in sorted(found.items())]


def environments(rows: Rows) -> Rows:
    """Each interpreter with its packages; the outcome without the time."""

    def shown(row: Row) -> Row:
        return row | {"outcome": re.sub(r" in \d.*", "", row.get("tests") or row["outcome"])}

    def order(row: Row) -> list[int]:
        return [int(part) if part.isdigit() else 0 for part in row["python"].split(".")]

    return [shown(row) for row in sorted(rows, key=lambda row: (order(row), row["packages"] == "newest"))]


HOSTILE = Section(
    "Hostile trials",
    "`python -m tests.hostile`, all runs added up. A file is either read, and every value compared with an independent"
    " reading, or rejected (`refused`) with a one-line error. Wrong: a different value, another exception, a crash, a"
    " hang, a file that is half written, a resumed run that differs in a bit.",
    "hostile.json",
    {"trial": "trial", "tried": "tried:,", "read": "read:,", "refused": "refused:,", "wrong": "wrong"},
    trials,
)
MUTANTS = Section(
    "Random mutants",
    "`python -m tests.mutants`: one change in the syntax tree of one file, run without the JIT against a fast selection"
    " of the tests. Mutants of the kernels that survive are run again with the JIT (`--compiled`), and all that survive"
    " once more after new tests (`--again`). Mutants that raise an exception say little about values and are counted"
    " separately. Equivalent: changes no value.",
    "mutants.json",
    {
        "in `nplm/`": "in", "mutants": "mutants", "noticed by a value": "value", "by an exception": "exception",
        "by having no end": "hangs", "equivalent": "equivalent", "survive": "survives",
    },
    by_file,
)  # fmt: skip
VERSIONS = Section(
    "Tested versions",
    "`python -m tests.versions` makes a fresh environment for each row, with the oldest packages that `pyproject.toml`"
    " allows and that have a wheel, or with the newest, and runs a selection of the tests there: kernels, the kernel"
    " cache, files of earlier versions, texts.",
    "versions.json",
    {"Python": "python", "packages": "packages", "NumPy": "numpy", "Numba": "numba", "tests": "outcome"},
    environments,
)
SECTIONS = {"hostile-trials": HOSTILE, "mutants": MUTANTS, "versions": VERSIONS}
