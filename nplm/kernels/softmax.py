"""Log-sum-exp over the vocabulary, block by block, so that a row of V scores never has to exist at once.

[S2] log Z = m + log sum_w exp(s_w - m), with m and the sum updated as blocks of words come by.
"""

from typing import Any

import numpy as np

from nplm.kernels._jit import njit
from nplm.kernels.elementary import exp


@njit()
def _row_maximum(scores: np.ndarray) -> Any:
    best = scores[0]
    for w in range(scores.size):
        best = max(best, scores[w])
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
