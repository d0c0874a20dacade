"""Row gradients and their kernels.  Oracle: the same on dense arrays, with np.add.at."""

import numpy as np
import pytest
from conftest import RTOL, assert_close

from nplm.kernels import row_gradient as kernels
from nplm.layers import row_gradient as rows
from nplm.layers.row_gradient import RowGradient

DTYPES = [np.float32, np.float64]


def dense_sum(ids, values, num_rows):
    """What the row gradient stands for: (V,D)."""
    total = np.zeros((num_rows, values.shape[1]))
    np.add.at(total, ids, values.astype(np.float64))
    return total


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_by_row(dtype):
    """np.add.at: duplicates are summed, rows ascend, each once."""
    rng = np.random.default_rng(6)
    ids = rng.choice([1, 4, 7, 9], 23).astype(np.int32)
    values = rng.normal(size=(23, 4)).astype(dtype)
    got = rows.sum_by_row(ids, values, 11)
    np.testing.assert_array_equal(got.rows, [1, 4, 7, 9])
    assert got.shape == (11, 4) and got.values.dtype == dtype
    assert_close(got, dense_sum(ids, values, 11), RTOL[dtype])


def test_sum_by_row_keeps_the_order():
    """A Python loop in float32, bit for bit: the order of the sum is the order of the positions."""
    rng = np.random.default_rng(7)
    ids, values = rng.integers(0, 3, 200), rng.normal(size=(200, 2)).astype(np.float32)
    expected = np.zeros((3, 2), np.float32)
    for n in range(200):
        expected[ids[n]] += values[n]
    np.testing.assert_array_equal(np.asarray(rows.sum_by_row(ids, values, 3)), expected, strict=True)


def test_as_array():
    """A dense array filled by hand, of the type asked for; a vector's gradient too."""
    matrix = RowGradient(np.array([1, 3]), np.array([[1.0, 2.0], [3.0, 4.0]]), 5)
    expected = np.array([[0, 0], [1, 2], [0, 0], [3, 4], [0, 0]], float)
    np.testing.assert_array_equal(np.asarray(matrix), expected)
    assert np.asarray(matrix, np.float32).dtype == np.float32
    vector = RowGradient(np.array([0, 2]), np.array([5.0, 6.0]), 4)
    np.testing.assert_array_equal(np.asarray(vector), [5, 0, 6, 0])
    assert vector.shape == (4,)


@pytest.mark.parametrize("width", [(), (3,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_add_row_gradients(dtype, width):
    """The sum of the dense arrays, where the parts share rows, some or none; matrices and vectors."""
    rng = np.random.default_rng(8)
    parts = [
        RowGradient(np.array(places), rng.normal(size=(len(places), *width)).astype(dtype), 11)
        for places in ([1, 4, 7], [4, 7, 9], [0, 10])
    ]
    kept = [part.values.copy() for part in parts]
    got, squares = rows.total(parts)
    assert squares == pytest.approx(float((np.asarray(got, np.float64) ** 2).sum()), rel=1e-5)
    assert isinstance(got, RowGradient)
    np.testing.assert_array_equal(got.rows, [0, 1, 4, 7, 9, 10])
    assert_close(got, sum(np.asarray(part).astype(np.float64) for part in parts), RTOL[dtype])
    for part, before in zip(parts, kept, strict=True):
        np.testing.assert_array_equal(part.values, before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_add_dense_gradients(count):
    """NumPy's sum, made in the first, and the sum of its squares."""
    parts = list(np.random.default_rng(9).normal(size=(count, 70, 80)))
    expected = parts[0].copy()
    for part in parts[1:]:
        expected += part
    got, squares = rows.total(parts)
    np.testing.assert_array_equal(got, expected)
    assert got is parts[0]
    assert squares == pytest.approx((expected**2).sum(), rel=1e-12)


@pytest.mark.parametrize("size", [1, 37, 4096, 4097, 10_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_squares(dtype, size):
    """np.dot in longdouble, across the stretches of 4096."""
    values = np.random.default_rng(10).normal(size=size).astype(dtype)
    wide = values.astype(np.longdouble)
    assert kernels.sum_of_squares(values) == pytest.approx(float(wide @ wide), rel=100 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sum_of_squares_shows_what_is_not_finite(bad):
    """The definition: one entry that is not finite makes the sum so, wherever it stands."""
    for place in (0, 17, 4999):
        values = np.ones(5000, np.float32)
        values[place] = bad
        assert not np.isfinite(kernels.sum_of_squares(values))
