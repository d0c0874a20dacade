"""The gradient check itself.  Oracle: a polynomial's derivative."""

import numpy as np
import pytest

from nplm.gradcheck import complex_step, relative_error


@pytest.mark.parametrize("order", ["C", "F"])
def test_complex_step(order):
    """d/dx of sum x^3 / 3 is x^2, whatever the order of the entries in memory."""
    x = np.asarray(np.random.default_rng(1).normal(size=(3, 4)), order=order)
    got = complex_step(lambda params: (params["x"] ** 3).sum() / 3, {"x": x})["x"]
    np.testing.assert_allclose(got, x**2, rtol=1e-14)


def test_relative_error():
    """By hand: over the largest expected entry; infinite where an entry is not finite; shapes must agree."""
    assert relative_error([1.0, 2.5], [1.0, 2.0]) == 0.25
    assert relative_error([0.5], [0.0]) == 0.5
    for got, expected in (([np.nan], [1.0]), ([1.0], [np.inf]), ([np.inf], [np.inf])):
        assert relative_error(got, expected) == np.inf
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error([1.0], [[1.0]])
