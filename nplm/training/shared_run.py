"""The folder of a run for all ranks of a job: only rank 0 reads and writes, and the others get the results.

So the others do not need the disk, decisions that depend on a file are made once, and a failed save fails on all ranks.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nplm.model import LanguageModel
from nplm.network import State
from nplm.ranks.alone import Ranks
from nplm.training.optim import Optimizer
from nplm.training.progress import Progress
from nplm.training.run_folder import RunFolder, open_run


class SharedRun:
    """RunFolder's interface for all ranks, which call each method together; run: the folder on rank 0, else None."""

    def __init__(self, ranks: Ranks, run: RunFolder | None) -> None:
        self.ranks, self.run = ranks, run
        self.last: Path = self._first(lambda run: run.last)

    def has_checkpoint(self) -> bool:
        """RunFolder.has_checkpoint."""
        return bool(self._first(RunFolder.has_checkpoint))

    def begun(self) -> bool:
        """RunFolder.begun."""
        return bool(self._first(RunFolder.begun))

    def load(self, model: LanguageModel, optimizer: Optimizer) -> tuple[Progress, State]:
        """RunFolder.load, with parameters and optimiser restored on every rank."""
        progress, state, model.mean_log_z = self._first(lambda run: (*run.load(model, optimizer), model.mean_log_z))
        self.ranks.share([*model.params.values(), *optimizer.memory.values()])
        return progress, state

    def best_model(self) -> LanguageModel:
        """RunFolder.best_model."""
        model: LanguageModel = self._first(RunFolder.best_model)
        return model

    def history(self) -> list[dict[str, Any]]:
        """RunFolder.history."""
        return list(self._first(RunFolder.history))

    def fit_log_z(self) -> None:
        """RunFolder.fit_log_z."""
        self._first(RunFolder.fit_log_z)

    def save_best(self, *what: Any) -> None:
        """RunFolder.save_best."""
        self._first(lambda run: run.save_best(*what))

    def save_last(self, *what: Any) -> None:
        """RunFolder.save_last."""
        self._first(lambda run: run.save_last(*what))

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """RunFolder.append_metrics."""
        self._first(lambda run: run.append_metrics(line))

    def _first(self, method: Any) -> Any:
        """The result of a method of the folder on rank 0."""
        return self.ranks.first(lambda: method(self.run))


@contextmanager
def open_shared(ranks: Ranks, *arguments: Any) -> Iterator[RunFolder | SharedRun]:
    """`open_run` for all ranks of a job."""
    with ExitStack() as stack:
        if ranks.size == 1:
            yield stack.enter_context(open_run(*arguments))
            return
        opened: list[RunFolder] = []
        ranks.first(lambda: opened.append(stack.enter_context(open_run(*arguments))))
        yield SharedRun(ranks, opened[0] if opened else None)
