"""Where a training step spends its time: the real step, with a timer around the functions that it consists of.

Every function of PIECES is wrapped while the step runs, and is charged the time spent in it but not in other
pieces that it calls.  So the pieces are those of the real step, with its caches and workspaces; the remaining time
is "other".  On one thread only, since on two the pieces overlap.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from _workload import OurTrainer

from nplm.kernels import lstm as lstm_kernels
from nplm.layers import embedding, lstm, nce
from nplm.layers import row_gradient as rows
from nplm.noise import FreshNoise
from nplm.training import optim

PIECES: list[tuple[str, Any, str]] = [
    ("noise", FreshNoise, "group"),
    ("packing", lstm, "pack"),
    ("embedding", embedding, "forward"),
    ("input products", lstm, "forward"),
    ("recurrence", lstm_kernels, "sweep_forward"),
    ("nce", nce, "forward"),
    ("nce backward", nce, "backward"),
    ("recurrence backward", lstm_kernels, "sweep_backward"),
    ("backward products", lstm, "backward"),
    ("embedding backward", embedding, "backward"),
    ("sum and norm", rows, "total"),
    ("update", optim.Optimizer, "update_one"),
]


class _Clock:
    """Charges time to the innermost piece that runs."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = dict.fromkeys([name for name, _, _ in PIECES], 0.0)
        self.inner = [0.0]  # for every piece that runs, the time of the pieces it has called

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            took = time.perf_counter() - start
            self.spent[name] += took - self.inner.pop()
            self.inner[-1] += took
            return result

        return timed


def breakdown(trainer: OurTrainer, steps: int) -> dict[str, float]:
    """Milliseconds a step of every piece, of "other", and in "total", over `steps` steps on one thread."""
    if trainer.threads != 1:
        raise ValueError(f"the pieces overlap on {trainer.threads} threads: break down a step on one")
    clock = _Clock()
    with trainer.running(), ExitStack() as stack:
        trainer.step()  # compiled before a name is replaced
        for name, owner, attribute in PIECES:
            stack.enter_context(patch.object(owner, attribute, clock.around(name, getattr(owner, attribute))))
        start = time.perf_counter()
        for _ in range(steps):
            trainer.step()
        total = time.perf_counter() - start
    spent = clock.spent | {"other": total - sum(clock.spent.values()), "total": total}
    return {name: round(1e3 * seconds / steps, 4) for name, seconds in spent.items()}
