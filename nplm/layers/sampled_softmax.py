"""Sampled softmax: the target against one group of K noise words shared by the chunk, or ranking NCE.

[C1] s(n, w) = hidden_n . W_w + b_w
[C2] delta(n, w) = s(n, w) - log(K q(w))
[C3] D_n = e^delta(n, target_n) + sum_(k: noise_k != target_n) e^delta(n, noise_k)
[C4] loss = 1/N sum_n ( log D_n - delta(n, target_n) )                                nats

[dC4] to [dC3] ds(n, target_n) = (e^delta / D_n - 1) / N     ds(n, noise_k) = e^delta / D_n / N, or 0 if left out
[dC2] ds = ddelta
[dC1] dhidden_n = sum_w ds(n, w) W_w     dW_w = sum_n ds(n, w) hidden_n     db_w = sum_n ds(n, w)

(Jean et al. 2015; Jozefowicz et al. 2016; Ma & Collins 2018.)  A noise word drawn m times is one column with
multiplicity m.  A draw that equals a position's target, a hit, is left out for that position, or kept: the objective
is consistent only if hits are kept (docs/learn/sampled_softmax.md).
Scores and their gradients are those of nce.py.  The reference implementation is reference/sampled_softmax.py.
"""

import numpy as np

from nplm.arrays import Array
from nplm.kernels import sampled_softmax as kernels
from nplm.layers import nce
from nplm.layers.nce import NCECache
from nplm.layers.row_gradient import RowGradient
from nplm.layers.workspace import Workspace


def _hits(targets: Array, words: Array) -> Array:
    """Index of every target (N,) in words (U,), which are ascending; -1 if it is not among them."""
    places = np.searchsorted(words, targets)
    return np.where(words.take(places, mode="clip") == targets, places, -1)


def forward(
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    weight: Array,
    bias: Array,
    log_q: Array,
    scale: float,
    room: Workspace | None = None,
    *,
    keep_hits: bool = False,
    bfloat16: bool = False,
) -> tuple[float, NCECache]:
    """Loss in nats, [C4] with `scale` for 1/N, and the cache; keep_hits: the sum in [C3] is over all k.

    hidden (N,H), targets (N,) int32, noise_ids (K,) int32, weight (V,H), bias and log_q (V,).
    """
    cache, counts = nce.deltas(hidden, targets, noise_ids, weight, bias, log_q, room, bfloat16)  # [C1], [C2]
    hits = np.full(targets.size, -1) if keep_hits else _hits(targets, cache.words)
    loss = kernels.loss_and_dscores(cache.dtarget, cache.dnoise, counts, hits, scale)  # [C3] to [C4], and back to [dC3]
    return float(loss), cache


def backward(cache: NCECache, weight: Array, room: Workspace | None = None) -> tuple[Array, RowGradient, RowGradient]:
    """dhidden (N,H) and the row gradients of weight (V,H) and bias (V,), [dC1]."""
    return nce.backward(cache, weight, room)
