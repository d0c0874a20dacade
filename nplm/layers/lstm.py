"""One LSTM layer over a chunk (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000).

[L1]  a_t = x_t W_ih' + h_{t-1} W_hh' + b            a = (a_i, a_f, a_g, a_o), as in torch.nn.LSTM
[L2]  i = sigmoid(a_i)   f = sigmoid(a_f)   o = sigmoid(a_o)
[L3]  g = tanh(a_g)
[L4]  c_t = f * c_{t-1} + i * g
[L5]  h_t = o * tanh(c_t)

[dL5] do = dh_t * tanh(c_t)    dc_t += dh_t * o * (1 - tanh(c_t)^2)
[dL4] df = dc_t * c_{t-1}   di = dc_t * g   dg = dc_t * i   dc_{t-1} = dc_t * f
[dL3] da_g = dg * (1 - g^2)
[dL2] da = d * s * (1 - s)    for each of the gates s = i, f, o
[dL1] dx_t = da_t W_ih   dh_{t-1} = da_t W_hh   dW_ih += da_t' x_t   dW_hh += da_t' h_{t-1}   db += da_t

The input part of [L1] and all sums of [dL1] over time are one matrix product each for the whole chunk;
only the recurrence itself goes step by step, in kernels/lstm.py.  The slow twin is reference/lstm.py.
"""

from typing import NamedTuple

import numpy as np

from nplm.kernels import gemm
from nplm.kernels import lstm as kernels
from nplm.layers.rows import Array


class LSTMCache(NamedTuple):
    """What the backward needs of a forward."""

    x: Array  # (T,B,D)
    gates: Array  # (T,B,4H), i f g o after their non-linearities
    h: Array  # (T+1,B,H), h[0] is the state carried in
    c: Array  # (T+1,B,H), c[0] is the state carried in
    tanh_c: Array  # (T,B,H)


class LSTMGradients(NamedTuple):
    """Gradients of everything that goes into a forward."""

    dx: Array  # (T,B,D)
    dh0: Array  # (B,H)
    dc0: Array  # (B,H)
    dweight_ih: Array  # (4H,D)
    dweight_hh: Array  # (4H,H)
    dbias: Array  # (4H,)


class Panels(NamedTuple):
    """weight_hh as the recurrence reads it, packed once per chunk."""

    forward: Array  # weight_hh' (H,4H)
    backward: Array  # weight_hh (4H,H)


def pack(weight_hh: Array) -> Panels:
    """Panels of weight_hh (4H,H)."""
    gates, size = weight_hh.shape
    panels = Panels(
        gemm.empty_panels(size, gates, weight_hh.dtype), gemm.empty_panels(gates, size, weight_hh.dtype)
    )
    gemm.pack_transposed(weight_hh, panels.forward)
    gemm.pack(weight_hh, panels.backward)
    return panels


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array,
    panels: Panels | None = None,
) -> tuple[Array, LSTMCache]:
    """Hidden states (T,B,H) and the cache, for x (T,B,D), h0 and c0 (B,H); `panels` saves packing weight_hh."""
    steps, batch, dim = x.shape
    size = h0.shape[1]
    gates = (x.reshape(-1, dim) @ weight_ih.T + bias).reshape(steps, batch, 4 * size)  # input part of [L1]
    h, c = np.empty((2, steps + 1, batch, size), x.dtype)
    h[0], c[0] = h0, c0
    tanh_c = np.empty((steps, batch, size), x.dtype)
    kernels.sweep_forward(gates, (panels or pack(weight_hh)).forward, h, c, tanh_c)  # [L1] to [L5]
    return h[1:], LSTMCache(x, gates, h, c, tanh_c)


def backward(
    dhidden: Array, cache: LSTMCache, weight_ih: Array, weight_hh: Array, panels: Panels | None = None
) -> LSTMGradients:
    """Gradients for dhidden (T,B,H); nothing flows in from the chunk after this one (truncated BPTT)."""
    x, gates, h, c, tanh_c = cache
    steps, batch, dim = x.shape
    size = h.shape[2]
    da = np.empty_like(gates)  # (T,B,4H)
    dh, dc = np.zeros((2, batch, size), x.dtype)
    backward_panels = (panels or pack(weight_hh)).backward
    kernels.sweep_backward(gates, backward_panels, c, tanh_c, dhidden, dh, dc, da)  # [dL5] to [dL1]
    flat = da.reshape(steps * batch, 4 * size)
    return LSTMGradients(  # the rest of [dL1]
        dx=(flat @ weight_ih).reshape(x.shape),
        dh0=dh,
        dc0=dc,
        dweight_ih=flat.T @ x.reshape(-1, dim),
        dweight_hh=flat.T @ h[:-1].reshape(-1, size),
        dbias=flat.sum(axis=0),
    )
