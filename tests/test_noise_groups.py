"""Oracles: the claims' own words (fresh: 2, pool: 3), counted with sets; statistics by brute force."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from nplm.config import TrainConfig
from nplm.errors import InputError
from nplm.noise import FreshNoise, NoiseDistribution, NoisePool, group_statistics, make_noise, stream_key

Q = NoiseDistribution.from_counts(1000 // np.arange(1, 301))
K = 24
M, N = 3, 7
PLACES = list(itertools.product(range(2), range(3), range(N)))  # (epoch, sequence, chunk)


def pool(group_map="contiguous", redraw="sequence", *, seed=1, groups=M, chunks=N):
    """A pool of M groups for N chunks."""
    return NoisePool(Q, K, seed, groups=groups, chunks=chunks, group_map=group_map, redraw=redraw)


def words(noise, *place):
    """A group as a tuple, which a set can hold."""
    return tuple(noise.group(*place).tolist())


def test_fresh_groups_are_all_different():
    """Oracle: claim 2, counted: as many groups as (epoch, sequence, chunk); another seed has others."""
    groups = {words(FreshNoise(Q, K, seed), *place) for seed in (1, 2) for place in PLACES}
    assert len(groups) == 2 * len(PLACES)


def test_a_group_is_k_ids():
    """Oracle: shape, type and range."""
    for noise in (FreshNoise(Q, K, 1), pool()):
        group = noise.group(1, 2, 3)
        assert group.shape == (K,)
        assert group.dtype == np.int32
        assert group.min() >= 0
        assert group.max() < 300


@pytest.mark.parametrize(("groups", "chunks"), [(2, 2), (3, 7), (5, 8), (7, 7)])
def test_contiguous_map_is_one_run_of_chunks_for_each_group(groups, chunks):
    """Oracle: claim 3, counted: M different groups, M runs, sizes that differ by at most one."""
    noise = pool(groups=groups, chunks=chunks)
    runs = [list(run) for _, run in itertools.groupby(words(noise, 0, 0, n) for n in range(chunks))]
    assert len(runs) == groups
    assert len({run[0] for run in runs}) == groups
    sizes = [len(run) for run in runs]
    assert max(sizes) - min(sizes) <= 1


def test_cyclic_map_takes_the_groups_in_turn():
    """Oracle: claim 3, counted: chunk n has the group of chunk n + M, and the first M are all different."""
    noise = pool("cyclic")
    row = [words(noise, 0, 0, n) for n in range(N)]
    assert len(set(row[:M])) == M
    assert row[M:] == row[:-M]


@pytest.mark.parametrize(
    ("redraw", "rounds"), [("sequence", 6), ("epoch", 2), ("never", 1)], ids=["sequence", "epoch", "never"]
)
@pytest.mark.parametrize("group_map", ["contiguous", "cyclic"])
def test_pool_is_redrawn_when_told(group_map, redraw, rounds):
    """Oracle: counted: M groups a round, over 2 epochs of 3 sequences."""
    noise = pool(group_map, redraw)
    assert len({words(noise, *place) for place in PLACES}) == M * rounds


def test_pool_drawn_ahead_is_what_the_chunks_get():
    """Oracle: group by group: the pool of a round holds the chunks' groups, each one used."""
    for group_map in ("contiguous", "cyclic"):
        noise = pool(group_map)
        ahead = noise.pool(1, 2)
        assert ahead.shape == (M, K)
        for n in range(N):
            assert_array_equal(noise.group(1, 2, n), ahead[noise.group_of(n)])
        assert {noise.group_of(n) for n in range(N)} == set(range(M))


@pytest.mark.parametrize("make", [lambda: FreshNoise(Q, K, 9), pool, lambda: pool("cyclic", "epoch")])
def test_order_of_calls_does_not_matter(make):
    """Oracle: the groups in order.  Another object, called backwards and twice (as if resumed), has the same."""
    forward = [words(make(), *place) for place in PLACES]
    noise = make()
    backward = [words(noise, *place) for place in [*reversed(PLACES), *reversed(PLACES)]]
    assert backward == [*reversed(forward), *reversed(forward)]


def test_changing_a_returned_group_changes_no_other():
    """Planted bug: a cache that hands out its own array."""
    noise = pool()
    before = words(noise, 0, 0, 0)
    noise.group(0, 0, 0)[:] = 0
    assert words(noise, 0, 0, 0) == before


def test_words_of_groups_follow_q():
    """Oracle: q: over many groups, the mean count of the likeliest word is K * q to five standard errors."""
    noise = FreshNoise(Q, K, 3)
    hits = sum(words(noise, 0, s, n).count(0) for s in range(40) for n in range(N))
    draws = 40 * N * K
    q = Q.probs[0]
    assert abs(hits - draws * q) < 5 * np.sqrt(draws * q * (1 - q))


def test_stream_keys_are_apart():
    """Oracle: counted: seeds and purposes, among them those whose bytes would run together if just joined."""
    seeds = [0, 1, 2, 2**32, 2**32 + 1, ord("n") * 2**32, 2**63 - 1]
    keys = {stream_key(seed, purpose) for seed in seeds for purpose in ("", "n", "noise", "oise", "init", "n\0")}
    assert len(keys) == len(seeds) * 6
    assert all(0 <= key < 2**64 for key in keys)


def test_groups_use_the_noise_stream():
    """Oracle: the draw by hand; and a key written down here once, because saved runs are resumed with it."""
    assert stream_key(1, "noise") == 11703650895111642779
    by_hand = Q.draw(K, stream_key(1, "noise"), (6, 2, 1))
    assert_array_equal(FreshNoise(Q, K, 1).group(epoch=1, sequence=2, chunk=6), by_hand)


def test_make_noise_follows_the_config():
    """Oracle: objects made by hand."""
    fresh = TrainConfig(sequence_length=140, bptt=20, num_noise=K)
    assert make_noise(Q, fresh, 4) == FreshNoise(Q, K, 4)
    pooled = TrainConfig(
        sequence_length=133, bptt=20, num_noise=K, noise="pool", noise_groups=M, group_map="cyclic", redraw="epoch"
    )
    assert make_noise(Q, pooled, 4) == pool("cyclic", "epoch", seed=4)


def test_the_pool_of_a_baseline_is_one_group():
    """Oracle: counted: M = 1 is the first group of a pool of the same seed, at every chunk; N = 1 has no other."""
    one = NoisePool(Q, K, 1, groups=1, chunks=N, baseline=True)
    assert {words(one, 0, 2, n) for n in range(N)} == {words(pool(), 0, 2, 0)}
    assert words(NoisePool(Q, K, 1, groups=1, chunks=1, baseline=True), 0, 2, 0) == words(one, 0, 2, 0)


def test_statistics_by_brute_force():
    """Oracle: sets and loops over pairs."""
    groups = [words(FreshNoise(Q, K, 1), 0, 0, n) for n in range(5)]
    sets = [set(group) for group in groups]
    shares = [len(a & b) / len(a) for a, b in itertools.permutations(sets, 2)]
    seen = set.union(*sets)
    got = group_statistics(groups, Q.probs)
    assert_allclose(got.distinct, np.mean([len(s) for s in sets]), rtol=1e-14)
    assert_allclose(got.overlap, np.mean(shares), rtol=1e-14)
    assert_allclose(got.uncovered_mass, sum(q for w, q in enumerate(Q.probs) if w not in seen), rtol=1e-12)
    assert 0 < got.overlap < 1
    assert got.distinct < K


def test_statistics_of_plain_cases():
    """Oracle: by hand: alike, disjoint, alone, and every word covered."""
    probs = np.array([0.5, 0.25, 0.25])
    assert group_statistics([[0, 0, 1], [1, 0]], probs).overlap == 1.0
    assert group_statistics([[0, 0], [1, 2]], probs).overlap == 0.0
    alone = group_statistics([[0, 0]], probs)
    assert (alone.distinct, alone.overlap, alone.uncovered_mass) == (1.0, 0.0, 0.5)
    assert group_statistics([[0, 1], [2]], probs).uncovered_mass == 0.0


def test_statistics_refuse_what_they_cannot_measure():
    """Oracle: the message."""
    probs = np.full(4, 0.25)
    for groups in ([], [[0], []]):
        with pytest.raises(InputError, match="there are no noise groups to measure"):
            group_statistics(groups, probs)
    for bad in (-1, 4):
        with pytest.raises(InputError, match=rf"noise id {bad} is outside the vocabulary \[0, 4\)"):
            group_statistics([[0, bad]], probs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FreshNoise(Q, 0, 1), r"`num_noise` = 0 is outside \[1, 1048576\]"),
        (lambda: FreshNoise(Q, 2**20 + 1, 1), "`num_noise` = 1048577 is outside"),
        (lambda: FreshNoise(Q, K, -1), "`seed` = -1 is outside"),
        (lambda: NoisePool(Q, 0, 1, groups=M, chunks=N), "`num_noise` = 0 is outside"),
        (lambda: pool(groups=1), "`noise_groups` = 1 is outside"),
        (lambda: pool(groups=N + 1), "`noise_groups` = 8 is more than the N = 7 chunks"),
        (lambda: pool(groups=2, chunks=1), "`chunks` = 1 is outside"),
        (lambda: NoisePool(Q, K, 1, groups=0, chunks=N, baseline=True), "`noise_groups` = 0 is outside"),
        (lambda: NoisePool(Q, K, 1, groups=2, chunks=1, baseline=True), "`noise_groups` = 2 is more than the N = 1"),
        (lambda: pool("zigzag"), "`group_map` = 'zigzag' is not one of"),
        (lambda: pool(redraw="daily"), "`redraw` = 'daily' is not one of"),
        (lambda: FreshNoise(Q, K, 1).group(-1, 0, 0), "`epoch` = -1 is outside"),
        (lambda: FreshNoise(Q, K, 1).group(0, -1, 0), "`sequence` = -1 is outside"),
        (lambda: FreshNoise(Q, K, 1).group(0, 0, -1), "`chunk` = -1 is outside"),
        (lambda: pool("cyclic").group(0, 0, -1), "`chunk` = -1 is outside"),
        (lambda: pool().group(0, 0, N), r"`chunk` = 7 is outside \[0, 6\]"),
        (lambda: pool().pool(0, -2), "`sequence` = -2 is outside"),
    ],
)
def test_bad_input_is_refused(make, message):
    """Oracle: one line that names the value and its bound."""
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
