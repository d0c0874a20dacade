"""The folder of a run.

best.safetensors    the model with the best valid perplexity so far
last.safetensors    model, optimiser, carried state and position: all that resuming needs
metrics.jsonl       one JSON object a line
config.json         settings, and where the corpus came from
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from nplm import atomic
from nplm._version import __version__
from nplm.config import ModelConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.units import FIRST_RULE, Words
from nplm.errors import InputError
from nplm.layers.precision import Products
from nplm.model import LanguageModel
from nplm.network import State
from nplm.scoring.evaluate import Evaluation, without_mean_log_z
from nplm.storage import checkpoint, tensorfile
from nplm.training.optim import Optimizer
from nplm.training.progress import Progress

DEFAULTS = {field.name: field.default for config in (ModelConfig, TrainConfig) for field in fields(config)}
# Settings that change no bit of what is learned up to a given chunk, so a resumed run may change them.
FREE_SETTINGS = ("epochs", "threads", "log_interval", "save_interval")
KEPT_SETTINGS = ("fit_log_z",)  # the same, but the best model's file depends on them, and names them


class RunFolder:
    """The folder of a run."""

    def __init__(self, folder: Path, provenance: dict[str, Any]) -> None:
        self.provenance = provenance
        self.best, self.last = folder / "best.safetensors", folder / "last.safetensors"
        self.metrics, self.config = folder / "metrics.jsonl", folder / "config.json"

    def save_best(self, model: LanguageModel, valid: Evaluation | None, epoch: int) -> None:
        """Keep the model; nothing in the file depends on the clock, so the same run gives the same bytes."""
        record = self.provenance | {"epoch": epoch, "valid": valid and valid.as_dict()}
        checkpoint.save_model(model, self.best, record)

    def fit_log_z(self) -> None:
        """[V7] for the model that is kept; nothing where it has been done."""
        record = checkpoint.provenance(self.best)
        known = {field.name for field in fields(Evaluation)}
        valid = Evaluation(**{name: value for name, value in record["valid"].items() if name in known})
        if valid.mean_log_z != 0:
            self.save_best(*without_mean_log_z(self.best_model(), valid), record["epoch"])

    def best_model(self) -> LanguageModel:
        """The best model so far, after the first epoch's end."""
        return checkpoint.load_model(self.best)

    def save_last(self, model: LanguageModel, optimizer: Optimizer, progress: Progress, state: State) -> None:
        """Keep everything that resuming needs."""
        extra = {"h": state.h, "c": state.c}
        extra |= optimizer.memory
        checkpoint.save_run(model, self.last, self.provenance, asdict(progress), extra)

    def begun(self) -> bool:
        """Whether there is anything to go on from; a run may have been killed before its first checkpoint."""
        return any(path.exists() for path in (self.best, self.last, self.metrics))

    def load(self, model: LanguageModel, optimizer: Optimizer) -> tuple[Progress, State]:
        """Put parameters and optimiser back as they were last saved; returns position and carried state."""
        saved, progress, extra = checkpoint.load_run(self.last)
        if saved.dtype != model.dtype:
            raise InputError(f"{self.last}: the run is in {saved.dtype}, the model in {model.dtype}; make it the same")
        for name, value in model.params.items():
            value[...] = saved.params[name]
        model.mean_log_z = saved.mean_log_z
        for name, value in optimizer.memory.items():
            value[...] = extra[name]
        if progress["best_epoch"]:
            tensorfile.read(self.best)  # gone or damaged: say so now, not after days of training
        progress["metrics_lines"] = self._keep_metrics(progress["metrics_lines"])
        try:
            return Progress(**progress), State(extra["h"], extra["c"])
        except (TypeError, KeyError) as error:
            raise InputError(f"{self.last}: written by another nplm ({error}); resume with that one") from error

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl; what is not finite becomes null, which every reader of JSON knows."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"{self.metrics}: not written ({error.strerror}); go on with `resume`") from error

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def _keep_metrics(self, count: int) -> int:
        """Drop lines written after the last checkpoint: those chunks will be trained on again.

        A crash of the machine can lose lines or tear one: whole lines are kept.  Returns how many.
        """
        if not self.metrics.exists():
            return 0
        text = self.metrics.read_text(encoding="utf-8", errors="replace")
        lines = list(takewhile(_is_whole, text.splitlines(keepends=True)[:count]))
        if (kept := "".join(lines)) != text:
            atomic.write(self.metrics, [kept.encode()])
        return len(lines)


@contextmanager
def open_run(
    save: str | Path | None,
    resume: bool,
    model: ModelConfig,
    train: TrainConfig,
    corpus: Corpus,
    source: Mapping[str, Any] | None,
    products: Products,
) -> Iterator[RunFolder]:
    """The run in the folder `save`, or in a temporary one that is gone at the end."""
    if save is None:
        if resume:
            raise InputError("resuming needs the folder of the run: give `save`")
        with tempfile.TemporaryDirectory(prefix="nplm-") as temporary:
            yield RunFolder(Path(temporary), _provenance(train, corpus, products))
        return
    folder = Path(save)
    if source is None:
        source = read_config(folder)["source"] if resume else {}
    record = _record(model, train, corpus, source, products)
    run = RunFolder(folder, _provenance(train, corpus, products))
    if resume:
        _check_same(read_config(folder), record, folder)
    else:
        _make_folder(folder)
    with _alone(folder):
        for partial in folder.glob(".*.partial"):  # a save that was killed
            partial.unlink(missing_ok=True)
        if not resume:
            _check_empty(folder)
        atomic.write(run.config, [json.dumps(record, indent=2).encode(), b"\n"])
        yield run


def read_config(folder: str | Path) -> dict[str, Any]:
    """What config.json of a run says.  Raises InputError if the folder holds no run."""
    path = Path(folder) / "config.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {part: dict(record[part]) for part in ("model", "train", "corpus", "source")} | {
            "nplm": record["nplm"],
            "products": {name: record["products"][name] for name in Products._fields}
            if "products" in record
            else {},  # a run older than bfloat16
            "unit": str(record.get("unit", Words(FIRST_RULE).identity)),
        }
    except OSError as error:
        raise InputError(f"{path}: no run to resume here ({error.strerror}); start one without `resume`") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged, not the settings of a run ({error})") from error


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
        raise InputError(f"{folder}: not empty; name another folder with `save`, or go on with `resume`")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep every other process from training into the folder; the lock is gone when this process is, killed or not."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once are the user's own affair
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{folder}: another run is training into it; wait for it, or name another folder") from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def _is_whole(line: str) -> bool:
    try:
        return line.endswith("\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """A resumed run must be the same run: settings and texts as they were."""
    cosine = new["train"]["schedule"] == "cosine"  # its rates depend on the number of epochs
    free = {name for name in FREE_SETTINGS if not (cosine and name == "epochs")}
    free |= {name for name in KEPT_SETTINGS if new["train"][name]}  # taken up, but not taken back
    _check_products(old, new, folder)
    _check_unit(old["unit"], new["unit"], folder)
    free |= {"precision"}  # what it came to has just been compared
    for part in ("model", "train", "corpus"):
        for name, value in new[part].items():
            was = old[part].get(name, DEFAULTS.get(name))  # a setting younger than the run had its default
            if name not in free and was != value:
                if name == "sha256":
                    raise InputError(f"{folder}: the texts or the vocabulary are not those of the run; bring them back")
                what = "the training text" if part == "corpus" else f"`{name}`"
                why = ", and the rates of a cosine depend on it" if name == "epochs" else ""
                raise InputError(
                    f"{folder}: {what} was {was} and is now {value}{why}; a resumed run must keep its"
                    " settings and texts: take back the change, or start again with another `save`"
                )


def _check_products(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Operands rounded to bfloat16, or multiplied in another way, give other bits."""
    now = Products(**new["products"])
    was = Products(**old["products"]) if old["products"] else Products("float32", "fma")
    if now != was and (now.bfloat16 or was.bfloat16):
        raise InputError(
            f"{folder}: `precision` was {was} and is now {now}; a resumed run must keep its bits: ask for"
            f" {was.precision} on a processor that has {was.maker}, or start again with another `save`"
        )


def _check_unit(was: str, now: str, folder: Path) -> None:
    """Another tokenizer reads another text.  Another version of its library may not: the ids are compared, too."""
    was_what, now_what = (unit.partition(" by ")[0] for unit in (was, now))
    both_words = was_what.startswith("word ") and now_what.startswith("word ")  # the ids tell if the rule matters
    if was_what != now_what and not both_words:
        raise InputError(
            f"{folder}: the `unit` was {was_what} and is now {now_what}; a resumed run must keep it: bring it back, or"
            " start again with another `save`"
        )


def _record(
    model: ModelConfig, train: TrainConfig, corpus: Corpus, source: Mapping[str, Any], products: Products
) -> dict[str, Any]:
    """What config.json holds."""
    record = {
        "nplm": __version__,
        "unit": corpus.unit.identity,
        "model": asdict(model),
        "train": asdict(train),
        "products": products._asdict(),
        "corpus": {"name": corpus.name, "sha256": fingerprint(corpus)},
        "source": dict(source),
    }
    normal: dict[str, Any] = json.loads(json.dumps(record))  # as it will be when read back
    return normal


def _provenance(train: TrainConfig, corpus: Corpus, products: Products) -> dict[str, Any]:
    """How a model was made, for its file."""
    settings = {name: value for name, value in asdict(train).items() if name not in FREE_SETTINGS}
    made = {"nplm": __version__, "corpus": corpus.name, "train": settings}
    return made | {"products": products._asdict()}


def fingerprint(corpus: Corpus) -> str:
    """SHA-256 of the vocabulary and of the training and valid ids."""
    digest = hashlib.sha256(corpus.vocabulary.to_bytes())
    for ids in (corpus.train, corpus.valid):
        if ids is not None:
            digest.update(len(ids).to_bytes(8, "little"))
            for start in range(0, len(ids), 2**22):  # a memory-mapped text is never whole in memory
                digest.update(ids[start : start + 2**22].tobytes())
    return digest.hexdigest()
