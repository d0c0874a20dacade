"""Gaps that random mutants found in the tests.  Oracles: settled copies, values by hand, published constants.

One test for each; what is mutated stands in its first line.  The cache folder's name is in test_kernel_cache.py.
"""

import itertools

import numpy as np
import pytest
from conftest import make_chunk, make_model
from numpy.testing import assert_allclose, assert_array_equal

from nplm.config import TrainConfig
from nplm.errors import InputError
from nplm.kernels import dropout as kernels
from nplm.kernels import words
from nplm.layers.dropout import Dropout
from nplm.layers.objective import make_objective
from nplm.layers.row_gradient import sum_by_row
from nplm.network import Plan
from nplm.noise import FreshNoise, NoiseDistribution
from nplm.training.optim import Optimizer, clock_is_possible
from nplm.training.step import Shards

OBJECTIVES = (None, "nce", "ranking", "softmax", "sampled-softmax")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rows_that_lag_are_settled_before_they_are_read(objective, tied):
    """Shards.prepare: which rows, and for no plan.  Oracle: the loss of a copy with all rows settled."""
    size = {"embed": 6} if tied else {}
    model = make_model(np.float64, tied=tied, vocab=31, **size)
    optimizer = Optimizer(model.params, "adam", 1.0, 0.3)
    plan = None if objective is None else Plan(make_objective(objective, 0.0))
    shards = Shards(model, 2)
    for seed in range(4):  # rows begin to lag
        chunk = make_chunk(model, seed=seed, steps=2, batch=3, noise=3)
        shards.prepare(optimizer, chunk.inputs, chunk.targets, chunk.noise_ids, plan)
        shards.update(optimizer, shards.gradient(*chunk, plan), 0.05)
    chunk = make_chunk(model, seed=9, steps=4, batch=5, noise=9)
    settled = model.copy()
    memory = {name: value.copy() for name, value in optimizer.memory.items()}
    optimizer.settle(settled.params)
    for name, value in memory.items():  # as it was: the model itself still lags
        optimizer.memory[name][...] = value
    expected = Shards(settled, 2).gradient(*chunk, plan).loss
    unprepared = Shards(model, 2).gradient(*chunk, plan).loss
    shards.prepare(optimizer, chunk.inputs, chunk.targets, chunk.noise_ids, plan)
    shards.packed = None
    assert shards.gradient(*chunk, plan).loss == pytest.approx(expected, rel=1e-12)
    assert unprepared != pytest.approx(expected, rel=1e-9) or (plan is not None and plan.objective.dense)


def test_descending_ids_are_sorted():
    """row_gradient.sum_by_row: `> 0` to `< 0`.  By hand: ids 5, 3, 1 give rows 1, 3, 5, each with its value."""
    got = sum_by_row(np.array([5, 3, 1], np.int32), np.array([[50.0], [30.0], [10.0]]), 7)
    assert_array_equal(got.rows, [1, 3, 5])
    assert_array_equal(got.values, [[10.0], [30.0], [50.0]])


def test_a_row_that_missed_a_step_of_a_wide_parameter():
    """kernels/optim.replay: `shape[1]` to `shape[0]`.  Oracle: Adam with dense gradients, rows (3) < columns (5)."""
    from nplm.layers.row_gradient import RowGradient

    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(3, 5)), rng.normal(size=(3, 3, 5))
    kept = [[0, 1, 2], [1], [0, 2]]
    by_rows, dense = {"w": start.copy()}, {"w": start.copy()}
    lazy, plain = (Optimizer(p, "adam", np.inf) for p in (by_rows, dense))
    for grad, rows in zip(grads, kept, strict=True):
        part = RowGradient(np.array(rows, np.int32), grad[rows], 3)
        lazy.update(by_rows, {"w": part}, 0.1, 1.0)
        plain.update(dense, {"w": np.asarray(part)}, 0.1, 1.0)
    lazy.settle(by_rows)
    plain.settle(dense)
    assert_allclose(by_rows["w"], dense["w"], rtol=1e-9)


def test_all_masks_differ():
    """layers/dropout: `2**17` to `1**17`.  Oracle: pairs of the masks of all sites and layers, none equal."""
    drop = Dropout(0.5, 0.5, 0.5, False, 1, 1, 4)
    masks = [drop.recurrent_mask(layer, 4, 64, np.float64) for layer in range(3)]
    for site in range(4):
        x = np.ones((1, 4, 64))
        drop.input(x, site)
        masks.append(x[0])
    words = np.ones((64, 4, 64))
    drop.input_words(words, np.arange(256).reshape(64, 4), 1000)
    masks.append(words[:, :, 0].T)
    for a, b in itertools.combinations(masks, 2):
        assert 0.25 < np.mean(a == b) < 0.75


def test_the_hash_is_splitmix64():
    """kernels/dropout: its constants and shifts.  The published first output of SplitMix64 for seed 0: 0xE220A839..."""
    for threshold, kept in ((0xE220A839, 1.0), (0xE220A83A, 0.0)):
        x = np.ones(1)
        kernels.leave_out(x, np.uint64(0), 1, threshold, 1.0)
        assert x[0] == kept
        y = np.ones(1)
        kernels.leave_out_at(y, np.uint64(0), np.array([1], np.uint64), threshold, 1.0)
        assert y[0] == kept


def test_the_defaults_are_those_of_the_plan():
    """`prepare` without a plan is plain NCE, as `gradient` is."""
    assert make_objective(TrainConfig().objective, 0.0).dense == Plan().objective.dense is False


@pytest.mark.parametrize("odd", [b"a\0", b"a </s> b", b"abcdefghij"])
def test_the_first_odd_line_is_told(odd):
    """words.split: a later odd line does not take its place.  Oracle: the lines, by hand."""
    for first in range(3):
        lines = [b"a b"] * first + [odd, b"x\0", b"x </s> y", b"abcdefghijk"]
        text = np.frombuffer(b"\n".join(lines) + b"\n", np.uint8)
        tally = np.zeros(4, np.int64)
        words.split(text, 9, np.zeros((text.size, 2), np.int32), np.zeros(text.size, np.int64), tally)
        assert (tally[words.LINES], tally[words.ODD]) == (len(lines), first)


def test_places_are_counters_of_32_bits():
    """groups._MAX_INDEX: the last place that there is, and the first that there is not."""
    noise = FreshNoise(NoiseDistribution.from_counts(np.array([1, 2, 3])), 4, 1)
    assert noise.group(0, 0, 2**32 - 1).shape == (4,)
    for place, name in enumerate(("epoch", "sequence", "chunk")):
        with pytest.raises(InputError, match=f"^`?{name}"):
            noise.group(*(2**32 if k == place else 0 for k in range(3)))


def words_of(text):
    """Spans, keys and tally of words.split."""
    text = np.frombuffer(text, np.uint8)
    spans, keys, tally = np.zeros((text.size, 2), np.int32), np.zeros(text.size, np.int64), np.zeros(4, np.int64)
    m = words.split(text, 99, spans, keys, tally)
    return spans[:m], keys[:m], tally


def test_the_hash_of_a_word():
    """words.MASK: one bit off.  Oracle: Python's integers, which cannot overflow; 63 bits could, and did."""
    spans, keys, _ = words_of("a bc d\u00e9f ghijklmnop\n".encode())
    for word, key in zip(("a", "bc", "d\u00e9f", "ghijklmnop"), keys.tolist(), strict=False):
        expected = words.BASIS
        for byte in word.encode():
            expected = (expected ^ byte) * words.PRIME % 2**54
        assert key == expected
    assert len(keys) == 5 and spans[4].tolist() == [0, 0]  # the line's end


def test_marks_are_allowed_in_every_line():
    """words.split: `seen` at 1 after a line's end.  By hand: <s> begins both lines, </s> ends them."""
    _, _, tally = words_of(b"<s> a </s>\n<s> b </s>\n")
    assert tally.tolist() == [2, 2, 2, -1]


def test_the_ideographic_space_alone_separates():
    """words.separator: `and` to `or`.  By hand: U+3000 is E3 80 80; U+3001 and U+3040 share two of these bytes each."""
    spans, _, tally = words_of("a\u3000b\u3001c\u3040d\n".encode())
    assert (tally[words.WORDS], len(spans)) == (2, 3)


def test_entries_that_collide_are_placed_one_after_another():
    """words.place_entries: steps of 2, `^` to `|`, the next row.  By hand: slots 3 xor 5, 1, 3 xor 5, 3 and 1 of 8."""
    slots, entries = np.zeros(8, np.int64), np.zeros((5, 3), np.int64)
    entries[:, 0] = [3 + (5 << 29), 1, 3 + (5 << 29), 3, 1]
    words.place_entries(entries, 5, slots)
    assert slots.tolist() == [0, 2, 5, 4, 0, 0, 1, 3]


def test_a_step_that_takes_all_of_a_weight_is_refused():
    """Optimizer.begin: `>=` to `>`.  By hand: lr * decay = 0.5 * 2 leaves nothing of any weight."""
    params = {"w": np.ones((2, 2))}
    optimizer = Optimizer(params, "sgd", 1.0, 2.0)
    with pytest.raises(ValueError, match="must be less than 1"):
        optimizer.begin(params, 0.5)
    assert clock_is_possible({}, "sgd")  # True to False: nothing that counts steps, so nothing impossible


def test_the_smallest_probability_of_noise():
    """NoiseDistribution: `<` to `<=`.  By hand: q = 2**-1022 is the smallest normal number, 2**-1023 is too small."""
    assert NoiseDistribution.from_counts(np.array([2, 1]), power=1022).probs[1] == 2.0**-1022
    with pytest.raises(InputError, match="leaves word 1 with q = 0"):
        NoiseDistribution.from_counts(np.array([2, 1]), power=1023)
