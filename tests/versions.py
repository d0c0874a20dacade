"""A selection of the tests under other versions of Python, NumPy and Numba, each in a fresh environment.

    python -m tests.versions --json benchmarks/results/versions.json [python3.11 /path/to/python3.13 ...]

For every interpreter there are two environments: the oldest packages that pyproject.toml allows and that have a wheel
for it, and the newest.  An interpreter that was named and cannot be started is recorded as missing.
benchmarks/reliability.py declares the table that docs/contributing.md has of it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = [  # kernels and their cache, files old and new, reading and writing
    f"tests/test_{name}.py"
    for name in (
        *("atomic", "alias", "elementary", "golden", "kernel_cache", "lstm", "matmul", "nce", "optim", "settings"),
        *("softmax", "text", "threads", "vocabulary"),
    )
]
FIRST_WHEELS = {  # above the lower bound
    "3.13": {"numpy": "2.1.0", "safetensors": "0.5.0"},
    "3.14": {"numpy": "2.3.2", "safetensors": "0.5.0", "numba": "0.63.0"},
}
SHOWN = ("numpy", "numba", "llvmlite", "click", "safetensors", "threadpoolctl", "pytest")
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


def requirements() -> dict[str, str]:
    """The lower bound of every package that nplm needs at run time, by its name."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return dict(line.split(">=") for line in declared)


def oldest(python: str) -> list[str]:
    """The lowest releases that pyproject.toml allows; where one has no wheel for this Python, the first that has."""
    first = FIRST_WHEELS.get(python, {})
    return [f"{name}=={first.get(name, bound)}" for name, bound in requirements().items()]


def run(python: Path | str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments."""
    return subprocess.run([str(python), *arguments], capture_output=True, text=True, check=False, **more)


def environment(python: str, version: str, which: str, folder: Path) -> tuple[Path | None, str]:
    """An environment with the oldest or the newest packages: its Python, or None and the reason."""
    if (made := run(python, "-m", "venv", "--without-pip", str(folder))).returncode:
        return None, last_line(made.stderr)
    inside = folder / "bin" / "python"
    wanted = oldest(version.rpartition(".")[0]) if which == "oldest" else list(requirements())
    line = ("-m", "pip", "--python", str(inside), "install", "--only-binary", ":all:", *wanted, "pytest", "hypothesis")
    pip = run(sys.executable, *line)
    return (None, last_line(pip.stderr)) if pip.returncode else (inside, "")


def last_line(text: str) -> str:
    """What a tool said last, without what it says of its own version."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("[notice]")]
    return lines[-1] if lines else ""


def measure(python: str, which: str) -> dict[str, Any]:
    """A row: the interpreter, what was installed, and how the tests ended."""
    named: dict[str, Any] = {"python": Path(python).name, "packages": which}
    try:
        got = run(python, "-c", "import platform; print(platform.python_version())")
    except OSError as error:
        return named | {"outcome": f"not installed here ({error.strerror})"}
    named["python"] = got.stdout.strip()
    with tempfile.TemporaryDirectory() as scratch:
        inside, reason = environment(python, named["python"], which, Path(scratch, "venv"))
        if inside is None:
            return named | {"outcome": f"does not install: {reason}"}
        named |= json.loads(run(inside, "-c", VERSIONS, *SHOWN).stdout)
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": scratch, "PYTHONDONTWRITEBYTECODE": "1"}
        begun = time.monotonic()
        plain = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "nplm.testing.pytest_plugin", "--tb=short")
        done = run(inside, *plain, *TESTS, cwd=ROOT, env=variables)
        ended = last_line(done.stdout).strip("= ")
        named |= {"outcome": "passes" if done.returncode == 0 else "fails", "tests": ended}
        named["seconds"] = round(time.monotonic() - begun, 1)
        if done.returncode:
            print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr, flush=True)
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pythons", nargs="*", default=[f"python3.{minor}" for minor in (11, 12, 13, 14)])
    parser.add_argument("--json", type=Path, help="where the rows go; rows of other interpreters there are kept")
    parser.add_argument("--packages", choices=["oldest", "newest"], action="append")
    arguments = parser.parse_args()
    for name in ("SIGINT", "SIGHUP"):  # ignored in the background of a shell, and then by the tests of signals, too
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import _record

    for python in arguments.pythons:
        for which in arguments.packages or ["oldest", "newest"]:
            row = measure(python, which)
            print(json.dumps(row), flush=True)
            if arguments.json:
                _record.merge(arguments.json, [row], _record.by("python", "packages"))


if __name__ == "__main__":
    main()
