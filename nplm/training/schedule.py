"""The learning rate: of each epoch, which is saved with the run's progress, and of each chunk within it.

step      lr, times lr_decay for every epoch after the first decay_after          (Zaremba 2014)
plateau   lr, times lr_decay after every epoch in which the validation perplexity did not improve
constant  lr
cosine    from lr down to lr_floor lr, half a cosine over all chunks after the warm-up     (Loshchilov & Hutter 2017)
warm-up   in the first `warmup` chunks the rate rises linearly: it is multiplied by 1/warmup, 2/warmup ... 1
"""

import math
from typing import Protocol


class Settings(Protocol):
    """The fields of TrainConfig that are used here."""

    @property
    def lr(self) -> float: ...
    @property
    def schedule(self) -> str: ...
    @property
    def lr_decay(self) -> float: ...
    @property
    def decay_after(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def lr_floor(self) -> float: ...


def first_rate(config: Settings) -> float:
    """Rate of the first epoch."""
    return _step_rate(config, 1) if config.schedule == "step" else config.lr


def next_rate(config: Settings, rate: float, epoch: int, stalled: int) -> float:
    """Rate of the epoch after `epoch` (from 1), which had `rate`; stalled: epochs since valid last improved."""
    if config.schedule == "step":
        return _step_rate(config, epoch + 1)
    return rate * config.lr_decay if config.schedule == "plateau" and stalled else rate


def chunk_rate(config: Settings, rate: float, chunk: int, chunks_per_epoch: int) -> float:
    """Rate of a chunk, counted from 0 at the start of training, in an epoch with rate `rate`."""
    if config.schedule == "cosine":
        share = (chunk - config.warmup) / max(config.epochs * chunks_per_epoch - config.warmup, 1)
        height = 0.5 + 0.5 * math.cos(math.pi * min(max(share, 0.0), 1.0))
        rate *= config.lr_floor + (1.0 - config.lr_floor) * height
    return rate * (chunk + 1) / config.warmup if chunk < config.warmup else rate


def _step_rate(config: Settings, epoch: int) -> float:
    decays = max(epoch - config.decay_after, 0)
    return float(config.lr * config.lr_decay**decays)
