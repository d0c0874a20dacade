"""How many noise words per second does the alias table draw, compared with NumPy's ways to sample a distribution?

    alias         NoiseDistribution.draw: Vose's table and Philox, one look-up a draw
    choice        np.random.Generator.choice(V, size, p=q), which cumulates q at every call
    searchsorted  bisection of Generator.random in q cumulated beforehand
One core, Zipf distribution, 2^20 draws per call, each call with another counter (otherwise the branch predictor learns
the draws).  The same with the K = 256 draws of a chunk, where the cost of a call matters.

    python benchmarks/bench_noise.py
"""

import argparse
from itertools import count
from typing import Any

import _timing
import numpy as np
from _tables import Section
from _workload import TOKENS, zipf

from nplm.noise import NoiseDistribution

VOCAB_SIZES = (10_000, 100_000, 1_000_000)
DRAWS = (2**20, 256)
TABLE = Section(
    "Drawing noise words",
    "From a Zipf distribution, on one core. `alias`: nplm's alias table; `choice`: NumPy's `Generator.choice`;"
    " `searchsorted`: a binary search in the cumulated probabilities."
    " Ratio: the alias table's speed over the method's.",
    "bench_noise.json",
    {
        "V": "vocab_size:,", "draws per call": "draws:,", "method": "method", "draws/s": "draws_per_second:,.0f",
        "ratio": "ratio:.1f", "lowest": "ratio_low:.1f", "highest": "ratio_high:.1f", "samples": "samples",
    },
    plots={"noise": "Draws per second against V, by method."},
    command="python benchmarks/bench_noise.py",
)  # fmt: skip
SECTIONS = {"drawing": TABLE}


def measure(vocab_size: int, draws: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each method; ratio: alias over it."""
    noise, calls = NoiseDistribution.from_counts(zipf(vocab_size) * TOKENS), count()
    rng, cumulated = np.random.default_rng(1), noise.probs.cumsum()
    sides = {
        "alias": _timing.Side(lambda: noise.draw(draws, 1, (next(calls) % 2**32, 0, 0))),
        "choice": _timing.Side(lambda: rng.choice(vocab_size, draws, p=noise.probs)),
        "searchsorted": _timing.Side(lambda: np.searchsorted(cumulated, rng.random(draws))),
    }
    times = _timing.in_turns(sides, arguments.samples, arguments.seconds)
    rows = []
    for method, seconds in times.items():
        row = {"vocab_size": vocab_size, "draws": draws, "method": method, "samples": arguments.samples}
        row |= {"draws_per_second": _timing.rates(draws, seconds)[0]}
        rows.append(row | _timing.ratios(seconds, times["alias"]))
    return rows


def main() -> None:
    arguments = _timing.parse(_timing.parser(__doc__, threads=()))
    vocab_sizes, sizes = ((1000,), (64,)) if arguments.quick else (VOCAB_SIZES, DRAWS)
    rows = (row for draws in sizes for v in vocab_sizes for row in measure(v, draws, arguments))
    _timing.finish(arguments, "bench_noise", TABLE.show(rows))


if __name__ == "__main__":
    main()
