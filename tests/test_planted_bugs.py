"""Known bugs, planted one at a time.  Oracle: the test named for each fails with the bug and passes without."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from planted_bugs import BUGS, CLEAN, ROOT

NAMES = [bug.name for bug in BUGS]


@pytest.fixture(scope="module")
def verdicts():
    """What tests/planted_bugs.py found, in a process of its own, without the JIT."""
    run = subprocess.run(
        [sys.executable, "-B", str(Path(__file__).with_name("planted_bugs.py"))],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_the_bug_is_noticed(name, verdicts):
    """The test itself: an AssertionError with the bug, nothing without it."""
    assert verdicts[CLEAN + name] == "passes"
    assert verdicts[name] == "fails"


def test_the_list_is_long_enough_and_names_no_bug_twice():
    """Issue 2: at least 15; the card: a name each."""
    assert len(set(NAMES)) == len(BUGS) >= 20
    assert len({(bug.file, bug.old, bug.new) for bug in BUGS}) == len(BUGS)


def test_the_docs_list_the_same_bugs():
    """docs/testing.md: its table has these bugs and no others, each with the file and the check."""
    table = {}
    for line in (ROOT / "docs" / "testing.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if len(cells) == 4 and re.fullmatch(r"`test_\w+::test_\w+`", cells[3]):
            assert cells[0] not in table
            table[cells[0]] = tuple(cell.strip("`") for cell in (cells[1], cells[3]))
    assert table == {bug.name: (bug.file, bug.check) for bug in BUGS}
