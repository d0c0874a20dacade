"""Sums over ranks, in the order of the tree of shards: the same arithmetic, and so the same bits, as in one process.

A dense gradient is divided into one slice per rank.  Every rank sends its slices to their owners; an owner adds what it
has received in the order of the tree, and sends the sum to all: each rank sends 2 (R - 1) / R of the gradient, whatever
the tree.  For a row gradient, every rank gets the rows of every other rank and merges them itself.  The totals are then
bit-identical on every rank.

All transfers of a kind run at the same time.  They are started in the order of the names.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.kernels import row_gradient as kernels
from nplm.kernels.row_gradient import STRETCH
from nplm.layers import row_gradient
from nplm.layers.row_gradient import RowGradient
from nplm.layers.workspace import Workspace
from nplm.network import State
from nplm.ranks.alone import Sums, Totals
from nplm.ranks.tree import Run, fold
from nplm.threads import RunTasks

NO_GRADIENT, DENSE = -2, -1  # instead of a number of rows


class Exchange:
    """The transfers for chunk after chunk between the ranks of a communicator of mpi4py.

    params: the parameters, which give the shapes and type of the gradients.  in_place: MPI's constant of this name.
    wait: waits until requests are finished, see `MPIRanks.wait`.
    """

    def __init__(self, comm: Any, params: dict[str, Array], in_place: Any, wait: Callable[..., None]) -> None:
        self.comm, self.params, self.in_place, self.wait, self.room = comm, params, in_place, wait, Workspace()
        self.bytes_sent = 0  # as if every other rank were sent to directly

    def add(self, part: Sums | None, cut: Sequence[Run], names: Iterable[str], run_tasks: RunTasks) -> Sums:
        """`Ranks.add`."""
        names = list(names)
        kinds = self._kinds(part, names)  # (R,2+P)
        cut = [run for run in cut if run[0] < run[1]]
        live = len(cut)  # the ranks that have a gradient come first
        loss = fold(kinds[:live, 0].tolist(), cut, lambda a, b: sum((a, b)))
        transfers = [
            _RowSum(self, name, part and part.totals[name][0], kinds[:, place])
            if kinds[0, place] != DENSE
            else _DenseSum(self, name, part and part.totals[name][0], live)
            for place, name in enumerate(names, start=2)
        ]
        states = _States(self, part and part.state, kinds[:, 1])
        self.wait([request for transfer in (*transfers, states) for request in transfer.begin()])
        run_tasks([partial(transfer.fold, cut) for transfer in transfers])
        self.wait([request for transfer in transfers for request in transfer.publish()])
        totals: Totals = dict(zip(names, run_tasks([transfer.total for transfer in transfers]), strict=True))
        return Sums(loss, totals, states.joined())

    def _kinds(self, part: Sums | None, names: list[str]) -> Array:
        """For every rank (R,2+P): loss, columns, and the number of rows of each gradient, or DENSE."""
        own = np.full(2 + len(names), NO_GRADIENT, np.float64)
        own[:2] = (part.loss, part.state.h.shape[1]) if part else (0, 0)
        for place, name in enumerate(names, start=2):
            grad = part and part.totals[name][0]
            if grad is not None:
                own[place] = grad.rows.size if isinstance(grad, RowGradient) else DENSE
        kinds = self.room.empty("kinds", (self.comm.size, own.size), np.float64)
        self.wait([self.comm.Iallgather(own, kinds)], for_others=True)
        self.bytes_sent += own.nbytes * (self.comm.size - 1)
        return kinds

    def gather(self, own: Array, counts: Array, out: Array) -> Any:
        """Begin to collect every rank's numbers, `counts` (R,) of them, in `out`."""
        self.bytes_sent += own.nbytes * (self.comm.size - 1)
        return self.comm.Iallgatherv(own, [out, counts])

    def gather_in_place(self, out: Array, counts: Array) -> Any:
        """Begin to collect every rank's numbers in `out`, which already contains this rank's."""
        self.bytes_sent += int(counts[self.comm.rank]) * out.itemsize * (self.comm.size - 1)
        return self.comm.Iallgatherv(self.in_place, [out, counts])


class _DenseSum:
    """A dense gradient, of which this rank adds one slice.

    A slice consists of whole stretches, the blocks of a sum of squares (kernels/row_gradient.py): each rank squares
    the sums that it has just added, and all ranks add the squares of all stretches in order, as one process does.
    """

    def __init__(self, exchange: Exchange, name: str, grad: Any, live: int) -> None:
        self.exchange, self.live, self.comm = exchange, live, exchange.comm
        param, room = exchange.params[name], exchange.room.part(name)
        self.grad: Array = room.empty("total", param.shape, param.dtype) if grad is None else grad
        self.has_gradient = grad is not None
        stretches = -(-param.size // STRETCH)
        self.stretches = stretches * np.arange(self.comm.size + 1) // self.comm.size
        self.cuts = np.minimum(STRETCH * self.stretches, param.size)
        own = slice(*self.cuts[self.comm.rank :][:2])
        self.slice = self.grad.reshape(-1)[own]
        self.squares = room.empty("squares", (stretches,), np.float64)
        self.own_squares = self.squares[slice(*self.stretches[self.comm.rank :][:2])]
        self.received = room.empty("received", (live, self.slice.size), param.dtype)

    def begin(self) -> list[Any]:
        """Send every slice to its owner."""
        ranks = np.arange(self.comm.size)
        others = ranks != self.comm.rank
        sent = np.where(others & self.has_gradient, np.diff(self.cuts), 0)
        comes = np.where(others & (ranks < self.live), self.slice.size, 0)
        self.exchange.bytes_sent += int(sent.sum()) * self.grad.itemsize
        receive = [self.received, (comes, np.minimum(ranks, self.live - 1) * self.slice.size)]
        return [self.comm.Ialltoallv([self.grad.reshape(-1), (sent, self.cuts[:-1])], receive)]

    def fold(self, cut: Sequence[Run]) -> None:
        """The sum of this rank's slice, in its place, and the squares of its stretches."""
        parts = [self.slice if rank == self.comm.rank else self.received[rank] for rank in range(self.live)]

        def add(a: Array, b: Array) -> Array:
            other, out = (a, b) if b is self.slice else (b, a)
            kernels.add_and_squares(other, out, self.own_squares)
            return out

        total = fold(parts, cut, add)
        if total is not self.slice:
            self.slice[...] = total
        if self.live == 1:
            kernels.squares(self.slice, self.own_squares)

    def publish(self) -> list[Any]:
        """Send this rank's slice to all, and its squares."""
        gather = self.exchange.gather_in_place
        return [gather(self.grad.reshape(-1), np.diff(self.cuts)), gather(self.squares, np.diff(self.stretches))]

    def total(self) -> tuple[Array, float]:
        """The sum, and its sum of squares."""
        return self.grad, float(np.cumsum(self.squares)[-1])


class _RowSum:
    """A row gradient; every rank merges all rows."""

    def __init__(self, exchange: Exchange, name: str, grad: Any, counts: Array) -> None:
        param, self.room = exchange.params[name], exchange.room.part(name)
        self.exchange, self.num_rows, self.width = exchange, len(param), param[0].size
        self.counts = np.maximum(counts, 0).astype(np.int64)
        tail = param.shape[1:]
        empty = RowGradient(np.zeros(0, np.int32), np.zeros((0, *tail), param.dtype), len(param))
        self.grad: RowGradient = empty if grad is None else grad
        total = int(self.counts.sum())
        self.rows = self.room.empty("rows", (total,), self.grad.rows.dtype)
        self.values = self.room.empty("values", (total, *tail), param.dtype)
        self.sum = self.grad

    def begin(self) -> list[Any]:
        """Send all rows to all."""
        values = np.ascontiguousarray(self.grad.values)
        gather = self.exchange.gather
        return [
            gather(self.grad.rows, self.counts, self.rows),
            gather(values.reshape(-1), self.counts * self.width, self.values.reshape(-1)),
        ]

    def fold(self, cut: Sequence[Run]) -> None:
        """Merge the rows."""
        stops = np.cumsum(self.counts)
        parts = [slice(stop - count, stop) for stop, count in zip(stops, self.counts, strict=True)][: len(cut)]
        grads = [RowGradient(self.rows[part], self.values[part], self.num_rows) for part in parts]
        places = iter(range(len(cut)))

        def add(a: RowGradient, b: RowGradient) -> RowGradient:
            merged, _ = row_gradient.total([a, b], self.room.part(f"sum {next(places)}"))
            assert isinstance(merged, RowGradient)
            return merged

        self.sum = fold(grads, cut, add)

    def publish(self) -> list[Any]:
        """Nothing: every rank has the sum."""
        return []

    def total(self) -> tuple[RowGradient, float]:
        """The sum, and its sum of squares."""
        return self.sum, row_gradient.total([self.sum])[1]


class _States:
    """The state after the chunk: the columns of all ranks, concatenated."""

    def __init__(self, exchange: Exchange, state: State | None, columns: Array) -> None:
        self.exchange, self.columns = exchange, columns.astype(int)
        bias = exchange.params["rnn.bias_l0"]  # (4H,)
        layers = sum(name.startswith("rnn.bias_l") for name in exchange.params)
        self.shape = (2, layers, bias.size // 4)
        empty = np.zeros((2, layers, 0, bias.size // 4), bias.dtype)
        self.own = np.stack(state) if state else empty  # (2,L,b,H)
        self.counts = self.columns * int(np.prod(self.shape))
        self.all = exchange.room.empty("states", (int(self.counts.sum()),), bias.dtype)

    def begin(self) -> list[Any]:
        """Send all columns to all."""
        return [self.exchange.gather(self.own.reshape(-1), self.counts, self.all)]

    def joined(self) -> State:
        """The state of all columns, in new arrays."""
        copies, layers, size = self.shape
        parts = np.split(self.all, np.cumsum(self.counts)[:-1])
        shaped = [part.reshape(copies, layers, -1, size) for part in parts if part.size]
        return State(*np.concatenate(shaped, axis=2))
