"""Stratified draws.  Oracle: reference/strata.py, in exact fractions, and counts over every shift and stratum."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from nplm.config import TrainConfig
from nplm.errors import InputError
from nplm.noise import FreshNoise, NoiseDistribution, NoisePool, make_noise, strata, stream_key
from nplm.reference import strata as reference

COUNTS = [64, 40, 9, 7, 3, 2, 1, 1, 1]  # of 128: sums that float64 holds exactly
Q = NoiseDistribution.from_counts(COUNTS)
EXACT = [Fraction(count, 128) for count in COUNTS]
K, KEYS = 5, (2**63 + 5, 12345)


@pytest.mark.parametrize(("groups", "k"), [(1, 7), (2, 5), (3, 4), (8, 6), (13, 3)])
def test_draws(groups, k):
    """reference.strata: every word of every group, in exact fractions, for several pools."""
    a = strata.multiplier(groups)
    for pool in itertools.product((0, 3), (0, 2**32 - 1)):
        for group in range(groups):
            got = strata.draw(Q.cumulated, k, KEYS, (group, *pool), groups)
            assert (got.dtype, got.shape) == (np.int32, (k,))
            assert got.tolist() == reference.draw(EXACT, k, KEYS, (group, *pool), groups, a)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 7, 8, 30, 32, 64, 100])
def test_the_multiplier_deals_every_stratum_once(groups):
    """The definition: i = a (g - r) mod M is a permutation of the groups; neighbouring strata lie b apart in time."""
    a = strata.multiplier(groups)
    for r in {0, 1, groups - 1}:
        assert sorted(a * (g - r) % groups for g in range(groups)) == list(range(groups))
    group_of = {a * g % groups: g for g in range(groups)}
    apart = {(group_of[(i + 1) % groups] - group_of[i]) % groups for i in range(groups)}
    assert len(apart) == 1
    if groups > 4:
        assert 0.5 < apart.pop() / groups < 0.75


@pytest.mark.parametrize("groups", range(3, 70))
def test_the_multiplier_is_nearest_to_the_golden_section(groups):
    """The definition, by trying every number: the inverse of `a` is coprime to M, and none that is lies nearer."""
    coprime = [b for b in range(1, groups) if math.gcd(b, groups) == 1]
    distance = {b: abs(b - round(0.6180339887 * groups)) for b in coprime}
    assert distance[pow(strata.multiplier(groups), -1, groups)] == min(distance.values())


def test_expected_counts_are_those_of_independent_draws():
    """[Z9] by enumeration of every shift: a group's expected count of word w is K q(w), in exact fractions."""
    for groups, k in ((1, 5), (3, 4), (4, 2)):
        a = strata.multiplier(groups)
        for group in range(groups):
            expected = [Fraction(0)] * len(EXACT)
            for j, r in itertools.product(range(k), range(groups)):
                part = reference.share(EXACT, j * groups + a * (group - r) % groups, groups, k)
                expected = [total + p / groups for total, p in zip(expected, part, strict=True)]
            assert expected == [k * q for q in EXACT]


@pytest.mark.parametrize("make", ["fresh", "pool"])
def test_counts_are_nearly_those_expected(make):
    """[Z8]: a word that spans n whole strata is drawn n times, or up to 2 more for those that it shares."""
    for sequence in range(50):
        if make == "fresh":
            total, draws = FreshNoise(Q, K, 1, "stratified").group(0, sequence, 3), K
        else:
            total, draws = pool(7).pool(0, sequence), 7 * K
        counts = np.bincount(total.ravel(), minlength=len(COUNTS))
        assert counts.sum() == draws
        assert np.abs(counts - draws * Q.probs).max() < 2


def pool(groups, chunks=14, redraw="sequence"):
    """A pool whose draws are stratified."""
    return NoisePool(Q, K, 1, groups, chunks, redraw=redraw, draw="stratified")


def test_means_over_many_groups_are_q():
    """K q(w), to five standard errors of independent draws, for a group in the middle of its pool."""
    found = Counter(np.concatenate([pool(7).group(0, s, 6) for s in range(2000)]).tolist())
    for word, q in enumerate(Q.probs):
        assert abs(found[word] - 2000 * K * q) < 5 * np.sqrt(2000 * K * q)


def test_a_group_of_a_pool_depends_on_the_others():
    """Variance of sums: M groups dealt together vary less than M fresh ones, each stratified by itself."""
    word, together, alone = 2, [], []
    for s in range(400):
        together.append((pool(7).pool(0, s) == word).sum())
        alone.append(sum((FreshNoise(Q, K, 1, "stratified").group(0, s, n) == word).sum() for n in range(7)))
    assert np.var(together) < 0.5 < np.var(alone)  # at most two shared strata; 7 K q (1 - K q) = 1.6


def test_groups_are_functions_of_their_place():
    """The draw by hand, in any order; redrawn when they should be."""
    keys = stream_key(1, "noise"), stream_key(1, "strata")
    by_hand = strata.draw(Q.cumulated, K, keys, (3, 9, 2), 7)
    assert_array_equal(pool(7).group(2, 9, 6), by_hand)
    assert_array_equal(FreshNoise(Q, K, 1, "stratified").group(2, 9, 6), strata.draw(Q.cumulated, K, keys, (6, 9, 2)))
    places = list(itertools.product(range(2), range(3), range(14)))
    forward = [tuple(pool(7).group(*place)) for place in places]
    assert [tuple(pool(7).group(*place)) for place in reversed(places)] == forward[::-1]
    for redraw, rounds in (("epoch", 2), ("never", 1)):
        assert (
            len({pool(7, redraw=redraw).pool(*place).tobytes() for place in itertools.product((0, 1), (0, 1))})
            == rounds
        )


def test_make_noise_takes_the_draw_from_the_settings():
    """Objects made by hand."""
    config = TrainConfig(sequence_length=140, bptt=10, num_noise=K, noise_draw="stratified")
    assert make_noise(Q, config, 4) == FreshNoise(Q, K, 4, "stratified")
    pooled = TrainConfig(
        sequence_length=140, bptt=10, num_noise=K, noise="pool", noise_groups=7, noise_draw="stratified"
    )
    assert make_noise(Q, pooled, 1) == pool(7)


def test_the_sums_may_end_below_one():
    """Planted bug: a draw beyond the last sum gets an id outside the vocabulary."""
    sums = np.array([0.25, 0.5])  # a float64 sum of q is rarely off by so much
    words = strata.draw(sums, 8, KEYS, (0, 0, 0))
    assert words.max() == 1


def test_another_draw_is_refused():
    """The message."""
    for make in (lambda: FreshNoise(Q, K, 1, "sorted"), lambda: NoisePool(Q, K, 1, 2, 4, draw="sorted")):
        with pytest.raises(InputError, match="`noise_draw` = 'sorted' is not one of independent, stratified"):
            make()
