"""Dropout.  Oracle: the distribution of the masks, the reference given the same masks, and the complex step."""

import numpy as np
import pytest
from conftest import make_chunk, make_model

from nplm.layers.dropout import Dropout
from nplm.network import Plan
from nplm.reference import dropout as reference
from nplm.training.step import Shards

KEYS = {"chunk_key": 2**63 + 5, "sequence_key": 77}


def dropout(rate=0.0, words=0.0, recurrent=0.0, per_step=True, streams=3, **keys):
    """A chunk's dropout."""
    return Dropout(rate, words, recurrent, per_step, streams=streams, **(KEYS | keys))


def mask(what, shape, site=0):
    """The mask (T,B,D) of a site: what becomes of ones."""
    x = np.ones(shape)
    what.input(x, site)
    return x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_distribution(rate):
    """Independent draws: the share left out over all, and over every step, stream and number, within five errors."""
    out = mask(dropout(rate, streams=40), (30, 40, 50)) == 0
    for axes in ((), (0, 1), (0, 2), (1, 2)):
        share = out.mean(axis=axes) if axes else out.mean()
        count = np.prod([out.shape[axis] for axis in axes]) if axes else out.size
        assert np.abs(share - rate).max() < 5.5 * np.sqrt(rate * (1 - rate) / count)
    flat = out.ravel() - rate
    for lag in (1, 50, 2000):  # neighbours in size, stream and time know nothing of each other
        assert abs((flat[:-lag] * flat[lag:]).mean()) < 5 * rate * (1 - rate) / np.sqrt(flat.size)


def test_values_are_scaled():
    """The definition: 0, or x / (1 - p)."""
    x = np.random.default_rng(1).normal(size=(5, 3, 4))
    y = x.copy()
    dropout(0.3).input(y, 1)
    assert set((y == 0).ravel()) == {True, False}
    np.testing.assert_allclose(y[y != 0], x[y != 0] / 0.7, rtol=1e-15)


def test_what_a_mask_depends_on():
    """Equality and difference: key and site change it, nothing else does; Zaremba's changes with the step."""
    shape = (5, 3, 40)
    first = mask(dropout(0.5), shape)
    np.testing.assert_array_equal(first, mask(dropout(0.5), shape))
    others = [dropout(0.5, chunk_key=6), dropout(0.5, chunk_key=KEYS["chunk_key"] - 2**63)]
    assert all((first != mask(other, shape)).any() for other in others)
    assert (first != mask(dropout(0.5), shape, site=1)).any()
    assert (first[0] != first[1]).any() and (first[0, 0] != first[0, 1]).any()
    same = mask(dropout(0.5, sequence_key=1), shape)
    np.testing.assert_array_equal(first, same)


def test_variational_masks_last():
    """Equality: one mask for all steps, of every chunk of the sequence, another for another sequence."""
    shape = (5, 3, 40)
    first = mask(dropout(0.5, per_step=False), shape)
    np.testing.assert_array_equal(first, np.broadcast_to(first[0], shape))
    np.testing.assert_array_equal(first, mask(dropout(0.5, per_step=False, chunk_key=9), shape))
    assert (first != mask(dropout(0.5, per_step=False, sequence_key=9), shape)).any()
    assert (first[0, 0] != first[0, 1]).any()


def test_words():
    """A Python set: a word that is out is out wherever it occurs in its stream, and the other streams decide anew."""
    inputs = np.random.default_rng(2).integers(0, 9, (40, 30))
    x = np.ones((40, 30, 2))
    dropout(words=0.4, streams=30).input_words(x, inputs, 9)
    assert (x[:, :, 0] == x[:, :, 1]).all() and set(np.unique(x)) == {0.0, 1 / 0.6}
    fates = {}
    for t, b in np.ndindex(inputs.shape):
        fates.setdefault((inputs[t, b], b), set()).add(x[t, b, 0])
    assert all(len(fate) == 1 for fate in fates.values())
    out = np.mean([0.0 in fate for fate in fates.values()])
    assert abs(out - 0.4) < 5 * np.sqrt(0.24 / len(fates))


def test_recurrent_mask():
    """The definition: ones at rate 0; one mask a layer and stream."""
    assert (dropout().recurrent_mask(0, 3, 8, np.float32) == 1).all()
    masks = [dropout(recurrent=0.5).recurrent_mask(k, 3, 40, np.float64) for k in (0, 1)]
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert (masks[0] != masks[1]).any() and (masks[0][0] != masks[0][1]).any()


def test_reference():
    """Calculus: the product with a mask, both ways."""
    x, factor = np.random.default_rng(3).normal(size=(2, 4, 5))
    np.testing.assert_array_equal(reference.forward(x, factor), x * factor)
    np.testing.assert_array_equal(reference.backward(x, factor), x * factor)


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("per_step", [True, False])
def test_shards_leave_out_the_same(shards, per_step):
    """The whole chunk at once: loss and every gradient, however the columns are cut."""
    model = make_model()
    chunk = make_chunk(model)
    plan = Plan(dropout=dropout(0.3, 0.2, 0.4, per_step, streams=chunk.inputs.shape[1]))
    loss, grads, _ = model.loss_and_grads(*chunk, plan)
    got = Shards(model, shards).gradient(*chunk, plan)
    assert got.loss == pytest.approx(loss, rel=1e-13)
    for name, grad in grads.items():
        np.testing.assert_allclose(np.asarray(got.grads[name]), np.asarray(grad), rtol=1e-10, atol=1e-13)
