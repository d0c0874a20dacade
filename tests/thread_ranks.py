"""Threads in the place of MPI's processes, so that what several ranks do can be tested, and bugs planted, without MPI.

Every collective call is a meeting of all threads, so a transfer is finished when it begins.
Two that meet in different calls, or one that does not come, is an AssertionError: with MPI the job would hang.
"""

import pickle
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from nplm.ranks.mpi import MPIRanks

IN_PLACE = object()
FINISHED = SimpleNamespace(Waitall=lambda requests: None, Testall=lambda requests: True)  # when they begin
PATIENCE = 120.0  # seconds, on a busy machine


class World:
    """Where the threads of one communicator meet."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.slots = size, threading.Barrier(size), [("", None)] * size
        self.lock, self.copies = threading.Lock(), {}

    def copy(self, number: int) -> "World":
        """The world of the communicator's `number`th duplicate, the same for all threads."""
        with self.lock:
            return self.copies.setdefault(number, World(self.size))


class Communicator:
    """The part of mpi4py's communicators that nplm uses."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank, self.size, self.duplicates = world, rank, world.size, 0

    def Dup(self) -> "Communicator":
        self.duplicates += 1
        return Communicator(self.world.copy(self.duplicates), self.rank)

    def meet(self, call: str, value: Any) -> list[Any]:
        """What every thread has brought to the same call."""
        self.world.slots[self.rank] = call, value
        try:
            self.world.barrier.wait(PATIENCE)
            found = list(self.world.slots)
            self.world.barrier.wait(PATIENCE)
        except threading.BrokenBarrierError:
            raise AssertionError(f"rank {self.rank} waits in {call}: not all ranks have come") from None
        assert len({call for call, _ in found}) == 1, f"ranks meet in {[call for call, _ in found]}"
        return [value for _, value in found]

    def allgather(self, value: Any) -> list[Any]:
        return [pickle.loads(part) for part in self.meet("allgather", pickle.dumps(value))]

    def Bcast(self, array: Any) -> None:
        array[...] = self.meet("Bcast", array.copy())[0]

    def Ibcast(self, array: Any) -> Any:
        array[...] = self.meet("Ibcast", array.copy())[0]

    def Iallgather(self, own: Any, out: Any) -> Any:
        out[...] = self.meet("Iallgather", own.copy())

    def Iallgatherv(self, own: Any, receive: list[Any]) -> Any:
        out, counts = receive
        if own is IN_PLACE:
            start = int(np.sum(counts[: self.rank]))
            own = out[start : start + int(counts[self.rank])]
        parts = self.meet("Iallgatherv", own.copy())
        assert [part.size for part in parts] == [int(count) for count in counts]
        out[...] = np.concatenate(parts)

    def Ialltoallv(self, send: list[Any], receive: list[Any]) -> Any:
        parts = self.meet("Ialltoallv", (send[0].copy(), *send[1]))
        out, (counts, places) = receive
        for (values, sizes, starts), count, place in zip(parts, counts, places, strict=True):
            assert sizes[self.rank] == count
            start = starts[self.rank]
            out.reshape(-1)[place : place + count] = values[start : start + count]


def together(size: int, function: Callable[[Any], Any]) -> list[Any]:
    """What a function returns for the ranks of a job of threads, in their order; the first error is raised."""
    world, results, errors = World(size), [None] * size, []

    def work(rank: int) -> None:
        try:
            results[rank] = function(
                MPIRanks(SimpleNamespace(COMM_WORLD=Communicator(world, rank), IN_PLACE=IN_PLACE, Request=FINISHED))
            )
        except BaseException as error:
            errors.append(error)
            for place in (world, *world.copies.values()):
                place.barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,), name=f"rank {rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
