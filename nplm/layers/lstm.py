"""One LSTM layer over a chunk (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000).

[L0]  h~_{t-1} = r k_t h_{t-1}    c~_{t-1} = k_t c_{t-1}    r: recurrent dropout; k_t = 0 where a sentence begins
[L1]  a_t = x_t W_ih^T + h~_{t-1} W_hh^T + b           a = (a_i, a_f, a_g, a_o), as in torch.nn.LSTM
[L2]  i = sigmoid(a_i)   f = sigmoid(a_f)   o = sigmoid(a_o)
[L3]  g = tanh(a_g)
[L4]  c_t = f * c~_{t-1} + i * g
[L5]  h_t = o * tanh(c_t)

[dL5] do = dh_t * tanh(c_t)    dc_t += dh_t * o * (1 - tanh(c_t)^2)
[dL4] df = dc_t * c~_{t-1}   di = dc_t * g   dg = dc_t * i   dc~_{t-1} = dc_t * f
[dL3] da_g = dg * (1 - g^2)
[dL2] da_s = ds * s * (1 - s)    for each of the gates s = i, f, o
[dL1] dx_t = da_t W_ih   dh~_{t-1} = da_t W_hh   dW_ih += da_t^T x_t   dW_hh += da_t^T h~_{t-1}   db += sum_b da_t
[dL0] dh_{t-1} = r k_t dh~_{t-1}    dc_{t-1} = k_t dc~_{t-1}

The input part of [L1] and all sums of [dL1] over time are one matrix product each for the whole chunk;
only the recurrence itself runs step by step, in kernels/lstm.py.  The reference implementation is reference/lstm.py.

The inputs of the first layer are words, which repeat.  They are given as distinct rows (R,D) and the row of each
position, so that each word is multiplied only once in [L1], and da_t is summed over equal words before [dL1].
"""

from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.kernels import lstm as kernels
from nplm.kernels import row_gradient as row_kernels
from nplm.layers.matmul import by_position, is_bfloat16, operand, operand_like, pack_both, product, transposed_product
from nplm.layers.workspace import Workspace


class Factors(NamedTuple):
    """r and k of [L0]; arrays of size 0 stand for ones."""

    mask: Array  # (B,H), r: 0 or 1 / (1 - p)
    keep: Array  # (T,B), k: 0 or 1


class LSTMCache(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array  # (T,B,D), or the distinct rows (R,D), as operands of the products
    places: Array | None  # (T,B) with rows: the row of each position
    gates: Array  # (T,B,4H), i f g o after their non-linearities; the backward leaves da in it
    h: Array  # (T+1,B,H), h[0] is the state carried in
    h_read: Array  # (T,B,H), h~ of [L0], as an operand of products; h[:-1] itself without dropout, resets and rounding
    c: Array  # (T+1,B,H), c~ of [L0], and c[T] for the next chunk
    tanh_c: Array  # (T,B,H)
    factors: Factors


class LSTMGradients(NamedTuple):
    """Gradients of all inputs of the forward pass."""

    dx: Array  # as x
    dh0: Array  # (B,H)
    dc0: Array  # (B,H)
    dweight_ih: Array  # (4H,D)
    dweight_hh: Array  # (4H,H)
    dbias: Array  # (4H,)


class Packed(NamedTuple):
    """A weight (4H,D) packed for the products."""

    forward: Array  # weight^T (D,4H) in panels
    backward: Array  # weight (4H,D) in panels


def pack(weight: Array, room: Workspace, bfloat16: bool = False) -> Packed:
    """Panels of a weight for both directions; bfloat16: round the operands."""
    return Packed(*pack_both(weight, room, bfloat16))


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array,
    packed_ih: Packed | None = None,
    packed_hh: Packed | None = None,
    places: Array | None = None,
    room: Workspace | None = None,
    factors: Factors | None = None,
) -> tuple[Array, LSTMCache]:
    """Hidden states (T,B,H) and the cache, for h0 and c0 (B,H) and x (T,B,D), or rows x (R,D) and places (T,B).

    packed_ih, packed_hh: the weights packed. factors: of [L0]; None: ones. room: workspace for the results; without
    it they are new arrays.
    """
    room = room or Workspace()
    packed_ih, packed_hh = (packed_ih or pack(weight_ih, Workspace()), packed_hh or pack(weight_hh, Workspace()))
    steps, batch = x.shape[:2] if places is None else places.shape
    size = h0.shape[1]
    rows = x.reshape(-1, x.shape[-1])  # (T*B,D) or (R,D)
    rounded = is_bfloat16(packed_ih.forward)
    gates = room.empty("gates", (steps, batch, 4 * size), x.dtype)
    inputs, row_of = gates.reshape(-1, 4 * size), np.arange(steps * batch)  # every position has its own row
    if places is not None:
        inputs, row_of = room.empty("by_row", (len(rows), 4 * size), x.dtype), places.ravel()
    x_read = operand(rows, room, "x_read", rounded)
    product(x_read, packed_ih.forward, inputs, bias)  # input part of [L1]
    h = room.empty("h", (steps + 1, batch, size), x.dtype)
    c = room.empty("c", (steps + 1, batch, size), x.dtype)
    h[0], c[0] = h0, c0
    h_read = room.empty("h_read", (steps, batch, size), x.dtype) if factors else h[:-1]
    factors = factors or Factors(np.empty((0, 0), x.dtype), np.empty((0, 0), x.dtype))
    tanh_c = room.empty("tanh_c", (steps, batch, size), x.dtype)
    left = operand_like(h_read, room, "h_rounded", rounded)
    kernels.sweep_forward(
        inputs, row_of, packed_hh.forward, *factors, h, h_read, left, c, gates, tanh_c
    )  # [L0] to [L5]
    return h[1:], LSTMCache(x_read, places, gates, h, left, c, tanh_c, factors)


def backward(
    dhidden: Array,
    cache: LSTMCache,
    weight_ih: Array,
    weight_hh: Array,
    packed_ih: Packed | None = None,
    packed_hh: Packed | None = None,
    room: Workspace | None = None,
) -> LSTMGradients:
    """Gradients for dhidden (T,B,H); no gradient comes from the next chunk (truncated BPTT).

    The cache cannot be used again: its gates are overwritten with their gradients.
    """
    room = room or Workspace()
    packed_ih, packed_hh = (packed_ih or pack(weight_ih, Workspace()), packed_hh or pack(weight_hh, Workspace()))
    x, places, gates, h, h_read, c, tanh_c, factors = cache
    size, dtype, rounded = h.shape[2], gates.dtype, is_bfloat16(h_read)
    dh, dc = room.zeros("dh", h[0].shape, dtype), room.zeros("dc", c[0].shape, dtype)
    da_read = operand_like(gates, room, "da_rounded", rounded)
    kernels.sweep_backward(gates, da_read, packed_hh.backward, *factors, c, tanh_c, dhidden, dh, dc)  # [dL5] to [dL0]
    by_row = gates.reshape(-1, 4 * size)  # da (T*B,4H)
    by_row_read = da_read.reshape(-1, da_read.shape[-1])
    da = da_by_row = by_position(by_row_read, 4 * size, room, "da_by_position")
    if places is not None:
        summed = room.empty("by_row", (len(x), 4 * size), dtype)  # the forward pass no longer needs it
        row_kernels.sum_at(by_row, places.ravel(), summed)
        by_row, by_row_read = summed, operand(summed, room, "by_row_rounded", rounded)
        da_by_row = by_position(by_row_read, 4 * size, room, "da_by_row")
    inputs = weight_ih.shape[1]  # D
    dx = room.empty("dx", (len(by_row), inputs), dtype)  # (T*B,D) or (R,D)
    product(by_row_read, packed_ih.backward, dx)  # the rest of [dL1]
    x = by_position(x, inputs, room, "x_by_position")
    dweight_ih = transposed_product(da_by_row, x, room.empty("dweight_ih", weight_ih.shape, dtype))
    h_before = by_position(h_read.reshape(-1, h_read.shape[-1]), size, room, "h_by_position")
    dweight_hh = transposed_product(da, h_before, room.empty("dweight_hh", weight_hh.shape, dtype))
    if places is None:
        dx = dx.reshape(*gates.shape[:2], -1)
    return LSTMGradients(dx, dh, dc, dweight_ih, dweight_hh, by_row.sum(axis=0))
