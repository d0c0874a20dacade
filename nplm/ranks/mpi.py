"""Ranks over MPI, and how a job ends: all ranks finish together, or all are aborted because one has failed."""

import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import numpy as np

from nplm import optional
from nplm.arrays import Array
from nplm.errors import DivergedError, InputError, NotFiniteError
from nplm.ranks.alone import ALONE, Ranks, Sums, Value
from nplm.ranks.exchange import Exchange
from nplm.ranks.launcher import launch
from nplm.threads import RunTasks, affinity

SPINS = 1000  # polls at full speed before a waiting rank sleeps, about a millisecond
NAP = 1e-5  # seconds
ENVELOPE = 512  # bytes
GRACE = 3.0  # seconds in which the others may fail in the same way
FAILURES: dict[str, type[Exception]] = {kind.__name__: kind for kind in (DivergedError, NotFiniteError)}


class MPIRanks(Ranks):
    """The ranks of MPI's world."""

    def __init__(self, mpi: Any) -> None:
        self.mpi, self.comm, self.failures = mpi, mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()
        self.rank, self.size = self.comm.rank, self.comm.size
        share = self._share_of_cores()
        self.cores, self.crowded = max(1, int(share + 1e-9)), share < 1 - 1e-9
        self.exchange: Exchange | None = None
        self.seconds_waited = 0.0  # in transfers, for other ranks or for the network
        self._since: float | None = None
        threading.Thread(target=self._watch, name="mpi-watchdog", daemon=True).start()

    def threads(self, threads: int) -> int:
        return threads or self.cores

    def first(self, function: Callable[[], Value]) -> Value:
        value, error = None, None
        if self.rank == 0:
            try:
                value = function()
            except Exception as caught:
                error = caught
        result, name, text = self._broadcast((value, error and type(error).__name__, str(error)))
        if error is not None:
            raise error
        if name is not None:  # rank 0 reports what has happened; it only matters that this rank fails, too
            raise FAILURES.get(name, InputError)(text)
        return cast(Value, result)

    def each(self, items: Callable[[], Iterable[Value]]) -> Iterator[Value]:
        source = iter(items()) if self.rank == 0 else iter(())
        while item := self.first(lambda: [value for value, _ in zip(source, range(1), strict=False)]):
            yield item[0]

    def gather(self, value: Value) -> list[Value]:
        with self._waiting():
            values: list[Value] = self.comm.allgather(value)
        return values

    def share(self, arrays: Iterable[Array]) -> None:
        with self._waiting():
            for array in arrays:
                self.comm.Bcast(array)

    def use(self, params: dict[str, Array]) -> None:
        self.exchange = Exchange(self.comm, params, self.mpi.IN_PLACE, self.wait)

    def add(self, part: Sums | None, shards: int, names: Iterable[str], run_tasks: RunTasks) -> Sums:
        if self.exchange is None:
            raise ValueError("`use` comes before `add`")
        return self.exchange.add(part, self.runs(shards), names, run_tasks)

    def fail(self, code: int, error: str) -> None:
        """End the job with this exit code; returns if all ranks fail within moments, so that the job ends cleanly.

        error: the message of this rank, if it is not rank 0 and fails alone.
        """
        request, start = self.failures.Ibarrier(), time.monotonic()
        while not (alike := request.Test()) and time.monotonic() - start < GRACE:
            time.sleep(0.01)
        if not alike:
            self.abort(code, f"rank {self.rank} on {socket.gethostname()} failed: {error}")

    def abort(self, code: int, message: str = "") -> None:
        """End all ranks now."""
        if message and self.rank > 0:
            print(f"nplm: error: {message}", file=sys.__stderr__, flush=True)
        threading.Timer(5.0, os._exit, (code or 1,)).start()  # in case MPI itself hangs
        self.mpi.COMM_WORLD.Abort(code or 1)

    def wait(self, requests: list[Any], *, for_others: bool = False) -> None:
        """Wait until transfers are finished.  for_others: small ones, where the wait is for ranks that still compute.

        MPI busy-waits.  A rank that shares its core, or has waited for the others for a millisecond, sleeps in
        between, so that other processes can use the core.  Large messages progress only while their ranks are in MPI.
        """
        spins = SPINS if for_others and not self.crowded else 0
        with self._waiting():
            if not (self.crowded or for_others):
                self.mpi.Request.Waitall(requests)
                return
            while not self.mpi.Request.Testall(requests):
                spins -= 1
                if spins < 0:
                    time.sleep(NAP)

    def _broadcast(self, value: Any) -> Any:
        """A value of rank 0, on every rank; a short one in one message."""
        data = pickle.dumps(value) if self.rank == 0 else b""
        envelope = np.zeros(ENVELOPE, np.uint8)
        if self.rank == 0:
            start = (len(data).to_bytes(8, "little") + data)[:ENVELOPE]
            envelope[: len(start)] = np.frombuffer(start, np.uint8)
        self.wait([self.comm.Ibcast(envelope)], for_others=True)
        size = int.from_bytes(envelope[:8].tobytes(), "little")
        rest = np.empty(max(0, size + 8 - ENVELOPE), np.uint8)
        if rest.size:
            if self.rank == 0:
                rest[...] = np.frombuffer(data, np.uint8)[ENVELOPE - 8 :]
            self.wait([self.comm.Ibcast(rest)])
        return value if self.rank == 0 else pickle.loads(envelope[8 : size + 8].tobytes() + rest.tobytes())

    def _share_of_cores(self) -> float:
        """The number of cores that this rank may use, with shared cores divided among the ranks of its machine."""
        own = affinity()
        neighbours = self.comm.allgather((socket.gethostname(), own))
        users = [cores for host, cores in neighbours if host == socket.gethostname()]
        return sum(1 / sum(core in cores for cores in users) for core in own)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Surrounds every transfer, so that the watchdog sees how long it takes."""
        self._since = start = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self.seconds_waited += time.monotonic() - start

    def _watch(self) -> None:
        """End the job when a transfer takes longer than the timeout."""
        while True:
            time.sleep(min(1.0, self.timeout / 4))
            since = self._since
            if since is not None and time.monotonic() - since > self.timeout:
                what = f"rank {self.rank} on {socket.gethostname()} has waited {self.timeout:g} s for the others"
                remedy = "one of them hangs; resume from the last checkpoint, or raise the timeout"
                print(f"nplm: error: {what}: {remedy}", file=sys.__stderr__, flush=True)
                self.abort(1)


@cache
def join() -> Ranks:
    """The ranks of this job: those that the launcher started, or this process alone, without importing MPI.

    Raises InputError if MPI cannot be imported, or does not see the launcher's processes.
    """
    started = launch()
    if started.size == 1:
        return ALONE
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # the failing rank reports what has happened
    mpi = optional.load("mpi4py.MPI", "mpi", f"a job of {started.size} processes")
    size = mpi.COMM_WORLD.size
    if size != started.size:
        library = mpi.Get_library_version().splitlines()[0].strip("\0 ")
        raise InputError(
            f"the launcher started {started.size} processes ({started.variable}), but MPI sees {size}: mpi4py uses"
            f" {library}, which is not the launcher's MPI; start with that one's mpirun, let srun use"
            " its interface (pmi2 or pmix), or build mpi4py from source with the launcher's mpicc (docs/howto/mpi.md)"
        )
    return MPIRanks(mpi)
