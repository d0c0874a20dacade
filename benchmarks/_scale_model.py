"""Seconds of a training step on R machines, from what was measured on one and on a link.

[W2] step = fixed + b column + transfer + merge              b: columns of the rank that has most
[W3] transfer = rounds ceil(log2 R) alpha + (R-1) messages overhead + beta (2 (R-1)/R dense + (R-1) rows)
[W4] merge = dense_rate (R-1)/R dense + row_rate R rows

fixed, column: the time of a step on one machine is fixed + B column, measured with B and with B/2 columns: what every
rank repeats (norm, update, packing) and what ranks divide.  dense: bytes of the LSTM's gradients, of which each rank
sends a slice to every other, and its own summed slice to all.  rows: bytes of a rank's row gradients, which go to all;
their expected number follows from the Zipf distribution of the words: V - sum over w of (1 - p_w)^n.  rounds: the
numbers of rows, the gradients and the sums, and rank 0's decisions to save and to stop.  messages of a round are
under way at once, and only the first pays alpha: three for every dense gradient, two for every row gradient, one state.
"""

import math
from typing import NamedTuple

import numpy as np
from _workload import Shape, zipf

FLOAT, INT = 4, 4  # bytes
ROUNDS = 5


class Machine(NamedTuple):
    """Measured on one machine, in seconds."""

    fixed: float  # a step
    column: float  # a step and a column
    dense_rate: float  # a byte of a dense gradient added
    row_rate: float  # a byte of a row gradient merged


class Wire(NamedTuple):
    """Measured on a link, in seconds."""

    alpha: float  # a message
    beta: float  # a byte
    overhead: float  # a further message under way


def dense_bytes(shape: Shape) -> int:
    """Bytes of the gradients of the LSTM layers."""
    inputs = [shape.E, *[shape.H] * (shape.L - 1)]
    return FLOAT * sum(4 * shape.H * (size + shape.H + 1) for size in inputs)


def row_bytes(shape: Shape, columns: int) -> float:
    """Expected bytes of the row gradients of so many columns: embedding, decoder and its bias, with the ids."""
    probs, n = zipf(shape.V), shape.T * columns
    inputs, outputs = (float(shape.V - ((1 - probs) ** draws).sum()) for draws in (n, n + shape.K))
    return inputs * (FLOAT * shape.E + INT) + outputs * (FLOAT * (shape.H + 1) + 2 * INT)


def transfer(shape: Shape, ranks: int, wire: Wire) -> float:
    """[W3]"""
    if ranks == 1:
        return 0.0
    rows = row_bytes(shape, math.ceil(shape.B / ranks))
    volume = 2 * (ranks - 1) / ranks * dense_bytes(shape) + (ranks - 1) * rows
    messages = (ranks - 1) * (9 * shape.L + 7)
    return ROUNDS * math.ceil(math.log2(ranks)) * wire.alpha + messages * wire.overhead + volume * wire.beta


def merge(shape: Shape, ranks: int, machine: Machine) -> float:
    """[W4]"""
    if ranks == 1:
        return 0.0
    rows = row_bytes(shape, math.ceil(shape.B / ranks))
    dense = (ranks - 1) / ranks * dense_bytes(shape)
    return machine.dense_rate * dense + machine.row_rate * ranks * rows


def step(shape: Shape, ranks: int, machine: Machine, wire: Wire) -> float:
    """[W2]"""
    columns = math.ceil(shape.B / ranks)
    return machine.fixed + columns * machine.column + transfer(shape, ranks, wire) + merge(shape, ranks, machine)


def ethernet(gbit: float, measured: Wire, measured_gbit: float) -> Wire:
    """A link of another rate with the latency of a measured one, and with its share of the nominal rate."""
    return measured._replace(beta=measured.beta * measured_gbit / gbit)


def rates(size: int = 2**20) -> tuple[float, float]:
    """dense_rate and row_rate of this machine, by adding two gradients of `size` numbers each."""
    import time

    from nplm.layers.row_gradient import RowGradient, total
    from nplm.layers.workspace import Workspace

    rng, room, width = np.random.default_rng(0), Workspace(), 256
    a, b = rng.random((2, size), np.float32)
    rows = [np.unique(rng.integers(0, 2 * size // width, size // width)).astype(np.int32) for _ in range(2)]
    parts = [RowGradient(ids, rng.random((ids.size, width), np.float32), 2 * size // width) for ids in rows]
    merged = sum(part.values.nbytes for part in parts)

    def seconds(task: object) -> float:
        assert callable(task)
        times = []
        for _ in range(9):
            start = time.perf_counter()
            task()
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    return seconds(lambda: np.add(a, b, out=a)) / a.nbytes, seconds(lambda: total(parts, room)) / merged
