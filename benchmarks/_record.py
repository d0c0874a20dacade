"""The content of every result file: the machine, the versions, the commit, and the rows that a script has measured."""

import argparse
import json
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def parser(description: str | None, quick: str, name: str) -> argparse.ArgumentParser:
    """A parser with the flags that say what to record, and where; `quick` tells what --quick does."""
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--quick", action="store_true", help=f"{quick}, for tests: written only with --json")
    flags.add_argument("--json", type=Path, metavar="FILE", help=f"default: benchmarks/results/{name}.json")
    return flags


def path_of(arguments: argparse.Namespace, name: str) -> Path | None:
    """The result file that the flags of `parser` ask for; None if nothing is to be written."""
    return arguments.json or (None if arguments.quick else RESULTS / f"{name}.json")


def machine() -> dict[str, Any]:
    """Where and with what a figure was measured; the cores are those that this process may use."""
    from nplm.cli import doctor
    from nplm.threads import cores

    return {
        "cpu": doctor.machine()["processor"],
        "cores": cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "commit": commit(),
        **{name: _version(name) for name in ("numpy", "numba", "torch")},
    }


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write {"machine": ..., "rows": [...]}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n", encoding="utf-8")


def merge(path: Path, new: list[dict[str, Any]], place: Callable[[dict[str, Any]], Any]) -> None:
    """Add rows to a result file, or put them in place of their like; `place` tells which are alike, and the order."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    write(path, sorted({place(row): row for row in rows + new}.values(), key=place))


def by(*keys: str) -> Callable[[dict[str, Any]], Any]:
    """The place of a row by these keys, rows without a value first."""
    return lambda row: tuple((row[key] is not None, row[key]) for key in keys)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit that is checked out; -dirty with changes."""
    run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return run.stdout.strip() or None
