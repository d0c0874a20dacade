"""What every rank of bench_scale.py runs: training steps of some shapes, and the link measured by messages.

    mpirun -n 2 python benchmarks/_scale_job.py '{"shapes": [...], "threads": 1, "shards": 2, "seconds": 0.5}'

Rank 0 prints one JSON object: for every shape its seconds a step, bytes sent, seconds waited; of several ranks also
alpha (seconds until a message of no length is there), beta (seconds a byte), overhead (seconds that another message
under way at the same time costs) and hidden (share of an exchange that goes on while the ranks compute).
"""

import json
import sys
import time
from typing import Any

import numpy as np
from _workload import OurTrainer, Shape, make_model, text

from nplm.ranks.alone import Ranks
from nplm.ranks.mpi import MPIRanks, join

SIZES = [2**k for k in range(18, 25, 2)]  # bytes of the exchanges that beta is fitted to, as those of gradients
MESSAGES = 64  # under way at once, for the overhead
EXCHANGED = 2**23  # bytes, as the gradient of a matrix


def steps(shape: Shape, ranks: Ranks, threads: int, shards: int, seconds: float) -> dict[str, float]:
    """Seconds a step, bytes sent a step, seconds waited a step, on this rank."""
    trainer = OurTrainer(make_model(shape), shape, text(shape.V, shape), threads, shards, ranks=ranks)
    with trainer.running():
        for _ in range(3):  # kernels are loaded, arrays made, threads woken
            trainer.step()
        one = _seconds_of(trainer, 1)
        count = ranks.first(lambda: max(2, round(seconds / one)))
        before = _counters(ranks)
        took = _seconds_of(trainer, count)
        after = _counters(ranks)
    sent, waited = ((b - a) / count for a, b in zip(before, after, strict=True))
    return {"seconds": took, "bytes_sent": sent, "seconds_waited": waited}


def _seconds_of(trainer: OurTrainer, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        trainer.step()
    return (time.perf_counter() - start) / count


def _counters(ranks: Ranks) -> tuple[float, float]:
    if not isinstance(ranks, MPIRanks) or ranks.exchange is None:
        return 0.0, 0.0
    return float(ranks.exchange.bytes_sent), ranks.seconds_waited


def link(ranks: MPIRanks, seconds: float) -> dict[str, float]:
    """alpha, beta and overhead between ranks 0 and 1."""
    empty = _one_way(ranks, seconds)
    times = [_both_ways(ranks, size, seconds) for size in SIZES]
    alpha, beta = fit(SIZES, times)
    found = {"alpha": empty, "alpha_fitted": alpha, "beta": beta, "overhead": _overhead(ranks, seconds, empty)}
    return found | {"hidden": _hidden(ranks, seconds)}


def fit(sizes: list[int], times: list[float]) -> tuple[float, float]:
    """alpha and beta of times = alpha + beta sizes, with the least sum of squared relative errors."""
    times_, ones = np.array(times), np.ones(len(sizes))
    design = np.stack([ones, np.array(sizes, float)], axis=1) / times_[:, None]
    alpha, beta = np.linalg.lstsq(design, ones, rcond=None)[0]
    if min(alpha, beta) <= 0:  # no line, on a busy machine: the shortest message and the longest
        return min(times), times[-1] / sizes[-1]
    return float(alpha), float(beta)


def _one_way(ranks: MPIRanks, seconds: float) -> float:
    """Seconds of a message of no length from rank 0 to rank 1: half of a ping-pong."""
    comm, data = ranks.comm, np.zeros(0, np.uint8)

    def once() -> None:
        if ranks.rank == 0:
            comm.Send(data, 1)
            comm.Recv(data, 1)
        elif ranks.rank == 1:
            comm.Recv(data, 0)
            comm.Send(data, 0)

    return _repeated(ranks, once, seconds) / 2


def _both_ways(ranks: MPIRanks, size: int, seconds: float) -> float:
    """Seconds until two ranks have sent each other so many bytes at once, as in an exchange of gradients.

    In a ping-pong each direction rests for half of the time, and a token bucket fills up again: a link limited to
    1 Gbit/s passed 259 MB/s, twice its rate.
    """
    (sent, got), other = np.zeros((2, size), np.uint8), 1 - ranks.rank

    def once() -> None:
        if ranks.rank < 2:
            ranks.comm.Sendrecv(sent, other, recvbuf=got, source=other)

    return _repeated(ranks, once, seconds)


def _overhead(ranks: MPIRanks, seconds: float, alpha: float) -> float:
    """Seconds for each of many small messages that are under way at once."""
    comm, data = ranks.comm, np.zeros((2, MESSAGES, 8), np.uint8)

    def once() -> None:
        if ranks.rank < 2:
            other = 1 - ranks.rank
            requests = [comm.Irecv(part, other) for part in data[0]] + [comm.Isend(part, other) for part in data[1]]
            requests[0].Waitall(requests)

    return max(0.0, _repeated(ranks, once, seconds) - alpha) / MESSAGES


def _hidden(ranks: MPIRanks, seconds: float) -> float:
    """Share of an exchange that goes on while the rank computes for as long: what an overlap of the two could save."""
    (sent, got), numbers = np.zeros((2, EXCHANGED), np.uint8), np.random.default_rng(0).random(500_000)
    rounds = [1]

    def compute() -> None:
        for _ in range(rounds[0]):
            np.sqrt(numbers, out=numbers)

    def exchange(meanwhile: Any) -> None:
        request = ranks.comm.Ialltoall(sent, got)
        meanwhile()
        request.Wait()

    transfer = _repeated(ranks, lambda: exchange(lambda: None), seconds)
    rounds[0] = ranks.first(lambda: max(1, round(transfer / _repeated_alone(compute))))
    computing = _repeated(ranks, compute, seconds)
    both = _repeated(ranks, lambda: exchange(compute), seconds)
    return (transfer + computing - both) / min(transfer, computing)


def _repeated_alone(once: Any) -> float:
    """Least of the seconds that `once` takes."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return min(times)


def _repeated(ranks: MPIRanks, once: Any, seconds: float) -> float:
    """Median of the seconds that `once` takes."""
    once()
    start = time.perf_counter()
    once()
    took = time.perf_counter() - start
    times = np.zeros(ranks.first(lambda: int(min(1000, max(3, seconds / 8 / took)))))
    ranks.comm.Barrier()
    for k in range(times.size):
        start = time.perf_counter()
        once()
        times[k] = time.perf_counter() - start
    return float(np.median(times))


def main() -> None:
    spec, ranks = json.loads(sys.argv[1]), join()
    how = ranks, spec["threads"], spec["shards"], spec["seconds"]
    found: dict[str, Any] = {name: steps(Shape(*shape), *how) for name, shape in spec["shapes"].items()}
    if isinstance(ranks, MPIRanks):
        found["link"] = link(ranks, spec["seconds"])
    if ranks.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
