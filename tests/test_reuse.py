"""The prediction of what reused noise costs.  Oracle: the reference's gradient, and training by it near p."""

import importlib
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_close, ptb

from nplm.noise import FreshNoise, NoiseDistribution, NoisePool
from nplm.reference import nce as reference

ROOT = Path(__file__).resolve().parent.parent
LAW = NoiseDistribution.from_counts(2000 // np.arange(1, 151))


@pytest.fixture
def reuse(monkeypatch):
    """benchmarks/_reuse.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("_reuse")


def test_an_update_is_that_of_an_output_bias(reuse):
    """reference.nce.backward of the bias of a model without hidden units, on a text with every word in its share."""
    counts = np.array([5, 3, 1, 1])
    q = NoiseDistribution.from_counts(counts)
    targets = np.repeat(np.arange(4), counts)
    noise = FreshNoise(q, 6, 3)
    zeros, bias = (np.zeros((10, 2)), np.zeros((4, 2))), np.log(q.probs)
    given = reuse.counts_of(noise, 4)
    for chunk, (_, scores) in enumerate(reuse.trajectory(q.probs, 0.7, given, 6, chunks=5, sequences=1)):
        group = noise.group(0, 0, chunk)
        bias = bias - 0.7 * reference.backward(zeros[0], targets, group, zeros[1], bias, q.log_probs)[2]
        assert_close(scores, bias, 1e-12)


@pytest.mark.parametrize(("groups", "seed"), [(16, 1), (4, 1), (2, 1), (4, 2)])
def test_the_formula_is_what_training_gives(reuse, groups, seed):
    """`simulate` where errors are small: within a quarter, R from 1 to 8 being worth a factor of 6."""
    pool = NoisePool(LAW, 600, seed, groups, 16)
    got, log_z = reuse.simulate(LAW.probs, 2.0, pool, 600, chunks=16, sequences=400, first=100)
    assert got == pytest.approx(reuse.excess(LAW.probs, 2.0, 16 / groups, 600), rel=0.25)
    assert abs(log_z) < 0.01


def test_small_groups_are_far_worse_than_the_formula(reuse):
    """`simulate` beyond the border: words outside the groups run away, and log Z with them."""
    pool = NoisePool(LAW, 20, 1, 2, 16)
    got, log_z = reuse.simulate(LAW.probs, 8.0, pool, 20, chunks=16, sequences=30, first=15)
    assert got > 2 * reuse.excess(LAW.probs, 8.0, 8, 20) and log_z > 0.3


def test_limits_of_the_formula(reuse):
    """By hand: small steps give step R / (4 K), large ones half a word's worth for each word."""
    assert reuse.excess(LAW.probs, 1e-6, 16, 100) == pytest.approx(1e-6 * 16 / 400, rel=1e-6)
    assert reuse.excess(LAW.probs, 1e9, 16, 100) == pytest.approx(150 / 200)


def test_border(reuse):
    """The definition: at the border the perplexities differ by the tolerance; none where nothing is shared."""
    for reused in (16, 4, 2):
        k = reuse.border(LAW.probs, 12.0, reused)
        ratio = math.exp(reuse.excess(LAW.probs, 12.0, reused, k) - reuse.excess(LAW.probs, 12.0, 1, k))
        assert ratio == pytest.approx(1.05)
    assert reuse.border(LAW.probs, 12.0, 1) == 0
    assert reuse.border(LAW.probs, 12.0, 16) > reuse.border(LAW.probs, 12.0, 4) > reuse.border(LAW.probs, 6.0, 4)


def test_the_step_is_found_again(reuse):
    """The formula itself: log-perplexities made by it, with any level, give the step back."""
    ks = [100, 400, 1600]
    for step in (3.0, 15.0, 40.0):
        made = [4.7 + reuse.excess(LAW.probs, step, 1, k) for k in ks]
        assert reuse.step_of(LAW.probs, ks, made) == pytest.approx(step, rel=1e-6)


def test_border_of_the_trials_on_ptb(reuse):
    """The trials of issue 16 (1 x 200, rate 20): M = 2 is 2.32 times fresh noise at K = 400 and 1.041 times at 1600."""
    text = (ptb() / "train.txt").read_text(encoding="utf-8")
    counts = Counter(text.split()) + Counter({"</s>": text.count("\n")})
    probs = NoiseDistribution.from_counts(list(counts.values())).probs
    step = reuse.step_of(probs, [100, 400, 1600], np.log([126.1, 118.9, 117.8]))
    assert 400 < reuse.border(probs, step, 16) < 1600
    for reused, ratio in ((16, 1.041), (4, 1.004)):
        nats = reuse.excess(probs, step, reused, 1600) - reuse.excess(probs, step, 1, 1600)
        assert math.exp(nats) == pytest.approx(ratio, rel=0.02)
