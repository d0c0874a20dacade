"""How fast is a training step, compared with PyTorch's and with the machine's peak?

For each shape and number of threads: tokens a second of our step and of the peer's (_peer.py), in turns in one run;
the ratio, as the median of the ratios of neighbours, with the least and the largest; the share of the machine's own
sgemm peak, measured in the same turns on as many threads, that the operations a step cannot do without reach
(LSTM: 6 for every weight and token; NCE: 6 H (K+1) a token; repeated words that we compute once count in full, so the
share may pass 1); and where the time goes, on one thread.

With --precision bfloat16 our step is that one, and "over float32" is the ratio to our own float32 step in the same
turns.  Of several peers the ratio is against the faster one, shape by shape: torch is float32, torch-bf16 the same step
under torch.autocast("cpu", torch.bfloat16).

A chunk is cut into as many shards as there are threads: a word that two shards share is computed in both, so who has
one core cuts into one.  "Over one thread" is the ratio to the same shards, and so the same bits, run by one thread.

    python benchmarks/bench_train.py --against torch torch-bf16
    python benchmarks/bench_train.py --against torch torch-bf16 --precision bfloat16
    python benchmarks/bench_train.py --against torch --shapes h512 h650 --threads 2
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import _timing
from _breakdown import PIECES, breakdown
from _tables import Section, only
from _workload import OurTrainer, Shape, make_model, text

SHAPES = {  # B, T, E, H, L, K, V
    "h200": Shape(20, 35, 200, 200, 2, 256, 10_000),
    "h256": Shape(32, 35, 256, 256, 1, 256, 50_000),
    "h512": Shape(64, 35, 512, 512, 1, 512, 50_000),
    "h650": Shape(20, 35, 650, 650, 2, 256, 10_000),
    "b1": Shape(1, 35, 200, 200, 1, 64, 10_000),
}
QUICK = {"quick": Shape(4, 5, 12, 16, 2, 8, 100), "quick-b1": Shape(1, 5, 12, 16, 1, 8, 100)}
SPEED = Section(
    "Training speed",
    "Tokens per second of a whole training step in float32 (noise, gradient, clipping, update), compared with the same"
    " step in PyTorch (`benchmarks/_peer.py`). Samples of the two alternate; the median and the range of the ratios of"
    " neighbouring samples are shown. Peak: the speed of a large float32 matrix product on as many threads, measured in"
    " the same rounds; share of peak: that of the step, counting only the necessary operations. There are as many"
    " shards as threads; over 1 thread: speed relative to one thread that runs the same shards.",
    "bench_train.json",
    {
        "(B, T, E, H, L, K, V)": "shape", "threads": "threads", "tokens/s": "tokens_per_second:,.0f",
        "PyTorch tokens/s": "peer_tokens_per_second:,.0f", "ratio": "ratio:.2f", "lowest": "ratio_low:.2f",
        "highest": "ratio_high:.2f", "over 1 thread": "over_one_thread:.2f",
        "peak, GFLOP/s": "sgemm_peak_gflops:,.0f", "share of peak": "peak_share:.0%", "samples": "samples",
    },
    command="python benchmarks/bench_train.py --against torch",
)  # fmt: skip
BREAKDOWN = SPEED._replace(
    title="Where a training step spends its time",
    text="Milliseconds per step on one thread, in the same run as the training speed in float32.",
    columns={"(B, T, E, H, L, K, V)": "shape"}
    | {name: f"breakdown.{name}:.2f" for name in (*(name for name, _, _ in PIECES), "other", "total")},
    rows=only(threads=1),
    plots={"train-breakdown": "Shares of a step's time by part of the computation, a bar for each shape."},
)
BFLOAT16 = Section(
    "Training speed with bfloat16 operands",
    "The same with the operands of nplm's matrix products rounded to bfloat16, on a processor whose `vdpbf16ps` has"
    " twice the rate of a float32 multiply-add. Over float32: the ratio to nplm's own float32 step. PyTorch runs in"
    " whichever is faster, float32 (`torch`) or bfloat16 autocast (`torch-bf16`). Samples of all four alternate. Share"
    " of peak: of the float32 peak.",
    "bench_train-bfloat16.json",
    {
        "(B, T, E, H, L, K, V)": "shape", "precision": "precision", "threads": "threads",
        "tokens/s": "tokens_per_second:,.0f", "over float32": "over_float32:.2f",
        "compared with": "peer", "PyTorch tokens/s": "peer_tokens_per_second:,.0f", "ratio": "ratio:.2f",
        "lowest": "ratio_low:.2f", "highest": "ratio_high:.2f", "over 1 thread": "over_one_thread:.2f",
        "share of peak": "peak_share:.0%",
        "samples": "samples",
    },
    command="python benchmarks/bench_train.py --against torch torch-bf16 --precision bfloat16",
)  # fmt: skip
SECTIONS = {"training-speed": SPEED, "breakdown": BREAKDOWN, "training-speed-bfloat16": BFLOAT16}


def measure(name: str, shape: Shape, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one shape, one for each number of threads, all of them measured in turns."""
    ids = text(shape.V, shape)
    sides: dict[str, _timing.Side] = {}
    trainer = partial(OurTrainer, shape=shape, ids=ids)
    for threads in arguments.threads:
        ours = trainer(make_model(shape), threads=threads, precision=arguments.precision)
        sides[f"ours {threads}"] = _timing.Side(ours.step, ours.running)
        if arguments.precision != "float32":
            exact = trainer(make_model(shape), threads=threads)
            sides[f"float32 {threads}"] = _timing.Side(exact.step, exact.running)
        if threads > 1:
            cut = trainer(make_model(shape), threads=1, num_shards=threads, precision=arguments.precision)
            sides[f"cut {threads}"] = _timing.Side(cut.step, cut.running)
        for rival in arguments.against:
            from _peer import PeerTrainer

            peer = PeerTrainer(make_model(shape), shape, ids, threads, bfloat16=rival == "torch-bf16")
            sides[f"{rival} {threads}"] = _timing.Side(peer.step, peer.running)
        sides[f"sgemm {threads}"] = _timing.sgemm(threads, arguments.sgemm_size)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    times = _timing.in_turns(sides, arguments.samples, arguments.seconds, clock)
    one = trainer(make_model(shape), threads=1, precision=arguments.precision)
    pieces = breakdown(one, max(2, round(2 * arguments.seconds / median(times[f"ours {arguments.threads[0]}"]))))
    common = {"name": name, "shape": list(shape), "breakdown": pieces, "samples": arguments.samples}
    common |= {"clock": arguments.clock} | one.trainer.products._asdict()
    return [
        common | _row(shape, threads, times, arguments.sgemm_size, arguments.against) for threads in arguments.threads
    ]


def _row(
    shape: Shape, threads: int, times: dict[str, list[float]], sgemm_size: int, against: Sequence[str]
) -> dict[str, Any]:
    ours, sgemm = times[f"ours {threads}"], times[f"sgemm {threads}"]
    peak = 2 * sgemm_size**3 / median(sgemm)
    speed, low, high = _timing.rates(shape.tokens, ours)
    row: dict[str, Any] = {"threads": threads, "tokens_per_second": speed}
    row |= {"tokens_per_second_low": low, "tokens_per_second_high": high, "peer": None}
    row |= {"peer_tokens_per_second": None, "ratio": None, "ratio_low": None, "ratio_high": None}
    peers = {name: _timing.rates(shape.tokens, times[f"{name} {threads}"])[0] for name in against}
    row["peers"] = peers
    if peers:
        row["peer"] = name = max(peers, key=lambda name: peers[name])  # the faster one
        row["peer_tokens_per_second"] = peers[name]
        row["ratio"], row["ratio_low"], row["ratio_high"] = _timing.ratio(times[f"{name} {threads}"], ours)
    exact = times.get(f"float32 {threads}")
    row["over_float32"] = exact and _timing.ratio(exact, ours)[0]
    if threads > 1:
        row["over_one_thread"] = _timing.ratio(times[f"cut {threads}"], ours)[0]
    row |= {"peak_share": shape.flops() * speed / peak, "sgemm_peak_gflops": peak / 1e9}
    return row


def main() -> None:
    flags = _timing.parser(__doc__)
    flags.add_argument(
        "--against", nargs="+", choices=["torch", "torch-bf16"], default=[], help="the peers; default: none"
    )
    flags.add_argument("--precision", choices=["float32", "bfloat16", "auto"], default="float32")
    flags.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for one thread on a machine that others use"
    )
    flags.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    flags.add_argument("--sgemm-size", type=int, metavar="N", help="rows of the sgemm; default 2000, quick 64")
    arguments = _timing.parse(flags)
    if arguments.clock == "cpu" and arguments.threads != [1]:
        flags.error("--clock cpu adds up the threads: use it with --threads 1")
    arguments.sgemm_size = arguments.sgemm_size or (64 if arguments.quick else 2000)
    shapes = QUICK if arguments.quick else {name: SHAPES[name] for name in arguments.shapes}
    rows = []
    for name, shape in shapes.items():
        found = measure(name, shape, arguments)
        (SPEED if arguments.precision == "float32" else BFLOAT16).show(found)
        rows += found
    name = "bench_train" if arguments.precision == "float32" else f"bench_train-{arguments.precision}"
    _timing.finish(arguments, name, rows)


if __name__ == "__main__":
    main()
