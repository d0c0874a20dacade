"""Row gradients: the gradient of a large matrix of which a chunk uses only a few rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nplm.arrays import Array
from nplm.kernels import row_gradient as kernels
from nplm.layers.workspace import Workspace

Item = TypeVar("Item")


class RowGradient(NamedTuple):
    """The gradient of a matrix, zero in all rows outside `rows`; np.asarray gives the dense array."""

    rows: Array  # (R,) int32, ascending, each once
    values: Array  # (R,D), or (R,) for the gradient of a vector
    num_rows: int  # V

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense gradient."""
        return (self.num_rows, *self.values.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        dense = np.zeros(self.shape, dtype=dtype or self.values.dtype)
        dense[self.rows] = self.values
        return dense


Gradient = Array | RowGradient


def sum_by_row(ids: Array, values: Array, num_rows: int) -> RowGradient:
    """Sum of `values` (N,D) over equal `ids` (N,), always in the order of n."""
    if (np.diff(ids) > 0).all():
        return RowGradient(ids, values, num_rows)  # distinct and ascending: nothing to sum
    rows, places = np.unique(ids, return_inverse=True)
    sums = np.empty((rows.size, values.shape[1]), values.dtype)
    kernels.sum_at(values, places, sums)
    return RowGradient(rows, sums, num_rows)


def in_pairs(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Neighbours in pairs, with the last item alone if their number is odd: one level of the summation tree."""
    return [items[k : k + 2] for k in range(0, len(items), 2)]


def total(gradients: Sequence[Gradient], room: Workspace | None = None) -> tuple[Gradient, float]:
    """Sum of gradients of one parameter, and its sum of squares; stored in the first of them, or in `room`.

    Sums follow a fixed binary tree: neighbours are added, then neighbouring sums.  An aligned run of 2^n gradients is
    a subtree, so it can be added on another rank with the same bits.
    """
    room = room or Workspace()
    while len(gradients) > 2:
        level = room.part(f"sums of {len(gradients)}")
        gradients = [_add(pair, level.part(f"pair {k}"))[0] for k, pair in enumerate(in_pairs(gradients))]
    return _add(gradients, room)


def _add(gradients: Sequence[Gradient], room: Workspace) -> tuple[Gradient, float]:
    """`total` of one gradient or two."""
    first = gradients[0]
    if not isinstance(first, RowGradient):
        if len(gradients) == 1:
            return first, kernels.sum_of_squares(first.ravel())
        return first, kernels.add_and_square(np.asarray(gradients[1]).ravel(), first.ravel())
    parts = [gradient for gradient in gradients if isinstance(gradient, RowGradient)]
    if len(parts) == 1:
        return first, kernels.sum_of_squares(first.values.ravel())
    rows = np.unique(np.concatenate([part.rows for part in parts]))
    values = room.zeros("values", (rows.size, *first.values.shape[1:]), first.values.dtype)
    for part in parts:
        kernels.merge(part.rows, part.values.reshape(len(part.rows), -1), rows, values.reshape(rows.size, -1))
    return RowGradient(rows, values, first.num_rows), kernels.sum_of_squares(values.ravel())
