"""Progress of training: a bar on a terminal, plain lines elsewhere; all on stderr."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from nplm.cli.common import announce_kernels
from nplm.cli.output import say, seen
from nplm.training.observer import Observer, Step
from nplm.training.progress import Progress

MEMORY = 0.95  # of the running mean loss, per chunk


class Display(Observer):
    """Shows the progress of `epochs` epochs; a context manager, so that the bar is gone at the end."""

    def __init__(self, epochs: int, before: Callable[[], None] = lambda: None) -> None:
        self.before = before  # called when all input has been validated
        self.epochs, self.per_epoch, self.done = epochs, 0, 0
        self.loss: float | None = None  # nats per position, running mean
        self.valid: float | None = None  # perplexity
        self.announced = False
        self.bar: Any = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def compiling(self) -> None:
        self.before()
        self.announced = announce_kernels()

    def compiled(self, seconds: float) -> None:
        if self.announced or seconds > 1:
            say(f"kernels ready after {seconds:.1f} s")

    def begin(self, tokens_per_epoch: int, progress: Progress) -> None:
        self.per_epoch, self.done = tokens_per_epoch, progress.tokens
        if progress.tokens:
            say(f"resuming after epoch {progress.epoch}, chunk {progress.chunk}")
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=self.epochs * tokens_per_epoch,
                initial=progress.tokens,
                unit=" tokens",
                unit_scale=True,
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
            )

    def step(self, step: Step) -> None:
        if step.loss == step.loss:  # not NaN
            kept = step.loss if self.loss is None else self.loss
            self.loss = MEMORY * kept + (1 - MEMORY) * step.loss
        self.done += step.tokens
        if self.bar is not None:
            valid = "" if self.valid is None else f", valid perplexity {self.valid:.1f}"
            self.bar.set_description(f"epoch {step.epoch + 1}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(f"loss {self._loss()}{valid}", refresh=False)
            self.bar.update(step.tokens)

    def metrics(self, line: Mapping[str, Any]) -> None:
        if line["kind"] == "valid":
            self.valid = line.get("perplexity")
            figure = f"valid perplexity {self.valid:,.2f}" if self.valid is not None else "no validation text"
            self._line(line, f"done   {figure}")
        elif self.bar is None:
            self._line(line, f"chunk {line['chunk']:>6}")

    def warning(self, text: str) -> None:
        self._write(f"warning: {text}")

    def _line(self, line: Mapping[str, Any], what: str) -> None:
        rate = line["tokens_per_second"]
        left = (self.epochs * self.per_epoch - self.done) / rate if rate > 0 else 0.0
        self._write(
            f"epoch {line['epoch']}/{self.epochs}  {what}  loss {self._loss()}  lr {line['lr']:g}"
            f"  {rate:,.0f} tokens/s  {duration(left)} left"
        )

    def _write(self, text: str) -> None:
        if self.bar is not None:
            self.bar.write(seen(text), file=sys.stderr)
        else:
            say(text)

    def _loss(self) -> str:
        return "-" if self.loss is None else f"{self.loss:.3f} nats"


def duration(seconds: float) -> str:
    """12.3 s, 3:21 or 1:03:21."""
    if seconds < 60:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
