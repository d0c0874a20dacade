"""Scalar formulas that LLVM can turn into vector code: exp, log1p, sigmoid, tanh, softplus.

The C library's exp is a call per number, which prevents vectorisation of a loop.  A polynomial is a few
multiply-adds: 0.6 ns per float32, where the call takes 6 (measured on a 2-core AVX-512 machine).

[F1] exp(x)     = 2^n * exp(r)         n = floor(x / ln 2 + 1/2), |r| <= ln(2) / 2, Taylor series in r
[F2] log(1 + e) = 2 artanh(z)          z = e / (2 + e) <= 1/3 for 0 <= e <= 1, odd series in z
[F3] sigmoid(x) = 1 / (1 + exp(-x))
[F4] tanh(x)    = 2 sigmoid(2 x) - 1   absolute error of one rounding, which is what a gate needs
[F5] softplus(x) = max(x, 0) + log(1 + exp(-|x|))

The number of terms depends on the type: float32 and float64 are each accurate to a few roundings.  NaN stays NaN.
Without the JIT the plain functions below run: the same formulas with NumPy's exp and log1p.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, call-overload, no-any-return, misc"

import math

import llvmlite.ir
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from nplm.kernels._jit import njit

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.693359375  # ln 2 in two parts, so that x - n ln 2 loses nothing
LN2_LOW = -2.1219444005469057e-4
INVERSE_FACTORIALS = [1.0 / math.factorial(k) for k in range(15)]


def exp(x: float) -> float:
    """e**x, [F1]; x is held within the range where the result is a normal number."""
    most = 87.0 if isinstance(x, np.float32) else 708.0
    return np.exp(type(x)(min(max(x, -most), most)))


def log1p_unit(e: float) -> float:
    """log(1 + e) for 0 <= e <= 1, [F2]."""
    return type(e)(np.log1p(e))


@intrinsic
def _float_from_bits(typing_context, bits):
    """The float whose IEEE 754 pattern is `bits` (int32 -> float32, int64 -> float64)."""
    to_float64 = bits == types.int64
    result = types.float64 if to_float64 else types.float32

    def generate(context, builder, signature, arguments):
        target = llvmlite.ir.DoubleType() if to_float64 else llvmlite.ir.FloatType()
        return builder.bitcast(arguments[0], target)

    return result(bits), generate


def _exp_for(real, integer, most, bias, mantissa_bits, degree):
    """An implementation of [F1] for one floating-point type."""
    low, high = real(-most), real(most)
    log2_e, half, ln2_high, ln2_low = real(LOG2_E), real(0.5), real(LN2_HIGH), real(LN2_LOW)
    offset, shift = integer(bias), integer(mantissa_bits)
    terms = tuple(real(INVERSE_FACTORIALS[k]) for k in range(degree, -1, -1))  # Horner: highest first

    def implementation(x):
        x = low if x < low else x  # comparisons written so that NaN passes
        x = high if x > high else x
        n = np.floor(x * log2_e + half)
        r = x - n * ln2_high - n * ln2_low
        total = terms[0]
        for k in range(1, len(terms)):
            total = total * r + terms[k]
        return total * _float_from_bits(integer((integer(n) + offset) << shift))  # 2^n, made from its bits

    return implementation


@overload(exp)
def _overload_exp(x):
    if x == types.float32:
        return _exp_for(np.float32, np.int32, 87.0, 127, 23, 7)
    return _exp_for(np.float64, np.int64, 708.0, 1023, 52, 13)


@overload(log1p_unit)
def _overload_log1p_unit(e):
    real = np.float32 if e == types.float32 else np.float64
    terms = tuple(real(2.0 / (2 * k + 1)) for k in range(7 if real is np.float32 else 16, -1, -1))
    two = real(2.0)

    def implementation(e):
        z = e / (two + e)
        square = z * z
        total = terms[0]
        for k in range(1, len(terms)):
            total = total * square + terms[k]
        return total * z

    return implementation


@njit(inline=True)
def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), [F3]."""
    one = type(x)(1.0)
    return one / (one + exp(-x))


@njit(inline=True)
def tanh(x: float) -> float:
    """Hyperbolic tangent, [F4]."""
    one, two = type(x)(1.0), type(x)(2.0)
    return two / (one + exp(-two * x)) - one


@njit(inline=True)
def softplus(x: float) -> float:
    """log(1 + exp(x)), [F5]."""
    e = exp(-abs(x))
    return max(x, type(x)(0.0)) + log1p_unit(e)
