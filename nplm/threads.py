"""Threads: tasks run side by side with their results in a fixed order, and BLAS held to one thread meanwhile.

Two thread pools fight for the cores (decision 0002), so there is one: Python threads, on which every kernel
releases the interpreter lock.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Protocol, TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

Result = TypeVar("Result")


class RunTasks(Protocol):
    """Runs tasks on threads and gives their results in the order of the tasks."""

    def __call__(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]: ...


def here(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs tasks on the calling thread, one after the other."""
    return [task() for task in tasks]


def affinity() -> set[int]:
    """The cores that this process may use, by number."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    """How many cores this process may use."""
    return len(affinity())


@contextmanager
def workers(threads: int, shards: int) -> Iterator[RunTasks]:
    """A function that runs tasks on `threads` threads; 0 means one per shard, up to the number of cores."""
    threads = min(threads or cores(), shards)

    def run_on_pool(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        results: list[Any] = [None] * len(tasks)

        queue = iter(range(len(tasks)))  # whoever is free takes the next; which thread it is changes no bit

        def work() -> None:
            for k in queue:
                results[k] = tasks[k]()

        others = [pool.submit(work) for _ in range(1, min(threads, len(tasks)))]
        work()  # this thread works too
        for other in others:
            other.result()
        return results

    with threadpool_limits(limits=1, user_api="blas"):
        if threads == 1:
            yield here
        else:
            with ThreadPoolExecutor(threads - 1, thread_name_prefix="shard") as pool:
                yield run_on_pool


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looking for them takes half a millisecond: as long as a sentence


def one_blas_thread() -> AbstractContextManager[None]:
    """Holds BLAS to the calling thread.

    Left alone, its threads wait for one another after each of many small products: on two busy cores a sentence took
    fifteen times as long.
    """
    limit: AbstractContextManager[None] = _libraries().limit(limits=1, user_api="blas")
    return limit
