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
only the recurrence itself goes step by step.  The slow twin is reference/lstm.py.
"""

from typing import NamedTuple

import numpy as np

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


def forward(
    x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array, bias: Array
) -> tuple[Array, LSTMCache]:
    """Hidden states (T,B,H) and the cache, for x (T,B,D), h0 and c0 (B,H)."""
    steps, batch, dim = x.shape
    size = h0.shape[1]
    gates = (x.reshape(-1, dim) @ weight_ih.T + bias).reshape(steps, batch, 4 * size)  # input part of [L1]
    h, c = np.empty((2, steps + 1, batch, size), x.dtype)
    h[0], c[0] = h0, c0
    tanh_c = np.empty((steps, batch, size), x.dtype)
    recurrent = np.empty((batch, 4 * size), x.dtype)
    weight_hh_t = np.ascontiguousarray(weight_hh.T)  # (H,4H): the product of a step runs twice as fast on it
    for t in range(steps):
        gates[t] += np.matmul(h[t], weight_hh_t, out=recurrent)  # [L1]
        kernels.step_forward(gates[t], c[t], c[t + 1], tanh_c[t], h[t + 1])  # [L2] to [L5]
    return h[1:], LSTMCache(x, gates, h, c, tanh_c)


def backward(dhidden: Array, cache: LSTMCache, weight_ih: Array, weight_hh: Array) -> LSTMGradients:
    """Gradients for dhidden (T,B,H); nothing flows in from the chunk after this one (truncated BPTT)."""
    x, gates, h, c, tanh_c = cache
    steps, batch, dim = x.shape
    size = h.shape[2]
    da = np.empty_like(gates)  # (T,B,4H)
    dh, dc = np.zeros((2, batch, size), x.dtype)
    for t in reversed(range(steps)):  # down to t = 0: the first step has a state before it as every other
        kernels.step_backward(gates[t], c[t], tanh_c[t], dhidden[t], dh, dc, da[t])  # [dL5] to [dL2]
        np.matmul(da[t], weight_hh, out=dh)  # [dL1]
    flat = da.reshape(steps * batch, 4 * size)
    return LSTMGradients(  # the rest of [dL1]
        dx=(flat @ weight_ih).reshape(x.shape),
        dh0=dh,
        dc0=dc,
        dweight_ih=flat.T @ x.reshape(-1, dim),
        dweight_hh=flat.T @ h[:-1].reshape(-1, size),
        dbias=flat.sum(axis=0),
    )
