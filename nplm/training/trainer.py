"""A model in training: the four steps of every chunk, the end of an epoch, and the loop of claim 1 around both.

A long sequence is cut by time into N chunks.  For each chunk in order: take its noise group, compute the NCE loss and
its gradient by BPTT, update the parameters.  The state (h, c) is carried from chunk to chunk, the gradient is not.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.config import ModelConfig, TrainConfig
from nplm.data.size import TextSize
from nplm.data.streams import Span, Streams
from nplm.data.vocabulary import Vocabulary
from nplm.errors import DivergedError, InputError, NotFiniteError
from nplm.layers.dropout import Dropout
from nplm.layers.objective import make_objective
from nplm.layers.precision import choose
from nplm.model import LanguageModel
from nplm.network import Plan
from nplm.noise import make_noise, stream_key
from nplm.ranks.alone import ALONE, Ranks
from nplm.scoring.evaluate import Evaluation, evaluate, without_mean_log_z
from nplm.threads import here, workers
from nplm.training.observer import Observer, Step
from nplm.training.optim import Optimizer, non_finite_gradient
from nplm.training.progress import Progress
from nplm.training.run_folder import RunFolder
from nplm.training.schedule import chunk_rate, first_rate, next_rate
from nplm.training.shared_run import SharedRun
from nplm.training.step import ChunkGradient, Shards

PATIENCE_NON_FINITE = 5  # non-finite chunks in a row after which training rolls back and stops


class Trainer:
    """Owns what changes in training: model, optimiser, progress, carried state, and the folder they are saved in.

    model is trained in place on streams; valid: ids (n,) that determine the best epoch; valid_size: size of their raw
    text, for figures per byte.  Nothing is saved until `attach` is given a folder.  With several ranks, each has its
    own trainer, and all of them make the same changes.
    """

    def __init__(
        self,
        model: LanguageModel,
        streams: Streams,
        config: TrainConfig,
        *,
        valid: Array | None = None,
        valid_size: TextSize | None = None,
        observer: Observer | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.streams, self.config, self.ranks = model, streams, config, ranks
        self.valid, self.valid_size, self.observer = valid, valid_size, observer or Observer()
        self.folder: RunFolder | SharedRun | None = None
        ranks.use(model.params)
        self.spans = streams.spans(config.sequence_length, config.bptt)
        self.noise = make_noise(model.noise, config, config.seed)
        self.objective = make_objective(config.objective, config.log_z_penalty)
        self.optimizer = Optimizer(model.params, config.optimizer, config.clip, config.weight_decay)
        self.products = ranks.first(lambda: choose(config.precision, model.dtype, model.config.hidden_dim))
        self.shards = Shards(model, config.shards, bfloat16=self.products.bfloat16, ranks=ranks)
        self.progress, self.state = Progress(lr=first_rate(config)), model.zero_state(streams.batch_size)
        self.stopping = False  # whether the observer has asked to stop
        self.shuffled: int | None = None  # the epoch in whose order the lines are
        self.last_lr = self.progress.lr  # of the last update
        self.clock = self.saved = time.monotonic()

    def attach(self, folder: RunFolder | SharedRun) -> None:
        """Save to this folder from now on: continue from its last checkpoint, or write the first one."""
        self.folder = folder
        if folder.begun():
            progress, state = folder.load(self.model, self.optimizer)
            if state.h.shape != self.state.h.shape or progress.chunk >= len(self.spans):
                raise InputError(
                    f"{folder.last}: chunk {progress.chunk} with a state {state.h.shape} is not of these texts, which"
                    f" have {len(self.spans)} chunks and {self.state.h.shape}; use a checkpoint of this run"
                )
            self.progress, self.state = progress, state
            self.shards.packed, self.last_lr = None, self.progress.lr
            if self.config.fit_log_z and self.progress.best_epoch:
                folder.fit_log_z()  # for a model that was saved before the setting was switched on
        else:
            self._save()

    def train(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Train until the last epoch, early stopping, an interrupt or the observer ends training; then save."""
        self.clock = self.saved = time.monotonic()
        self.stopping = False

        def stop() -> bool:  # rank 0 decides
            return self.ranks.first(lambda: self.stopping or interrupted())

        with self.threads():
            while not (self.finished or stop()):
                for span in islice(self.spans, self.progress.chunk, None):  # claim 1: the earliest not yet used
                    self.step(span)
                    if stop() and self.progress.chunk < len(self.spans):
                        break
                else:
                    self.end_epoch()
        if not self.progress.non_finite:
            self._save()
        self.optimizer.settle(self.model.params)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Run steps on threads; outside this context the calling thread does everything."""
        with workers(self.ranks.threads(self.config.threads), self._most_shards()) as run_tasks:
            self.shards.run_tasks = run_tasks
            try:
                yield
            finally:
                self.shards.run_tasks = here

    def _most_shards(self) -> int:
        """The shards of a whole chunk that this rank computes."""
        start, stop = self.ranks.runs(min(self.config.shards, self.streams.batch_size))[self.ranks.rank]
        return max(stop - start, 1)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or early stopping has ended training."""
        return self.progress.epoch >= self.config.epochs or self.progress.stopped

    def step(self, span: Span) -> Step:
        """Train on one chunk: prepare, gradient, rate, update.  A due checkpoint is written before the update."""
        config, progress = self.config, self.progress
        self._shuffle()
        inputs, targets = self.streams.window(span.start, span.stop)  # (T,B)
        noise_ids = self.noise.group(progress.epoch, span.sequence, span.chunk)  # claims 2 and 3
        carried, plan = self.state.columns(0, inputs.shape[1]), self._plan(span)
        self.shards.prepare(self.optimizer, inputs, targets, noise_ids, plan)
        chunk = self.shards.gradient(inputs, targets, noise_ids, carried, plan)
        done = progress.epoch * len(self.spans) + progress.chunk
        self.last_lr = chunk_rate(config, progress.lr, done, len(self.spans))
        if chunk.finite:
            self._save_if_due()  # before the update: this state is known to be good
            self.shards.update(self.optimizer, chunk, self.last_lr)
            self.model.mean_log_z = None  # it was that of the old parameters
            self.state, progress.non_finite = chunk.state, 0
        else:  # nothing changes: neither parameters, optimiser, nor the carried state
            self._skip(chunk, span)
        progress.count(chunk.loss, targets.size, self._lap())
        step = Step(progress.epoch, span, noise_ids, chunk.loss, chunk.norm, targets.size, self.last_lr)
        self.stopping = bool(self.observer.step(step)) or self.stopping
        if progress.chunk % config.log_interval == 0:
            self._write("train", loss=progress.take_mean_loss(), gradient_norm=chunk.norm)
        return step

    def end_epoch(self) -> None:
        """Validate, save the model if it is the best, set the next epoch's learning rate."""
        config, progress, optimizer = self.config, self.progress, self.optimizer
        shown = self._settled()
        valid = self._validate(shown)
        if progress.end_epoch(valid.nats if valid is not None else None) and self.folder is not None:
            kept = without_mean_log_z(shown, valid) if config.fit_log_z else (shown, valid)
            with self._rolling_back():
                self.folder.save_best(*kept, progress.epoch)
        self.state = self.model.zero_state(self.streams.batch_size)
        self._lap()  # validation does not count as training time
        self._write("valid", **(valid.as_dict() if valid is not None else {}))
        self.saved = -math.inf  # save as soon as the next chunk has shown that this state is good
        if config.optimizer == "asgd" and progress.stalled >= config.averaging_patience:
            optimizer.start_averaging(self.model.params)
        progress.lr = next_rate(config, progress.lr, progress.epoch, progress.stalled)
        progress.stopped = 0 < config.patience <= progress.stalled

    def _shuffle(self) -> None:
        """If lines are to be shuffled, put them in the order of the epoch, which depends on the seed."""
        epoch = self.progress.epoch
        if self.config.shuffle and self.shuffled != epoch:
            self.streams.shuffle(np.random.default_rng([stream_key(self.config.seed, "order"), epoch]))
            self.shuffled = epoch

    def _settled(self) -> LanguageModel:
        """The model with all rows up to date; with averaging, a model of the averages."""
        self.optimizer.settle(self.model.params)
        if not self.optimizer.averaging:
            return self.model
        return self.model.with_params(self.optimizer.averaged(self.model.params))

    def _validate(self, shown: LanguageModel) -> Evaluation | None:
        """Evaluate on the validation text; the model remembers its mean log Z there."""
        if self.valid is None:
            shown.mean_log_z = None
            return None
        config = self.config
        how: Any = {"batch_size": config.eval_batch_size, "reset": config.reset_at_eos, "size": self.valid_size}
        valid = evaluate(shown, self.valid, **how, threads=self.ranks.threads(config.threads), ranks=self.ranks)
        shown.mean_log_z = valid.mean_log_z
        return valid

    def _plan(self, span: Span) -> Plan:
        """How to train on a chunk.  Dropout, like noise, depends only on the seed and the chunk's position."""
        config, dropout = self.config, None
        rates = config.dropout, config.dropout_words, config.dropout_recurrent
        if any(rates):
            place_of = stream_key(config.seed, "dropout"), self.progress.epoch, span.sequence
            chunk, sequence = (
                int(np.random.SeedSequence([*place_of, *place]).generate_state(1, np.uint64)[0])
                for place in ((1 + span.chunk,), (0,))
            )
            dropout = Dropout(*rates, not config.variational, chunk, sequence, self.streams.batch_size)
        own = self.noise.log_q(self.progress.epoch, span.sequence)
        log_q = None if own is None else own.astype(self.model.dtype)
        return Plan(self.objective, config.reset_at_eos, dropout, log_q)

    def _skip(self, chunk: ChunkGradient, span: Span) -> None:
        """Warn of what is not finite; after several such chunks in a row restore the last good state and stop."""
        progress = self.progress
        progress.non_finite += 1
        if name := non_finite_gradient(chunk.grads):
            what = f"the gradient of {name}"
        else:  # with a finite loss only the squares in the norm have overflowed
            what = "the gradient's norm" if math.isfinite(chunk.loss) else "the loss"
        where = f"epoch {progress.epoch + 1}, sequence {span.sequence + 1}, chunk {span.chunk + 1}"
        self.observer.warning(f"{what} is not finite at {where}: the chunk is skipped, and nothing is changed")
        if progress.non_finite >= PATIENCE_NON_FINITE:
            raise self._diverged(f"{what} was not finite in {PATIENCE_NON_FINITE} chunks in a row, the last at {where}")

    def _diverged(self, what: str) -> DivergedError:
        """Restore the last checkpoint, and return the error that says so."""
        rate, restored = self.progress.lr, ""
        if self.folder is not None and self.folder.has_checkpoint():
            self.progress, self.state = self.folder.load(self.model, self.optimizer)
            self.shards.packed, restored = None, " and the model has its last good state"
        self.optimizer.settle(self.model.params)
        return DivergedError(f"{what}: training stopped{restored}; lower `lr` ({rate:g} in this epoch) or `clip`")

    @contextmanager
    def _rolling_back(self) -> Iterator[None]:
        """End training if a state to be saved is not finite: such a state never replaces a checkpoint."""
        try:
            yield
        except NotFiniteError as error:
            raise self._diverged(str(error)) from None

    def _save(self) -> None:
        """Write a checkpoint if there is a folder.  Raises DivergedError if anything in it is not finite."""
        if self.folder is not None:
            with self._rolling_back():
                self.folder.save_last(self.model, self.optimizer, self.progress, self.state)

    def _save_if_due(self) -> None:
        """Write a checkpoint if the last one is older than save_interval."""
        now = time.monotonic()
        is_due = self.folder is not None and now - self.saved >= self.config.save_interval
        if self.ranks.first(lambda: is_due):
            self.saved = now
            self._save()

    def _write(self, kind: str, **values: Any) -> None:
        """Write a line of metrics."""
        if self.folder is not None:
            line = self.progress.line(kind, self.last_lr, **values)
            self.folder.append_metrics(line)
            self.progress.metrics_lines += 1
            self.observer.metrics(line)

    def _lap(self) -> float:
        """Seconds since the last call."""
        before, self.clock = self.clock, time.monotonic()
        return self.clock - before


def warm_up(dtype: Any, config: TrainConfig) -> float:
    """Compile, or load from the cache, every kernel that training uses; returns the seconds it took."""
    start = time.monotonic()
    vocabulary = Vocabulary.from_counts({"a": 2, "b": 1})
    tiny = LanguageModel.init(ModelConfig(4, 2, 2, 1), vocabulary, np.random.default_rng(0), dtype)
    streams = Streams(np.zeros(4, np.int32), 2)
    steps = 1 if config.chunks > 1 else 2  # per chunk; a sequence needs two or more
    small = replace(config, batch_size=2, bptt=steps, sequence_length=steps * config.chunks, shards=2)  # N: M fits it
    trainer = Trainer(tiny, streams, small)
    if config.optimizer == "asgd":
        trainer.optimizer.start_averaging(tiny.params)
    trainer.step(trainer.spans[0])
    evaluate(tiny, streams.ids, batch_size=2, shards=1, threads=1)
    return time.monotonic() - start
