"""Oracles: the formula of q written out, and chi-square tests whose quantile is computed here."""

import dataclasses

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from nplm.errors import InputError
from nplm.noise import AliasTable, NoiseDistribution
from nplm.reference.alias import implied_probs

DRAWS = 20_000 if numba.config.DISABLE_JIT else 400_000  # plain Python is slow


def chi_square(observed, expected):
    """Return how far the counts are from what is expected, in squared standard deviations."""
    assert expected.min() >= 5
    return np.sum((observed - expected) ** 2 / expected)


def quantile(degrees, sigmas=4.0):
    """Return the chi-square that chance exceeds once in 30,000 (4 sigma), by Wilson and Hilferty, 1931."""
    spread = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - spread + sigmas * np.sqrt(spread)) ** 3


def fits(ids, probs):
    """Whether drawn ids pass the chi-square test for the distribution probs."""
    observed = np.bincount(ids, minlength=probs.size)
    return chi_square(observed, ids.size * probs) < quantile(probs.size - 1)


def pairs_fit(first, second, probs):
    """Whether pairs of draws are independent, each with the distribution probs: chi-square over all V * V pairs."""
    return fits(first.astype(np.int64) * probs.size + second, np.outer(probs, probs).ravel())


@pytest.fixture
def noise():
    """q of 40 words between 1 and 12 %."""
    return NoiseDistribution.from_counts(10_000 // np.arange(1, 41), power=0.75, uniform=0.25)


@pytest.mark.parametrize(("power", "uniform"), [(1.0, 0.0), (0.75, 0.1), (0.0, 0.0), (2.0, 1.0)])
def test_q_is_its_formula(power, uniform):
    """Oracle: q word by word in plain Python, with a count of 0 taken as 1."""
    counts = [7, 0, 1, 120, 3]
    weights = [max(count, 1) ** power for count in counts]
    expected = [(1 - uniform) * weight / sum(weights) + uniform / 5 for weight in weights]
    noise = NoiseDistribution.from_counts(counts, power, uniform)
    assert_allclose(noise.probs, expected, rtol=1e-14)
    assert_allclose(noise.log_probs, np.log(expected), rtol=1e-14)
    assert abs(noise.probs.sum() - 1.0) < 1e-15


def test_default_is_the_unigram():
    """Oracle: relative frequencies."""
    noise = NoiseDistribution.from_counts(np.array([2, 5, 3]))
    assert_allclose(noise.probs, [0.2, 0.5, 0.3], rtol=1e-15)


def test_big_powers_do_not_overflow():
    """Oracle: the ratio of two words, (c1 / c2)**power, where c**power itself is beyond float64."""
    noise = NoiseDistribution.from_counts([1e200, 0.99e200], power=3.0)
    assert_allclose(noise.probs[1] / noise.probs[0], 0.99**3, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 100_003 if not numba.config.DISABLE_JIT else 1003])
def test_sampler_and_loss_have_one_distribution(size):
    """Oracle: exp(log_probs), which the loss uses.  The table's implied distribution equals it to 1e-14."""
    counts = np.random.default_rng(size).zipf(1.3, size).astype(np.float64)
    noise = NoiseDistribution.from_counts(counts, 0.75, 0.01)
    probs = implied_probs(noise.table.threshold, noise.table.alias)
    assert_allclose(probs, np.exp(noise.log_probs), rtol=0, atol=1e-14)


def test_draws_have_the_distribution(noise):
    """Oracle: chi-square against exp(log_probs)."""
    ids = noise.sample(DRAWS, np.random.default_rng(1))
    assert ids.dtype == np.int32
    assert fits(ids, np.exp(noise.log_probs))


def test_one_percent_of_mass_moved_is_seen(noise):
    """Planted bugs: 1 % of the mass moved to another word; the power left out of the table."""
    moved = noise.probs.copy()
    moved[0] -= 0.01
    moved[25] += 0.01
    unigram = NoiseDistribution.from_counts(10_000 // np.arange(1, 41), power=1.0, uniform=0.25).probs
    for probs in (moved, unigram):
        planted = dataclasses.replace(noise, table=AliasTable.from_probs(probs))
        assert not fits(planted.sample(DRAWS, np.random.default_rng(1)), np.exp(noise.log_probs))


def test_swapped_table_is_seen(noise):
    """Planted bug: threshold and alias stand for the wrong halves of a column."""
    table = AliasTable(1.0 - noise.table.threshold, noise.table.alias)
    planted = dataclasses.replace(noise, table=table)
    assert not fits(planted.sample(DRAWS, np.random.default_rng(1)), noise.probs)


def test_draws_of_a_large_vocabulary_have_the_distribution():
    """Oracle: chi-square over runs of words, each with 1 / 64 of the mass or one heavy word."""
    counts = 1e9 / np.arange(1, 30_001)
    noise = NoiseDistribution.from_counts(counts, 0.75)
    runs = np.floor(64 * (np.cumsum(noise.probs) - noise.probs / 2)).astype(np.int64)
    runs = np.unique(runs, return_inverse=True)[1]
    ids = noise.sample(DRAWS, np.random.default_rng(2))
    assert fits(runs[ids], np.bincount(runs, weights=noise.probs))


def test_draws_are_independent_and_with_replacement():
    """Oracle: chi-square over pairs: within a counter, between counters, chunks, sequences and epochs.

    Without replacement, or with a counter used twice, the diagonal would be off.
    """
    noise = NoiseDistribution.from_counts([40, 30, 15, 10, 5])
    ids = noise.draw(DRAWS, 3, (0, 0, 0))
    assert pairs_fit(ids[0::2], ids[1::2], noise.probs)
    assert pairs_fit(ids[1:-1:2], ids[2::2], noise.probs)
    for neighbour in [(1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        assert pairs_fit(ids, noise.draw(DRAWS, 3, neighbour), noise.probs)
    assert pairs_fit(ids, noise.draw(DRAWS, 4, (0, 0, 0)), noise.probs)
    # Planted: one pair in twenty repeats its first draw.
    repeated = np.where(np.arange(DRAWS // 2) % 20 == 0, ids[0::2], ids[1::2])
    assert not pairs_fit(ids[0::2], repeated, noise.probs)


def test_sample_takes_one_key_from_the_generator(noise):
    """Oracle: the same key taken by hand; afterwards both generators stand at the same place."""
    rng, twin = np.random.default_rng(5), np.random.default_rng(5)
    key = int(twin.integers(2**64, dtype=np.uint64))
    assert_array_equal(noise.sample(33, rng), noise.draw(33, key, (0, 0, 0)))
    assert rng.integers(2**64, dtype=np.uint64) == twin.integers(2**64, dtype=np.uint64)


def test_nothing_can_be_written_to(noise):
    """Oracle: NumPy's refusal: a q changed in place would no longer be the table's distribution."""
    for array in (noise.probs, noise.log_probs, noise.table.threshold, noise.table.alias):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("counts", "power", "uniform", "message"),
    [
        ([], 1.0, 0.0, "shape"),
        ([[1, 2]], 1.0, 0.0, "shape"),
        (3, 1.0, 0.0, "shape"),
        ([1, -1], 1.0, 0.0, "word 1 is -1"),
        ([1, 2, np.nan], 1.0, 0.0, "word 2 is nan"),
        ([np.inf, 1], 1.0, 0.0, "word 0 is inf"),
        (["a"], 1.0, 0.0, "not numbers"),
        ([1, 2], -0.5, 0.0, "`noise_power` = -0.5"),
        ([1, 2], np.nan, 0.0, "`noise_power` = nan"),
        ([1, 2], np.inf, 0.0, "`noise_power` = inf"),
        ([1, 2], "1", 0.0, "`noise_power` = '1'"),
        ([1, 2], 1.0, -0.1, "`noise_uniform` = -0.1"),
        ([1, 2], 1.0, 1.1, "`noise_uniform` = 1.1"),
        ([1, 2], 1.0, np.nan, "`noise_uniform` = nan"),
        ([1, 1e9], 50.0, 0.0, "leaves word 0 with q = 0"),
    ],
)
def test_bad_input_is_refused(counts, power, uniform, message):
    """Oracle: one line that names the value."""
    with pytest.raises(InputError, match=message) as error:
        NoiseDistribution.from_counts(counts, power, uniform)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("k", [0, -3, 2**31, 1.5])
def test_bad_k_is_refused_before_the_generator_moves(noise, k):
    """Oracle: the message, and the generator's state."""
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=f"`k` = {k} is"):
        noise.sample(k, rng)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
