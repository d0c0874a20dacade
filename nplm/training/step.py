"""The gradient of one chunk and its update, in shards of columns: bit-identical on any number of threads.

The recurrences of different columns are independent, so the B columns of a chunk are divided into shards, and every
shard runs forward and backward by itself.  The rest is divided by parameter: adding the shards' gradients, then, when
the global norm is known, updating and packing.  With several ranks, each computes some of the shards, and all make the
same update.  The shards and the order of every sum depend only on the configuration.
An input word that two shards share is multiplied in both: sharing it needs two more barriers, and was no faster.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.streams import bounds
from nplm.layers import lstm, row_gradient
from nplm.layers.row_gradient import Gradient
from nplm.layers.workspace import Workspace
from nplm.model import LanguageModel
from nplm.network import Grads, Network, Packed, Plan, State, chunk_gradient, pack
from nplm.ranks.alone import ALONE, Ranks, Sums
from nplm.threads import Result, RunTasks, here
from nplm.training.optim import Optimizer


class ChunkGradient(NamedTuple):
    """The result for a chunk; the gradients are valid until the next chunk."""

    loss: float  # nats per position
    grads: Grads
    norm: float  # Euclidean, over all gradients together; not finite if an entry is not
    state: State  # for the next chunk

    @property
    def finite(self) -> bool:
        """Whether loss and norm are finite, and hence every entry of every gradient."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Shards:
    """A model, the workspaces of its shards, and the threads that run them.

    To train on a chunk, call `prepare`, `gradient` and `update`, in this order; see training/trainer.py.
    """

    def __init__(
        self,
        model: LanguageModel,
        shards: int,
        run_tasks: RunTasks = here,
        *,
        bfloat16: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.run_tasks, self.bfloat16, self.ranks = model, run_tasks, bfloat16, ranks
        self.rooms = [Workspace() for _ in range(shards)]  # the first also holds what the shards share
        self.packed: Packed | None = None  # set this to None after changing parameters other than by `update`

    def prepare(
        self, optimizer: Optimizer, inputs: Array, targets: Array, noise_ids: Array, plan: Plan | None = None
    ) -> None:
        """Optimizer.prepare for the rows that a chunk will read."""
        if not optimizer.lazy:
            return
        words: dict[str, Array] = {"encoder.weight": inputs.ravel()}
        output = "encoder.weight" if self.model.config.tied else "decoder.weight"
        if (plan or Plan()).objective.dense:  # reads all rows, and its gradient is dense
            words.pop(output, None)
        else:
            words["decoder.bias"] = np.concatenate([noise_ids, targets.ravel()])
            words[output] = np.concatenate([words.get(output, noise_ids), words["decoder.bias"]])
        params = self.model.params
        self.run_tasks([partial(optimizer.prepare, name, params[name], rows) for name, rows in words.items()])

    def gradient(
        self, inputs: Array, targets: Array, noise_ids: Array, state: State, plan: Plan | None = None
    ) -> ChunkGradient:
        """LanguageModel.loss_and_grads, and the gradient's norm; the word ids are not checked."""
        model, scale, plan = self.model, 1.0 / targets.size, plan or Plan()
        self.packed = self.packed or self._by_name(self._pack)
        network = Network(model.params, self.packed, model.log_q, model.vocabulary.eos, self.bfloat16)

        def shard(start: int, stop: int, room: Workspace) -> tuple[float, Grads, State]:
            part = np.ascontiguousarray(inputs[:, start:stop]), np.ascontiguousarray(targets[:, start:stop])
            columns, own = state.columns(start, stop), plan.shard(start)
            return chunk_gradient(network, *part, noise_ids, columns, scale, room, own)

        columns = bounds(inputs.shape[1], len(self.rooms))
        own = slice(*self.ranks.runs(len(columns))[self.ranks.rank])
        results = self.run_tasks([partial(shard, *c, room) for c, room in zip(columns, self.rooms, strict=False)][own])
        part = self._sums(results) if results else None
        loss, totals, after = self.ranks.add(part, len(columns), model.params, self.run_tasks)
        norm = math.sqrt(sum(squares for _, squares in totals.values()))
        return ChunkGradient(loss, {name: grad for name, (grad, _) in totals.items()}, norm, after)

    def _sums(self, results: list[tuple[float, Grads, State]]) -> Sums:
        """Sums over this rank's shards."""
        losses = [loss for loss, _, _ in results]
        grads, states = [grads for _, grads, _ in results], [state for _, _, state in results]

        def total(name: str) -> tuple[Gradient, float]:
            return row_gradient.total([part[name] for part in grads], self.rooms[0].part(name))

        totals = self._by_name(total)
        while len(losses) > 1:  # summed over the same tree
            losses = [sum(pair) for pair in row_gradient.in_pairs(losses)]
        after = State(*(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True)))
        return Sums(losses[0], totals, after)

    def update(self, optimizer: Optimizer, chunk: ChunkGradient, lr: float) -> None:
        """Optimizer.update; each weight is packed while it is still in the CPU's cache."""
        optimizer.begin(self.model.params, lr)

        def update(name: str) -> lstm.Packed | None:
            optimizer.update_one(name, self.model.params[name], chunk.grads[name], lr, chunk.norm)
            return self._pack(name)

        self.packed = self._by_name(update)

    def _by_name(self, task: Callable[[str], Result]) -> dict[str, Result]:
        """The results of a task for every parameter, run on the threads with the largest parameter first."""
        params = self.model.params
        order = sorted(params, key=lambda name: -params[name].size)
        results = dict(zip(order, self.run_tasks([partial(task, name) for name in order]), strict=True))
        return {name: results[name] for name in params}

    def _pack(self, name: str) -> lstm.Packed | None:
        return pack(name, self.model.params[name], self.rooms[0].part(name), self.bfloat16)
