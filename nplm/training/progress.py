"""Position and counters of a run: the part of a checkpoint besides parameters, optimiser and carried state."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Progress:
    """Position, learning rate, best epoch and counts; saved in last.safetensors field by field."""

    lr: float  # learning rate of this epoch
    epoch: int = 0  # epochs finished
    chunk: int = 0  # chunks of this epoch finished
    best_nats: float = float("inf")  # valid nats of the best model
    best_epoch: int = 0  # from 1; 0: none yet
    stalled: int = 0  # epochs since then
    stopped: bool = False  # by early stopping
    non_finite: int = 0  # non-finite chunks in a row
    loss_sum: float = 0.0  # since the last line of metrics
    loss_tokens: int = 0
    metrics_lines: int = 0  # lines of metrics.jsonl
    tokens: int = 0  # read in training, all epochs
    seconds: float = 0.0  # spent training

    @property
    def tokens_per_second(self) -> float:
        """Training speed over the whole run, without compilation and validation; NaN before the first chunk."""
        return self.tokens / self.seconds if self.seconds > 0 else math.nan

    def count(self, loss: float, tokens: int, seconds: float) -> None:
        """Count a finished chunk: its loss in nats per position, its number of positions, and the time it took."""
        self.chunk += 1
        self.tokens += tokens
        self.seconds += seconds
        if math.isfinite(loss):
            self.loss_sum += loss * tokens
            self.loss_tokens += tokens

    def take_mean_loss(self) -> float:
        """Mean loss per position since the last call; NaN if there were no positions."""
        mean = self.loss_sum / self.loss_tokens if self.loss_tokens else math.nan
        self.loss_sum, self.loss_tokens = 0.0, 0
        return mean

    def end_epoch(self, nats: float | None) -> bool:
        """End an epoch with this valid loss; returns whether it is the best.  With None, every epoch is the best."""
        self.epoch, self.chunk = self.epoch + 1, 0
        if nats is None:
            nats = -self.epoch
        best = nats < self.best_nats or not math.isfinite(self.best_nats)
        if best:
            self.best_nats, self.best_epoch, self.stalled = nats, self.epoch, 0
        else:
            self.stalled += 1
        return best

    def line(self, kind: str, lr: float, **values: Any) -> dict[str, Any]:
        """A line of metrics.jsonl: kind "train" within an epoch, "valid" at its end."""
        return {
            "kind": kind,
            "epoch": self.epoch if kind == "valid" else self.epoch + 1,
            "chunk": self.chunk,
            "tokens_trained": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "lr": lr,
            **values,
        }
