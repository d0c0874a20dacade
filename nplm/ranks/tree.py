"""How the shards of a chunk are divided among ranks, so that sums over ranks are bit-identical to one process.

Sums over shards follow a fixed binary tree (layers/row_gradient.py): neighbours are added, then neighbouring sums.  A
rank takes a subtree, an aligned run of shards, and the ranks' sums are added over the rest of the tree.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Part = TypeVar("Part")
Run = tuple[int, int]  # start and stop of the shards that a rank has


def runs(shards: int, ranks: int) -> list[Run]:
    """The run of every rank: the longest is halved until each rank has one; empty if there are too few shards."""
    found = [(0, shards)]
    while len(found) < min(shards, ranks):
        start, stop = longest = max(found, key=lambda run: run[1] - run[0])  # the first of equals
        place = found.index(longest)
        found[place : place + 1] = [(start, middle := _middle(start, stop)), (middle, stop)]
    return found + [(shards, shards)] * (ranks - len(found))


def fold(parts: Sequence[Part], cut: Sequence[Run], add: Callable[[Part, Part], Part]) -> Part:
    """Sum of one part for every run of `cut`, none of them empty, added in the order of the tree."""
    if len(parts) == 1:
        return parts[0]
    middle = _middle(cut[0][0], cut[-1][1])
    left = sum(stop <= middle for _, stop in cut)
    return add(fold(parts[:left], cut[:left], add), fold(parts[left:], cut[left:], add))


def _middle(start: int, stop: int) -> int:
    """Where the tree over the shards start to stop (at least two) is divided."""
    return start + (1 << ((stop - start - 1).bit_length() - 1))
