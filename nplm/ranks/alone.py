"""The interface of a job's ranks to training and scoring, implemented here for a single process, at no cost."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from nplm.arrays import Array
from nplm.layers.row_gradient import Gradient
from nplm.network import State
from nplm.ranks.launcher import TIMEOUT
from nplm.ranks.tree import Run, runs
from nplm.threads import RunTasks

Value = TypeVar("Value")
Totals = dict[str, tuple[Gradient, float]]  # for every parameter: the sum of its gradients, and its sum of squares


class Sums(NamedTuple):
    """The results for a chunk, summed over shards."""

    loss: float
    totals: Totals
    state: State  # (L,b,H), of these shards' columns


class Ranks:
    """A single process.  With several ranks, all call the same methods in the same order."""

    rank, size = 0, 1
    timeout = TIMEOUT  # seconds that a rank waits for the others

    def runs(self, shards: int) -> list[Run]:
        """The shards that each rank computes."""
        return runs(shards, self.size)

    def threads(self, threads: int) -> int:
        """The number of threads to use on this rank; 0 means as many as there are cores."""
        return threads

    def first(self, function: Callable[[], Value]) -> Value:
        """The result of a function that is called only on rank 0; an exception there is raised on all ranks."""
        return function()

    def each(self, items: Callable[[], Iterable[Value]]) -> Iterator[Value]:
        """The items that rank 0 reads, one by one, on every rank."""
        yield from items()

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, in the order of the ranks, on every rank."""
        return [value]

    def share(self, arrays: Iterable[Array]) -> None:
        """Overwrite C-contiguous arrays with those of rank 0."""

    def use(self, params: dict[str, Array]) -> None:
        """Prepare `add` for the gradients of these parameters."""

    def add(self, part: Sums | None, shards: int, names: Iterable[str], run_tasks: RunTasks) -> Sums:
        """The sum of the ranks' sums, over the tree of all shards; `part` is None on a rank without shards."""
        if part is None:
            raise ValueError("a single process has all shards")
        return part


ALONE = Ranks()
