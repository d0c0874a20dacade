"""One chunk's gradient, split over columns, run on threads, summed in a fixed order.

The recurrences of different columns have nothing to do with each other, so the B columns of a chunk are cut
into shards, and every shard runs forward and backward on its own.  What is left is shared out by parameter:
packing the weights before, summing, clipping and updating after, each with a meeting of the threads.  The cut
depends on the configuration alone, never on the threads: the same bits come out of any number of threads.
BLAS is held to one thread inside, because two thread pools fight for the cores (decision 0002).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from nplm.layers import lstm, rows
from nplm.layers.rows import Gradient
from nplm.model import Grads, LanguageModel, State, chunk_gradient
from nplm.workspace import Array, Workspace

Result = TypeVar("Result")


class Run(Protocol):
    """Runs tasks on threads and gives their results in the order of the tasks."""

    def __call__(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]: ...


def here(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs tasks on the calling thread, one after the other."""
    return [task() for task in tasks]


@contextmanager
def workers(threads: int, shards: int) -> Iterator[Run]:
    """A function that runs tasks on `threads` threads; 0 means one per shard, up to the number of cores."""
    threads = min(threads or os.cpu_count() or 1, shards)

    def run_on_pool(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        results: list[Any] = [None] * len(tasks)

        def work(thread: int) -> None:
            for k in range(thread, len(tasks), threads):
                results[k] = tasks[k]()

        others = [pool.submit(work, thread) for thread in range(1, min(threads, len(tasks)))]
        work(0)  # this thread works too
        for other in others:
            other.result()
        return results

    with threadpool_limits(limits=1, user_api="blas"):
        if threads == 1:
            yield here
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
    rooms: Sequence[Workspace] | None = None,
) -> tuple[float, Grads, State]:
    """LanguageModel.loss_and_grads, by `shards` shards; the word ids are trusted.

    rooms: a workspace a shard; the gradients stay in the first until the next call.
    """
    parts = bounds(inputs.shape[1], shards)
    rooms = rooms or [Workspace() for _ in parts]
    scale, panels = 1.0 / targets.size, _panels(model, run, rooms[0].part("panels"))

    def task(start: int, stop: int, room: Workspace) -> tuple[float, Grads, State]:
        part = np.ascontiguousarray(inputs[:, start:stop]), np.ascontiguousarray(targets[:, start:stop])
        return chunk_gradient(model, *part, noise_ids, state.columns(start, stop), scale, panels, room)

    results = run([partial(task, *part, room) for part, room in zip(parts, rooms, strict=False)])
    losses, grads, states = zip(*results, strict=True)
    if len(results) == 1:
        return losses[0], grads[0], states[0]

    def total(name: str) -> Gradient:
        return rows.add([part[name] for part in grads], rooms[0].part(name))

    totals = run([partial(total, name) for name in grads[0]])
    after = State(*(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True)))
    return sum(losses), dict(zip(grads[0], totals, strict=True)), after


def _panels(model: LanguageModel, run: Run, room: Workspace) -> list[lstm.Panels]:
    """LanguageModel.panels, packed on the threads."""
    names = [f"rnn.weight_{kind}_l{k}" for k in range(model.config.num_layers) for kind in ("ih", "hh")]
    packed = run([partial(lstm.pack_weight, model.params[name], room.part(name)) for name in names])
    return [lstm.Panels(*pair) for pair in zip(packed[::2], packed[1::2], strict=True)]
