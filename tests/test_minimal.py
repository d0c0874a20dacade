"""docs/minimal/nplm_minimal.py.  Oracle: nplm.train, chunk by chunk; the complex step; the source's own perplexity."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_close, make_model, make_vocabulary

import nplm
from nplm import Corpus, ModelConfig, Observer, TrainConfig
from nplm.noise import make_noise

FILE = Path(__file__).resolve().parent.parent / "docs" / "minimal" / "nplm_minimal.py"
V, H = 11, 6


@pytest.fixture
def minimal():
    """A module of its own for every test, so that its settings can be changed."""
    spec = importlib.util.spec_from_file_location("nplm_minimal", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Losses(Observer):
    """Keeps the loss of every chunk."""

    def __init__(self):
        self.losses = []

    def step(self, step):
        self.losses.append(step.loss)


def random_text(n):
    """A text of n tokens, low ids being more frequent."""
    return (V * np.random.default_rng(0).random(n) ** 2).astype(np.int32)


def compare(minimal, noise):
    """Train both in float64 on one text, with the same noise words: 10 streams, sequences of 3 chunks, 2 epochs."""
    minimal.T, minimal.B, minimal.N, minimal.H, minimal.M = 4, 5, 3, H, 2
    minimal.LR, minimal.CLIP, minimal.EPOCHS = 0.3, 2.0, 2
    model = make_model(np.float64, embed=4, hidden=H, layers=1, scale=0.3)
    config = TrainConfig(
        bptt=4, batch_size=5, sequence_length=12, num_noise=7, noise=noise, noise_groups=2, lr=0.3, clip=2.0, epochs=2,
        schedule="step", decay_after=1, lr_decay=0.5, shards=1,
    )  # fmt: skip
    group = make_noise(model.noise, config, config.seed).group
    params = {name: value.copy() for name, value in model.params.items()}
    ids = random_text(155)  # 31 steps of 5 streams: sequences of 3, 3 and 2 chunks, the last of 3 steps

    def groups(epoch, sequence):
        return (group(epoch, sequence, chunk) for chunk in range(3))

    losses = list(minimal.train(params, ids, groups, model.log_q))
    observer = Losses()
    nplm.train(model, Corpus("toy", make_vocabulary(V), ids), config, observer=observer)
    assert len(losses) == 16
    np.testing.assert_allclose(losses, observer.losses, rtol=1e-10)
    for name, value in params.items():
        assert_close(model.params[name], value, 1e-10)
    return params, model


@pytest.mark.parametrize("noise", ["fresh", "pool"])
def test_every_chunk_is_that_of_the_package(minimal, noise):
    """Oracle: nplm.train: every loss, the parameters after two epochs, then perplexity and log Z of another text."""
    params, model = compare(minimal, noise)
    test = random_text(40)[::-1]
    perplexity, log_z = minimal.evaluate(params, test)
    expected = nplm.evaluate(model, test, batch_size=1)
    assert np.isclose(perplexity, expected.perplexity, rtol=1e-10)
    assert np.isclose(log_z.mean(), expected.mean_log_z, atol=1e-10)
    assert np.isclose(log_z.std(), expected.std_log_z, atol=1e-6)


@pytest.mark.parametrize(
    ("line", "bug"),
    [
        ("- np.log(len(noise)) - log_q[words]", "- log_q[words]"),
        ("h[-1], c[-1])", "0 * h[-1], c[-1])"),
        ("np.add.at(grads[\"encoder.weight\"], inputs, dx)", "grads[\"encoder.weight\"][inputs] += dx"),
    ],
    ids=["log K left out", "h not carried", "repetitions lost"],
)  # fmt: skip
def test_bugs_are_seen(minimal, line, bug):
    """Planted: three classical mistakes, each in the source of the file."""
    source = FILE.read_text(encoding="utf-8")
    assert source.count(line) == 1
    exec(compile(source.replace(line, bug), str(FILE), "exec"), vars(minimal))
    with pytest.raises(AssertionError):
        compare(minimal, "fresh")


def test_groups_of_both_claims(minimal):
    """Oracle: the claims: N groups of K words; claim 2: all different; claim 3: M different ones, in runs."""
    q = np.full(1000, 1e-3)
    for kind, distinct in (("fresh", minimal.N), ("pool", minimal.M)):
        groups = np.array(list(minimal.noise_groups(kind, q, np.random.default_rng(0))))
        assert groups.shape == (minimal.N, minimal.K)
        changes = (groups[1:] != groups[:-1]).any(axis=1).sum()
        assert len(np.unique(groups, axis=0)) == distinct == 1 + changes


def test_the_start_and_the_map_of_groups_are_those_of_the_package(minimal):
    """Oracle: LanguageModel.init and NoisePool.group_of."""
    q = np.arange(1, V + 1) / np.arange(1, V + 1).sum()
    got, sizes = minimal.init(q, np.random.default_rng(0)), ModelConfig(V, minimal.E, minimal.H, 1)
    model = nplm.LanguageModel.init(sizes, make_vocabulary(V), np.random.default_rng(0), np.float64)
    assert {name: value.shape for name, value in got.items()} == {n: v.shape for n, v in model.params.items()}
    assert (got["decoder.weight"] == 0).all() and np.allclose(np.exp(got["decoder.bias"]), q)
    config = TrainConfig(noise="pool", noise_groups=minimal.M, bptt=minimal.T, sequence_length=minimal.N * minimal.T)
    pool = make_noise(model.noise, config, 1)
    groups = list(minimal.noise_groups("pool", np.full(1000, 1e-3), np.random.default_rng(0)))
    same = [[(a == b).all() for a in groups] for b in groups]
    assert same == [[pool.group_of(m) == pool.group_of(n) for m in range(minimal.N)] for n in range(minimal.N)]


def test_the_made_up_text(minimal):
    """Oracle: the best bigram model of the text itself, which the chain's perplexity cannot exceed by much."""
    train, test, counts, lowest = minimal.made_up_text(np.random.default_rng(1), words=8, length=40_000)
    assert len(train) + len(test) == 40_000 and counts.sum() == len(train)
    pairs = np.zeros((8, 8))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    bigram = (pairs + 1e-3) / (pairs + 1e-3).sum(axis=1, keepdims=True)
    assert np.isclose(np.exp(-np.log(bigram[test[:-1], test[1:]]).mean()), lowest, rtol=0.02)


def run(*arguments):
    return subprocess.run([sys.executable, FILE, *arguments], capture_output=True, text=True)


def test_check():
    """Oracle: the complex step: six parameters, each with an error of rounding only."""
    errors = re.findall(r"largest error ([\d.e+-]+)", run("--check").stdout)
    assert len(errors) == 6 and max(map(float, errors)) < 1e-13


def test_the_command_learns():
    """Oracle: the lowest perplexity that it prints; log Z near 0 without a softmax in training."""
    lines = run().stdout.splitlines()
    untrained, lowest = map(float, re.findall(r"[\d.]+(?= untrained| at best)", lines[0]))
    perplexity, log_z, spread = map(float, re.findall(r"[+-]?\d+\.\d+", lines[-1]))
    assert lowest < perplexity < 1.25 * lowest < untrained / 3
    assert abs(log_z) < 0.1 and spread < 0.3


def test_its_length_and_imports():
    """The issue: at most 150 lines, nothing but NumPy."""
    source = FILE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 150
    assert set(re.findall(r"^(?:import|from) (\w+)", source, re.M)) == {"argparse", "numpy"}


def test_a_mistyped_option_is_named():
    """Oracle: exit code 2, and the option in the message."""
    done = run("--nois", "pol")
    assert done.returncode == 2 and "pol" in done.stderr and not done.stdout
