"""The training loop.  Oracles: the reference gradient and the update by hand, and runs that must be the same bits."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numba
import numpy as np
import pytest
from conftest import assert_close, make_model, make_vocabulary
from numpy.testing import assert_array_equal

import nplm
from nplm import Corpus, DivergedError, InputError, ModelConfig, Observer, TrainConfig
from nplm.data import synthetic
from nplm.data.streams import Streams
from nplm.data.vocabulary import Vocabulary
from nplm.network import State
from nplm.noise import FreshNoise
from nplm.reference import train as reference_train
from nplm.storage import checkpoint
from nplm.training.optim import Optimizer, global_norm
from nplm.training.step import Shards
from nplm.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
V = 11
SETTINGS = {
    "bptt": 4,  # T
    "batch_size": 5,  # B
    "sequence_length": 10,  # S: chunks of 4, 4 and 2 steps
    "num_noise": 6,
    "lr": 2.0,
    "clip": 0.5,
    "epochs": 2,
    "schedule": "constant",
    "log_interval": 3,
    "save_interval": math.inf,
}


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch):
    """The warm-up takes a gradient too, which is not one of the run's."""
    monkeypatch.setattr(import_module("nplm.training.loop"), "warm_up", lambda dtype, config: 0.0)


NO_CLOCK = {"seconds": 0, "tokens_per_second": 0}


def toy(n=203, valid=50, seed=0):
    """A random text: 203 tokens are 40 steps of 5 columns, which are 12 chunks, and a tail of 3."""
    rng = np.random.default_rng(seed)
    draw = lambda size: (V * rng.random(size) ** 2).astype(np.int32)  # noqa: E731
    return Corpus("toy", make_vocabulary(V), draw(n), draw(valid) if valid else None)


class Recorder(Observer):
    """Keeps what happened, and a copy of the parameters after every chunk."""

    def __init__(self, model):
        self.model, self.steps, self.params, self.lines, self.warnings = model, [], [], [], []

    def step(self, step):
        self.steps.append(step)
        self.params.append({name: value.copy() for name, value in self.model.params.items()})

    def metrics(self, line):
        self.lines.append(dict(line))

    def warning(self, text):
        self.warnings.append(text)


def fit(corpus, dtype=np.float32, **changes):
    """Trains a small model of random parameters; returns the recorder and the result."""
    options = {name: changes.pop(name) for name in ("save", "resume") if name in changes}
    model = changes.pop("model", None) or make_model(dtype, scale=0.3)
    recorder = changes.pop("recorder", Recorder)(model)
    result = nplm.train(model, corpus, TrainConfig(**SETTINGS | changes), observer=recorder, **options)
    return recorder, result


def assert_same_bits(got, expected):
    """Two dicts of arrays."""
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert_array_equal(got[name], value, err_msg=name, strict=True)


# ---- the loop of claim 1


def test_first_loss_of_an_untrained_model():
    """Oracle: log(1+K) + K log(1+1/K), whatever the text; float32 rounding."""
    corpus = toy()
    model = nplm.LanguageModel.init(ModelConfig(V, 4, 6, 2), corpus.vocabulary, np.random.default_rng(1))
    recorder, _ = fit(corpus, model=model)
    k = SETTINGS["num_noise"]
    assert recorder.steps[0].loss == pytest.approx(math.log(1 + k) + k * math.log(1 + 1 / k), rel=1e-6)


def by_reference(corpus, model, settings):
    """The reference's update of every chunk, on the noise groups of nplm.train."""
    noise = FreshNoise(model.noise, settings["num_noise"], 1)
    names = ("batch_size", "sequence_length", "bptt", "lr", "clip", "epochs")
    recipe = {name: settings[name] for name in names}
    return list(reference_train.train(model.params, corpus.train, noise.group, model.log_q, **recipe))


@pytest.mark.parametrize(("num_shards", "n"), [(1, 88), (2, 88), (1, 85)])
def test_every_update_by_hand(num_shards, n):
    """Oracle: the reference gradient in float64 and [O1], [O3]: two epochs, clipped and not, with a tail or not."""
    corpus, settings = toy(n=n), SETTINGS | {"lr": 0.3, "clip": 2.0}
    expected = by_reference(corpus, make_model(scale=0.3), settings)
    recorder, result = fit(corpus, np.float64, shards=num_shards, lr=0.3, clip=2.0)
    assert len(recorder.steps) == len(expected) == 2 * (6 if n == 88 else 5)
    for step, params, update in zip(recorder.steps, recorder.params, expected, strict=True):
        assert step.norm == pytest.approx(update.norm, rel=1e-10)
        for name, value in update.params.items():
            assert_close(params[name], value, 1e-10)
    norms = [update.norm for update in expected]
    assert min(norms) < 2.0 < max(norms)
    assert result.progress.tokens == 2 * n


@pytest.mark.parametrize("change", ["no carry", "carry over epochs", "no clip"])
def test_planted_bugs_in_the_loop(change, monkeypatch):
    """Planted bugs: a state that is not carried, one that is carried into the next epoch, a gradient not clipped."""
    corpus, settings = toy(n=88), SETTINGS | {"lr": 0.3, "clip": 2.0}
    expected = by_reference(corpus, make_model(scale=0.3), settings)[-1].params
    real, last = Shards.gradient, []

    def wrong(shards, inputs, targets, noise_ids, state, plan):
        if change == "no carry" or (change == "carry over epochs" and last and not state.h.any()):
            state = shards.model.zero_state(inputs.shape[1]) if change == "no carry" else last[-1]
        chunk = real(shards, inputs, targets, noise_ids, state, plan)
        if chunk.state.h.shape[1] == 5:
            last.append(chunk.state)
        return chunk

    monkeypatch.setattr(Shards, "gradient", wrong)
    recorder, _ = fit(corpus, np.float64, lr=0.3, clip=math.inf if change == "no clip" else 2.0)
    got = recorder.params[-1]["rnn.weight_hh_l0"]
    assert np.abs(got - expected["rnn.weight_hh_l0"]).max() > 1e-6


@pytest.mark.parametrize("n", [200, 203, 20, 24])
def test_every_token_is_trained_on_once_an_epoch(n, monkeypatch):
    """Oracle: the text, all tokens different: every target once an epoch, its input the token before it."""
    tokens = ["<unk>", "</s>", *(f"w{k}" for k in range(2, n + 2))]
    vocabulary = Vocabulary(tokens, [1] * (n + 2))
    corpus = Corpus("all different", vocabulary, np.arange(2, n + 2, dtype=np.int32))
    model = nplm.LanguageModel.init(ModelConfig(n + 2, 4, 6, 1), vocabulary, np.random.default_rng(1))
    real, seen = Shards.gradient, []

    def watched(shards, inputs, targets, noise_ids, state, plan):
        seen.append((inputs.copy(), targets.copy()))
        return real(shards, inputs, targets, noise_ids, state, plan)

    monkeypatch.setattr(Shards, "gradient", watched)
    recorder, result = fit(corpus, model=model)
    for epoch in range(2):
        chunks = [pair for step, pair in zip(recorder.steps, seen, strict=True) if step.epoch == epoch]
        targets = np.concatenate([targets.ravel() for _, targets in chunks])
        inputs = np.concatenate([inputs.ravel() for inputs, _ in chunks])
        assert sorted(targets) == list(range(2, n + 2))
        assert_array_equal(inputs, targets - 1)  # for the first, </s> = 1
    assert [step.tokens for step in recorder.steps] == [targets.size for _, targets in seen]
    assert result.progress.tokens == 2 * n


# ---- what must not change a bit


@pytest.mark.parametrize(
    "changes",
    [
        {"log_interval": 1},
        {"save_interval": 0.0},
        {"threads": 1},
        {"threads": 4},
        {"eval_batch_size": 3},
        {"valid": 0},
        {"validate": "every chunk"},
    ],
    ids=str,
)
def test_watching_changes_no_bit(changes):
    """Oracle: the parameters of a run that is watched less: noise is keyed by its place, not drawn from a stream."""
    expected, _ = fit(toy(), shards=2, threads=2)
    corpus = toy(valid=changes.pop("valid", 50))

    class Curious(Recorder):
        def step(self, step):
            super().step(step)
            nplm.evaluate(self.model, corpus.valid, threads=1)

    curious = {"recorder": Curious} if changes.pop("validate", None) else {}
    recorder, _ = fit(corpus, **{"shards": 2, "threads": 2} | changes | curious)
    assert_same_bits(recorder.params[-1], expected.params[-1])


@pytest.mark.parametrize(
    "changes", [{"seed": 2}, {"num_noise": 7}, {"lr": 2.1}, {"bptt": 5}, {"noise": "pool"}], ids=str
)
def test_settings_change_the_bits(changes):
    """Oracle: another run; without this, the test above could not fail."""
    expected, _ = fit(toy())
    recorder, _ = fit(toy(), **changes)
    assert not np.array_equal(recorder.params[-1]["decoder.bias"], expected.params[-1]["decoder.bias"])


@pytest.mark.parametrize(
    ("n", "changes"),
    [(203, {"shards": 9}), (60, {"batch_size": 1}), (60, {"batch_size": 1, "shards": 3}), (21, {"valid": 0}), (5, {})],
    ids=str,
)
def test_odd_shapes(n, changes):
    """Oracle: the token count: more shards than columns, one column, no valid text, one chunk, B more than n."""
    corpus = toy(n, valid=changes.pop("valid", 50))
    if n < SETTINGS["batch_size"] * SETTINGS["bptt"]:
        changes |= {"batch_size": 100, "bptt": 1}
    recorder, result = fit(corpus, **changes)
    assert sum(step.tokens for step in recorder.steps) == 2 * n
    assert all(math.isfinite(step.loss) for step in recorder.steps)
    assert result.progress.best_epoch == 2 or corpus.valid is not None
    assert not result.interrupted


def test_bad_input():
    """Oracle: the message: a text shorter than a chunk, another vocabulary, resuming nothing."""
    with pytest.raises(InputError, match="n = 19 tokens, fewer than one chunk's 20"):
        fit(toy(19))
    other = Corpus("other", make_vocabulary(V + 1), toy().train)
    with pytest.raises(InputError, match="vocabulary is not that of the corpus other"):
        fit(other)
    with pytest.raises(InputError, match="give `save`"):
        fit(toy(), resume=True)
    for changes in ({"optimizer": "asgd"}, {"fit_log_z": True}, {"schedule": "plateau"}, {"patience": 2}):
        with pytest.raises(InputError, match="give `valid`"):
            fit(toy(valid=0), **changes)


def test_stopped_in_the_first_epoch():
    """Oracle: the parameters as they stand, rows that lag under Adam caught up: those of the model itself."""
    for changes in ({}, {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1}):
        model = make_model(np.float32, scale=0.3)

        class Stop(Recorder):
            def step(self, step):
                if step.span.chunk == 1:
                    signal.raise_signal(signal.SIGINT)

        _, result = fit(toy(), model=model, recorder=Stop, **changes)
        assert result.interrupted and result.progress.best_epoch == 0 and result.best is model


def test_ctrl_c_that_is_ignored_stays_ignored():
    """Oracle: the number of epochs, and the handler afterwards."""

    class Press(Recorder):
        def step(self, step):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _, result = fit(toy(), recorder=Press, epochs=1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.progress.epoch == 1 and not result.interrupted


@pytest.mark.parametrize("at", [0, 5, 12])
def test_an_observer_may_stop_training(at, tmp_path):
    """Oracle: a run that is not stopped: the parameters after that chunk are saved, and resuming ends alike."""

    class Stop(Recorder):
        def step(self, step):
            super().step(step)
            return len(self.steps) == at + 1

    whole, _ = fit(toy())
    recorder, result = fit(toy(), recorder=Stop, save=tmp_path / "run")
    assert result.interrupted and len(recorder.steps) == at + 1
    last = nplm.load(tmp_path / "run" / "last.safetensors")
    assert_same_bits(last.params, whole.params[at])
    resumed, rest = fit(toy(), save=tmp_path / "run", resume=True)
    assert not rest.interrupted
    assert_same_bits(resumed.params[-1], whole.params[-1])


def test_a_trainer_may_be_used_again():
    """Oracle: a run of two epochs that is not stopped: stopped by its observer, it goes on, and takes single steps."""
    corpus, config = toy(), TrainConfig(**SETTINGS)
    whole, _ = fit(corpus)
    model = make_model(np.float32, scale=0.3)

    class Stop(Recorder):
        def step(self, step):
            super().step(step)
            return len(self.steps) == 3

    recorder = Stop(model)
    trainer = Trainer(model, Streams(corpus.train, 5), config, valid=corpus.valid, observer=recorder)
    trainer.train()
    assert len(recorder.steps) == 3
    trainer.step(trainer.spans[3])
    assert_same_bits(recorder.params[-1], whole.params[3])
    trainer.train()
    assert_same_bits(recorder.params[-1], whole.params[-1])


def test_an_update_makes_the_mean_log_z_unknown():
    """By hand: it was measured with other parameters; after validation it is that of the valid text."""
    corpus = toy()
    model = make_model(np.float32, scale=0.3)
    model.mean_log_z = 9.0
    trainer = Trainer(model, Streams(corpus.train, 5), TrainConfig(**SETTINGS), valid=corpus.valid)
    trainer.step(trainer.spans[0])
    assert model.mean_log_z is None
    trainer.end_epoch()
    assert model.mean_log_z == nplm.evaluate(model, corpus.valid).mean_log_z


# ---- epochs


def script_validation(monkeypatch, corpus, scripted):
    """Validation gives the scripted nats, one an epoch."""
    module, left = import_module("nplm.training.trainer"), iter(scripted)
    real = module.evaluate

    def evaluate(model, ids, **options):
        result = real(model, ids, **options)
        return replace(result, nats=next(left)) if ids is corpus.valid else result

    monkeypatch.setattr(module, "evaluate", evaluate)


NATS = [3.0, 2.5, 2.6, 2.4, 2.7, 2.8, 2.3]


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "constant"}, [2.0] * 7),
        ({"schedule": "step", "decay_after": 3, "lr_decay": 0.5}, [2.0, 2.0, 2.0, 1.0, 0.5, 0.25, 0.125]),
        ({"schedule": "step", "decay_after": 0, "lr_decay": 0.5}, [1.0, 0.5, 0.25, 0.125, 2**-4, 2**-5, 2**-6]),
        ({"schedule": "plateau", "lr_decay": 0.5}, [2.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.25]),
        ({"schedule": "plateau", "lr_decay": 0.5, "patience": 2}, [2.0, 2.0, 2.0, 1.0, 1.0, 0.5]),
        ({"schedule": "constant", "patience": 1}, [2.0] * 3),
    ],
    ids=str,
)
def test_schedules_and_early_stopping(changes, rates, monkeypatch):
    """Oracle: the rate of each epoch by hand, under scripted valid losses; the best model is the best epoch's."""
    corpus = toy(100)
    script_validation(monkeypatch, corpus, NATS)
    recorder, result = fit(corpus, epochs=7, log_interval=1, **changes)
    lines = [line for line in recorder.lines if line["kind"] == "train"]
    assert sorted({(line["epoch"], line["lr"]) for line in lines}) == list(enumerate(rates, start=1))
    best = int(np.argmin(NATS[: len(rates)])) + 1
    assert (result.progress.epoch, result.progress.best_epoch) == (len(rates), best)
    assert result.progress.best_nats == NATS[best - 1]
    assert result.progress.stopped == (len(rates) < 7)
    assert not result.interrupted
    at_end = [k for k, step in enumerate(recorder.steps) if step.epoch == best - 1][-1]
    assert_same_bits(result.best.params, recorder.params[at_end])


def test_the_rates_are_used():
    """Oracle: the parameters' move in an epoch's first update, whose clipped gradient has norm 0.05: lr times that."""
    recorder, _ = fit(toy(), np.float64, schedule="step", decay_after=1, lr_decay=0.5, epochs=3, clip=0.05)
    firsts = [k for k, step in enumerate(recorder.steps) if k and step.epoch != recorder.steps[k - 1].epoch]
    for k, rate in zip(firsts, [1.0, 0.5], strict=True):
        after, before = recorder.params[k], recorder.params[k - 1]
        move = math.sqrt(sum(float(((after[name] - before[name]) ** 2).sum()) for name in after))
        assert move == pytest.approx(rate * 0.05, rel=1e-9)


@pytest.mark.parametrize("changes", [{"schedule": "cosine", "warmup": 4}, {"schedule": "step", "warmup": 4}])
def test_the_rate_that_is_told_is_the_one_used(changes):
    """Oracle: the parameters' move in every update, whose clipped gradient has norm 0.05: the rate times that."""
    recorder, _ = fit(toy(), np.float64, clip=0.05, epochs=2, log_interval=1, **changes)
    told = [line["lr"] for line in recorder.lines if line["kind"] == "train"]
    assert told == [step.lr for step in recorder.steps] and len(set(told)) >= 4
    for k in range(1, len(told)):
        after, before = recorder.params[k], recorder.params[k - 1]
        move = math.sqrt(sum(float(((after[name] - before[name]) ** 2).sum()) for name in after))
        assert move == pytest.approx(told[k] * 0.05, rel=1e-9)
    valid = [line for line in recorder.lines if line["kind"] == "valid"]
    assert valid[-1]["lr"] == told[-1]


def test_without_a_valid_text_the_last_model_is_the_best():
    """Oracle: the parameters at the end."""
    recorder, result = fit(toy(valid=0), epochs=3)
    assert result.progress.best_epoch == 3
    assert_same_bits(result.best.params, recorder.params[-1])


def test_log_z_is_fitted_on_the_valid_text(tmp_path):
    """Oracle: training without it, bit for bit; only the bias of the best model differs, by the valid mean log Z."""
    corpus, plain, fitted = toy(), tmp_path / "plain", tmp_path / "fitted"
    recorder, without = fit(corpus, np.float64, save=plain)
    other, result = fit(corpus, np.float64, save=fitted, fit_log_z=True)
    assert_same_bits(other.params[-1], recorder.params[-1])
    for line, same in zip(other.lines, recorder.lines, strict=True):
        assert {**line, **NO_CLOCK} == {**same, **NO_CLOCK}
    best = dict(result.best.params)
    valid = [line for line in recorder.lines if line["kind"] == "valid"][result.progress.best_epoch - 1]
    expected = without.best.params["decoder.bias"] - valid["mean_log_z"]
    np.testing.assert_allclose(best["decoder.bias"], expected, rtol=0, atol=1e-14)
    assert_same_bits(best | {"decoder.bias": expected}, without.best.params | {"decoder.bias": expected})
    batch = SETTINGS.get("eval_batch_size", TrainConfig().eval_batch_size)
    got = nplm.evaluate(result.best, corpus.valid, batch_size=batch)
    assert abs(got.mean_log_z) < 1e-12 < abs(valid["mean_log_z"])
    assert got.nats == pytest.approx(valid["nats"], abs=1e-12)


def test_a_validation_that_is_not_finite_is_never_the_best_for_long(monkeypatch):
    """Oracle: the first finite figure, under scripted valid losses."""
    corpus = toy()
    script_validation(monkeypatch, corpus, [math.nan, math.inf, 5.0, math.nan])
    _, result = fit(corpus, epochs=4)
    assert (result.progress.best_epoch, result.progress.best_nats) == (3, 5.0)


def test_metrics(tmp_path):
    """Oracle: the recorded steps: means over tokens since the last line, an evaluation of the model; strict JSON."""
    corpus = toy()
    recorder, result = fit(corpus, save=tmp_path / "run", log_interval=5)

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert lines == result.history == recorder.lines
    assert [(line["kind"], line["epoch"], line["chunk"]) for line in lines] == [
        ("train", 1, 5), ("train", 1, 10), ("valid", 1, 0), ("train", 2, 5), ("train", 2, 10), ("valid", 2, 0)
    ]  # fmt: skip
    assert all(line["seconds"] > 0 and line["tokens_per_second"] > 0 and line["lr"] == 2.0 for line in lines)
    done = 0
    for line in lines:
        if line["kind"] == "train":
            stop = next(k for k, s in enumerate(accumulate_tokens(recorder.steps)) if s == line["tokens_trained"]) + 1
            part = recorder.steps[done:stop]
            mean = sum(s.loss * s.tokens for s in part) / sum(s.tokens for s in part)
            assert line["loss"] == pytest.approx(mean, rel=1e-12)
            assert line["gradient_norm"] == part[-1].norm
            done = stop
    expected = nplm.evaluate(recorder.model, corpus.valid, batch_size=10).as_dict()
    assert {name: lines[-1][name] for name in expected} == expected


def accumulate_tokens(steps):
    """Tokens trained on after each step."""
    return np.cumsum([step.tokens for step in steps]).tolist()


# ---- what is not finite


def plant(monkeypatch, bad, name="decoder.weight", value=math.nan):
    """The calls `bad` of Shards.gradient, counted from 0, have `value` in one entry of a gradient, or as the loss."""
    real, calls = Shards.gradient, Counter()

    def planted(shards, inputs, targets, noise_ids, state, plan):
        chunk = real(shards, inputs, targets, noise_ids, state, plan)
        if calls["all"] in bad:
            if name == "loss":
                chunk = chunk._replace(loss=value)
            else:
                np.ravel(getattr(chunk.grads[name], "values", chunk.grads[name]))[-1] = value
                chunk = chunk._replace(norm=global_norm(chunk.grads))
            after = State(chunk.state.h * np.nan, chunk.state.c * np.nan)
            chunk = chunk._replace(state=after)
        calls["all"] += 1
        return chunk

    monkeypatch.setattr(Shards, "gradient", planted)


def without(corpus, skipped, kind):
    """Parameters after each chunk of one epoch in which the chunks `skipped` do not exist, by a loop of our own."""
    model, config = make_model(np.float32, scale=0.3), TrainConfig(**SETTINGS | {"optimizer": kind})
    streams, noise = Streams(corpus.train, 5), FreshNoise(model.noise, 6, 1)
    optimizer, state = Optimizer(model.params, kind, config.clip), model.zero_state(5)
    shards = Shards(model, 2)
    for k, span in enumerate(streams.spans(10, 4)):
        inputs, targets = streams.window(span.start, span.stop)
        if k not in skipped:
            group = noise.group(0, span.sequence, span.chunk)
            chunk = shards.gradient(inputs, targets, group, state.columns(0, inputs.shape[1]))
            state = chunk.state
            shards.update(optimizer, chunk, config.lr)
        yield {name: value.copy() for name, value in model.params.items()}


@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("decoder.weight", math.nan), ("encoder.weight", math.inf), ("rnn.bias_l1", -math.inf), ("loss", math.nan)],
)
def test_a_chunk_that_is_not_finite_changes_nothing(kind, name, value, monkeypatch):
    """Oracle: a loop that leaves these chunks out: parameters, optimiser, state as if they were not."""
    bad = [1, 4, 5, 6, 7]  # never five in a row
    expected = list(without(toy(), bad, kind))
    plant(monkeypatch, bad, name, value)
    recorder, result = fit(toy(), epochs=1, optimizer=kind)
    for got, want in zip(recorder.params, expected, strict=True):
        assert_same_bits(got, want)
    what = "the loss" if name == "loss" else f"the gradient of {name}"
    places = ["sequence 1, chunk 2", "sequence 2, chunk 2", "sequence 2, chunk 3", "sequence 3, chunk 1"]
    assert len(recorder.warnings) == 5
    for warning, place in zip(recorder.warnings, [*places, "sequence 3, chunk 2"], strict=True):
        assert warning.startswith(f"{what} is not finite at epoch 1, {place}")
        assert "\n" not in warning
    assert all(math.isfinite(line.get("loss", 0.0)) for line in result.history)


@pytest.mark.parametrize("save_interval", [0.0, math.inf])
def test_five_in_a_row_roll_back(save_interval, tmp_path, monkeypatch):
    """Oracle: the parameters at the last checkpoint: before chunk 7's update where all are saved, else at the start."""
    plant(monkeypatch, range(7, 12), "rnn.weight_ih_l0")
    model = make_model(np.float32, scale=0.3)
    start, recorder = model.copy().params, Recorder(model)
    config = TrainConfig(**SETTINGS | {"save_interval": save_interval})
    with pytest.raises(DivergedError) as caught:
        nplm.train(model, toy(), config, save=tmp_path / "run", observer=recorder)
    message = str(caught.value)
    assert "\n" not in message
    assert "rnn.weight_ih_l0" in message and "epoch 1, sequence 4, chunk 3" in message and "`lr`" in message
    assert len(recorder.warnings) == 5
    assert_same_bits(model.params, recorder.params[5] if save_interval == 0.0 else start)
    assert_same_bits(nplm.load(tmp_path / "run" / "last.safetensors").params, model.params)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered in:RuntimeWarning")
@pytest.mark.parametrize("n", [203, 43, 21])
@pytest.mark.parametrize("save_interval", [0.0, 60.0])
def test_a_real_divergence(n, save_interval, tmp_path):
    """Oracle: a rate of 1e39, inf in float32, ruins the model; where it is rolled back to, all is finite.

    Also where the ruin comes at an epoch's end: 43 tokens are three chunks, 21 are two.
    """
    corpus, model, save = toy(n), make_model(np.float32, scale=0.3), tmp_path / "run"
    with pytest.raises(DivergedError):
        fit(corpus, model=model, lr=1e39, clip=math.inf, save_interval=save_interval, epochs=9, save=save)
    _, progress, state = checkpoint.load_run(save / "last.safetensors")
    streams = Streams(corpus.train, 5)
    span = streams.spans(10, 4)[progress["chunk"]]
    inputs, targets = streams.window(span.start, span.stop)
    carried = State(state["h"], state["c"]).columns(0, inputs.shape[1])
    noise_ids = FreshNoise(model.noise, 6, 1).group(progress["epoch"], span.sequence, span.chunk)
    # in two shards, as in training: so near to overflow, rounding matters
    chunk = Shards(model, 2).gradient(inputs, targets, noise_ids, carried)
    assert math.isfinite(chunk.loss)
    assert math.isfinite(chunk.norm)


def ruin(trainer, what):
    """One number made infinite where no loss shows it: a bias that saturates a gate, a memory, a carried state."""
    if what == "bias":
        trainer.model.params["rnn.bias_l0"][2] = math.inf
    elif what == "squares":
        trainer.optimizer.squares["decoder.bias"][3] = math.inf
    else:
        trainer.state.h[1, 0, 0] = math.inf


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered in:RuntimeWarning")
@pytest.mark.parametrize("save_interval", [0.0, math.inf])
@pytest.mark.parametrize("at", [3, 12, 25])  # within an epoch, in its last chunk but one, in the last chunk of all
@pytest.mark.parametrize("what", ["bias", "squares", "state"])
def test_a_checkpoint_is_never_replaced_by_what_is_not_finite(what, at, save_interval, tmp_path, monkeypatch):
    """Issue 15, fault 2: an infinite number that no loss shows.  Oracle: both files load, and are finite throughout."""
    real, count = Trainer.step, iter(range(100))

    def step(self, span):
        result = real(self, span)
        if next(count) == at:
            ruin(self, what)
        return result

    monkeypatch.setattr(Trainer, "step", step)
    save, model = tmp_path / "run", make_model(np.float32, scale=0.3)
    good = nplm.TrainConfig(**SETTINGS | {"optimizer": "adagrad", "save_interval": save_interval})
    if what == "state" and at != 3:  # the state ends with the epoch, and what is infinite in it with it
        return
    with pytest.raises(DivergedError) as caught:
        nplm.train(model, toy(), good, save=save)
    assert "has its last good state" in str(caught.value) and "\n" not in str(caught.value)
    saved, _, extra = checkpoint.load_run(save / "last.safetensors")
    assert_same_bits(model.params, saved.params)
    assert all(np.isfinite(value).all() for value in extra.values())
    assert not (save / "best.safetensors").exists() or nplm.load(save / "best.safetensors")
    monkeypatch.setattr(Trainer, "step", real)
    nplm.train(make_model(np.float32, scale=0.3), toy(), good, save=save, resume=True)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered in:RuntimeWarning")
def test_a_norm_that_overflows_is_named(monkeypatch):
    """Oracle: entries of 1e30 are finite in float32, the sum of their squares is not."""
    plant(monkeypatch, [2], "decoder.weight", 1e30)
    recorder, _ = fit(toy(), epochs=1)
    assert len(recorder.warnings) == 1
    assert recorder.warnings[0].startswith("the gradient's norm is not finite")


# ---- it learns


def chain_corpus(monkeypatch, sizes):
    """A Markov chain over 8 words with 3 successors each: floor and text by nplm.synthetic."""
    rng = np.random.default_rng(5)
    transition = np.zeros((8, 8))
    for word, row in enumerate(transition):
        row[[(word + 1) % 8, (word + 3) % 8, (word * word + 5) % 8]] = 0.1 + rng.random(3)
        transition[word] /= row.sum()
    source = synthetic.Source(("</s>", *"abcdefg"), transition, np.eye(8))
    monkeypatch.setattr(synthetic, "SIZES", sizes)
    return synthetic._corpus("chain", source, 1, "exact")


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "lr": 5.0},
        {"optimizer": "sgd", "lr": 5.0, "noise": "pool", "noise_groups": 3},
        {"optimizer": "sgd", "lr": 5.0, "noise": "pool", "noise_groups": 5, "group_map": "cyclic", "redraw": "epoch"},
        {"optimizer": "adagrad", "lr": 0.1},
    ],
    ids=["sgd", "pool", "pool, cyclic", "adagrad"],
)
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes minutes in plain Python")
def test_a_markov_chain_is_learned(changes, monkeypatch):
    """Oracle: the chain's floor: within 3 % above it and not below it by more than four standard errors; Z near 1."""
    corpus = chain_corpus(monkeypatch, {"train": 20_000, "valid": 2_000, "test": 10_000})
    model = nplm.LanguageModel.init(
        ModelConfig(len(corpus.vocabulary), 8, 16, 1), corpus.vocabulary, np.random.default_rng(1)
    )
    settings = {"bptt": 10, "batch_size": 10, "sequence_length": 50, "num_noise": 16, "epochs": 8}
    schedule = {"schedule": "step", "decay_after": 4, "log_interval": 100}
    result = nplm.train(model, corpus, TrainConfig(**settings, **schedule, **changes))
    got = nplm.evaluate(result.best, corpus.test, batch_size=1)
    assert corpus.baselines["unigram"] > 2 * corpus.floor.perplexity
    assert got.nats > corpus.floor.nats - 4 * corpus.floor.std_error
    assert got.perplexity < 1.03 * corpus.floor.perplexity
    assert abs(got.mean_log_z) < 0.1


# ---- Ctrl-C


class Interrupts(Recorder):
    """Presses Ctrl-C after chunk `at` (once, or `times` times)."""

    at, times = 3, 1

    def step(self, step):
        super().step(step)
        if len(self.steps) == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", [1, 4, 12, 13, 14, 25, 26])
def test_ctrl_c_ends_after_the_chunk_and_resumes(at, tmp_path):
    """Oracle: the uninterrupted run: 13 chunks an epoch; the same bytes of the best model, the same parameters."""
    handler = signal.getsignal(signal.SIGINT)
    expected, _ = fit(toy(), save=tmp_path / "whole")
    recorder, result = fit(toy(), save=tmp_path / "run", recorder=type("At", (Interrupts,), {"at": at}))
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(recorder.steps) == at
    assert result.interrupted == (at < 26)
    assert (result.progress.epoch, result.progress.chunk) == divmod(at, 13)
    assert_same_bits(nplm.load(tmp_path / "run" / "last.safetensors").params, expected.params[at - 1])
    again, result = fit(toy(), save=tmp_path / "run", resume=True)
    assert len(again.steps) == 26 - at
    assert not result.interrupted
    assert_same_bits(again.model.params, expected.params[-1])
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == (
        tmp_path / "whole" / "best.safetensors"
    ).read_bytes()


def test_a_second_ctrl_c_interrupts_at_once():
    """Oracle: KeyboardInterrupt, as without nplm, and Python's own handler back in its place."""
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), recorder=type("Twice", (Interrupts,), {"times": 2}))
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_on_another_thread():
    """Oracle: the same run on the main thread; only the main thread may set a handler of signals."""
    expected, _ = fit(toy())
    got = []
    thread = threading.Thread(target=lambda: got.append(fit(toy())[0]))
    thread.start()
    thread.join()
    assert_same_bits(got[0].params[-1], expected.params[-1])


SLOW_RUN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_train import Recorder, fit, toy

class Slow(Recorder):
    def step(self, step):
        super().step(step)
        if len(self.steps) == 6:
            print("ready", flush=True)
        time.sleep(0.02 if len(self.steps) >= 6 else 0)

_, result = fit(toy(), save=sys.argv[2], recorder=Slow, epochs=40)
print(result.interrupted, result.progress.epoch, result.progress.chunk)
"""


def test_ctrl_c_from_outside(tmp_path):
    """Oracle: a process of its own that gets SIGINT ends well, with a whole checkpoint; resumed, the same bytes."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SLOW_RUN, str(ROOT / "tests"), str(tmp_path / "run")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    interrupted, epoch, chunk = out.split()
    assert interrupted == "True" and 13 * int(epoch) + int(chunk) < 40 * 13
    nplm.load(tmp_path / "run" / "last.safetensors")
    fit(toy(), save=tmp_path / "run", resume=True, epochs=4)
    fit(toy(), save=tmp_path / "whole", epochs=4)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == (
        tmp_path / "whole" / "best.safetensors"
    ).read_bytes()
