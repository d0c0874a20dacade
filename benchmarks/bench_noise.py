"""How many noise words a second does the alias table draw, against NumPy's ways of drawing from a fixed law?

    alias         NoiseDistribution.draw: Vose's table and Philox, one look-up a draw
    choice        np.random.Generator.choice(V, size, p=q), which cumulates q at every call
    searchsorted  bisection of Generator.random in q cumulated beforehand
One core, Zipf law, 2^20 draws a call; every call with another counter (or the branch predictor learns the draws by
heart).  The same with the K = 256 draws of a chunk, where the cost of a call counts.

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
    "One core, Zipf law. Ratio: the alias table over the method. Run with `python benchmarks/bench_noise.py`.",
    "bench_noise.json",
    {
        "V": "vocab_size:,", "draws a call": "draws:,", "method": "method", "draws/s": "draws_per_second:,.0f",
        "ratio": "ratio:.1f", "lowest": "ratio_low:.1f", "highest": "ratio_high:.1f", "samples": "samples",
    },
    plots=("noise",),
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
        ratio, low, high = _timing.ratio(seconds, times["alias"])
        row = {"vocab_size": vocab_size, "draws": draws, "method": method, "samples": arguments.samples}
        row |= {"draws_per_second": _timing.rates(draws, seconds)[0]}
        rows.append(row | {"ratio": ratio, "ratio_low": low, "ratio_high": high})
    return rows


def main() -> None:
    arguments = _timing.parse(_timing.parser(__doc__, threads=()))
    vocab_sizes, sizes = ((1000,), (64,)) if arguments.quick else (VOCAB_SIZES, DRAWS)
    rows = []
    for draws in sizes:
        for vocab_size in vocab_sizes:
            found = measure(vocab_size, draws, arguments)
            TABLE.show(found)
            rows += found
    _timing.finish(arguments, "bench_noise", rows)


if __name__ == "__main__":
    main()
