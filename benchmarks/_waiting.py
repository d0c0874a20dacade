"""Updates that wait: the package's training, in which some parameters are updated once for several chunks.

The gradients of these parameters are then all taken at the same values.  `Waiting` takes the place of a trainer's
`shards`.  It keeps the gradients, and when `due` is set it makes the updates that they would have given, each clipped
by the norm of its own chunk.  It is meant for SGD, whose updates are added up; with `due` set at every chunk, training
is the package's own, bit for bit.
"""

from collections.abc import Callable

import numpy as np

from nplm.arrays import Array
from nplm.layers.row_gradient import Gradient, RowGradient
from nplm.network import Grads
from nplm.training.optim import Optimizer
from nplm.training.step import ChunkGradient, Shards
from nplm.training.trainer import Trainer


class Waiting(Shards):
    """The shards of a trainer; waits(name): whether a parameter waits.

    move: "sum", all updates are made in full; "mean", each at the rate divided by their number.
    """

    def __init__(self, trainer: Trainer, waits: Callable[[str], bool], move: str = "sum") -> None:
        super().__init__(trainer.model, trainer.config.shards)
        self.names, self.move = {name for name in trainer.model.params if waits(name)}, move
        self.late: list[ChunkGradient] = []
        self.due = True

    def update(self, optimizer: Optimizer, chunk: ChunkGradient, lr: float) -> None:
        """Update what does not wait; if it is due, the others too."""
        waiting = {name: _copied(grad) for name, grad in chunk.grads.items() if name in self.names}
        self.late.append(chunk._replace(grads=waiting))
        self._update(optimizer, chunk, {name: grad for name, grad in chunk.grads.items() if name not in self.names}, lr)
        if self.due:
            rate = lr / len(self.late) if self.move == "mean" else lr
            for late in self.late:
                self._update(optimizer, late, late.grads, rate)
            self.late = []

    def _update(self, optimizer: Optimizer, chunk: ChunkGradient, grads: Grads, lr: float) -> None:
        """The package's update by some of a chunk's gradients."""
        none = {name: _no_rows(param) for name, param in self.model.params.items()}
        super().update(optimizer, chunk._replace(grads=none | grads), lr)


def _copied(grad: Gradient) -> Gradient:
    """A gradient that is still valid after the next chunk."""
    if isinstance(grad, RowGradient):
        return grad._replace(rows=grad.rows.copy(), values=grad.values.copy())
    return grad.copy()


def _no_rows(param: Array) -> RowGradient:
    """A gradient that changes nothing."""
    return RowGradient(np.empty(0, np.int32), np.empty((0, *param.shape[1:]), param.dtype), len(param))
