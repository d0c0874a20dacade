"""The embedding layer.  Oracle: reference/embedding.py, and the complex step of its forward."""

import numpy as np
import pytest
from conftest import RTOL, assert_close

from nplm.gradcheck import check
from nplm.layers import embedding
from nplm.reference import embedding as reference_embedding


def case(dtype):
    """inputs (T,B) = (5,3) with a word that occurs often, one never; weight (V,E) = (11,4); dx (T,B,E)."""
    rng = np.random.default_rng(3)
    inputs = rng.integers(0, 10, (5, 3), np.int32)
    inputs[[0, 0, 2, 4], [0, 2, 1, 1]] = 7
    return inputs, rng.normal(size=(11, 4)).astype(dtype), rng.normal(size=(5, 3, 4)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward(dtype):
    """reference.embedding.forward: the same rows, bit for bit."""
    inputs, weight, _ = case(dtype)
    got = embedding.forward(inputs, weight)
    np.testing.assert_array_equal(got, reference_embedding.forward(inputs, weight), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward(dtype):
    """reference.embedding.backward: a word that occurs four times gets all four, one that never does nothing."""
    inputs, weight, dx = case(dtype)
    got = embedding.backward(dx, inputs, weight)
    assert_close(got, reference_embedding.backward(dx, inputs, weight), RTOL[dtype])
    assert got.values.dtype == dtype
    np.testing.assert_array_equal(got.rows, np.unique(inputs))
    assert not np.asarray(got)[10].any()


def test_backward_is_the_complex_step():
    """The complex step of reference.embedding.forward, weighted with a random dx."""
    inputs, weight, dx = case(np.float64)

    def loss(weight):
        return (reference_embedding.forward(inputs, weight) * dx).sum()

    check(loss, weight, np.asarray(embedding.backward(dx, inputs, weight)))
    check(loss, weight, reference_embedding.backward(dx, inputs, weight))
