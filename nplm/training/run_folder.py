"""The folder of a run.

best.safetensors    the model with the best validation perplexity so far
last.safetensors    model, optimiser, carried state and position: everything needed to resume
metrics.jsonl       one JSON object per line
config.json         settings, and where the corpus came from
"""

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from nplm import atomic
from nplm.config import ModelConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.errors import InputError
from nplm.layers.precision import Products
from nplm.model import LanguageModel
from nplm.network import State
from nplm.scoring.evaluate import Evaluation, without_mean_log_z
from nplm.storage import checkpoint
from nplm.storage.records import check_fields, is_number, regular
from nplm.training import resuming
from nplm.training.optim import Optimizer
from nplm.training.progress import Progress
from nplm.training.run_config import check_same, provenance_of, read_config, record_of


class RunFolder:
    """The folder of a run."""

    def __init__(
        self, folder: Path, provenance: dict[str, Any], warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self.provenance, self.warn = provenance, warn
        self.best, self.last = folder / "best.safetensors", folder / "last.safetensors"
        self.metrics, self.config = folder / "metrics.jsonl", folder / "config.json"

    def save_best(self, model: LanguageModel, valid: Evaluation | None, epoch: int) -> None:
        """Save the model; nothing in the file depends on the time, so the same run gives the same bytes."""
        record = self.provenance | {"epoch": epoch, "valid": valid and valid.as_dict()}
        checkpoint.save_model(model, self.best, record)

    def fit_log_z(self) -> None:
        """Apply [V7] to the saved model, unless that has been done."""
        record, _ = checkpoint.split_provenance(checkpoint.provenance(self.best))
        if not {"valid", "epoch"} <= record.keys():
            raise InputError(f"{self.best}: its valid result is missing; use the file as nplm wrote it")
        valid = _evaluation(record["valid"], str(self.best))
        if valid.mean_log_z != 0:
            self.save_best(*without_mean_log_z(self.best_model(), valid), record["epoch"])

    def best_model(self) -> LanguageModel:
        """The best model so far; exists after the end of the first epoch."""
        return checkpoint.load_model(self.best)

    def save_last(self, model: LanguageModel, optimizer: Optimizer, progress: Progress, state: State) -> None:
        """Save everything that is needed to resume."""
        extra = {"h": state.h, "c": state.c}
        extra |= optimizer.memory
        checkpoint.save_run(model, self.last, self.provenance, asdict(progress), extra)

    def has_checkpoint(self) -> bool:
        """Whether last.safetensors has been written."""
        return self.last.exists()

    def begun(self) -> bool:
        """Whether there is anything to resume from; a run may have been killed before its first checkpoint."""
        return any(path.exists() for path in (self.best, self.last, self.metrics))

    def load(self, model: LanguageModel, optimizer: Optimizer) -> tuple[Progress, State]:
        """Restore parameters and optimiser from the last checkpoint; returns position and carried state."""
        (saved, record, extra), where = checkpoint.load_run(self.last), str(self.last)
        resuming.check_model(saved, model, where)
        resuming.check_settings_of(checkpoint.provenance(self.last), self.provenance, where)
        progress = resuming.check_progress(record, where, self.provenance["train"]["lr"])
        resuming.check_arrays(extra, optimizer, model, where)
        if progress.best_epoch:
            checkpoint.load_model(self.best)  # report a missing or damaged file now, not after days of training
        progress.metrics_lines = self._keep_metrics(progress.metrics_lines)
        for name, value in model.params.items():
            value[...] = saved.params[name]
        model.mean_log_z = saved.mean_log_z
        for name, value in optimizer.memory.items():
            value[...] = extra[name]
        return progress, State(extra["h"], extra["c"])

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl; numbers that are not finite become null, which is valid JSON."""
        try:
            with regular(self.metrics).open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"{self.metrics}: not written ({error.strerror}); continue with `resume`") from error

    def history(self) -> list[dict[str, Any]]:
        """The complete lines of metrics.jsonl."""
        return [json.loads(line) for line in self._lines() if _is_whole(line)]

    def _lines(self) -> list[str]:
        """All lines of metrics.jsonl, with their line ends."""
        if not regular(self.metrics).exists():
            return []
        text = self.metrics.read_text(encoding="utf-8", errors="replace")
        return re.findall(r"[^\n]*\n|[^\n]+$", text)

    def _keep_metrics(self, count: int) -> int:
        """Drop lines written after the last checkpoint, since those chunks will be trained on again.

        A crash of the machine can lose lines or truncate one: complete lines are kept, with a warning about damaged
        ones.  Returns the number of lines kept.
        """
        lines = self._lines()
        kept = [line for line in lines[:count] if _is_whole(line)]
        if torn := len(lines[:count]) - len(kept):
            self.warn(f"{self.metrics}: {torn} of its lines are damaged and were dropped; the others are kept")
        if kept != lines:
            atomic.write(self.metrics, ["".join(kept).encode()])
        return len(kept)


@contextmanager
def open_run(
    save: str | Path | None,
    resume: bool,
    model: ModelConfig,
    train: TrainConfig,
    corpus: Corpus,
    source: Mapping[str, Any] | None,
    products: Products,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[RunFolder]:
    """The run in the folder `save`, or in a temporary folder that is deleted at the end.

    warn: is called with warnings for the user.
    """
    if save is None:
        if resume:
            raise InputError("resuming needs the folder of the run: give `save`")
        with tempfile.TemporaryDirectory(prefix="nplm-") as temporary:
            yield RunFolder(Path(temporary), provenance_of(train, corpus, products))
        return
    folder = Path(save)
    if source is None:
        source = read_config(folder)["source"] if resume else {}
    record = record_of(model, train, corpus, source, products)
    run = RunFolder(folder, provenance_of(train, corpus, products), warn)
    if resume:
        check_same(read_config(folder), record, folder)
    else:
        _make_folder(folder)
    with _alone(folder, warn):
        for partial in folder.glob(".*.partial"):  # of a save that was killed
            partial.unlink(missing_ok=True)
        if not resume:
            _check_empty(folder)
        atomic.write(run.config, [json.dumps(record, indent=2).encode(), b"\n"])
        yield run


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_empty(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be the folder of a run ({error.strerror}); name another with `save`"
        ) from error


def _check_empty(folder: Path) -> None:
    if any(path.suffix != ".partial" for path in folder.iterdir()):
        raise InputError(f"{folder}: not empty; name another folder with `save`, or continue with `resume`")


@contextmanager
def _alone(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Lock the folder against other processes; the lock ends with this process, even if it is killed."""
    unguarded = f"{folder}: cannot be locked; make sure that no other run uses it"
    try:
        import fcntl
    except ImportError:  # Windows
        warn(unguarded)
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{folder}: in use by another run; wait for it to end, or name another folder") from None
    except OSError:  # a file system without locks
        warn(unguarded)
    try:
        yield
    finally:
        os.close(descriptor)


def _is_whole(line: str) -> bool:
    try:
        return line.endswith("\n") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _evaluation(record: Mapping[str, Any], where: str) -> Evaluation:
    """The evaluation that a model's provenance records."""
    record = {name: value for name, value in record.items() if value is not None}  # None: figures of a raw text
    kinds: dict[str, Any] = {field.name: _kind(field.type) for field in fields(Evaluation)}
    unbounded = [name for name in kinds if "perplexity" in name]  # may overflow
    check_fields(record, kinds, where, ("mean_log_z", "unnormalised_nats", "nats_without_oov", *unbounded))
    try:
        valid = Evaluation(**{name: value for name, value in record.items() if name in kinds})
    except TypeError as error:
        raise InputError(f"{where}: its evaluation on the validation text is incomplete ({error})") from None
    if not all(is_number(value) for value in valid.log_z_quantiles.values()):
        raise InputError(f"{where}: its quantiles of log Z are not numbers")
    return valid


def _kind(declared: Any) -> Any:
    """The class that a field's type names: float for float | None, dict for dict[str, float]."""
    return get_args(declared)[0] if get_origin(declared) is UnionType else get_origin(declared) or declared


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
