"""Exact softmax over the whole vocabulary.

[S1] s(n, w) = hidden_n . W_w + b_w
[S2] log Z_n = log sum_w exp(s(n, w))
[S3] log p(w | n) = s(n, w) - log Z_n
[S4] loss = -1/N sum_n log p(target_n | n)                                            nats

[dS4] to [dS2] ds(n, w) = (p(w | n) - [w = target_n]) / N
[dS1] dhidden = ds W     dW = ds' hidden     db = sum_n ds

`normaliser` works block by block: its memory does not grow with V.  The slow twin is reference/softmax.py.
"""

from typing import NamedTuple

import numpy as np

from nplm.kernels import nce as score_kernels
from nplm.kernels import softmax as kernels
from nplm.workspace import Array

BLOCK = 1024  # words scored at a time: 256 positions give a block of 1 MB, which stays in the cache


class SoftmaxCache(NamedTuple):
    """What the backward needs of a forward."""

    hidden: Array  # (N,H)
    dscores: Array  # (N,V), gradient of the scores


def normaliser(hidden: Array, weight: Array, bias: Array) -> Array:
    """log Z (N,) float64, [S2], for hidden (N,H), weight (V,H), bias (V,)."""
    maximum = np.full(len(hidden), -np.inf, hidden.dtype)
    total = np.zeros(len(hidden))
    for start in range(0, len(weight), BLOCK):
        scores = hidden @ weight[start : start + BLOCK].T  # (N,BLOCK)
        scores += bias[start : start + BLOCK]
        kernels.accumulate(scores, maximum, total)
    return np.asarray(maximum + np.log(total))


def target_scores(hidden: Array, targets: Array, weight: Array, bias: Array) -> Array:
    """s(n, target_n) (N,), [S1]."""
    scores = np.empty(targets.size, hidden.dtype)
    score_kernels.target_scores(hidden, targets, weight, scores)
    scores += bias[targets]
    return scores


def log_probs(hidden: Array, weight: Array, bias: Array) -> Array:
    """log p (N,V), [S3]: every word of the vocabulary, so N V numbers."""
    scores = hidden @ weight.T
    scores += bias
    maximum, total = np.full(len(hidden), -np.inf, hidden.dtype), np.zeros(len(hidden))
    kernels.accumulate(scores, maximum, total)
    scores -= (maximum + np.log(total)).astype(scores.dtype)[:, None]
    return np.asarray(scores)


def forward(
    hidden: Array, targets: Array, weight: Array, bias: Array, scale: float
) -> tuple[float, SoftmaxCache]:
    """Loss in nats, [S4] with `scale` for 1/N, and the cache."""
    scores = log_probs(hidden, weight, bias)  # (N,V)
    positions = np.arange(targets.size)
    loss = -scale * float(scores[positions, targets].sum(dtype=np.float64))
    dscores = np.exp(scores, out=scores)
    dscores[positions, targets] -= 1
    dscores *= scores.dtype.type(scale)
    return loss, SoftmaxCache(hidden, dscores)


def backward(cache: SoftmaxCache, weight: Array) -> tuple[Array, Array, Array]:
    """dhidden (N,H) and the gradients of weight (V,H) and bias (V,), [dS1]."""
    hidden, dscores = cache
    return dscores @ weight, dscores.T @ hidden, dscores.sum(axis=0)
