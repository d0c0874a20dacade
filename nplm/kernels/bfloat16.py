"""bfloat16: the upper half of a float32, with 8 significant bits and float32's range; two of them share a uint32.

[U1] q(x) = x rounded to 8 significant bits, to nearest, ties to even         NaN stays NaN, inf stays inf

Only operands of products are rounded: sums, states and parameters stay float32.  A pair holds two neighbours along
the depth k of a product, the earlier one in the lower half; the depth is padded with zero to be even.

    rows[m, k]        = (q(left[m, 2k]), q(left[m, 2k + 1]))                      a left operand (M,K), (M,ceil(K/2))
    panels[p, k, j]   = (q(right[2k, pW + j]), q(right[2k + 1, pW + j]))          a right operand (K,N), W = WIDTH

In memory, `rows` is simply the bfloat16 matrix, viewed as pairs.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return, call-arg, misc, var-annotated"

import llvmlite.ir
import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from nplm.kernels._jit import njit
from nplm.kernels.tile import VECTOR_BYTES

HALF, LAST = np.uint32(0x7FFF), np.uint32(1)  # rounding to nearest: half a unit less one, and one more if odd
ABSOLUTE, INFINITY, QUIET = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000), np.uint32(0x400000)
SIXTEEN = np.uint32(16)
WIDTH = VECTOR_BYTES // 2  # of a panel: two vectors of pairs, as of float32


def _bits(x):
    """The IEEE 754 pattern of float32 x, a number, or without the JIT an array, as uint32."""
    return np.asarray(x, np.float32).view(np.uint32)


@intrinsic
def _bitcast(typing_context, x):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], llvmlite.ir.IntType(32))

    return types.uint32(types.float32), generate


@overload(_bits)
def _overload_bits(x):
    return lambda x: _bitcast(x)


@njit(inline=True)
def _rounded(x):
    """[U1] as the uint16 of its pattern."""
    bits = _bits(x)
    # a NaN is cut off, its first bit set: rounded like a number it could become inf, or zero
    nan = np.uint32(np.uint32(bits & ABSOLUTE) > INFINITY)
    nearest = np.uint32(bits + (HALF + ((bits >> SIXTEEN) & LAST)) * (LAST - nan))
    return np.uint16((nearest | (nan * QUIET)) >> SIXTEEN)


@njit()
def _round_row(values: np.ndarray, out: np.ndarray) -> None:
    """[U1] of values (K,), and zero up to the end of out (K or K + 1,), uint16."""
    for j in range(values.size):
        out[j] = _rounded(values[j])
    for j in range(values.size, out.size):
        out[j] = 0


def round_rows(values: np.ndarray, out_rows: np.ndarray) -> None:
    """Rows (M,ceil(K/2)) of pairs of values (M,K); nothing where the rows are the values themselves, not rounded."""
    for m in range(len(values) if out_rows.dtype == np.uint32 else 0):
        _round_row(values[m], out_rows.view(np.uint16)[m])


@overload(round_rows)
def _overload_round_rows(values, out_rows):
    if out_rows.dtype != types.uint32:
        return lambda values, out_rows: None

    def implementation(values, out_rows):
        halves = out_rows.view(np.uint16)
        for m in range(values.shape[0]):
            _round_row(values[m], halves[m])

    return implementation


@njit()
def write_rows(values: np.ndarray, out_rows: np.ndarray) -> None:
    """`round_rows`, to be called from outside."""
    round_rows(values, out_rows)


@njit()
def _interleave(low: np.ndarray, high: np.ndarray, columns: int, panels: np.ndarray, k: int) -> None:
    """Row k of all panels from two rows of bfloat16 (N or more,), uint16, padded with zeros."""
    for p in range(panels.shape[0]):
        out, first = panels[p, k], p * WIDTH
        if first + WIDTH <= columns:
            for j in range(WIDTH):  # a constant: the loop becomes two vectors
                out[j] = np.uint32(low[first + j]) | (np.uint32(high[first + j]) << SIXTEEN)
        else:
            for j in range(columns - first):
                out[j] = np.uint32(low[first + j]) | (np.uint32(high[first + j]) << SIXTEEN)
            out[columns - first :] = 0


@njit()
def pair_rows(rows: np.ndarray, columns: int, panels: np.ndarray) -> None:
    """Panels of a right operand (K,N) that is bfloat16 already: `rows` (K,ceil(N/2))."""
    halves = rows.view(np.uint16)
    depth, zeros = halves.shape[0], np.zeros(halves.shape[1], np.uint16)
    for k in range(panels.shape[1]):
        high = halves[2 * k + 1] if 2 * k + 1 < depth else zeros
        _interleave(halves[2 * k], high, columns, panels, k)


@njit()
def _round_block(weight: np.ndarray, start: int, out: np.ndarray) -> None:
    """WIDTH rows of weight (M,K) from `start`, rounded, as out (WIDTH,ceil(K/2)); zero below the last."""
    halves, valid = out.view(np.uint16), min(WIDTH, len(weight) - start)
    for m in range(valid):
        _round_row(weight[start + m], halves[m])
    out[valid:] = 0


@njit()
def _pack_rows(block: np.ndarray, start: int, columns: int, panels: np.ndarray) -> None:
    """The part of panels of a right operand (K,N) that comes from its rows `start` on, in a block (WIDTH,ceil(N/2))."""
    halves = block.view(np.uint16)
    for m in range(0, min(WIDTH, 2 * panels.shape[1] - start), 2):
        _interleave(halves[m], halves[m + 1], columns, panels, (start + m) // 2)


@njit()
def _transpose(block: np.ndarray, panel: np.ndarray) -> None:
    """A panel (K/2,W) from a block (W,K/2) of the right operand's transpose."""
    for k in range(panel.shape[0]):
        for j in range(WIDTH):
            panel[k, j] = block[j, k]


@njit()
def pack(right: np.ndarray, panels: np.ndarray) -> None:
    """Panels of a right operand (K,N) in float32, C-contiguous."""
    block = np.zeros((WIDTH, (right.shape[1] + 1) // 2), np.uint32)
    for start in range(0, len(right), WIDTH):
        _round_block(right, start, block)
        _pack_rows(block, start, right.shape[1], panels)


@njit()
def pack_transposed(right: np.ndarray, panels: np.ndarray) -> None:
    """Panels of the right operand whose transpose (N,K) in float32, C-contiguous, is given."""
    block = np.zeros((WIDTH, panels.shape[1]), np.uint32)
    for p in range(panels.shape[0]):
        _round_block(right, p * WIDTH, block)
        _transpose(block, panels[p])


@njit()
def pack_both(weight: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> None:
    """`pack_transposed` and `pack` of one weight (M,K), which is read and rounded once."""
    block = np.zeros((WIDTH, forward.shape[1]), np.uint32)
    for p in range(forward.shape[0]):
        _round_block(weight, p * WIDTH, block)
        _transpose(block, forward[p])
        _pack_rows(block, p * WIDTH, weight.shape[1], backward)


if getattr(numba.config, "DISABLE_JIT", False):

    def _round_row(values, out):
        """The same, by NumPy."""
        out[: values.size] = _rounded(values)
        out[values.size :] = 0
