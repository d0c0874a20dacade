"""The program that makes mutants.  Oracle: the code before and after, by hand; a mutant whose fault is known."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from equivalent_mutants import EQUIVALENT
from mutations import KINDS, mutated, sites

ROOT = Path(__file__).resolve().parent.parent
SOURCE = '''"""Doc."""
LIMIT: int = 3


def f(a: int, x: list[int]) -> int:
    """Doc 1."""
    if a < 2 and x:
        raise ValueError(f"{a + 1} is bad")
    total = x[a] - 1
    total += x[1:][0]
    return -total
'''
EXPECTED = {  # by hand: one for every kind, and what must not be among them
    "a < 2 -> a <= 2", "a < 2 and x -> a < 2 or x", "if a < 2 and x -> if not (a < 2 and x)", "x[a] - 1 -> x[a] + 1",
    "total += x[1:][0] -> total -= x[1:][0]", "-total -> total", "x[a] -> x[a + 1]", "x[1:] -> x[1 + 1:]", "2 -> 3",
    "3 -> 4", "1 -> 2", "1 -> 2 #2", "0 -> 1", "total = x[a] - 1 -> pass", "total += x[1:][0] -> pass",
    "raise ValueError(f'{a + 1} is bad') -> pass",
}  # fmt: skip


@pytest.fixture
def package(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    return tmp_path


def test_the_mutants_of_a_small_file(package):
    """By hand: none in docstrings, annotations and messages."""
    found = list(sites(package, "a.py"))
    assert {site.name.partition(": ")[2] for site in found} == EXPECTED
    assert {site.kind for site in found} == set(KINDS)
    assert len({site.name for site in found}) == len(found)


def test_a_mutant_is_one_change(package):
    """Oracle: the source; one statement's code differs."""
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    for site in sites(package, "a.py"):
        changed = ast.unparse(mutated(package, site)).splitlines()
        differing = sum(a != b for a, b in zip(original, changed, strict=False)) + abs(len(original) - len(changed))
        assert differing == 1, site.name
        compile("\n".join(changed), "a.py", "exec")


def test_equivalent_mutants_are_mutants_and_have_a_reason():
    """Oracle: the code as it is now; a line that has changed must be read again."""
    files = {name.split(" ", 1)[0] for name in EQUIVALENT}
    names = {site.name for file in files for site in sites(ROOT / "nplm", file)}
    assert set(EQUIVALENT) <= names, sorted(set(EQUIVALENT) - names)
    assert all(len(reason) > 10 for reason in EQUIVALENT.values())


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
import json, mutants
names = {{site.name: site for site in mutants.all_sites()}}
def sooner(file):
    return [["tests/test_nce.py", "-k", "test_loss and not torch"]]
mutants.tests_for = sooner
print(json.dumps([mutants.try_one(names[name]) for name in {names!r}]))
"""


@pytest.mark.slow
def test_mutants_that_are_known(tmp_path):
    """By hand: a wrong sign is seen by a value, a name that is missing by an exception."""
    names = [
        next(s.name for s in sites(ROOT / "nplm", "layers/nce.py") if "+= bias" in s.name and s.kind == "sign"),
        next(s.name for s in sites(ROOT / "nplm", "layers/nce.py") if s.name.split(": ")[1].startswith("log_k =")),
    ]
    script = SCRIPT.format(root=str(ROOT), names=names)
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert got.returncode == 0, got.stderr
    wrong_sign, missing = json.loads(got.stdout.splitlines()[-1])
    assert wrong_sign["outcome"] == "value" and "test_nce" in wrong_sign["test"]
    assert missing["how"] in ("exception NameError", "exception UnboundLocalError")
