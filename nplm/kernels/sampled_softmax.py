"""The sampled softmax of a chunk and its gradient with respect to the scores, row by row while a row is in the cache.

[C3] with the row's largest delta m taken out first: log sum_w e^delta_w = m + log sum_w e^(delta_w - m).
"""

from typing import Any

import numpy as np

from nplm.kernels._jit import njit
from nplm.kernels.elementary import exp
from nplm.kernels.softmax import larger, multiply_row


@njit()
def _largest(delta: np.ndarray, first: float) -> Any:
    """The largest of delta (U,) and `first`."""
    best = first
    for u in range(delta.size):
        best = larger(best, delta[u])
    return best


@njit()
def _exponentiate(delta: np.ndarray, counts: np.ndarray, maximum: float) -> Any:
    """Sum of counts * exp(delta - maximum); delta (U,) becomes these."""
    total = delta.dtype.type(0.0)
    for u in range(delta.size):
        e = counts[u] * exp(delta[u] - maximum)
        delta[u] = e
        total += e
    return total


@njit()
def loss_and_dscores(
    target_delta: np.ndarray, noise_delta: np.ndarray, counts: np.ndarray, hits: np.ndarray, scale: float
) -> float:
    """Sum of [C4] over positions in nats, times `scale`; both deltas become their gradients [dC4] to [dC3].

    target_delta (N,), noise_delta (N,U), counts (U,): how often each of the U distinct noise words was drawn,
    hits (N,): the column that a position leaves out, or -1.
    A row is summed in the working type, all else in float64.
    """
    real = target_delta.dtype.type
    total = 0.0
    for n in range(target_delta.size):
        delta, target, hit = noise_delta[n], target_delta[n], hits[n]
        if hit >= 0:
            delta[hit] = -np.inf
        maximum = _largest(delta, target)
        noise = np.float64(_exponentiate(delta, counts, maximum))
        if hit >= 0:
            noise -= delta[hit]  # exp never gives 0: what -inf became is taken out again
            delta[hit] = real(0.0)
        z = noise + np.float64(exp(target - maximum))
        total += np.float64(maximum) - np.float64(target) + np.log(z)
        multiply_row(delta, real(scale / z))
        target_delta[n] = -scale * noise / z  # not p - 1, which would lose the digits of a p near 1
    return total * scale
