"""The folder of a run as all ranks of a job see it: rank 0 alone reads and writes, the others learn what it finds.

So the others need not see the disk, and what is decided by a file is decided once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from nplm.model import LanguageModel
from nplm.network import State
from nplm.ranks.alone import Ranks
from nplm.training.optim import Optimizer
from nplm.training.progress import Progress
from nplm.training.run_folder import RunFolder, open_run


class SharedRun:
    """RunFolder's interface; run: the folder on rank 0, None on the others."""

    def __init__(self, ranks: Ranks, run: RunFolder | None) -> None:
        self.ranks, self.run = ranks, run

    def begun(self) -> bool:
        """RunFolder.begun."""
        return self.ranks.first(lambda: self._folder.begun())

    def load(self, model: LanguageModel, optimizer: Optimizer) -> tuple[Progress, State]:
        """RunFolder.load, with parameters and optimiser put back on every rank."""

        def load() -> tuple[Progress, State, float | None]:
            return *self._folder.load(model, optimizer), model.mean_log_z

        progress, state, model.mean_log_z = self.ranks.first(load)
        self.ranks.share([*model.params.values(), *optimizer.memory.values()])
        return progress, state

    def best_model(self) -> LanguageModel:
        """RunFolder.best_model."""
        return self.ranks.first(lambda: self._folder.best_model())

    def history(self) -> list[dict[str, Any]]:
        """RunFolder.history."""
        return self.ranks.first(lambda: self._folder.history())

    def fit_log_z(self) -> None:
        """RunFolder.fit_log_z, on rank 0."""
        if self.run is not None:
            self.run.fit_log_z()

    def save_best(self, *what: Any) -> None:
        """RunFolder.save_best, on rank 0."""
        if self.run is not None:
            self.run.save_best(*what)

    def save_last(self, *what: Any) -> None:
        """RunFolder.save_last, on rank 0."""
        if self.run is not None:
            self.run.save_last(*what)

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """RunFolder.append_metrics, on rank 0."""
        if self.run is not None:
            self.run.append_metrics(line)

    @property
    def _folder(self) -> RunFolder:
        """The folder, where it is known to be there."""
        if self.run is None:
            raise ValueError("only rank 0 has the run's folder")
        return self.run


@contextmanager
def open_shared(ranks: Ranks, *arguments: Any) -> Iterator[RunFolder | SharedRun]:
    """`open_run` for all ranks of a job."""
    with nullcontext() if ranks.rank else open_run(*arguments) as run:
        yield run if ranks.size == 1 and run is not None else SharedRun(ranks, run)
