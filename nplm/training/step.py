"""One chunk's gradient, split over columns, run on threads, summed in a fixed order.

The recurrences of different columns have nothing to do with each other, so the B columns of a chunk are cut
into shards, and every shard runs forward and backward on its own.  The rest is shared out by parameter: adding
the shards' gradients, then, when the norm of all is known, updating and packing.  The cut depends on the
configuration alone, never on the threads: the same bits come out of any number of threads.
A word of the input that two shards share is multiplied in both: to share it takes two more meetings, and was no faster.
BLAS is held to one thread inside, because two thread pools fight for the cores (decision 0002).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.streams import bounds
from nplm.layers import lstm
from nplm.layers import row_gradient as rows
from nplm.layers.row_gradient import Gradient
from nplm.layers.workspace import Workspace
from nplm.model import LanguageModel
from nplm.network import Grads, Plan, State, chunk_gradient
from nplm.threads import Result, Run, here
from nplm.training.optim import Optimizer


class ChunkGradient(NamedTuple):
    """What a chunk gives; the gradients are good until the next chunk."""

    loss: float  # nats per position
    grads: Grads
    norm: float  # Euclidean, over all gradients together; not finite if an entry is not
    state: State  # to carry on


class Shards:
    """A model, the room its shards work in, and the threads that run them; trains a chunk at a time."""

    def __init__(self, model: LanguageModel, shards: int, run: Run = here) -> None:
        self.model, self.run = model, run
        self.rooms = [Workspace() for _ in range(shards)]  # what the shards share lies in the first
        self.packed = self._by_name(self._pack)

    def gradient(
        self, inputs: Array, targets: Array, noise_ids: Array, state: State, plan: Plan | None = None
    ) -> ChunkGradient:
        """LanguageModel.loss_and_grads, and the gradient's norm; the word ids are trusted."""
        scale, plan = 1.0 / targets.size, plan or Plan()

        def shard(start: int, stop: int, room: Workspace) -> tuple[float, Grads, State]:
            part = np.ascontiguousarray(inputs[:, start:stop]), np.ascontiguousarray(targets[:, start:stop])
            columns = state.columns(start, stop)
            own = plan.shard(start)
            return chunk_gradient(self.model, *part, noise_ids, columns, scale, self.packed, room, own)

        columns = bounds(inputs.shape[1], len(self.rooms))
        results = self.run([partial(shard, *c, room) for c, room in zip(columns, self.rooms, strict=False)])
        losses, grads, states = zip(*results, strict=True)

        def total(name: str) -> tuple[Gradient, float]:
            return rows.total([part[name] for part in grads], self.rooms[0].part(name))

        totals = self._by_name(total)
        norm = math.sqrt(sum(squares for _, squares in totals.values()))
        after = State(*(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True)))
        return ChunkGradient(sum(losses), {name: grad for name, (grad, _) in totals.items()}, norm, after)

    def prepare(
        self, optimizer: Optimizer, inputs: Array, targets: Array, noise_ids: Array, plan: Plan | None = None
    ) -> None:
        """Optimizer.prepare for the rows that a chunk will read."""
        if not optimizer.lazy:
            return
        words: dict[str, Array] = {"encoder.weight": inputs.ravel()}
        output = "encoder.weight" if self.model.config.tied else "decoder.weight"
        if plan is not None and plan.objective == "softmax":  # reads all rows, and its gradient has them all
            words.pop(output, None)
        else:
            words["decoder.bias"] = np.concatenate([noise_ids, targets.ravel()])
            words[output] = np.concatenate([words.get(output, noise_ids), words["decoder.bias"]])
        params = self.model.params
        self.run([partial(optimizer.prepare, name, params[name], rows) for name, rows in words.items()])

    def update(self, optimizer: Optimizer, chunk: ChunkGradient, lr: float) -> None:
        """Optimizer.update; each weight is packed anew while it is in the cache."""
        optimizer.begin(self.model.params, lr)

        def update(name: str) -> lstm.Packed | None:
            optimizer.update_one(name, self.model.params[name], chunk.grads[name], lr, chunk.norm)
            return self._pack(name)

        self.packed = self._by_name(update)

    def _by_name(self, task: Callable[[str], Result]) -> dict[str, Result]:
        """The results of a task for every parameter, run on the threads."""
        names = list(self.model.params)
        return dict(zip(names, self.run([partial(task, name) for name in names]), strict=True))

    def _pack(self, name: str) -> lstm.Packed | None:
        return self.model.pack(name, self.rooms[0].part(name))
