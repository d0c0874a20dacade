"""Does a training step take longer with a larger vocabulary, and how much does NCE save compared with the softmax?

Growth: our NCE step at V against the same step at V = 10k, in turns, for three texts:
    first   the text and the noise of V = 10k, in the first 10k rows of matrices with V rows: the same work
    spread  the same again, with the ids spread evenly over all V rows: what caches and pages add
    zipf    text and noise drawn by Zipf's law over V words: fewer words repeat in a chunk, so more rows are touched
Softmax: the same step, NCE against layers/softmax.py (dense decoder gradient, norm and update) and against PyTorch's
cross_entropy, each with the ceiling that arithmetic sets to the ratio:
    (LSTM + 6 H V) / (LSTM + 6 H (K+1))     LSTM = 6 L 8 H^2 operations a token

    python benchmarks/bench_vocab.py
"""

import argparse
from typing import Any

import _timing
import numpy as np
from _tables import Section, only
from _workload import OurTrainer, Shape, make_model, text, zipf

FIRST = 10_000
GROWTH = (10_000, 33_000, 100_000, 268_000, 1_000_000)
SOFTMAX = (10_000, 33_000, 268_000)
QUICK_FIRST, QUICK_GROWTH, QUICK_SOFTMAX = 100, (100, 300), (100,)
TEXTS = ("first", "spread", "zipf")
GROWTH_TABLE = Section(
    "Step time against V",
    "Time of a training step with NCE at V, relative to the smallest V, measured alternately. `first`: the same words"
    " at every V, so that only the matrices grow; `spread`: the same words with their ids spread over all rows; `zipf`:"
    " text and noise with a Zipf distribution over V words, so that fewer words repeat. The rows of the smallest V show"
    " the noise of the measurement.",
    "bench_vocab.json",
    {
        "V": "vocab_size:,", "text": "text", "threads": "threads", "step, ms": "step_ms:.2f",
        "step at the smallest V, ms": "base_ms:.2f", "ratio": "growth:.3f", "lowest": "growth_low:.3f",
        "highest": "growth_high:.3f", "samples": "samples",
    },
    only(kind="growth"),
    {"vocab": "A step's time against V, relative to the smallest V, by text and threads."},
    "python benchmarks/bench_vocab.py --against torch",
)  # fmt: skip
SOFTMAX_TABLE = Section(
    "NCE against the softmax",
    "Time of a whole training step with the full softmax, in nplm or in PyTorch, relative to nplm's step with NCE; and"
    " the ratio of the operations, (LSTM + 6 H V) / (LSTM + 6 H (K+1)).",
    "bench_vocab.json",
    {
        "V": "vocab_size:,", "softmax of": "softmax", "threads": "threads", "NCE step, ms": "step_ms:.2f",
        "softmax step, ms": "softmax_ms:.1f", "ratio": "ratio:.2f", "lowest": "ratio_low:.2f",
        "highest": "ratio_high:.2f", "operations": "ceiling:.2f", "share of that": "ceiling_share:.0%",
        "samples": "samples",
    },
    only(kind="softmax"),
    {"vocab-softmax": "Speed of a step with NCE relative to the full softmax, against V."},
    "python benchmarks/bench_vocab.py --against torch",
)  # fmt: skip
SECTIONS = {"growth": GROWTH_TABLE, "speed-against-softmax": SOFTMAX_TABLE}


def make_trainer(shape: Shape, kind: str, first: int, threads: int) -> OurTrainer:
    """Our step at shape.V on one of the TEXTS."""
    if kind == "zipf":
        return OurTrainer(make_model(shape), shape, text(shape.V, shape), threads)
    stride = shape.V // first if kind == "spread" else 1
    probs = np.zeros(shape.V)
    probs[: first * stride : stride] = zipf(first)
    return OurTrainer(make_model(shape, probs), shape, text(first, shape) * np.int32(stride), threads)


def growth(arguments: argparse.Namespace, vocab_size: int, first: int, threads: int) -> list[dict[str, Any]]:
    """A row for each text."""
    shape, rows = arguments.shape._replace(V=vocab_size), []
    base = make_trainer(shape._replace(V=first), "first", first, threads)
    for kind in TEXTS:
        large = make_trainer(shape, kind, first, threads)
        sides = {"base": _timing.Side(base.step, base.running), "large": _timing.Side(large.step, large.running)}
        times = _timing.in_turns(sides, arguments.samples, arguments.seconds)
        row = {"kind": "growth", "vocab_size": vocab_size, "text": kind, "threads": threads}
        row |= {"step_ms": 1e3 * np.median(times["large"]), "base_ms": 1e3 * np.median(times["base"])}
        rows.append(row | _timing.ratios(times["large"], times["base"], "growth"))
    return rows


def against_softmax(arguments: argparse.Namespace, vocab_size: int, threads: int) -> list[dict[str, Any]]:
    """A row for our softmax and one for PyTorch's."""
    shape = arguments.shape._replace(V=vocab_size)
    ids, model = text(vocab_size, shape), make_model(shape)
    ours, exact = (
        OurTrainer(model, shape, ids, threads),
        OurTrainer(model.copy(), shape, ids, threads, objective="softmax"),
    )
    sides = {"nce": ours, "nplm": exact}
    if arguments.against == "torch":
        from _peer import PeerTrainer

        sides["torch"] = PeerTrainer(model.copy(), shape, ids, threads, "softmax")
    sides = {name: _timing.Side(side.step, side.running) for name, side in sides.items()}
    times = _timing.in_turns(sides, arguments.samples, arguments.seconds)
    lstm = shape.lstm_flops()
    ceiling = (lstm + 6 * shape.H * vocab_size) / (lstm + 6 * shape.H * (shape.K + 1))
    rows = []
    for name in list(sides)[1:]:
        row = {"kind": "softmax", "vocab_size": vocab_size, "softmax": name, "threads": threads}
        row |= {"step_ms": 1e3 * np.median(times["nce"]), "softmax_ms": 1e3 * np.median(times[name])}
        row |= _timing.ratios(times[name], times["nce"])
        rows.append(row | {"ceiling": ceiling, "ceiling_share": row["ratio"] / ceiling})
    return rows


def main() -> None:
    flags = _timing.parser(__doc__)
    flags.add_argument("--against", choices=["torch"], help="measure PyTorch's softmax too")
    flags.add_argument("--hidden", type=int, default=200, metavar="H", help="units, and the embedding's size")
    flags.add_argument("--noise", type=int, default=100, metavar="K")
    arguments = _timing.parse(flags)
    hidden, first, large, exact = arguments.hidden, FIRST, GROWTH, SOFTMAX
    arguments.shape = Shape(20, 20, hidden, hidden, 2, arguments.noise, first)
    if arguments.quick:
        arguments.shape = Shape(4, 5, 12, 12, 2, 8, 100)
        first, large, exact = QUICK_FIRST, QUICK_GROWTH, QUICK_SOFTMAX
    growths = (row for v in large for threads in arguments.threads for row in growth(arguments, v, first, threads))
    rows = GROWTH_TABLE.show(growths)
    ratios = (row for v in exact for threads in arguments.threads for row in against_softmax(arguments, v, threads))
    rows += SOFTMAX_TABLE.show(ratios)
    shape = {"shape": list(arguments.shape), "samples": arguments.samples}
    _timing.finish(arguments, "bench_vocab", [shape | row for row in rows])


if __name__ == "__main__":
    main()
