"""The study of NCE against its softmax.  Oracles: nplm.train on the same text, equations by hand, hand-made rows."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from nplm.config import ModelConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.vocabulary import Vocabulary
from nplm.model import LanguageModel
from nplm.reference import nce
from nplm.scoring.evaluate import evaluate
from nplm.training.loop import train

ROOT = Path(__file__).resolve().parent.parent
LINES = np.random.default_rng(3).integers(0, 9, (700, 7))
TOKENS = [token for line in LINES for token in (*(f"w{min(w, 6)}" for w in line), "</s>")]


def make_corpus():
    """A small text of its own, 5,600 tokens."""
    vocabulary = Vocabulary.from_counts({token: TOKENS.count(token) for token in set(TOKENS)})
    ids = vocabulary.encode(TOKENS)
    return Corpus("text", vocabulary, ids[:4000], ids[4000:4800], ids[4800:])


@pytest.fixture
def study(monkeypatch):
    """benchmarks/study_softmax.py, on the small text."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("study_softmax")
    monkeypatch.setattr(module._noise_cost, "load", lambda flags: make_corpus())
    return module


def script(study, monkeypatch, tmp_path, *arguments):
    """Run it; returns its rows."""
    file = tmp_path / "rows.json"
    given = ["study_softmax", "--json", str(file), "--runs", str(tmp_path / "runs"), *arguments]
    monkeypatch.setattr(sys, "argv", given)
    study.main()
    return json.loads(file.read_text(encoding="utf-8"))["rows"]


def test_a_trial_is_the_package_training(study, monkeypatch, tmp_path):
    """nplm.train, uninterrupted, for the trial that halving trained in parts; evaluate, for its perplexities."""
    monkeypatch.setitem(study.SETTINGS, "python", study.Setting([], 6, 3, 1))
    monkeypatch.setitem(study.ARMS, "nce-100-dropout", study.Arm("nce", 100, dropout=True))
    rows = script(study, monkeypatch, tmp_path, "--arms", "nce-100-dropout", "--seeds", "2")
    corpus = make_corpus()
    for row in [row for row in rows if row["epochs"] == 3]:
        model = LanguageModel.init(
            ModelConfig(len(corpus.vocabulary), 6, 6, 2, tied=True), corpus.vocabulary, np.random.default_rng(2)
        )
        config = TrainConfig(
            num_noise=100, dropout=0.2, dropout_words=0.1, variational=True,
            lr=row["lr"], seed=2, epochs=3, decay_after=1, shards=1, threads=1,
        )  # fmt: skip
        result = train(model, corpus, config, save=tmp_path / f"plain-{row['lr']}")
        valid = [line for line in result.history if line["kind"] == "valid"]
        best = min(valid, key=lambda line: line["perplexity"])
        assert [point["perplexity"] for point in row["curve"]] == [line["perplexity"] for line in valid]
        assert (row["perplexity"], row["best_epoch"]) == (best["perplexity"], best["epoch"])
        for name in ("test", "train"):
            assert row[f"{name}_perplexity"] == evaluate(result.best, getattr(corpus, name)).perplexity
    assert len({row["lr"] for row in rows}) >= 3 and not list((tmp_path / "runs" / "python").iterdir())


def test_clipped(study, monkeypatch, tmp_path):
    """By hand: without clipping no gradient is clipped, to almost nothing all of them are; of the last epoch only."""
    histories, real = [], study.train

    def recorded(*given, **more):
        result = real(*given, **more)
        lines = [line for line in result.history if line["kind"] == "train"]
        for line in lines:
            line["gradient_norm"] += 1000 * (line["epoch"] == 1)
        histories.append([line["epoch"] for line in lines])
        return result

    monkeypatch.setattr(study, "train", recorded)
    monkeypatch.setitem(study.SETTINGS, "python", study.Setting([], 6, 2, 1))
    monkeypatch.setitem(study.ARMS, "nce-5", study.Arm("nce", 5, clip=1e-6))
    monkeypatch.setitem(study.ARMS, "nce-6", study.Arm("nce", 6, clip=900.0))
    rows = script(study, monkeypatch, tmp_path, "--arms", "softmax-unclipped", "nce-5", "nce-6")
    found = {row["arm"]: row["clipped"] for row in rows if row["epochs"] == 2}
    assert found == {"softmax-unclipped": 0, "nce-5": 1, "nce-6": 0}
    assert [1] * 10 + [2] * 10 in histories  # 4,000 tokens, B = 20, T = 20: 10 chunks an epoch


def test_arms(study):
    """By hand: what differs between arms is in their names; each has its own; the uniform start has Z = 1."""
    assert all(arm.name == name for name, arm in study.ARMS.items()) and len(study.ARMS) == 15
    base = TrainConfig()
    for name, arm in study.ARMS.items():
        config = TrainConfig(**arm.settings)
        assert config.objective == next(one for one in ("nce", "sampled-softmax", "softmax") if name.startswith(one))
        assert config.variational == (config.dropout > 0) == ("dropout" in name)
        assert config.clip == (math.inf if "unclipped" in name else base.clip == 0.25 and 0.25)
        assert config.log_z_penalty == (0.5 if "penalty" in name else 0)
        assert config.objective == "softmax" or name.removeprefix(f"{config.objective}-").startswith(
            str(config.num_noise)
        )
        model = study.make_model(arm, make_corpus().vocabulary, 6, 1)
        probs = np.exp(model.params["decoder.bias"])
        counts = model.vocabulary.counts
        start = np.ones(len(counts)) if "uniform" in name else np.maximum(counts, 1)
        np.testing.assert_allclose(probs, start / start.sum(), rtol=1e-5)
        assert model.config.tied == ("dropout" in name) and model.config.num_layers == 2


def test_the_limit_of_many_noise_words():
    """The page's claim: NCE with its noise in expectation, K = 10^9, is -log p + Z - 1 - log Z + log(K q) + 1.

    And for Z near 1 that is the softmax with a penalty of half of log^2 Z, to third order.
    """
    rng = np.random.default_rng(1)
    q, K = rng.dirichlet(np.ones(7)), 1e9
    for shift in (0.0, 0.1, -0.1):
        s = np.log(rng.dirichlet(np.ones(7))) + shift
        delta, log_z = s - np.log(K * q), shift
        noise = (K * q * nce.softplus(delta)).sum()
        for w in range(7):
            loss = nce.softplus(-delta[w]) + noise - np.log(K * q[w]) - 1
            exact = -(s[w] - log_z) + np.exp(log_z) - 1 - log_z
            assert loss == pytest.approx(exact, abs=1e-6)
            assert abs(exact - (-(s[w] - log_z) + 0.5 * log_z**2)) < abs(shift) ** 3 / 5 + 1e-12


def test_cut(study, monkeypatch):
    """By hand: the first and the third stretch of three; words that are rare there are unknown, on all texts."""
    monkeypatch.setattr(study, "STRETCH", 1500)
    corpus = make_corpus()
    got = study.cut(corpus, 2)
    words = TOKENS[:1500] + TOKENS[3000:4000]
    kept = [got.vocabulary.tokens[w] for w in got.train]
    assert kept == words
    counts = dict(zip(got.vocabulary.tokens, got.vocabulary.counts.tolist(), strict=True))
    assert counts.pop("<unk>") == 0 and counts == {word: words.count(word) for word in set(words)}
    assert [got.vocabulary.tokens[w] for w in got.test] == TOKENS[4800:]
    assert study.cut(corpus, 1) is corpus


def row(arm, perplexity, lr=20.0, seed=1, epochs=8):
    """Of the result file."""
    given = {"text": "python", "arm": arm, "seed": seed, "lr": lr, "epochs": epochs, "perplexity": perplexity}
    names = ("test_perplexity", "train_perplexity", "mean_log_z", "std_log_z", "best_epoch", "clipped")
    return given | dict.fromkeys(names, perplexity and perplexity / 2)


def test_table(study):
    """By hand: the rate of the first seed, means, spread, and the softmax that an arm is compared with."""
    rows = [
        row("nce-500", 90.0), row("nce-500", 80.0, 40.0), row("nce-500", 84.0, 40.0, seed=2),
        row("nce-500", None, 80.0),
        row("softmax", 100.0), row("softmax-penalty-0.5", 95.0), row("nce-500-uniform", 60.0),
        row("softmax-uniform", 50.0), row("nce-500-dropout", 70.0, epochs=4),
        {"text": "python", "arm": "nce-100", "seed": 1, "lr": 20.0, "epochs": 1, "perplexity": 9.0},
    ]  # fmt: skip
    found = {one["arm"]: one for one in importlib.import_module("_softmax_tables").table(rows)}
    first = found["nce-500"]
    assert (first["lr"], first["perplexity"], first["seeds"], first["test_perplexity"]) == (40, 82, 2, 41)
    assert first["spread"] == pytest.approx(math.sqrt(8)) and first["over_softmax"] == pytest.approx(-0.18)
    assert first["rates"] == "20: 90.0 (8), 40: 80.0 (8), 80: diverged (8)"
    assert found["softmax-penalty-0.5"]["over_softmax"] == pytest.approx(-0.05)
    assert found["nce-500-uniform"]["over_softmax"] == pytest.approx(0.2)
    assert found["softmax"]["over_softmax"] is None and found["nce-500-dropout"]["over_softmax"] is None
    assert list(found)[:2] == ["nce-500", "softmax"] and "nce-100" not in found  # which has only begun


def test_a_trial_that_diverges(study, monkeypatch, tmp_path):
    """DivergedError of the package is a row without a perplexity, which halving leaves behind."""
    real = study.train

    def diverges(model, corpus, config, **given):
        if config.lr == 40.0:
            raise study.DivergedError("planted")
        return real(model, corpus, config, **given)

    monkeypatch.setattr(study, "train", diverges)
    monkeypatch.setattr(study._training, "curve", lambda folder, real=study._training.curve: real(folder)
                        if (folder / "metrics.jsonl").exists() else [])  # fmt: skip
    rows = script(study, monkeypatch, tmp_path, "--quick", "--arms", "softmax")
    assert rows[-1]["lr"] == 40.0 and rows[-1]["perplexity"] is None
    assert all(row["perplexity"] > 1 for row in rows if row["lr"] < 40.0)


def test_quick(study, monkeypatch, tmp_path, capsys):
    """The script: trials of two arms; nothing is run a second time; an arm that there is not is named."""
    rows = script(study, monkeypatch, tmp_path, "--quick")
    assert {row["arm"] for row in rows} == {"nce-50-uniform", "softmax-dropout"}
    assert all(len(row["curve"]) == row["epochs"] for row in rows)
    monkeypatch.setattr(study, "train", None)
    assert script(study, monkeypatch, tmp_path, "--quick") == rows
    assert "softmax-dropout" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no such arm: nce-7; there are main, causes"):
        script(study, monkeypatch, tmp_path, "--arms", "nce-7")
