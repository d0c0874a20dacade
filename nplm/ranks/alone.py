"""The ranks of a job, as training and scoring see them; here the version for one process, which costs nothing."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from nplm.arrays import Array
from nplm.layers.row_gradient import Gradient
from nplm.network import State
from nplm.ranks.launcher import TIMEOUT
from nplm.ranks.tree import Run, runs
from nplm.threads import RunTasks

Value = TypeVar("Value")
Totals = dict[str, tuple[Gradient, float]]  # of every parameter: the sum of its gradients, and of that one's squares


class Sums(NamedTuple):
    """What a chunk gives, summed over shards."""

    loss: float
    totals: Totals
    state: State  # (L,b,H), of these shards' columns


class Ranks:
    """One process alone.  With several, all call the same methods in the same order."""

    rank, size = 0, 1
    timeout = TIMEOUT  # seconds that a rank waits for the others

    def runs(self, shards: int) -> list[Run]:
        """The shards that each rank computes."""
        return runs(shards, self.size)

    def threads(self, threads: int) -> int:
        """How many threads to run here: those asked for; 0, as many as there are cores."""
        return threads

    def first(self, function: Callable[[], Value]) -> Value:
        """What a function returns on rank 0, where alone it is called; what it raises there, all ranks raise."""
        return function()

    def each(self, items: Callable[[], Iterable[Value]]) -> Iterator[Value]:
        """The items that rank 0 reads, one by one, on every rank."""
        yield from items()

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, in the order of the ranks, on every rank."""
        return [value]

    def share(self, arrays: Iterable[Array]) -> None:
        """Arrays, C-contiguous, become those of rank 0."""

    def use(self, params: dict[str, Array]) -> None:
        """Prepare `add` for the gradients of these parameters."""

    def add(self, part: Sums | None, shards: int, names: Iterable[str], run_tasks: RunTasks) -> Sums:
        """The ranks' sums added, over the tree of all shards; None from a rank that has no shard."""
        if part is None:
            raise ValueError("a rank alone has all shards")
        return part


ALONE = Ranks()
