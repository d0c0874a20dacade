"""What several ranks do, with threads in the place of processes.  Oracle: one process, bit for bit."""

import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from conftest import make_model
from rank_cases import ASGD, RECIPES, train
from thread_ranks import together

import nplm
from nplm.layers import row_gradient
from nplm.layers.row_gradient import RowGradient
from nplm.model import param_shapes
from nplm.network import State
from nplm.ranks.alone import ALONE, Sums
from nplm.scoring.evaluate import evaluate
from nplm.scoring.score import score_batch
from nplm.storage.checkpoint import load_run
from nplm.threads import here
from nplm.training import trainer as training


def gradients(model, shards, seed=3):
    """The parts that shards give: dense gradients for the LSTM, rows of the others, and states of 2 columns each."""
    rng, losses, parts = np.random.default_rng(seed), np.random.default_rng(2), []
    for _ in range(shards):
        grads = {}
        for name, value in model.params.items():
            if name.startswith("rnn"):
                grads[name] = rng.normal(0, 1, value.shape).astype(value.dtype)
            else:
                rows = np.flatnonzero(rng.random(len(value)) < 0.6).astype(np.int32)
                tail = rng.normal(0, 1, (rows.size, *value.shape[1:])).astype(value.dtype)
                grads[name] = RowGradient(rows, tail, len(value))
        state = State(*rng.normal(0, 1, (2, 2, 2, model.config.hidden_dim)).astype(value.dtype))
        parts.append((losses.normal(), grads, state))
    return parts


def summed(parts):
    """Sums over neighbouring shards."""
    losses = [loss for loss, _, _ in parts]
    while len(losses) > 1:
        losses = [sum(pair) for pair in row_gradient.in_pairs(losses)]
    totals = {name: row_gradient.total([grads[name] for _, grads, _ in parts]) for name in parts[0][1]}
    states = [state for *_, state in parts]
    return Sums(losses[0], totals, State(*(np.concatenate(part, axis=1) for part in zip(*states, strict=True))))


@pytest.mark.parametrize("shards", [3, 5, 7])
@pytest.mark.parametrize("ranks", [2, 3, 4, 6])
def test_exchange(shards, ranks):
    """The sums over all shards by one process: every bit of loss, gradients, squares and states."""
    model = make_model(np.float32, hidden=60)  # its squares are summed over several stretches
    want = summed(gradients(model, shards))

    def work(job):
        job.use(model.params)
        first, stop = job.runs(shards)[job.rank]
        own = gradients(model, shards)[first:stop]
        return job.add(summed(own) if own else None, shards, param_shapes(model.config), here)

    for got in together(ranks, work):
        assert got.loss == want.loss
        np.testing.assert_array_equal(got.state, want.state)
        for name, (grad, squares) in want.totals.items():
            assert got.totals[name][1] == squares, name
            np.testing.assert_array_equal(np.asarray(got.totals[name][0]), np.asarray(grad), err_msg=name)


@pytest.mark.parametrize("name", ["sgd", "adam, dropout", "tied", "asgd"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_training(name, ranks):
    """One process with the same shards: parameters, best model and metrics."""
    settings = (RECIPES | {"asgd": ASGD})[name] | {"threads": 1}
    assert set(together(ranks, partial(train, name, settings))) == {train(name, settings, ALONE)}


@pytest.mark.parametrize("reset", [False, True])
def test_evaluation(reset):
    """One process, on a text whose parts all differ."""
    model, ids = make_model(np.float32), np.random.default_rng(5).integers(0, 11, 403, np.int32)
    how = {"batch_size": 9, "reset": reset, "shards": 8, "threads": 1}
    for got in together(3, lambda job: evaluate(model, ids, **how, ranks=job)):
        assert got == evaluate(model, ids, **how)


def test_scores():
    """One process, for sentences of all lengths: more groups than ranks."""
    model, rng = make_model(np.float32), np.random.default_rng(6)
    sentences = [[f"w{k}" for k in rng.integers(2, 11, n)] for n in rng.integers(0, 9, 200)]
    for got in together(2, lambda job: score_batch(model, sentences, threads=1, ranks=job)):
        np.testing.assert_array_equal(got, score_batch(model, sentences, threads=1))


class StopsAt(nplm.Observer):
    """Stops training at a chunk."""

    def __init__(self, chunk):
        self.left = chunk

    def step(self, step):
        self.left -= 1
        return self.left == 0


def toy():
    """A model, its corpus, and how it is trained."""
    model, rng = make_model(np.float32), np.random.default_rng(7)
    texts = (rng.integers(0, 11, n, np.int32) for n in (200, 60))
    config = {"optimizer": "adam", "lr": 0.01, "bptt": 3, "batch_size": 6, "sequence_length": 12, "num_noise": 5}
    return (
        model,
        nplm.Corpus("toy", model.vocabulary, *texts),
        nplm.TrainConfig(**config, shards=3, epochs=2, threads=1),
    )


def test_a_run_is_stopped_by_rank_0_and_resumed():
    """One process: a job of two ranks that only rank 0's observer stops, resumed by three; Adam remembers."""
    whole = toy()
    nplm.train(*whole)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"

        def stopped(job):
            return nplm.train(*toy(), save=run, ranks=job, observer=StopsAt(7 if job.rank == 0 else 999))

        assert [result.interrupted for result in together(2, stopped)] == [True, True]
        got = [toy() for _ in range(3)]
        together(3, lambda job: nplm.train(*got[job.rank], save=run, resume=True, ranks=job))
    for model, *_ in got:
        for name, value in whole[0].params.items():
            np.testing.assert_array_equal(model.params[name], value, err_msg=name)


def test_checkpoints_are_due_by_the_clock_of_rank_0():
    """By hand: a clock that runs on rank 0 alone; a checkpoint before every update, and no rank waits for another."""
    saves = []

    def clock():
        return time.perf_counter() if threading.current_thread().name == "rank 0" else 0.0

    def work(job):
        model, corpus, config = toy()
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            nplm.train(model, corpus, nplm.TrainConfig(**{**vars(config), "save_interval": 1e-9}), save=run, ranks=job)
            saves.append(load_run(run / "last.safetensors")[1]["epoch"] if job.rank == 0 else None)

    with patch.object(training.time, "monotonic", clock):
        together(2, work)
    assert sorted(saves, key=str) == [2, None]


def test_what_fails_on_rank_0_fails_on_all():
    """By hand: the folder is not empty, which only rank 0 can see; every rank ends with the same error."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "something").touch()

        def work(job):
            with pytest.raises(nplm.InputError, match="not empty"):
                nplm.train(*toy(), save=folder, ranks=job)
            return True

        assert together(3, work) == [True] * 3
