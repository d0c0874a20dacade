"""Threads: tasks run in parallel with their results in a fixed order, while BLAS is limited to one thread.

Two thread pools would compete for the cores (decision 0002), so there is one: Python threads, on which every kernel
releases the interpreter lock.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
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

        queue = iter(range(len(tasks)))  # a free thread takes the next; results do not depend on which one

        def work() -> None:
            for k in queue:
                results[k] = tasks[k]()

        others = [pool.submit(work) for _ in range(1, min(threads, len(tasks)))]
        work()  # this thread works too
        for other in others:
            other.result()
        return results

    with one_blas_thread():
        if threads == 1:
            yield here
        else:
            with ThreadPoolExecutor(threads - 1, thread_name_prefix="shard") as pool:
                yield run_on_pool


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """The results of `work` in the order of the items, which are taken as they are needed.

    An exception, whether from `work` or from `items`, is raised after the results that precede it.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool, waiting = ThreadPoolExecutor(threads, thread_name_prefix="reader"), deque[Future[Result]]()
    try:
        source, failure = iter(items), None
        while failure is None:
            try:
                waiting.append(pool.submit(work, next(source)))
            except Exception as error:  # StopIteration among them
                failure = error
            while waiting and (failure is not None or len(waiting) > 2 * threads):
                yield waiting.popleft().result()
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes half a millisecond, as long as scoring a sentence


class _Limit:
    """Counts the callers that limit BLAS to one thread: the first sets the limit, the last restores the old one.

    The limit applies to the whole process.  If each caller restored what it found, two that overlap would leave it set.
    """

    def __init__(self) -> None:
        self.lock, self.holders = threading.Lock(), 0
        self.limited: Any = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self.lock:
            if self.holders == 0:
                _take_control()
                self.limited = _libraries().limit(limits=1, user_api="blas")
            self.holders += 1
        try:
            yield
        finally:
            with self.lock:
                self.holders -= 1
                if self.holders == 0:
                    _take_control()
                    self.limited.restore_original_limits()
                    _take_control()


def _take_control() -> None:
    """From threadpoolctl 3.8 on, only the thread that first limited OpenBLAS can do so; this lifts the restriction."""
    for library in _libraries().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


_LIMIT = _Limit()


def one_blas_thread() -> AbstractContextManager[None]:
    """Limits BLAS to the calling thread.

    Otherwise its threads wait for one another after each of many small products: on two busy cores a sentence took
    fifteen times as long.
    """
    return _LIMIT.hold()
