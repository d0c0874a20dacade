"""Noise-contrastive estimation with one group of K noise words shared by the chunk (Gutmann & Hyvarinen 2010).

[N1] s(n, w) = hidden_n . W_w + b_w                      the score: an unnormalised log-probability
[N2] delta(n, w) = s(n, w) - log(K q(w))                 log-odds that w is text and not noise
[N3] loss = 1/N sum_n ( softplus(-delta(n, target_n)) + sum_k softplus(delta(n, noise_k)) )     nats

[dN3] ds(n, target_n) = -sigmoid(-delta) / N     ds(n, noise_k) = sigmoid(delta) / N
[dN2] ds = ddelta
[dN1] dhidden_n = sum_w ds(n, w) W_w     dW_w = sum_n ds(n, w) hidden_n     db_w = sum_n ds(n, w)

A noise word drawn m times is one column with multiplicity m.  A draw that equals a position's target is
kept: the noise distribution is q, whatever the target (leaving hits out gives a different objective).
A word with q(w) = 0, which cannot be in a group, is certainly text: as a target it has delta = inf, and neither loss
nor gradient (NoisePool.log_q gives such a q; docs/learn/reuse.md).
The reference implementation is reference/nce.py.
"""

from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.kernels import nce as kernels
from nplm.layers.matmul import (
    by_position,
    is_bfloat16,
    operand,
    pack_right,
    pack_transposed,
    product,
    transposed_product,
)
from nplm.layers.row_gradient import RowGradient
from nplm.layers.workspace import Workspace


class NCECache(NamedTuple):
    """What the backward pass needs from the forward pass."""

    hidden: Array  # (N,H)
    hidden_read: Array  # the same as an operand of the products
    targets: Array  # (N,) int32
    words: Array  # (U,) int32, the distinct noise words, ascending
    noise_weight: Array  # (U,H), their rows of the weight
    dtarget: Array  # (N,), gradient of the targets' scores
    dnoise: Array  # (N,U), gradient of the noise words' scores


def deltas(
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    weight: Array,
    bias: Array,
    log_q: Array,
    room: Workspace | None = None,
    bfloat16: bool = False,
) -> tuple[NCECache, Array]:
    """[N2] of the targets and of the distinct noise words, and how often each noise word was drawn (U,).

    Deltas are stored where the cache expects their gradients: the kernel of the loss overwrites them.
    """
    room, dtype = room or Workspace(), hidden.dtype
    words, counts = np.unique(noise_ids, return_counts=True)  # (U,)
    log_k = np.log(len(noise_ids)).astype(dtype)
    target_delta = room.empty("target_delta", targets.shape, dtype)
    kernels.target_scores(hidden, targets, weight, target_delta)
    target_delta += bias[targets] - log_q[targets] - log_k  # [N1], [N2]
    noise_weight = room.empty("noise_weight", (words.size, weight.shape[1]), dtype)
    weight.take(words, axis=0, out=noise_weight, mode="clip")
    noise_delta = room.empty("noise_delta", (targets.size, words.size), dtype)
    offsets = bias[words] - log_q[words] - log_k
    hidden_read = operand(hidden, room, "hidden_read", bfloat16)
    panels = pack_transposed(noise_weight, room, "noise_panels", bfloat16)
    product(hidden_read, panels, noise_delta, offsets)  # [N1], [N2]
    cache = NCECache(hidden, hidden_read, targets, words, noise_weight, target_delta, noise_delta)
    return cache, counts.astype(dtype)


def forward(
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    weight: Array,
    bias: Array,
    log_q: Array,
    scale: float,
    room: Workspace | None = None,
    bfloat16: bool = False,
) -> tuple[float, NCECache]:
    """Loss in nats, [N3] with `scale` for 1/N, and the cache.

    hidden (N,H), targets (N,) int32, noise_ids (K,) int32, weight (V,H), bias and log_q (V,).  bfloat16: round the
    operands of the products with the noise words; this does not affect the targets' scores.
    """
    cache, counts = deltas(hidden, targets, noise_ids, weight, bias, log_q, room, bfloat16)
    loss = kernels.loss_and_dscores(cache.dtarget, cache.dnoise, counts, scale)
    cache.dtarget[np.isneginf(log_q[targets])] = 0.0  # the kernel's exp(-inf) is a tiny number
    return float(loss), cache  # float: without the JIT it is a NumPy number, which JSON does not accept


def backward(cache: NCECache, weight: Array, room: Workspace | None = None) -> tuple[Array, RowGradient, RowGradient]:
    """dhidden (N,H) and the row gradients of weight (V,H) and bias (V,), [dN1]."""
    hidden, hidden_read, targets, words, noise_weight, dtarget, dnoise = cache
    room, dtype, bfloat16 = room or Workspace(), hidden.dtype, is_bfloat16(hidden_read)
    rows = np.unique(np.concatenate([words, targets]))  # (R,)
    noise_places, target_places = np.searchsorted(rows, words), np.searchsorted(rows, targets)
    dhidden = room.empty("dhidden", hidden.shape, dtype)
    dnoise_read = operand(dnoise, room, "dnoise_read", bfloat16)
    product(dnoise_read, pack_right(noise_weight, room, "noise_back_panels", bfloat16), dhidden)
    dnoise_weight = room.empty("dnoise_weight", noise_weight.shape, dtype)
    by_positions = (
        by_position(dnoise_read, words.size, room, "dnoise_by_position"),
        by_position(hidden_read, hidden.shape[1], room, "hidden_by_position"),
    )
    transposed_product(*by_positions, dnoise_weight)
    dweight = room.zeros("dweight", (rows.size, hidden.shape[1]), dtype)
    dbias = room.zeros("dbias", rows.shape, dtype)
    dweight[noise_places] = dnoise_weight
    dbias[noise_places] = dnoise.sum(axis=0)
    kernels.add_target_gradients(dtarget, hidden, targets, weight, target_places, dhidden, dweight, dbias)
    return dhidden, RowGradient(rows, dweight, len(weight)), RowGradient(rows, dbias, len(weight))
