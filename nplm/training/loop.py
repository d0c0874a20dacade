"""Training: the loop of claim 1, with what makes it safe to stop, resume and watch.

A long sequence is cut by time into N chunks.  For each, earliest first: its noise group, the NCE loss, the
gradient by BPTT, an update; then the next.  The state (h, c) is carried from chunk to chunk, the gradient is not.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nplm.config import ModelConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.streams import Span, Streams
from nplm.data.vocabulary import Vocabulary
from nplm.errors import DivergedError, InputError
from nplm.layers.dropout import Dropout
from nplm.model import LanguageModel
from nplm.network import Plan
from nplm.noise import make_noise
from nplm.noise.groups import stream_key
from nplm.scoring.evaluate import evaluate, without_mean_log_z
from nplm.threads import workers
from nplm.training.interrupts import interrupts
from nplm.training.observer import Meter, Observer, Step
from nplm.training.optim import Optimizer, non_finite
from nplm.training.run_folder import Progress, Run, open_run
from nplm.training.schedule import chunk_rate, first_rate, next_rate
from nplm.training.step import ChunkGradient, Shards

PATIENCE_NON_FINITE = 5  # chunks in a row that may be non-finite before training rolls back and stops


@dataclass(frozen=True)
class TrainResult:
    """What a training run ends with."""

    best: LanguageModel  # of the epoch with the best valid perplexity, or of the last; `model` itself if it is that
    history: list[dict[str, Any]]  # the lines of metrics.jsonl
    progress: Progress
    interrupted: bool  # stopped by Ctrl-C before the last epoch's end

    @property
    def tokens_per_second(self) -> float:
        """Training speed over the whole run, without compiling and validating."""
        return self.progress.tokens / self.progress.seconds if self.progress.seconds > 0 else math.nan


def train(
    model: LanguageModel,
    corpus: Corpus,
    config: TrainConfig | None = None,
    *,
    save: str | Path | None = None,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> TrainResult:
    """Train `model` in place on corpus.train; returns the best model by corpus.valid.

    save: folder for best.safetensors, last.safetensors, metrics.jsonl and config.json; None keeps nothing.
    resume: go on, bit for bit, from the folder's last.safetensors. source: where the corpus came from, for the record.
    Ctrl-C ends after the current chunk, with all that is good saved.
    Raises InputError on bad input and DivergedError after several non-finite chunks in a row.
    """
    config, observer = config or TrainConfig(), observer or Observer()
    if corpus.valid is None:
        _check_without_valid(config)
    if model.vocabulary.tokens != corpus.vocabulary.tokens:
        raise InputError(
            f"the model's vocabulary is not that of the corpus {corpus.name}: make it from the corpus's"
        )
    streams = Streams(corpus.train, min(config.batch_size, len(corpus.train)))
    spans = streams.spans(config.sequence_length, config.bptt)
    noise = make_noise(model.noise, config, config.seed)
    with open_run(save, resume, model.config, config, corpus, source) as run:
        optimizer = Optimizer(model.params, config.optimizer, config.clip, config.weight_decay)
        progress, state = Progress(lr=first_rate(config)), model.zero_state(streams.batch_size)
        if run.begun():
            progress, state = run.load(model, optimizer)
            if config.fit_log_z and progress.best_epoch:
                run.fit_log_z()  # of a model that was kept before this was asked for
        else:
            run.save_last(model, optimizer, progress, state)
        observer.compiling()
        observer.compiled(warm_up(model.dtype, config))
        observer.begin(len(corpus.train), progress)
        meter = Meter(run, config, progress, observer)
        with (
            interrupts() as interrupted,
            workers(config.threads, min(config.shards, streams.batch_size)) as threads,
        ):
            shards = Shards(model, config.shards, threads)
            while progress.epoch < config.epochs and not progress.stopped and not interrupted():
                for span in islice(spans, progress.chunk, None):  # claim 1: the earliest chunk not yet used
                    inputs, targets = streams.window(span.start, span.stop)
                    noise_ids = noise.group(progress.epoch, span.sequence, span.chunk)  # claims 2 and 3
                    carried = state.columns(0, inputs.shape[1])
                    plan = make_plan(config, streams.batch_size, progress.epoch, span)
                    shards.prepare(optimizer, inputs, targets, noise_ids, plan)
                    chunk = shards.gradient(inputs, targets, noise_ids, carried, plan)
                    done = progress.epoch * len(spans) + progress.chunk
                    rate = chunk_rate(config, progress.lr, done, len(spans))
                    if math.isfinite(chunk.loss) and math.isfinite(chunk.norm):
                        progress.non_finite = 0
                        if meter.time_to_save():  # before the update: this state is known to be good
                            run.save_last(model, optimizer, progress, state)
                        shards.update(optimizer, chunk, rate)
                        state = chunk.state
                    else:  # nothing changes: neither parameters, nor optimiser, nor the carried state
                        _count_non_finite(run, model, optimizer, progress, chunk, span, observer)
                    progress.chunk += 1
                    step = Step(progress.epoch, span, noise_ids, chunk.loss, chunk.norm, targets.size, rate)
                    meter.count(step)
                    if interrupted() and progress.chunk < len(spans):
                        break
                else:
                    state = model.zero_state(streams.batch_size)
                    _end_epoch(run, model, corpus, config, optimizer, progress, meter)
            if not progress.non_finite:
                run.save_last(model, optimizer, progress, state)
            optimizer.settle(model.params)
        interrupted_early = progress.epoch < config.epochs and not progress.stopped
        is_best = progress.best_epoch == progress.epoch and progress.chunk == 0
        changed = optimizer.averaging or config.fit_log_z  # what was kept is not `model` as it stands
        best = model if not progress.best_epoch or (is_best and not changed) else run.best_model()
        return TrainResult(best, run.history(), progress, interrupted_early)


def _check_without_valid(config: TrainConfig) -> None:
    """Refuse what goes by the valid text."""
    asked = {
        "--optimizer asgd averages when": config.optimizer == "asgd",
        "--schedule plateau lowers the rate when": config.schedule == "plateau",
        "--patience stops when": config.patience > 0,
        "--fit-log-z takes log Z as": config.fit_log_z,
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise InputError(f"{what} the valid text tells, and there is none: give --valid")


def make_plan(config: TrainConfig, num_streams: int, epoch: int, span: Span) -> Plan:
    """How a chunk is trained on.  What it leaves out is a function of the seed and of its place, like its noise."""
    dropout = None
    rates = config.dropout, config.dropout_words, config.dropout_recurrent
    if any(rates):
        key = stream_key(config.seed, "dropout")
        chunk, sequence = (
            int(np.random.SeedSequence([key, epoch, span.sequence, *place]).generate_state(1, np.uint64)[0])
            for place in ((1 + span.chunk,), (0,))
        )
        dropout = Dropout(*rates, not config.variational, chunk, sequence, num_streams)
    return Plan(config.objective, config.log_z_penalty, config.reset_at_eos, dropout)


def _end_epoch(
    run: Run,
    model: LanguageModel,
    corpus: Corpus,
    config: TrainConfig,
    optimizer: Optimizer,
    progress: Progress,
    meter: Meter,
) -> None:
    """Validate, keep the model if it is the best, set the next epoch's learning rate."""
    progress.epoch, progress.chunk = progress.epoch + 1, 0
    shown, valid = model, None
    optimizer.settle(model.params)
    if optimizer.averaging:
        shown = LanguageModel(model.config, model.vocabulary, optimizer.averaged(model.params))
    if corpus.valid is not None:
        batch = config.eval_batch_size
        reset = config.reset_at_eos
        valid = evaluate(shown, corpus.valid, batch_size=batch, reset=reset, threads=config.threads)
    nats = valid.nats if valid is not None else -progress.epoch  # without a valid text the last is the best
    if nats < progress.best_nats or not math.isfinite(progress.best_nats):
        progress.best_nats, progress.best_epoch, progress.stalled = nats, progress.epoch, 0
        kept = without_mean_log_z(shown, valid) if config.fit_log_z else (shown, valid)
        run.save_best(*kept, progress.epoch)
    else:
        progress.stalled += 1
    meter.validated(valid)
    meter.saved = -math.inf  # save as soon as the next chunk shows that this epoch's end is good
    if config.optimizer == "asgd" and progress.stalled >= config.averaging_patience:
        optimizer.start_averaging(model.params)
    progress.lr = next_rate(config, progress.lr, progress.epoch, progress.stalled)
    progress.stopped = 0 < config.patience <= progress.stalled


def _count_non_finite(
    run: Run,
    model: LanguageModel,
    optimizer: Optimizer,
    progress: Progress,
    chunk: ChunkGradient,
    span: Span,
    observer: Observer,
) -> None:
    """Name what is not finite; after several in a row put the last good state back and stop."""
    progress.non_finite += 1
    name = non_finite(chunk.grads)  # None, with a finite loss: only the squares in the norm are too big
    what = (
        f"the gradient of {name}"
        if name
        else "the gradient's norm"
        if math.isfinite(chunk.loss)
        else "the loss"
    )
    where = f"epoch {progress.epoch + 1}, sequence {span.sequence + 1}, chunk {span.chunk + 1}"
    observer.warning(f"{what} is not finite at {where}: the chunk is skipped, nothing is changed")
    if progress.non_finite >= PATIENCE_NON_FINITE:
        run.load(model, optimizer)
        optimizer.settle(model.params)
        raise DivergedError(
            f"{what} was not finite in {PATIENCE_NON_FINITE} chunks in a row, the last at {where}: training stopped and"
            f" the model is back at its last good state; lower --lr (of this epoch: {progress.lr:g}) or --clip"
        )


def warm_up(dtype: Any, config: TrainConfig) -> float:
    """Compile, or load from the cache, every kernel that training uses; returns the seconds it took."""
    start = time.monotonic()
    vocabulary = Vocabulary.from_counts({"a": 2, "b": 1})
    tiny = LanguageModel.init(ModelConfig(4, 2, 2, 1), vocabulary, np.random.default_rng(0), dtype)
    ids = np.zeros((2, 2), np.int32)
    noise_ids = make_noise(tiny.noise, config, 0).group(0, 0, 0)
    plan = make_plan(config, 2, 0, Span(0, 0, 0, 2))
    shards, optimizer = Shards(tiny, 2), Optimizer(tiny.params, config.optimizer, 1.0, config.weight_decay)
    if config.optimizer == "asgd":
        optimizer.start_averaging(tiny.params)
    shards.prepare(optimizer, ids, ids, noise_ids, plan)
    chunk = shards.gradient(ids, ids, noise_ids, tiny.zero_state(2), plan)
    shards.update(optimizer, chunk, config.lr)
    evaluate(tiny, ids.ravel(), batch_size=2, shards=1, threads=1)
    return time.monotonic() - start
