"""The NCE loss of a chunk and its gradient with respect to the scores, in one pass over the scores.

Loss and gradient need the same exp(-|delta|), so both are computed while a score is in a register.
"""

from typing import Any

import numpy as np

from nplm.kernels._jit import njit
from nplm.kernels.elementary import exp, log1p_unit


@njit()
def _target_terms(delta: np.ndarray, scale: float) -> float:
    """Sum of softplus(-delta) [N3]; delta becomes its gradient [dN3], times scale."""
    one, zero = delta.dtype.type(1.0), delta.dtype.type(0.0)
    factor = delta.dtype.type(scale)
    total = 0.0
    for n in range(delta.size):
        x = delta[n]
        e = exp(-abs(x))
        total += max(-x, zero) + log1p_unit(e)
        delta[n] = -factor * (e if x > zero else one) / (one + e)  # -sigmoid(-x)
    return total


@njit()
def _noise_terms(delta: np.ndarray, counts: np.ndarray, scale: float) -> Any:
    """Sum of counts * softplus(delta) [N3]; delta becomes its gradient [dN3], times scale."""
    one, zero = delta.dtype.type(1.0), delta.dtype.type(0.0)
    factor = delta.dtype.type(scale)
    total = zero
    for u in range(delta.size):
        x = delta[u]
        e = exp(-abs(x))
        total += counts[u] * (max(x, zero) + log1p_unit(e))
        delta[u] = factor * counts[u] * (e if x < zero else one) / (one + e)  # sigmoid(x)
    return total


@njit()
def loss_and_dscores(target_delta: np.ndarray, noise_delta: np.ndarray, counts: np.ndarray, scale: float) -> float:
    """Sum of the NCE terms of all positions in nats, times `scale`; both deltas become their gradients.

    target_delta (N,), noise_delta (N,U), counts (U,): how often each of the U distinct noise words was drawn.
    Rows are summed in the working type, the sum over rows in float64.
    """
    total = _target_terms(target_delta, scale)
    for n in range(noise_delta.shape[0]):
        total += _noise_terms(noise_delta[n], counts, scale)
    return total * scale


@njit()
def target_scores(hidden: np.ndarray, targets: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """out[n] = hidden[n] . weight[targets[n]], for hidden (N,H), weight (V,H), out (N,)."""
    for n in range(targets.size):
        row, h = weight[targets[n]], hidden[n]
        total = out.dtype.type(0.0)
        for j in range(h.size):
            total += h[j] * row[j]
        out[n] = total


@njit()
def add_target_gradients(
    dscore: np.ndarray,
    hidden: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    places: np.ndarray,
    dhidden: np.ndarray,
    dweight: np.ndarray,
    dbias: np.ndarray,
) -> None:
    """[dN1] of the targets, added position by position: dhidden (N,H), and rows `places` of dweight and dbias."""
    for n in range(targets.size):
        row, h, dh, dw = weight[targets[n]], hidden[n], dhidden[n], dweight[places[n]]
        d = dscore[n]
        for j in range(h.size):
            dh[j] += d * row[j]
        for j in range(h.size):
            dw[j] += d * h[j]
        dbias[places[n]] += d
