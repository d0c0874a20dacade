"""Log-sum-exp over the vocabulary, in rows that become their own gradient, or block by block.

[S2] log Z = m + log sum_w exp(s_w - m), with m and the sum updated as blocks of words come by.

In blocks, a row of V scores never has to exist at once; for training it does, since its gradient is needed.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return, misc, call-arg"

from typing import Any

import llvmlite.ir
import numpy as np
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, overload

from nplm.kernels._jit import njit
from nplm.kernels.elementary import exp


def larger(x: float, y: float) -> float:
    """The larger of two numbers, NaN if one is: a maximum that LLVM can take lane by lane.

    A comparison promises nothing about NaN and -0, so a row's maximum stayed a loop of single numbers: 5.4 ms for
    4 million float32 where this takes 0.8 (measured).
    """
    return x if x > y or x != x else y


@intrinsic
def _llvm_maximum(typing_context, x, y):
    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        name = f"llvm.maximum.{'f32' if isinstance(kind, llvmlite.ir.FloatType) else 'f64'}"
        function = get_or_insert_function(builder.module, llvmlite.ir.FunctionType(kind, [kind, kind]), name)
        return builder.call(function, arguments)

    return x(x, x), generate


@overload(larger)
def _overload_larger(x, y):
    return lambda x, y: _llvm_maximum(x, y)


@njit()
def _row_maximum(scores: np.ndarray) -> Any:
    """The largest of scores (v,)."""
    best = scores[0]
    for w in range(scores.size):
        best = larger(best, scores[w])
    return best


@njit()
def _row_sum_exp(scores: np.ndarray, maximum: float) -> Any:
    total = scores.dtype.type(0.0)
    for w in range(scores.size):
        total += exp(scores[w] - maximum)
    return total


@njit()
def accumulate(scores: np.ndarray, out_maximum: np.ndarray, out_sum: np.ndarray) -> None:
    """Adds a block of scores (n,v) to the running maximum (n,) and the running sum (n,) float64 of [S2]."""
    for n in range(scores.shape[0]):
        block_maximum = max(_row_maximum(scores[n]), out_maximum[n])
        rescaled = out_sum[n] * np.exp(np.float64(out_maximum[n]) - np.float64(block_maximum))
        out_sum[n] = rescaled + _row_sum_exp(scores[n], block_maximum)
        out_maximum[n] = block_maximum


@njit()
def _add_and_maximum(bias: np.ndarray, scores: np.ndarray) -> Any:
    """The largest of scores (V,) after bias (V,) is added to them."""
    best = scores[0] + bias[0]
    for w in range(scores.size):
        score = scores[w] + bias[w]
        best = larger(best, score)
        scores[w] = score
    return best


@njit()
def _exponentiate(scores: np.ndarray, maximum: float) -> Any:
    """Sum of exp(score - maximum); the scores (V,) become these."""
    total = scores.dtype.type(0.0)
    for w in range(scores.size):
        e = exp(scores[w] - maximum)
        scores[w] = e
        total += e
    return total


@njit()
def multiply_row(row: np.ndarray, factor: float) -> None:
    """row (v,) times a factor of its type, in place."""
    for w in range(row.size):
        row[w] *= factor


@njit()
def loss_and_dscores(scores: np.ndarray, bias: np.ndarray, targets: np.ndarray, scale: float, penalty: float) -> float:
    """Sum of [S5] over positions in nats, times `scale`; hidden W' (N,V) becomes the scores' gradient [dS4], [dS5].

    bias (V,), targets (N,).  A row is summed in the working type, all else in float64.
    """
    real = scores.dtype.type
    total = 0.0
    for n in range(scores.shape[0]):
        row, target = scores[n], targets[n]
        maximum = _add_and_maximum(bias, row)  # [S1]
        target_score = np.float64(row[target])
        z = np.float64(_exponentiate(row, maximum))
        log_z = np.float64(maximum) + np.log(z)  # [S2]
        total += log_z - target_score + penalty * log_z * log_z  # [S3] to [S5]
        multiply_row(row, real(scale * (1.0 + 2.0 * penalty * log_z) / z))
        row[target] -= real(scale)
    return total * scale
