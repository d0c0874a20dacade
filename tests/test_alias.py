"""Oracles: the plain twin reference.alias, q itself, and Random123's published answers for Philox."""

import math

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from nplm.errors import InputError
from nplm.kernels import alias as kernels
from nplm.noise.alias import AliasTable, to_mass
from nplm.reference import alias as reference

LARGE = 20_000 if numba.config.DISABLE_JIT else 1_000_000  # V: plain Python is slow

# counter, key, answer: the file kat_vectors of Random123, philox 4x32 10
KNOWN_ANSWERS = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def shapes():
    """Distributions of several sizes and shapes, by name."""
    rng = np.random.default_rng(0)
    counts = {
        "one word": np.ones(1),
        "two words": np.array([3.0, 1.0]),
        "equal": np.ones(7),
        "one huge count": np.r_[np.ones(400), 1e12, np.ones(600)],
        "half light, half heavy": np.tile([1.0, 1e9], 1500),
        "zipf": 1.0 / np.arange(1, 5001),
        "random": rng.gamma(0.1, size=1023) + 1e-30,
        "zipf, large": 1.0 / rng.permutation(np.arange(1, LARGE + 1)),
        "equal, large": np.ones(LARGE),
        "a third of a grain each": np.r_[np.full(LARGE - 1, 1.0), 0.1],
    }
    found = {name: c / c.sum() for name, c in counts.items()}
    # Rounded up: what is too much may not be taken from a word that has nothing.
    found["sum above 1, first word empty"] = np.r_[1e-300, np.full(9, (1 + 1e-15) / 9)]
    return found


SHAPES = shapes()


@pytest.mark.parametrize("name", SHAPES)
def test_implied_distribution_is_q(name):
    """Oracle: q.  The distribution that the table implies equals it to 1e-14, and the table is in range."""
    probs = SHAPES[name]
    table = AliasTable.from_probs(probs)
    implied = reference.implied_probs(table.threshold, table.alias)
    assert_allclose(implied, probs, rtol=0, atol=1e-14)
    assert table.threshold.min() >= 0.0
    assert table.threshold.max() <= 1.0
    assert table.alias.min() >= 0
    assert table.alias.max() < probs.size


@pytest.mark.parametrize("name", SHAPES)
def test_mass_is_q_to_two_grains(name):
    """Oracle: q and exact sums.  Whole grains, not negative, none lost, none strayed to another word."""
    probs = SHAPES[name]
    mass = to_mass(probs)
    grain = 2.0 ** ((probs.size - 1).bit_length() - 52)
    assert mass.min() >= 0
    assert_array_equal(mass % grain, 0.0)
    assert math.fsum(mass) == probs.size
    error = np.abs(mass / probs.size - probs)
    assert np.delete(error, np.argmax(probs)).max(initial=0.0) < 2.0 * grain / probs.size


def test_the_distribution_is_not_implied_by_a_wrong_table():
    """Planted bugs: thresholds or aliases shifted, a threshold read as its complement, or never below 1."""
    probs = SHAPES["zipf"]
    table = AliasTable.from_probs(probs)
    wrong_tables = [
        (np.roll(table.threshold, 1), table.alias),
        (table.threshold, np.roll(table.alias, 1)),
        (1.0 - table.threshold, table.alias),
        (np.ones_like(table.threshold), table.alias),
    ]
    for threshold, alias in wrong_tables:
        assert np.abs(reference.implied_probs(threshold, alias) - probs).max() > 1e-5


@pytest.mark.parametrize("name", [name for name, probs in SHAPES.items() if probs.size < 6000])
def test_table_is_the_twins_bit_for_bit(name):
    """Oracle: reference.to_grains and reference.vose, in Python's integers."""
    mass, full = reference.to_grains(SHAPES[name])
    threshold, alias = reference.vose(mass, full)
    table = AliasTable.from_probs(SHAPES[name])
    assert_array_equal(to_mass(SHAPES[name]) * full, np.array(mass, np.float64))
    assert_array_equal(table.threshold, threshold)
    assert_array_equal(table.alias, alias)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, answer):
    """Oracle: Random123's published vectors, for the kernel and for the twin."""
    got = kernels.philox(*(np.uint64(word) for word in (*counter, *key)))
    assert tuple(int(word) for word in got) == answer
    assert reference.philox(counter, key) == answer


@pytest.mark.parametrize("k", [1, 2, 101, 2 * kernels._BLOCK + 3])
def test_draws_are_the_twins_bit_for_bit(k):
    """Oracle: reference.draw, at odd and even k, within a block and beyond, with counters of full width."""
    table = AliasTable.from_probs(SHAPES["zipf"])
    key, counter = 0xFEDCBA9876543210, (7, 2**32 - 1, 0x89ABCDEF)
    got = table.draw(k, key, counter)
    assert got.dtype == np.int32
    assert_array_equal(got, reference.draw(table.threshold, table.alias, k, key, counter))


def test_draws_are_the_same_on_every_machine():
    """Oracle: words written down once, from the twin: they must outlive versions, machines and the JIT."""
    table = AliasTable.from_probs(SHAPES["zipf"])
    assert table.draw(6, 1, (2, 3, 4)).tolist() == [0, 1871, 0, 49, 1, 1]


def test_fewer_draws_are_a_prefix():
    """Oracle: a longer draw under the same key."""
    table = AliasTable.from_probs(SHAPES["random"])
    long = table.draw(300, 5, (1, 2, 3))
    for k in (1, 2, 299):
        assert_array_equal(table.draw(k, 5, (1, 2, 3)), long[:k])


def test_every_part_of_the_key_matters():
    """Oracle: counted with a set.  A dropped key word or counter would repeat groups in training."""
    table = AliasTable.from_probs(SHAPES["zipf"])
    places = [(0, (0, 0, 0)), (1, (0, 0, 0)), (2**32, (0, 0, 0))]
    places += [(0, (1, 0, 0)), (0, (0, 1, 0)), (0, (0, 0, 1))]
    assert len({tuple(table.draw(40, key, counter)) for key, counter in places}) == len(places)


def test_look_up_at_the_edges():
    """Oracle: integers by hand.  The place just below a threshold is accepted, the threshold is not."""
    threshold = np.array([0.5, 0.0, 1.0])
    alias = np.array([2, 0, 1], np.int32)
    scratch = np.empty(2, np.int32)

    def word(place, column):
        bits = -(-(column * 2**64 + place) // 3)  # the first number at or above that place
        return int(kernels.look_up(np.uint64(bits), threshold, alias, scratch))

    assert [word(0, 0), word(2**63 - 2**13, 0), word(2**63, 0)] == [0, 0, 2]
    assert [word(0, 1), word(2**64 - 2**13, 1)] == [0, 0]
    assert [word(0, 2), word(2**64 - 2**13, 2)] == [2, 2]
    assert int(kernels.look_up(np.uint64(2**64 - 1), threshold, alias, scratch)) == 2


@pytest.mark.parametrize(
    ("k", "key", "counter", "message"),
    [
        (0, 0, (0, 0, 0), r"`k` = 0 is outside \[1, 2147483647\]"),
        (2**31, 0, (0, 0, 0), "`k` = 2147483648 is outside"),
        (2.0, 0, (0, 0, 0), "`k` = 2.0 is not a whole number"),
        (True, 0, (0, 0, 0), "`k` = True is not a whole number"),
        (1, -1, (0, 0, 0), "`key` = -1 is outside"),
        (1, 2**64, (0, 0, 0), "`key` = 18446744073709551616 is outside"),
        (1, 0, (0, 2**32, 0), "`counter` = 4294967296 is outside"),
        (1, 0, (0, 0), "it needs three"),
    ],
)
def test_bad_draws_are_refused(k, key, counter, message):
    """Oracle: the message names the value and its bound; k = 2**31 is refused before memory is asked for."""
    with pytest.raises(InputError, match=message):
        AliasTable.from_probs(np.array([0.25, 0.75])).draw(k, key, counter)
