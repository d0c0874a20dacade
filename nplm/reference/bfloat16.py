"""bfloat16, as defined: rounding by arithmetic on the number, and a product of rounded operands.

[U1] q(x) = x rounded to 8 significant bits, to nearest, ties to even: the multiple of u nearest to x, where
     u = 2^(e - 8) for 2^(e-1) <= |x| < 2^e, and not less than 2^-133
"""

import numpy as np

LARGEST = (2 - 2**-7) * 2.0**127  # the next one would be inf


def q(x):
    """[U1]; NaN and inf are not changed."""
    x = np.asarray(x, np.float64)
    finite = np.where(np.isfinite(x), x, 1.0)
    _, e = np.frexp(finite)
    u = np.ldexp(1.0, np.maximum(e, -125) - 8)
    rounded = np.rint(finite / u) * u  # rint: ties to even
    rounded = np.where(np.abs(rounded) > LARGEST, np.copysign(np.inf, rounded), rounded)
    return np.where(np.isfinite(x), rounded, x)


def product(left, right):
    """q(left) @ q(right): the products of bfloat16 numbers are exact in float64, the sums nearly."""
    return q(left) @ q(right)
