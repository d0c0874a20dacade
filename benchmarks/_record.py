"""What every result file holds: the machine, the versions, the commit, and the rows a script has measured."""

import json
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, Any]:
    """Where and with what a figure was measured; the cores are those that this process may use."""
    from nplm.threads import cores

    return {
        "cpu": _cpu(),
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


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit that is checked out; -dirty with changes."""
    run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return run.stdout.strip() or None
