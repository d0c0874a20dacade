"""The study of updates that wait.  Oracles: the package's own training, and the update of a group by hand."""

import importlib
import json
import sys
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_close, make_model

from nplm.config import TrainConfig
from nplm.data.streams import Streams
from nplm.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
LR, REUSE = 0.7, 3  # 3 of 6 chunks: two groups; the last sequence has 5


@pytest.fixture
def study(monkeypatch):
    """benchmarks/study_reuse.py, with groups for three chunks."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("study_reuse")
    monkeypatch.setattr(module, "REUSE", REUSE)
    return module


def make_trainer(dtype=np.float64, seed=1, **settings):
    """On a random text of three streams; a pool of two groups; some gradients are clipped, some are not."""
    ids = np.random.default_rng(5).integers(0, 11, 160, np.int32)
    pool = {"noise": "pool", "noise_groups": 2}
    config = TrainConfig(bptt=3, batch_size=3, sequence_length=18, num_noise=7, lr=LR, clip=0.62, seed=seed, shards=1)
    config = TrainConfig(**{**vars(config), **pool, **settings})
    return Trainer(make_model(dtype, scale=0.4), Streams(ids, 3), config)


def trained(study, waits, move, reuse, monkeypatch, dtype=np.float64):
    """The parameters after an epoch in which some wait."""
    monkeypatch.setattr(study, "REUSE", reuse)
    trainer = make_trainer(dtype)
    trainer.shards = study.Waiting(trainer, study.WAITS[waits], move)
    assert study.run_epoch(trainer, trainer.shards) and not trainer.shards.late
    return trainer.model.params


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("move", ["sum", "mean"])
@pytest.mark.parametrize("waits", ["nothing", "output", "hidden", "everything"])
def test_groups_of_one_chunk(study, monkeypatch, waits, move, dtype):
    """The package's own training, bit for bit, where no chunk shares a group."""
    plain = make_trainer(dtype)
    for span in plain.spans:
        plain.step(span)
    plain.end_epoch()
    got = trained(study, waits, move, 1, monkeypatch, dtype)
    for name, value in plain.model.params.items():
        assert got[name].tobytes() == value.tobytes(), name


def by_hand(trainer, waiting, share):
    """An epoch by LanguageModel.loss_and_grads: clipped gradients of a group, at once for the names in `waiting`."""
    model, state, scales = trainer.model, trainer.state, []
    for _, spans in groupby(trainer.spans, key=lambda span: (span.sequence, span.chunk // REUSE)):
        spans = list(spans)
        total = {name: np.zeros_like(value) for name, value in model.params.items()}
        for span in spans:
            inputs, targets = trainer.streams.window(span.start, span.stop)
            noise_ids = trainer.noise.group(0, span.sequence, span.chunk)
            _, grads, state = model.loss_and_grads(inputs, targets, noise_ids, state.columns(0, inputs.shape[1]))
            dense = {name: np.array(grad) for name, grad in grads.items()}
            scales.append(min(1.0, trainer.config.clip / np.sqrt(sum((g * g).sum() for g in dense.values()))))
            for name, grad in dense.items():
                total[name] += scales[-1] * grad
                if name not in waiting:
                    model.params[name] -= LR * scales[-1] * grad
        for name in waiting:
            model.params[name] -= LR * total[name] / (len(spans) if share else 1)
    return scales


@pytest.mark.parametrize("move", ["sum", "mean"])
@pytest.mark.parametrize("waits", ["output", "hidden", "everything"])
def test_a_group_by_hand(study, monkeypatch, waits, move):
    """The sum, or the mean, of the group's clipped gradients, in NumPy."""
    trainer = make_trainer()
    names = {name for name in trainer.model.params if study.WAITS[waits](name)}
    scales = by_hand(trainer, names, move == "mean")
    assert min(scales) < 1
    assert move == "mean" or max(scales) == 1
    got = trained(study, waits, move, REUSE, monkeypatch)
    for name, value in trainer.model.params.items():
        assert_close(got[name], value, 1e-12)


def test_what_waits(study):
    """By hand: of the two parts of a model each parameter belongs to one."""
    params = make_trainer().model.params
    found = {part: {name for name in params if wait(name)} for part, wait in study.WAITS.items()}
    assert found["output"] == {"decoder.weight", "decoder.bias"} and found["nothing"] == set()
    assert found["everything"] == set(params) == found["hidden"] | found["output"]
    assert not found["hidden"] & found["output"]


def test_cases(study, monkeypatch):
    """By hand: 2 x 100 draws in a sequence are 6 in each of 32 chunks; groups change where the pool's do."""
    monkeypatch.setattr(study, "REUSE", 16)
    assert len(set(study.CASES)) == len(study.CASES) == 15 and study.CHUNKS // study.GROUPS == 16
    model, ids = make_model(np.float32, scale=0.4), np.arange(20 * 700, dtype=np.int32) % 11
    trainers = {noise: study.make_trainer(study.Case(noise), model.copy(), ids, 5.0, 3) for noise in study.ARMS}
    assert {name: one.config.num_noise for name, one in trainers.items()} == {"fresh": 100, "pool": 100, "sparse": 6}
    config = trainers["pool"].config
    assert (config.sequence_length, config.chunks, config.decay_after, config.seed) == (640, 32, 2, 3)
    groups = [trainers["pool"].noise.group(0, span.sequence, span.chunk) for span in trainers["pool"].spans]
    changes = [k for k in range(1, len(groups)) if not np.array_equal(groups[k - 1], groups[k])]
    assert changes == [16, 32] and trainers["fresh"].config.noise == trainers["sparse"].config.noise == "fresh"


def row(noise, perplexity, waits="output", seed=1, num_noise=100):
    """Of the result file."""
    given = {"noise": noise, "waits": waits, "move": "sum", "lr": 20.0, "seed": seed, "num_noise": num_noise}
    return given | {"perplexity": perplexity, "mean_log_z": perplexity and perplexity / 100}


def test_pairs(study):
    """By hand: means, spread and ratio; a case that diverged with one seed has none."""
    rows = [row("fresh", 100.0), row("pool", 240.0), row("fresh", 120.0, seed=2), row("pool", 200.0, seed=2)]
    rows += [row("sparse", 80.0, "nothing", num_noise=6), row("fresh", 90.0, "hidden"), row("pool", None, "hidden")]
    output, sparse, hidden = importlib.import_module("_waiting_tables").pairs(rows)
    assert (output["fresh"]["perplexity"], output["pool"]["perplexity"], output["over_fresh"]) == (110, 220, 2)
    assert output["fresh"]["spread"] == pytest.approx(np.sqrt(200)) and output["seeds"] == 2
    assert output["pool"]["mean_log_z"] == pytest.approx(2.2) and output["move"] == "sum"
    assert (sparse["fresh"]["perplexity"], sparse["over_fresh"], sparse["move"]) == (80, None, None)
    assert (hidden["fresh"]["perplexity"], hidden["pool"]["perplexity"], hidden["over_fresh"]) == (90, None, None)


def test_diverged(study, monkeypatch):
    """A parameter that is not a number ends the training at its first chunk; such a trial has no perplexity."""
    trainer = make_trainer()
    trainer.shards = study.Waiting(trainer, study.WAITS["output"])
    trainer.model.params["decoder.bias"][3] = np.nan
    assert not study.run_epoch(trainer, trainer.shards) and trainer.progress.chunk == 1
    corpus = SimpleNamespace(vocabulary=trainer.model.vocabulary, train=np.zeros(500, np.int32), valid=None)
    monkeypatch.setattr(study, "run_epoch", lambda *_: False)
    assert study.trial(corpus, study.Case("pool"), 1.0, 1, 4, 2)["perplexity"] is None


def test_quick(study, monkeypatch, tmp_path, capsys):
    """The script: a row for each case, once."""
    monkeypatch.setattr(study, "REUSE", 16)
    file = tmp_path / "rows.json"
    for seeds in (["1"], ["1", "2"]):
        monkeypatch.setattr(sys, "argv", ["study_reuse", "--quick", "--json", str(file), "--seeds", *seeds])
        study.main()
        printed = capsys.readouterr().out
        assert printed.count('"waits": "everything"') == 2
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [(one["noise"], one["seed"]) for one in rows] == [("fresh", 1), ("fresh", 2), ("pool", 1), ("pool", 2)]
    assert all(one["move"] == "mean" and 1 < one["perplexity"] < 7000 for one in rows)
