"""Stopping at any moment and going on.  Oracle: the uninterrupted run; the bytes of its best model."""

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model
from numpy.testing import assert_array_equal
from test_train import SETTINGS, Recorder, assert_same_bits, fit, toy

import nplm
from nplm import Corpus, InputError, ModelConfig, Observer, TrainConfig
from nplm.storage import checkpoint, tensorfile
from nplm.training.resuming import FREE_SETTINGS, KEPT_SETTINGS
from nplm.training.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
PERIODIC = {"save_interval": 0.0, "log_interval": 7}  # a save before every update
POOL = {"optimizer": "sgd", "noise": "pool", "noise_groups": 2, "schedule": "step", "decay_after": 3}
FRESH = {"optimizer": "adagrad", "noise": "fresh", "lr": 0.05, "schedule": "plateau"}
LEFT_OUT = {"dropout": 0.2, "dropout_words": 0.1, "dropout_recurrent": 0.2, "reset_at_eos": True}
ADAM = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1, "warmup": 20}
ASGD = {"optimizer": "asgd", "averaging_patience": 1, "weight_decay": 1e-4, "objective": "ranking"}
RECIPES = {
    "sgd, pool": PERIODIC | POOL,
    "adagrad, fresh": PERIODIC | FRESH,
    "adam, dropout": PERIODIC | FRESH | ADAM | LEFT_OUT,
    "asgd, ranking": PERIODIC | FRESH | ASGD,
}
EPOCHS = 12  # of 13 chunks each, the last of which is the tail
KILLS = 30
CLOCK = ("seconds", "tokens_per_second")  # what no two runs have in common


# ---- what stands in a folder


def best_bytes(folder):
    """The best model, byte for byte."""
    return (folder / "best.safetensors").read_bytes()


def assert_same_run(folder, whole):
    """The folders of two runs: the same best model, last parameters, optimiser, state, position and metrics."""
    assert best_bytes(folder) == best_bytes(whole)
    (got, got_at, got_extra), (model, at, extra) = (
        checkpoint.load_run(path / "last.safetensors") for path in (folder, whole)
    )
    assert_same_bits(got.params, model.params)
    assert_same_bits(got_extra, extra)
    assert got_at | {"seconds": 0} == at | {"seconds": 0}
    assert metrics(folder) == metrics(whole)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def metrics(folder):
    """The lines of metrics, without what the clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


# ---- killed


def start_or_resume(folder, recipe):
    """What a user does: goes on if there is a run, else starts one."""
    fit(toy(), save=folder, resume=(folder / "config.json").exists(), epochs=EPOCHS, **RECIPES[recipe])


def in_a_child(folder, recipe, fault=None, delay=None):
    """Runs in a forked process that a fault, or this process after a delay in seconds, kills; whether it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if fault:
                fault()
            start_or_resume(folder, recipe)
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(code)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0
    return killed


def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, owner, name, before=None, after=None):
    """A fault: the `number`-th call of a function dies before it does its work, or after."""

    def plant():
        real, calls = getattr(owner, name), []

        def fatal(*arguments):
            calls.append(0)
            if len(calls) == number and before:
                before(*arguments)
            result = real(*arguments)
            if len(calls) == number and after:
                after(*arguments)
            return result

        setattr(owner, name, fatal)

    return plant


def half_a_file(tensors, metadata):
    """What is in the file when the process dies in the middle of a write."""
    header, text, *_ = real_blocks(tensors, metadata)
    yield header
    yield text[: len(text) // 2]
    die()


def half_a_line(run, line):
    """A line of metrics that is not whole."""
    with run.metrics.open("a") as file:
        file.write(json.dumps(dict(line))[:31])
    die()


real_blocks = tensorfile.blocks


def half_written(number):
    """A fault: the process dies in the middle of the `number`-th file."""

    def plant():
        calls = []

        def blocks(tensors, metadata):
            calls.append(0)
            return (half_a_file if len(calls) == number else real_blocks)(tensors, metadata)

        tensorfile.blocks = blocks

    return plant


def faults(rng):
    """Ways to die inside a save, at its first call in the process and at later ones."""
    for number in (1, 2, 3, rng.randint(4, 30)):
        yield half_written(number)
        yield at_call(number, os, "fsync", before=die)
        yield at_call(number, os, "fsync", after=die)
        yield at_call(number, Path, "replace", before=die)
        yield at_call(number, Path, "replace", after=die)
    for number in (1, 2):
        yield at_call(number, RunFolder, "append_metrics", before=half_a_line)
        yield at_call(number, RunFolder, "append_metrics", after=die)
        yield at_call(number, RunFolder, "save_best", before=die)
        yield at_call(number, RunFolder, "save_best", after=die)


def killer(folder, recipe, how):
    """Kills runs and goes on with them until each is whole; prints what happened as JSON.

    A process of its own, warm, so that a try takes milliseconds.
    """
    rng = random.Random(how + recipe)
    start_or_resume(folder / "warm", recipe)
    begun = time.monotonic()
    assert not in_a_child(folder / "whole", recipe)
    duration = time.monotonic() - begun
    kills, runs, inside = 0, 0, 0
    if how == "inside a save":
        for k, fault in enumerate(faults(rng)):
            kills += in_a_child(folder / f"{k % 2}", recipe, fault)  # two runs: either begins in an empty folder
        runs = 2
    while how == "at random" and kills < KILLS:
        killed = in_a_child(folder / f"{runs}", recipe, delay=rng.uniform(0, duration / 8))
        inside += killed and any((folder / f"{runs}").glob(".*.partial"))
        kills, runs = kills + killed, runs + (not killed)
    if how == "at random":
        runs += 1
    for k in range(runs):
        assert not in_a_child(folder / f"{k}", recipe)
    print(json.dumps({"kills": kills, "runs": runs, "inside": inside, "duration": duration}))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("how", ["at random", "inside a save"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_and_resumed(recipe, how, tmp_path):
    """Oracle: the uninterrupted run: the same bytes after 30 SIGKILLs, at random moments or inside a save."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path), recipe, how]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= (KILLS if how == "at random" else 20)
    for k in range(report["runs"]):
        assert_same_run(tmp_path / f"{k}", tmp_path / "whole")


# ---- failing saves


@pytest.mark.parametrize("number", [1, 2, 3, 4, 9, 40])
def test_a_disk_that_fills_up(number, tmp_path, monkeypatch):
    """Oracle: the uninterrupted run.  The `number`-th sync fails: one line, and the run goes on once there is room."""
    fit(toy(), save=tmp_path / "whole", **PERIODIC)
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(0)
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"not written \(No space left on device\)") as caught:
            fit(toy(), save=tmp_path / "run", **PERIODIC)
        assert "\n" not in str(caught.value)
    fit(toy(), save=tmp_path / "run", resume=(tmp_path / "run" / "config.json").exists(), **PERIODIC)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_metrics_that_cannot_be_written(tmp_path):
    """Oracle: one line that names the file: a folder stands where the lines should go."""

    class InTheWay(Observer):
        def begin(self, tokens_per_epoch, progress):
            (tmp_path / "run" / "metrics.jsonl").mkdir()

    config = TrainConfig(**SETTINGS)
    with pytest.raises(InputError, match=r"metrics\.jsonl: not written") as caught:
        nplm.train(make_model(np.float32), toy(), config, save=tmp_path / "run", observer=InTheWay())
    assert "\n" not in str(caught.value)


# ---- what may change, and what may not

OTHER = {
    "noise": "pool",
    "noise_draw": "stratified",
    "group_map": "cyclic",
    "redraw": "epoch",
    "optimizer": "adagrad",
    "schedule": "plateau",
    "objective": "ranking",
    "lr_decay": 0.25,
    "clip": 0.25,
    "weight_decay": 0.01,
    "lr_floor": 0.5,
    "dropout": 0.5,
    "dropout_words": 0.5,
    "dropout_recurrent": 0.5,
}


def other_value(name, value):
    """A valid value of a setting that is not `value`."""
    return OTHER.get(name) or (not value if isinstance(value, bool) else value + 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    fit(toy(), save=folder)
    return folder


ELSEWHERE = {"log_z_penalty", "baseline", "own_counts"}  # go with another objective, N or noise, which is refused first
CHOSEN = {"precision"}  # what it comes to is compared: test_precision.py
FREE = {*FREE_SETTINGS, *KEPT_SETTINGS, *ELSEWHERE, *CHOSEN}
BOUND = [field.name for field in fields(TrainConfig) if field.name not in FREE]


@pytest.mark.parametrize("name", BOUND)
def test_a_changed_setting_is_refused(name, finished):
    """Oracle: the message names the setting, both values and the folder; the folder is as it was."""
    before = {path: path.read_bytes() for path in finished.iterdir()}
    old = asdict(TrainConfig(**SETTINGS))[name]
    new = other_value(name, old)
    with pytest.raises(InputError) as caught:
        fit(toy(), save=finished, resume=True, **{name: new})
    assert f"{finished}: `{name}` was {old} and is now {new}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


@pytest.mark.parametrize(
    "name", [field.name for field in fields(ModelConfig) if field.name not in ("vocab_size", "tied")]
)
def test_a_changed_model_is_refused(name, finished):
    """Oracle: the message names the setting."""
    shape = asdict(make_model().config)
    shape[name] = {"noise_power": 0.5, "noise_uniform": 0.5, "init_scale": 0.2}.get(name) or shape[name] + 1
    model = nplm.LanguageModel.init(ModelConfig(**shape), toy().vocabulary, np.random.default_rng(1))
    with pytest.raises(InputError, match=f"`{name}` was .* and is now {shape[name]}"):
        fit(toy(), model=model, save=finished, resume=True)


def test_more_epochs_of_a_cosine_are_refused(tmp_path):
    """Oracle: the message says why; with another schedule the same is taken."""
    for schedule in ("cosine", "step"):
        fit(toy(), save=tmp_path / schedule, schedule=schedule)
    fit(toy(), save=tmp_path / "step", schedule="step", resume=True, epochs=SETTINGS["epochs"] + 1)
    with pytest.raises(InputError, match=r"`epochs` was .*, and the rates of the cosine schedule depend on it"):
        fit(toy(), save=tmp_path / "cosine", schedule="cosine", resume=True, epochs=SETTINGS["epochs"] + 1)


def test_log_z_may_be_fitted_later(finished, tmp_path):
    """Oracle: the run that went on without it: the same training, another bias in the best model, and it says so."""
    with_fit, without = (tmp_path / name for name in ("with", "without"))
    for folder, changes in ((with_fit, {"fit_log_z": True}), (without, {})):
        shutil.copytree(finished, folder)
        fit(toy(), save=folder, resume=True, epochs=SETTINGS["epochs"] + 4, **changes)
    assert metrics(with_fit) == metrics(without)
    models = [checkpoint.load_run(folder / "last.safetensors")[0].params for folder in (with_fit, without)]
    assert_same_bits(*models)
    got, raw = (checkpoint.load_model(folder / "best.safetensors") for folder in (with_fit, without))
    assert got.mean_log_z == 0 != raw.mean_log_z
    assert np.any(got.params["decoder.bias"] != raw.params["decoder.bias"])
    assert checkpoint.provenance(with_fit / "best.safetensors")["train"]["fit_log_z"] is True
    with pytest.raises(InputError, match="`fit_log_z` was True and is now False"):
        fit(toy(), save=with_fit, resume=True, epochs=SETTINGS["epochs"] + 4, fit_log_z=False)


def test_log_z_of_a_finished_run_is_fitted(finished, tmp_path):
    """Oracle: the same run with log Z fitted all along, byte for byte; a second time changes nothing."""
    fit(toy(), save=tmp_path / "all along", fit_log_z=True)
    shutil.copytree(finished, tmp_path / "later")
    for _ in range(2):
        _, result = fit(toy(), save=tmp_path / "later", resume=True, fit_log_z=True)
        assert best_bytes(tmp_path / "later") == best_bytes(tmp_path / "all along") != best_bytes(finished)
        kept = checkpoint.load_model(tmp_path / "later" / "best.safetensors")
        assert_same_bits(result.best.params, kept.params)


def test_figures_that_are_no_numbers_are_read_back(tmp_path):
    """Oracle: the run itself; unknown words only, so there is no perplexity without them."""
    corpus = toy()
    corpus = replace(corpus, valid=np.zeros_like(corpus.valid))
    _, result = fit(corpus, save=tmp_path / "run", fit_log_z=True)
    assert result.history[-1]["nats_without_oov"] is None  # NaN in the model file
    before = best_bytes(tmp_path / "run")
    fit(corpus, save=tmp_path / "run", resume=True, fit_log_z=True)
    assert best_bytes(tmp_path / "run") == before


def test_the_source_is_kept(tmp_path):
    """Oracle: the record of the run that was started with it; resumed without."""
    corpus, folder = toy(), tmp_path / "run"
    settings, source = TrainConfig(**SETTINGS), {"train": "text.txt"}
    nplm.train(make_model(np.float32, scale=0.3), corpus, settings, save=folder, source=source)
    nplm.train(make_model(np.float32, scale=0.3), corpus, settings, save=folder, resume=True)
    assert json.loads((folder / "config.json").read_text())["source"] == source


def test_a_setting_younger_than_the_run(finished, tmp_path):
    """A record without the setting, as an older nplm wrote it: its default is no change, another value is refused."""
    folder = tmp_path / "old"
    shutil.copytree(finished, folder)
    record = json.loads((folder / "config.json").read_text())
    del record["train"]["dropout"], record["model"]["tied"]
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"`dropout` was 0\.0 and is now 0\.5"):
        fit(toy(), save=folder, resume=True, dropout=0.5)
    fit(toy(), save=folder, resume=True)


def test_a_changed_text_is_refused(finished):
    """Oracle: the message: one token of the training or the valid text changed, a text gone, other counts."""
    corpus = toy()
    train, valid = corpus.train.copy(), corpus.valid.copy()
    train[100], valid[40] = (train[100] + 1) % 11, (valid[40] + 1) % 11
    counts = corpus.vocabulary.counts.copy()
    counts[5] += 1
    vocabulary = nplm.Vocabulary(corpus.vocabulary.tokens, counts.tolist())
    for change in ({"train": train}, {"valid": valid}, {"valid": None}, {"vocabulary": vocabulary}):
        with pytest.raises(InputError, match="texts or the vocabulary are not those of the run"):
            fit(replace(corpus, **change), save=finished, resume=True)
    with pytest.raises(InputError, match="the training text was toy and is now other"):
        fit(Corpus("other", corpus.vocabulary, corpus.train, corpus.valid), save=finished, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_cannot_train_into_one_folder(resume, finished, tmp_path):
    """Oracle: the message, met by a run that starts while another trains; the other ends as if alone."""
    folder = tmp_path / "run"
    if resume:
        shutil.copytree(finished, folder)

    class Second(Recorder):
        def begin(self, tokens_per_epoch, progress):
            with pytest.raises(InputError, match=r"in use by another run|not empty"):
                fit(toy(), save=folder)
            with pytest.raises(InputError, match="in use by another run"):
                fit(toy(), save=folder, resume=True)

    fit(toy(), save=folder, resume=resume, epochs=4, recorder=Second)
    fit(toy(), save=tmp_path / "whole", epochs=4)
    assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize("damage", ["gone", "half"])
def test_a_best_model_that_is_gone_or_damaged_is_named_before_training_goes_on(damage, finished, tmp_path):
    """Oracle: planted damage; the message names the file, no chunk is trained on."""
    shutil.copytree(finished, tmp_path / "run")
    best = tmp_path / "run" / "best.safetensors"
    whole = best.read_bytes()
    best.unlink()
    if damage == "half":
        best.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"best\.safetensors: "):
        fit(toy(), save=tmp_path / "run", resume=True, epochs=9)
    best.write_bytes(whole)
    recorder, _ = fit(toy(), save=tmp_path / "run", resume=True)
    assert not recorder.steps


def test_another_precision_is_refused(finished):
    """Oracle: the message names both."""
    with pytest.raises(InputError, match="in float32, but the model in float64"):
        fit(toy(), np.float64, save=finished, resume=True)


def test_more_epochs_are_allowed(finished, tmp_path):
    """Oracle: a run of that many epochs from the start; threads and intervals may change as well."""
    shutil.copytree(finished, tmp_path / "run")
    free = {"epochs": 5, "threads": 1, "save_interval": 0.0}
    recorder, _ = fit(toy(), save=tmp_path / "run", resume=True, **free)
    assert len(recorder.steps) == 3 * 13
    fit(toy(), save=tmp_path / "whole", epochs=5)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["epochs"] == 5


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_finished_run_returns_at_once(epochs, finished, tmp_path):
    """Oracle: the files as they were, but for the settings; the best model, and not one step."""
    shutil.copytree(finished, tmp_path / "run")
    recorder, result = fit(toy(), save=tmp_path / "run", resume=True, epochs=epochs)
    assert recorder.steps == []
    assert not result.interrupted
    assert result.history == [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert_same_bits(result.best.params, nplm.load(finished / "best.safetensors").params)
    assert_same_run(tmp_path / "run", finished)


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    """Oracle: not one more step, even with more epochs: the valid loss had stalled for `patience` epochs."""
    _, first = fit(toy(), save=tmp_path / "run", lr=300.0, clip=9.0, patience=1, epochs=9)
    assert first.progress.stopped and first.progress.epoch < 9
    recorder, again = fit(toy(), save=tmp_path / "run", resume=True, lr=300.0, clip=9.0, patience=1, epochs=20)
    assert recorder.steps == []
    assert again.progress == first.progress


# ---- damaged folders


def refused(folder, **options):
    """The one line that resuming in the folder fails with."""
    with pytest.raises(InputError) as caught:
        fit(toy(), save=folder, **{"resume": True} | options)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_no_run_to_resume(tmp_path):
    """Oracle: the message: a folder that is missing, empty, or a file."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a file")
    for name in ("missing", "empty", "file"):
        assert "no run to resume here" in refused(tmp_path / name)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "{}", '{"model": 3, "train": {}}', "\xff\xfe"])
def test_damaged_settings(content, finished, tmp_path):
    """Oracle: the message."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(content, encoding="latin-1")
    assert "config.json: damaged" in refused(tmp_path / "run")


def test_damaged_checkpoint(finished, tmp_path):
    """Oracle: the message, for a flipped bit, half a file, a model in its place, and none."""
    shutil.copytree(finished, tmp_path / "run")
    last = tmp_path / "run" / "last.safetensors"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(content)
    assert "damaged" in refused(tmp_path / "run")
    last.write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(tmp_path / "run")
    shutil.copy(tmp_path / "run" / "best.safetensors", last)
    assert "without the state of its run" in refused(tmp_path / "run")
    last.unlink()
    assert "No such file" in refused(tmp_path / "run")


def test_a_new_run_needs_an_empty_folder(finished, tmp_path):
    """Oracle: the message; nothing of the run that is there is lost.  A file cannot be a folder."""
    before = {path: path.read_bytes() for path in finished.iterdir()}
    assert "not empty" in refused(finished, resume=False)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before
    (tmp_path / "file").write_text("a file")
    assert "cannot be the folder of a run" in refused(tmp_path / "file", resume=False)
    assert "cannot be the folder of a run" in refused(tmp_path / "file" / "run", resume=False)


def test_killed_before_the_first_checkpoint(finished, tmp_path):
    """Oracle: the whole run.  Only settings, or half of them, are in the folder."""
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / ".config.json.partial").write_text('{"nplm": ')
    fit(toy(), save=tmp_path / "half")
    assert_same_run(tmp_path / "half", finished)
    (tmp_path / "bare").mkdir()
    shutil.copy(finished / "config.json", tmp_path / "bare")
    fit(toy(), save=tmp_path / "bare", resume=True)
    assert_same_run(tmp_path / "bare", finished)


@pytest.mark.parametrize(
    "tail",
    ['{"kind": "train", "epoch": 9}\n', '{"kind": "tra', '{"kind": "train"}\n{"ki', "\0\0\0\0", "\xff\xfe", "3\n"],
)
def test_lines_after_the_checkpoint_are_dropped(tail, finished, tmp_path):
    """Oracle: the lines up to the checkpoint; a crash left more of them, or a torn one, or rubbish."""
    shutil.copytree(finished, tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a", encoding="latin-1") as file:
        file.write(tail)
    _, result = fit(toy(), save=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()
    assert len(result.history) == result.progress.metrics_lines


@pytest.mark.parametrize("cut", [1, 30, 10**6])
def test_lines_that_are_lost_stay_lost(cut, finished, tmp_path):
    """Oracle: the whole lines that are left, then those of the epochs to come: one of `valid` each, none glued."""
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(path.read_text()[:-cut] if cut < 10**6 else "")
    _, result = fit(toy(), save=tmp_path / "run", resume=True, epochs=3)
    left = len(lines) - 1 if cut < 10**6 else 0
    assert [json.dumps(line) for line in result.history[:left]] == lines[:left]
    assert [line["epoch"] for line in result.history[left:] if line["kind"] == "valid"] == [3]
    assert result.progress.metrics_lines == len(result.history)


def test_planted_bug_a_state_that_is_not_saved(tmp_path, monkeypatch):
    """Planted bugs: the carried state, the optimiser's memory or the position forgotten: other bytes in the end."""
    recipe = PERIODIC | FRESH

    class Stop(Observer):
        def step(self, step):
            if step.epoch == 1 and step.span.start == 14:
                raise InterruptedError

    def run_with_a_stop(name, forget):
        folder = tmp_path / name
        with pytest.raises(InterruptedError):
            config = TrainConfig(**SETTINGS | recipe)
            nplm.train(make_model(np.float32, scale=0.3), toy(), config, save=folder, observer=Stop())
        real = checkpoint.load_run

        def forgetful(path):
            model, progress, extra = real(path)
            forget(progress, extra)
            return model, progress, extra

        monkeypatch.setattr(checkpoint, "load_run", forgetful)
        fit(toy(), save=folder, resume=True, **recipe)
        monkeypatch.setattr(checkpoint, "load_run", real)
        return nplm.load(folder / "last.safetensors").params["rnn.weight_hh_l0"]

    fit(toy(), save=tmp_path / "whole", **recipe)
    expected = nplm.load(tmp_path / "whole" / "last.safetensors").params["rnn.weight_hh_l0"]
    forgotten = {
        "state": lambda progress, extra: extra.update(h=extra["h"] * 0, c=extra["c"] * 0),
        "squares": lambda progress, extra: extra["squares.rnn.weight_hh_l0"].fill(0),
        "position": lambda progress, extra: progress.update(chunk=progress["chunk"] + 1),
        "rate": lambda progress, extra: progress.update(lr=progress["lr"] * 0.5),
    }
    assert_array_equal(run_with_a_stop("nothing", lambda progress, extra: None), expected)
    for name, forget in forgotten.items():
        assert not np.array_equal(run_with_a_stop(name, forget), expected), name
    assert math.isfinite(expected.sum())


if __name__ == "__main__":
    killer(Path(sys.argv[1]), *sys.argv[2:])
