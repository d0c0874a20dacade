"""Runs that are killed at random moments and resumed until they are complete.  Oracle: the run of the same bits."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from hostile.children import forked, start
from hostile.configurations import Case, difference

MOST = 12  # kills of one run


def killed(case: Case, folder: Path, delay: float) -> bool:
    """Start or resume the run in a child, and kill that after so many seconds; whether it was still at work."""
    child = start(lambda: case.run(folder))
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"ended with {code}"
    return code != 0


def one(seed: str, n: int, folder: Path) -> dict[str, Any]:
    """A random run, killed up to MOST times: how often it was, and how often in the middle of a write."""
    rng = Random(f"kills/{seed}/{n}")
    case = Case(rng)
    for name in ("whole", "killed"):
        shutil.rmtree(folder / name, ignore_errors=True)
    begun = time.monotonic()
    whole = forked(lambda place: case.run(folder / "whole"))
    duration = time.monotonic() - begun
    kills = inside = 0
    fault = "" if whole.code == 0 else f"the whole run ended with {whole.code}"
    while kills < MOST and not fault:
        try:
            if not killed(case, folder / "killed", rng.uniform(0, duration / 4)):
                break
        except AssertionError as error:
            fault = str(error)
        kills += 1
        inside += any((folder / "killed").glob(".*.partial"))
    if not fault:
        last = forked(lambda place: case.run(folder / "killed"))
        fault = f"the last run ended with {last.code}" if last.code else difference(folder / "killed", folder / "whole")
    counts = {"runs": 1, "kills": kills, "inside a write": inside} | ({"fault": 1} if fault else {})
    return {"counts": counts, "faults": [{"n": n, "error": f"{fault} {case.config} {case.train}"}] if fault else []}


def stage(seed: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Killed runs without end."""
    n = 0
    while True:
        yield {"kind": "kills", **one(seed, n, folder)}
        n += 1
