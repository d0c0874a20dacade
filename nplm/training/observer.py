"""What is seen of training: every step and every line of metrics, for whoever watches; and the clock of it all."""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from nplm.arrays import Array
from nplm.config import TrainConfig
from nplm.data.streams import Span
from nplm.scoring.evaluate import Evaluation
from nplm.training.run_folder import Progress, Run


class Step(NamedTuple):
    """One chunk, just trained on."""

    epoch: int  # from 0
    span: Span
    noise_ids: Array  # (K,)
    loss: float  # nats per position
    norm: float  # global norm of the gradient, before clipping
    tokens: int  # positions of the chunk
    lr: float  # learning rate of its update


class Observer:
    """What a caller may watch; every method does nothing here."""

    def compiling(self) -> None:
        """The kernels are about to be compiled, or loaded from the cache."""

    def compiled(self, seconds: float) -> None:
        """The kernels are ready; `seconds` is what compiling or loading them took."""

    def begin(self, tokens_per_epoch: int, progress: Progress) -> None:
        """Training starts, or goes on from `progress`."""

    def step(self, step: Step) -> None:
        """A chunk was trained on and the parameters are updated, unless it was not finite."""

    def metrics(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl was written."""

    def warning(self, text: str) -> None:
        """Something a user should know."""


class Meter:
    """Counts tokens, seconds and losses, writes the lines of metrics, and knows when to save."""

    def __init__(self, run: Run, config: TrainConfig, progress: Progress, observer: Observer) -> None:
        self.run, self.config, self.progress, self.observer = run, config, progress, observer
        self.clock = self.saved = time.monotonic()
        self.lr = progress.lr  # of the last step

    def count(self, step: Step) -> None:
        """A chunk was trained on."""
        progress = self.progress
        self._tick(training=True)
        self.lr = step.lr
        progress.tokens += step.tokens
        if math.isfinite(step.loss):
            progress.loss_sum += step.loss * step.tokens
            progress.loss_tokens += step.tokens
        self.observer.step(step)
        if progress.chunk % self.config.log_interval == 0:
            self._write("train", loss=self._mean_loss(), gradient_norm=step.norm)

    def validated(self, valid: Evaluation | None) -> None:
        """An epoch is over."""
        self._tick(training=False)
        self._write("valid", **(valid.as_dict() if valid is not None else {}))

    def time_to_save(self) -> bool:
        """Whether the last checkpoint is older than save_interval."""
        now = time.monotonic()
        if now - self.saved < self.config.save_interval:
            return False
        self.saved = now
        return True

    def _tick(self, training: bool) -> None:
        now = time.monotonic()
        if training:
            self.progress.seconds += now - self.clock
        self.clock = now

    def _mean_loss(self) -> float:
        progress = self.progress
        mean = progress.loss_sum / progress.loss_tokens if progress.loss_tokens else math.nan
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        return mean

    def _write(self, kind: str, **values: Any) -> None:
        progress = self.progress
        line = {
            "kind": kind,
            "epoch": progress.epoch if kind == "valid" else progress.epoch + 1,
            "chunk": progress.chunk,
            "tokens_trained": progress.tokens,
            "seconds": progress.seconds,
            "tokens_per_second": progress.tokens / progress.seconds if progress.seconds > 0 else math.nan,
            "lr": self.lr,
            **values,
        }
        self.run.append_metrics(line)
        progress.metrics_lines += 1
        self.observer.metrics(line)
