"""Observers of training, which are called at every step and for every line of metrics."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nplm.arrays import Array
from nplm.data.streams import Span
from nplm.training.progress import Progress


class Step(NamedTuple):
    """A training step on one chunk."""

    epoch: int  # from 0
    span: Span
    noise_ids: Array  # (K,)
    loss: float  # nats per position
    norm: float  # global norm of the gradient, before clipping
    tokens: int  # positions of the chunk
    lr: float  # learning rate of its update


class Observer:
    """Base class for observers of training: override the methods you need; here they do nothing.

    Passed to `nplm.train(..., observer=...)`.
    """

    def compiling(self) -> None:
        """The kernels are about to be compiled, or loaded from the cache."""

    def compiled(self, seconds: float) -> None:
        """The kernels are ready.

        Parameters
        ----------
        seconds : float
            Time that compiling or loading took.
        """

    def begin(self, tokens_per_epoch: int, progress: Progress) -> None:
        """Training starts, or is resumed.

        Parameters
        ----------
        tokens_per_epoch : int
        progress : Progress
            Position of training.
        """

    def step(self, step: Step) -> bool | None:
        """A chunk has been processed; the parameters have been updated unless its loss or gradient was not finite.

        Parameters
        ----------
        step : Step
            Loss in nats per position, gradient norm, learning rate and position of the chunk.

        Returns
        -------
        bool or None
            True stops training after this chunk, with everything saved, as Ctrl-C does.
        """

    def metrics(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl has been written.

        Parameters
        ----------
        line : mapping
            Its values by name.
        """

    def warning(self, text: str) -> None:
        """Something happened that a user should know about.

        Parameters
        ----------
        text : str
            One line.
        """
