"""The elementary formulas of the kernels.  Oracle: NumPy in extended precision (np.longdouble)."""

import numpy as np
import pytest

from nplm.kernels import elementary
from nplm.kernels._jit import njit

DTYPES = [np.float32, np.float64]


@njit()
def _exp(x, out):
    for j in range(x.size):
        out[j] = elementary.exp(x[j])


@njit()
def _log1p_unit(x, out):
    for j in range(x.size):
        out[j] = elementary.log1p_unit(x[j])


@njit()
def _sigmoid(x, out):
    for j in range(x.size):
        out[j] = elementary.sigmoid(x[j])


@njit()
def _tanh(x, out):
    for j in range(x.size):
        out[j] = elementary.tanh(x[j])


@njit()
def _softplus(x, out):
    for j in range(x.size):
        out[j] = elementary.softplus(x[j])


def apply(loop, x, dtype):
    """The formula on every entry of x, which is rounded to dtype first; both as extended precision."""
    x = np.asarray(x, dtype)
    out = np.empty_like(x)
    loop(x, out)
    return out.astype(np.longdouble), x.astype(np.longdouble)


def points(dtype):
    """Where exp is a normal number: a grid, its finer middle, and tiny numbers of both signs."""
    most = 86.0 if dtype is np.float32 else 707.0
    tiny = np.logspace(-30, -1, 59)
    return np.concatenate([np.linspace(-most, most, 1501), np.linspace(-3, 3, 1001), tiny, -tiny, [0.0]])


def roundings(got, expected, dtype):
    """Largest relative error in units of the type's rounding, 2^-24 or 2^-53."""
    return float(np.max(np.abs(got - expected) / np.abs(expected)) / (np.finfo(dtype).eps / 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp(dtype):
    """np.longdouble: three roundings everywhere between the limits."""
    got, x = apply(_exp, points(dtype), dtype)
    assert roundings(got, np.exp(x), dtype) < 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_unit(dtype):
    """np.longdouble: a few roundings for 0 < e <= 1, tiny ones included."""
    got, e = apply(_log1p_unit, np.concatenate([np.linspace(0.001, 1, 999), np.logspace(-30, -3, 99)]), dtype)
    assert roundings(got, np.log1p(e), dtype) < 5
    assert apply(_log1p_unit, [0.0], dtype)[0][0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid(dtype):
    """np.longdouble: a few roundings, relative, even where the value is 1e-37."""
    got, x = apply(_sigmoid, points(dtype), dtype)
    assert roundings(got, 1 / (1 + np.exp(-x)), dtype) < 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh(dtype):
    """np.longdouble: an absolute error of a few roundings of 1, and never beyond -1 and 1."""
    got, x = apply(_tanh, points(dtype), dtype)
    assert float(np.max(np.abs(got - np.tanh(x)))) < 2 * np.finfo(dtype).eps
    assert np.all(np.abs(got) <= 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softplus(dtype):
    """np.longdouble: a few roundings, relative, on both sides."""
    got, x = apply(_softplus, points(dtype), dtype)
    assert roundings(got, np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), dtype) < 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loop", [_exp, _log1p_unit, _sigmoid, _tanh, _softplus])
def test_nan_stays_nan(loop, dtype):
    """The definition: what is not a number has no value, in every lane of a vector and in the rest."""
    x = np.full(37, 0.5)
    x[[0, 5, 17, 36]] = np.nan
    got, x = apply(loop, x, dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("far", [1e3, 1e30, np.inf])
def test_far_out(far, dtype):
    """The limits of the functions: saturated within the smallest normal number, never NaN."""
    small = 100 * np.finfo(dtype).tiny
    x = [far, -far]
    sigmoid, tanh, softplus, exp = (apply(loop, x, dtype)[0] for loop in (_sigmoid, _tanh, _softplus, _exp))
    assert sigmoid[0] == 1 and 0 <= sigmoid[1] < small
    assert tanh[0] == 1 and tanh[1] == -1
    assert softplus[0] == dtype(far) and 0 <= softplus[1] < small
    assert exp[0] > 0.001 * np.finfo(dtype).max and 0 <= exp[1] < small


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_least_and_the_greatest_result_are_normal_numbers(dtype):
    """np.finfo: what lies beyond the range is no subnormal number, with which processors are slow, and not inf."""
    least, greatest = apply(_exp, [-1e4, 1e4], dtype)[0]
    assert np.finfo(dtype).tiny <= least < greatest <= np.finfo(dtype).max


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_keep_their_type(dtype):
    """The argument's type: the plain formulas, which run without the JIT, widen nothing either."""
    assert np.asarray(elementary.exp(dtype(0.3))).dtype == dtype
    assert np.asarray(elementary.log1p_unit(dtype(0.3))).dtype == dtype
