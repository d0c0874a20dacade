"""Exact softmax over the whole vocabulary.

[S1] s(n, w) = hidden_n . W_w + b_w
[S2] log Z_n = log sum_w exp(s(n, w))
[S3] log P(w | n) = s(n, w) - log Z_n
[S4] loss = -1/N sum_n log P(target_n | n)                                            nats
[S5] objective = loss + penalty/N sum_n (log Z_n)^2

[dS5] dlog Z_n = 2 penalty log Z_n / N
[dS4] to [dS2] ds(n, w) = (P(w | n) - [w = target_n]) / N + P(w | n) dlog Z_n
[dS1] dhidden = ds W     dW = ds^T hidden     db = sum_n ds

With a penalty the model becomes self-normalised (Devlin et al. 2014).  Training needs memory for N V scores;
`normaliser` works in blocks, so its memory does not grow with V.  The reference implementation is reference/softmax.py.
"""

from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.kernels import nce as score_kernels
from nplm.kernels import softmax as kernels
from nplm.layers.matmul import operand, pack_transposed, product, transposed_product
from nplm.layers.workspace import Workspace

BLOCK = 1024  # words scored at a time: 256 positions give a block of 1 MB, which stays in the cache


class SoftmaxCache(NamedTuple):
    """What the backward pass needs from the forward pass."""

    hidden: Array  # (N,H)
    dscores: Array  # (N,V), gradient of the scores


def normaliser(hidden: Array, weight: Array, bias: Array, bfloat16: bool = False) -> Array:
    """log Z (N,) float64, [S2], for hidden (N,H), weight (V,H), bias (V,); bfloat16: round the operands."""
    room = Workspace()
    left = operand(hidden, room, "hidden", bfloat16)
    maximum = np.full(len(hidden), -np.inf, hidden.dtype)
    total = np.zeros(len(hidden))
    for start in range(0, len(weight), BLOCK):
        block, offsets = weight[start : start + BLOCK], bias[start : start + BLOCK]
        if bfloat16:
            scores = room.empty("scores", (len(hidden), len(block)), hidden.dtype)
            product(left, pack_transposed(block, room, "panels", bfloat16), scores, offsets)  # (N,BLOCK)
        else:
            scores = hidden @ block.T
            scores += offsets
        kernels.accumulate(scores, maximum, total)
    return np.asarray(maximum + np.log(total))


def target_scores(hidden: Array, targets: Array, weight: Array, bias: Array) -> Array:
    """s(n, target_n) (N,), [S1]."""
    scores = np.empty(targets.size, hidden.dtype)
    score_kernels.target_scores(hidden, targets, weight, scores)
    scores += bias[targets]
    return scores


def log_probs(hidden: Array, weight: Array, bias: Array) -> Array:
    """log P (N,V), [S3], of every word of the vocabulary."""
    scores = hidden @ weight.T
    scores += bias
    maximum, total = np.full(len(hidden), -np.inf, hidden.dtype), np.zeros(len(hidden))
    kernels.accumulate(scores, maximum, total)
    scores -= (maximum + np.log(total)).astype(scores.dtype)[:, None]
    return np.asarray(scores)


def forward(
    hidden: Array,
    targets: Array,
    weight: Array,
    bias: Array,
    scale: float,
    penalty: float = 0.0,
    room: Workspace | None = None,
) -> tuple[float, SoftmaxCache]:
    """Objective in nats, [S5] with `scale` for 1/N, and the cache; without a penalty it is the loss [S4].

    hidden (N,H), targets (N,) int32, weight (V,H), bias (V,), penalty >= 0.  The products use BLAS: packed panels
    take as long at N = 200 and 10 % longer at N = 400, packing included (H = 200, V = 10,000; measured).
    """
    room = room or Workspace()
    scores = room.empty("scores", (len(hidden), len(weight)), hidden.dtype)
    np.matmul(hidden, weight.T, out=scores)
    loss = kernels.loss_and_dscores(scores, bias, targets, scale, penalty)  # [S1] to [S5], and back to [dS2]
    return float(loss), SoftmaxCache(hidden, scores)


def backward(cache: SoftmaxCache, weight: Array, room: Workspace | None = None) -> tuple[Array, Array, Array]:
    """dhidden (N,H) and the gradients of weight (V,H) and bias (V,), [dS1]."""
    hidden, dscores = cache
    room, dtype = room or Workspace(), hidden.dtype
    dhidden = np.matmul(dscores, weight, out=room.empty("dhidden", hidden.shape, dtype))
    dweight = transposed_product(dscores, hidden, room.empty("dweight", weight.shape, dtype))
    dbias = dscores.sum(axis=0, out=room.empty("dbias", (len(weight),), dtype))
    return dhidden, dweight, dbias
