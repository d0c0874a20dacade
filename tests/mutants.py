"""Random mutants of the mathematics, one at a time, run against a fast selection of the tests without the JIT.

    python -m tests.mutants --count 500 --seed 0 --json benchmarks/results/mutants.json

A mutant is one change in the syntax tree of one file: of a comparison, a sign, an index, a constant, or a statement
left out.  A warm process forks: the child imports the package with the mutant in it and runs the tests until one fails.
With --compiled, mutants of kernels/ that survived are run again with the JIT: some lines run in compiled code only.
Mutants that are in the file already are not run again.  Those that die by an exception are counted apart: they say
little about values.  Survivors that change nothing stand with the reason in tests/equivalent_mutants.py.
"""

import os

os.environ["NUMBA_DISABLE_JIT"] = os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a thread pool does not survive a fork

import argparse
import ast
import importlib.abc
import importlib.util
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import pytest  # noqa: E402
from equivalent_mutants import EQUIVALENT  # noqa: E402
from hostile.children import Place, forked  # noqa: E402
from mutations import Site, mutated, sites  # noqa: E402

MUTATED = ("layers/*.py", "kernels/[a-z]*.py", "noise/*.py", "training/optim.py", "training/step.py", "network.py")
WARM = ("numba", "numpy.testing", "safetensors.numpy", "threadpoolctl", "click", "tqdm")  # never nplm
HANGS, COMPILED_HANGS = 90.0, 600.0  # seconds for one test
ENDINGS = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
CONCEPTS = {  # tests that see a fault of these files soonest
    "embedding": "gradients", "workspace": "lstm", "objective": "plans", "precision": "bfloat16", "network": "plans",
    "distribution": "noise_distribution", "groups": "noise_groups", "step": "shards", "tile": "matmul",
    "__init__": "nce", "words": "input",
}  # fmt: skip
MORE = {
    "matmul": ("bfloat16",), "precision": ("bfloat16",), "softmax": ("score", "evaluate"), "optim": ("crafted_files",),
    "network": ("score", "own_counts"), "nce": ("own_counts",), "groups": ("strata", "own_counts"),
    "distribution": ("strata",), "words": ("text",),
}  # fmt: skip
SELECTION = (  # files whole, save the tests that take longest or load PyTorch
    *("alias", "dropout", "elementary", "embedding", "gaps", "lstm", "matmul", "model", "nce", "noise_distribution"),
    *("noise_groups", "row_gradient", "sampled_softmax", "shards", "softmax", "strata", "threads", "optim"),
)
SAMPLES = (  # of files that try a hundred random shapes, a few
    *(f"tests/test_gradients.py::test_gradients[{seed}]" for seed in (2, 3, 7)),
    *(f"tests/test_plans.py::test_gradients[{seed}]" for seed in (0, 3, 6, 7, 9, 11)),
    "tests/test_plans.py::test_reset_is_a_sentence_from_the_zero_state",
    *(f"tests/test_precision.py::test_{name}" for name in ("the_rule", "bfloat16_is_refused")),
)
LEFT_OUT = "not torch and not minutes and not memory and not learns and not processes"


class Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module of nplm from a changed tree."""

    def __init__(self, site: Site, tree: ast.Module) -> None:
        self.path, self.tree = ROOT / "nplm" / site.file, tree
        self.name = ".".join(("nplm", *Path(site.file).with_suffix("").parts)).removesuffix(".__init__")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.name:
            return None
        places = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, self.path, loader=self, submodule_search_locations=places)

    def get_source(self, name: str) -> str:
        return self.path.read_text(encoding="utf-8")

    def get_code(self, name: str) -> Any:
        return compile(self.tree, str(self.path), "exec", dont_inherit=True)


class Verdict:
    """Notes which test fails first, and whether by a value or by an exception."""

    def __init__(self, place: Place) -> None:
        self.test, self.how, self.place = "", "", place

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self.place.set(self.place.get() + 1)  # it goes on

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        if not self.test:
            self.test = getattr(node, "nodeid", str(node))
            value = isinstance(getattr(call.excinfo, "value", None), (AssertionError, pytest.fail.Exception))
            self.how = "value" if value else f"exception {call.excinfo.type.__name__}"


def tests_for(file: str) -> list[list[str]]:
    """The selection: first the tests of the file's own concept with the samples, then all others."""
    stem = Path(file).stem
    own = CONCEPTS.get(stem, stem)
    names = [*([own] if own not in ("gradients", "plans") else []), *MORE.get(stem, ())]
    first = [f"tests/test_{name}.py" for name in names] + list(SAMPLES)
    return [first, [f"tests/test_{name}.py" for name in SELECTION if name not in names]]


def run_tests(
    site: Site | None, tree: ast.Module | None, place: Place, only: list[str] | None = None, kernels: str = ""
) -> list[str]:
    """In a child: the first test that fails with the mutant, and how; kernels: where compiled code is kept."""
    if site is not None and tree is not None:
        sys.meta_path.insert(0, Planted(site, tree))
    if kernels:
        switch_jit_on(kernels)
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.chdir(ROOT)
    verdict = Verdict(place)
    plain = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--tb=no", "-k", LEFT_OUT]
    for part in [only] if only else tests_for(site.file if site else ""):
        if not verdict.how and pytest.main([*plain, *part], plugins=[verdict]) not in ENDINGS and not verdict.how:
            verdict.how = "exception before the first test"
    return [verdict.test, verdict.how]


def switch_jit_on(kernels: str) -> None:
    """In a child, before the package is imported: Numba compiles, into a folder that holds no unchanged kernel."""
    import numba

    os.environ |= {"NUMBA_DISABLE_JIT": "0", "NPLM_CACHE": kernels}
    numba.config.reload_config()


def try_one(site: Site, compiled: bool = False) -> dict[str, Any]:
    """A row: the mutant, and what became of it."""
    begun = time.monotonic()
    tree = mutated(ROOT / "nplm", site)
    hangs = COMPILED_HANGS if compiled else HANGS
    with tempfile.TemporaryDirectory(prefix="nplm-mutant-") as folder:
        kernels = folder if compiled else ""
        ending = forked(lambda place: run_tests(site, tree, place, kernels=kernels), hangs=hangs)
    test, how = ending.result or ("", "hangs" if ending.hung else f"exception {ending.code}")
    outcome = "survives" if not how else how.partition(" ")[0]
    row = {**site._asdict(), "name": site.name, "outcome": outcome, "how": how, "test": test}
    return row | {"compiled": compiled, "seconds": round(time.monotonic() - begun, 1)}


@cache
def check_without(test: str) -> None:
    """A test that noticed a mutant must pass without one; exits where it does not."""
    if test and (broken := forked(lambda place: run_tests(None, None, place, [test]), hangs=HANGS).result) != ["", ""]:
        sys.exit(f"{test} fails without a mutant: {broken}")


def all_sites() -> list[Site]:
    """Every place that can be mutated, in the order of the files."""
    files = [path for pattern in MUTATED for path in sorted((ROOT / "nplm").glob(pattern))]
    return [site for path in files for site in sites(ROOT / "nplm", str(path.relative_to(ROOT / "nplm")))]


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many died, and of what; the share is of those that are not known to be equivalent."""
    found = Counter(row["outcome"] for row in rows)
    equivalent = sum(row["outcome"] == "survives" and row["name"] in EQUIVALENT for row in rows)
    different = len(rows) - equivalent
    dead, by_value = len(rows) - found["survives"], found["value"] + found["survives"] - equivalent
    return {
        "kind": "total", "mutants": len(rows), "equivalent": equivalent, "by_value": found["value"],
        "by_exception": found["exception"], "by_hanging": found["hangs"], "survive": found["survives"] - equivalent,
        "share": dead / different if different else 0.0,
        "share_by_value": found["value"] / by_value if by_value else 0.0,
    }  # fmt: skip


def with_reasons(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of equivalent mutants with the reason, and the total."""
    told = [row | {"equivalent": EQUIVALENT.get(row["name"], "")} for row in rows if row["outcome"] == "survives"]
    return [*(row for row in rows if row["outcome"] != "survives"), *told, total(rows)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Record the rows, by a child: this process must not import nplm, or its children would run that and no mutant."""
    import _record

    ending = forked(lambda place: _record.write(path, with_reasons(rows)))
    if ending.code or any(name.partition(".")[0] == "nplm" for name in sys.modules):
        sys.exit(f"{path} was not written (exit code {ending.code}), or this process has imported nplm")


def to_run_again(row: dict[str, Any], compiled: bool) -> bool:
    """Whether a mutant survived, is not known to be equivalent, and, for the JIT, was run without it."""
    candidate = row["file"].startswith("kernels/") and not row["compiled"] if compiled else True
    return row["outcome"] == "survives" and row["name"] not in EQUIVALENT and candidate


def sampled(seed: int, count: int, done: set[str], job: int, jobs: int) -> Iterator[Site]:
    """The job's part of the first `count` mutants of a seed, save those that were run."""
    order = all_sites()
    Random(seed).shuffle(order)
    for n, site in enumerate(order[:count]):
        if n % jobs == job and site.name not in done:
            yield site


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "mutants.json")
    parser.add_argument("--job", type=int, default=0, help="this process's part of --jobs; files are merged")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many; the next call goes on")
    parser.add_argument("--compiled", action="store_true", help="run those of kernels/ that survived with the JIT")
    parser.add_argument("--again", action="store_true", help="run those that survived and are not equivalent again")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    for name in WARM:
        importlib.import_module(name)
    rows = json.loads(arguments.json.read_text())["rows"][:-1] if arguments.json.exists() else []
    there = {site.name for site in all_sites()}
    rows = [row for row in rows if row["name"] in there]  # the code that the others changed has changed
    if arguments.again or arguments.compiled:
        rows = [row for row in rows if not to_run_again(row, arguments.compiled)]
    for site in sampled(arguments.seed, arguments.count, {row["name"] for row in rows}, arguments.job, arguments.jobs):
        if time.monotonic() > until:
            break
        rows.append(try_one(site, arguments.compiled) | {"seed": arguments.seed})
        check_without(rows[-1]["test"])
        print(json.dumps(rows[-1]), flush=True)
        write(arguments.json, rows)
    write(arguments.json, rows)
    print(json.dumps(total(rows)))


if __name__ == "__main__":
    main()
