"""What the benchmarks share: flags, times of interleaved calls, the machine's sgemm peak.

Machines are shared and noisy.  So what is to be compared is measured in turns, A B A B ..., in one run, and the
figure is the median of the ratios of neighbours: a disturbance that lasts hits both.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import _record
import numpy as np
from threadpoolctl import threadpool_limits

Clock = Callable[[], float]
REST = 0.02  # seconds between two samples, in which the threads of the last one stop spinning


@dataclass(frozen=True)
class Side:
    """One of the things compared."""

    step: Callable[[], Any]  # what is timed, a few times in a row
    running: Callable[[], AbstractContextManager[Any]] = nullcontext  # its threads, made and ended outside the time


def parser(description: str | None, threads: Sequence[int] = (1, 2)) -> argparse.ArgumentParser:
    """A parser with the flags of every benchmark."""
    flags = _record.parser(description, "tiny sizes", "NAME")
    flags.add_argument("--samples", type=int, metavar="N", help="samples of each side; default 7, quick 2")
    flags.add_argument("--seconds", type=float, metavar="S", help="least length of a sample; default 0.5")
    if threads:
        flags.add_argument("--threads", type=int, nargs="+", default=list(threads), metavar="N")
    return flags


def parse(flags: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with what --quick means for the samples."""
    arguments = flags.parse_args()
    arguments.samples = arguments.samples or (2 if arguments.quick else 7)
    arguments.seconds = arguments.seconds or (0.005 if arguments.quick else 0.5)
    return arguments


def finish(arguments: argparse.Namespace, name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows where the arguments say."""
    if path := _record.path_of(arguments, name):
        _record.write(path, rows)


def in_turns(
    sides: Mapping[str, Side], samples: int, seconds: float, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds a step of every side, `samples` times, one side after the other: A B A B ..."""
    counts = {name: _steps_in(side, seconds) for name, side in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(samples):
        for name, side in sides.items():
            times[name].append(_time(side, counts[name], clock))
    return times


def _steps_in(side: Side, seconds: float) -> int:
    """How many steps last about `seconds`; the first ones, which compile and allocate, do not count."""
    _time(side, 1)
    count, spent = 1, _time(side, 1)
    while spent * count < seconds / 4 and count < 2**20:
        count *= 4
        spent = _time(side, count)
    return max(1, round(seconds / spent + 0.5))


def _time(side: Side, count: int, clock: Clock = time.perf_counter) -> float:
    with side.running():
        time.sleep(REST)
        side.step()  # wakes the threads and warms the caches
        start = clock()
        for _ in range(count):
            side.step()
        return (clock() - start) / count


def ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and largest of the ratios slow / fast of samples that were neighbours."""
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return median(ratios), ratios[0], ratios[-1]


def ratios(slow: Sequence[float], fast: Sequence[float], name: str = "ratio") -> dict[str, float]:
    """`ratio` under the names of a row."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), ratio(slow, fast), strict=True))


def rates(work: float, times: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and largest of work / time."""
    return work / median(times), work / max(times), work / min(times)


def sgemm(threads: int, size: int) -> Side:
    """A product of two float32 matrices (size,size) in NumPy's BLAS: 2 size^3 operations."""
    left, right = np.random.default_rng(0).random((2, size, size), np.float32)
    out = np.empty_like(left)
    return Side(lambda: np.matmul(left, right, out=out), lambda: threadpool_limits(limits=threads, user_api="blas"))
