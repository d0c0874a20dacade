"""`nplm.train`: a run from its first chunk, or from where it stopped, to its last."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nplm.config import TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.streams import Streams
from nplm.errors import InputError
from nplm.model import LanguageModel
from nplm.ranks import agreement
from nplm.ranks.alone import ALONE, Ranks
from nplm.training.interrupts import interrupts
from nplm.training.observer import Observer
from nplm.training.progress import Progress
from nplm.training.run_config import fingerprint
from nplm.training.shared_run import open_shared
from nplm.training.trainer import Trainer, warm_up


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.

    Parameters
    ----------
    best : LanguageModel
        The model with the best validation perplexity; without a validation text, that of the last epoch.  It may be the
        same object as the `model` given to `train`.
    history : list of dict
        The lines of metrics.jsonl.
    progress : Progress
        The position that training has reached.
    interrupted : bool
        Whether Ctrl-C or the observer ended training early.
    """

    best: LanguageModel
    history: list[dict[str, Any]]
    progress: Progress
    interrupted: bool

    @property
    def tokens_per_second(self) -> float:
        """Training speed over the whole run in tokens per second, not counting compilation or validation."""
        return self.progress.tokens_per_second


def train(
    model: LanguageModel,
    corpus: Corpus,
    config: TrainConfig | None = None,
    *,
    save: str | Path | None = None,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    ranks: Ranks = ALONE,
    allow_mixed: bool = False,
) -> TrainResult:
    """Train `model` in place on corpus.train; Ctrl-C ends training after the current chunk, with everything saved.

    Parameters
    ----------
    model : LanguageModel
        Must have the vocabulary of the corpus.
    corpus : Corpus
        Its validation text, if there is one, determines the best epoch.
    config : TrainConfig, optional
        How to train; learning rates are for the loss in nats per position.
    save : path, optional
        Folder for best.safetensors, last.safetensors, metrics.jsonl and config.json; None saves nothing.
    resume : bool
        Resume from the folder's last.safetensors; the result is bit-identical to that of an uninterrupted run.
    source : mapping, optional
        Where the corpus came from; stored in config.json.
    observer : Observer, optional
        Is called at every step, and may stop training; with several ranks, only the observer of rank 0 can stop it.
    ranks : Ranks
        The ranks that train together, each with the same model and corpus; they do not change the result.
    allow_mixed : bool
        Accept ranks with different processors: results may then differ in the last bits.

    Returns
    -------
    TrainResult
        The best model, the metrics, and the position that training has reached.

    Raises
    ------
    InputError
        On bad input.
    DivergedError
        After several non-finite chunks in a row, or if something that is to be saved is not finite;
        the model is then in its last good state.
    """
    config, observer = config or TrainConfig(), observer or Observer()
    if corpus.valid is None:
        _check_without_valid(config)
    if model.vocabulary.tokens != corpus.vocabulary.tokens:
        raise InputError(f"the model's vocabulary is not that of the corpus {corpus.name}: use corpus.vocabulary")
    if model.unit.identity != corpus.unit.identity:
        raise InputError(
            f"the model's unit is {model.unit.name}, but that of the corpus {corpus.name} is {corpus.unit.name}:"
            " make the model with unit=corpus.unit"
        )
    streams = Streams(corpus.train, min(config.batch_size, len(corpus.train)))
    if ranks.size > 1:
        _agree(ranks, model, corpus, config, streams.batch_size, allow_mixed)
    trainer = Trainer(
        model, streams, config, valid=corpus.valid, valid_size=corpus.sizes.get("valid"), observer=observer, ranks=ranks
    )
    files = save, resume, model.config, config, corpus, source, trainer.products, observer.warning
    with open_shared(ranks, *files) as run:
        trainer.attach(run)
        observer.compiling()
        precision: Any = "bfloat16" if trainer.products.bfloat16 else "float32"
        observer.compiled(warm_up(model.dtype, replace(config, precision=precision)))
        observer.begin(len(corpus.train), trainer.progress)
        with interrupts(ranks) as interrupted:
            trainer.train(interrupted)
        progress = trainer.progress
        is_best = progress.best_epoch == progress.epoch and progress.chunk == 0
        changed = trainer.optimizer.averaging or config.fit_log_z  # the saved model differs from `model`
        changed |= corpus.valid is not None and model.mean_log_z is None  # an old checkpoint did not hold it
        best = model if not progress.best_epoch or (is_best and not changed) else run.best_model()
        return TrainResult(best, run.history(), progress, not trainer.finished)


def _agree(
    ranks: Ranks, model: LanguageModel, corpus: Corpus, config: TrainConfig, batch_size: int, allow_mixed: bool
) -> None:
    """Reject ranks that are too many or that differ; then give every rank the parameters of rank 0."""
    agreement.check_threads(ranks, config.shards, batch_size, config.threads)
    settings = {f"`{name}`": value for part in (model.config, config) for name, value in asdict(part).items()}
    settings.pop("`threads`")
    text = {"unit": corpus.unit.identity, "SHA-256 of the text": fingerprint(corpus)}
    facts = settings | {"type of the model": str(model.dtype)} | text
    agreement.check(ranks, facts, allow_mixed=allow_mixed)
    ranks.share(model.params.values())


def _check_without_valid(config: TrainConfig) -> None:
    """Reject settings that need a validation text."""
    needs = {
        "`optimizer` asgd averages when the validation perplexity stalls": config.optimizer == "asgd",
        "`schedule` plateau lowers the rate when the validation perplexity stalls": config.schedule == "plateau",
        "`patience` stops training when the validation perplexity stalls": config.patience > 0,
        "`fit_log_z` takes log Z from the validation text": config.fit_log_z,
    }
    for what, is_asked in needs.items():
        if is_asked:
            raise InputError(f"{what}, but there is no validation text: give `valid`")
