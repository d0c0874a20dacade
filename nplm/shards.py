"""One chunk's gradient, split over columns, run on threads, summed in a fixed order.

The recurrences of different columns have nothing to do with each other, so the B columns of a chunk are cut
into shards, every shard runs forward and backward on its own, and there is one meeting per chunk.  The cut
depends on the configuration alone, never on the threads: the same bits come out of any number of threads.
BLAS is held to one thread inside, because two thread pools fight for the cores (decision 0002).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from nplm.layers import rows
from nplm.layers.rows import Array
from nplm.model import Grads, LanguageModel, State, chunk_gradient

Result = TypeVar("Result")


class Run(Protocol):
    """Runs tasks on threads and gives their results in the order of the tasks."""

    def __call__(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]: ...


@contextmanager
def workers(threads: int, shards: int) -> Iterator[Run]:
    """A function that runs tasks on `threads` threads; 0 means one per shard, up to the number of cores."""
    threads = min(threads or os.cpu_count() or 1, shards)

    def run_here(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        return [task() for task in tasks]

    def run_on_pool(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        others = [pool.submit(task) for task in tasks[1:]]
        return [tasks[0](), *(other.result() for other in others)]  # this thread works too

    with threadpool_limits(limits=1, user_api="blas"):
        if threads == 1:
            yield run_here
        else:
            with ThreadPoolExecutor(threads - 1, thread_name_prefix="shard") as pool:
                yield run_on_pool


def bounds(columns: int, shards: int) -> list[tuple[int, int]]:
    """Start and stop of each shard's columns; no more shards than columns."""
    shards = min(shards, columns)
    cuts = [columns * k // shards for k in range(shards + 1)]
    return list(pairwise(cuts))


def loss_and_grads(
    model: LanguageModel,
    inputs: Array,
    targets: Array,
    noise_ids: Array,
    state: State,
    shards: int,
    run: Run,
) -> tuple[float, Grads, State]:
    """LanguageModel.loss_and_grads, by `shards` shards; the word ids are trusted."""
    scale, panels = 1.0 / targets.size, model.panels()

    def task(start: int, stop: int) -> Callable[[], tuple[float, Grads, State]]:
        part = np.ascontiguousarray(inputs[:, start:stop]), np.ascontiguousarray(targets[:, start:stop])
        return lambda: chunk_gradient(model, *part, noise_ids, state.columns(start, stop), scale, panels)

    results = run([task(*bound) for bound in bounds(inputs.shape[1], shards)])
    losses, grads, states = zip(*results, strict=True)
    if len(results) == 1:
        return losses[0], grads[0], states[0]
    total = {name: rows.add([part[name] for part in grads]) for name in grads[0]}
    after = State(*(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True)))
    return sum(losses), total, after
