"""The LSTM's recurrence over a chunk: one register-tiled product per step, then the gates' arithmetic.

A sweep is one call for all T steps of a layer, so the interpreter and its lock are not needed while a shard
runs; the product is that of kernels/matmul.py, from weights packed once per chunk: 0.6 ms per sweep, where a call
of BLAS and of a gate kernel per step took 2.4 (H = 200, B = 10, T = 20; measured).

The four gates of a column are adjacent, (4H,) in the order i f g o.  Each loop below runs over one
contiguous block with one formula, so LLVM turns it into vector code; a single loop over units, reading
at four offsets, defeats its alias analysis and ran at 30 ns per cell, where this runs at 3.6 (measured).
"""

import numpy as np

from nplm.kernels._jit import njit
from nplm.kernels.bfloat16 import round_rows
from nplm.kernels.elementary import sigmoid, tanh
from nplm.kernels.matmul import multiply_flat


@njit()
def _sigmoid_in_place(a: np.ndarray) -> None:
    for j in range(a.size):
        a[j] = sigmoid(a[j])


@njit()
def _tanh_in_place(a: np.ndarray) -> None:
    for j in range(a.size):
        a[j] = tanh(a[j])


@njit()
def _cell(gates: np.ndarray, c_prev: np.ndarray, out_c: np.ndarray, out_tanh_c: np.ndarray, out_h: np.ndarray) -> None:
    size = c_prev.size
    i, f, g, o = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    for j in range(size):
        out_c[j] = f[j] * c_prev[j] + i[j] * g[j]  # [L4]
    for j in range(size):
        out_tanh_c[j] = tanh(out_c[j])
    for j in range(size):
        out_h[j] = o[j] * out_tanh_c[j]  # [L5]


@njit()
def step_forward(
    gates: np.ndarray, c_prev: np.ndarray, out_c: np.ndarray, out_tanh_c: np.ndarray, out_h: np.ndarray
) -> None:
    """One step for all columns: `gates` (B,4H) holds [L1] and is overwritten with i f g o; the rest is (B,H)."""
    size = c_prev.shape[1]
    for b in range(gates.shape[0]):
        _sigmoid_in_place(gates[b, : 2 * size])  # [L2] i, f
        _tanh_in_place(gates[b, 2 * size : 3 * size])  # [L3] g
        _sigmoid_in_place(gates[b, 3 * size :])  # [L2] o
        _cell(gates[b], c_prev[b], out_c[b], out_tanh_c[b], out_h[b])


@njit()
def step_backward(
    gates: np.ndarray, c_prev: np.ndarray, tanh_c: np.ndarray, dhidden: np.ndarray, dh: np.ndarray, dc: np.ndarray
) -> None:
    """[dL5] to [dL2] of one step: `dc` (B,H) is dL/dc_t without this step's part and leaves as dL/dc_{t-1}.

    gates (B,4H): i f g o of the forward; they leave as da, the gradient of the gates' inputs.
    c_prev, tanh_c (B,H). dhidden (B,H): from the layer above. dh (B,H): from step t + 1.
    """
    size = c_prev.shape[1]
    one = gates.dtype.type(1.0)
    for b in range(gates.shape[0]):
        gate_i, gate_f = gates[b, :size], gates[b, size : 2 * size]
        gate_g, gate_o = gates[b, 2 * size : 3 * size], gates[b, 3 * size :]
        for j in range(size):
            i, f, g, o = gate_i[j], gate_f[j], gate_g[j], gate_o[j]
            dh_t = dhidden[b, j] + dh[b, j]
            tanh_c_t = tanh_c[b, j]
            dc_t = dc[b, j] + dh_t * o * (one - tanh_c_t * tanh_c_t)  # [dL5]
            gate_o[j] = dh_t * tanh_c_t * o * (one - o)  # [dL5], [dL2]
            gate_i[j] = dc_t * g * i * (one - i)  # [dL4], [dL2]
            gate_f[j] = dc_t * c_prev[b, j] * f * (one - f)  # [dL4], [dL2]
            gate_g[j] = dc_t * i * (one - g * g)  # [dL4], [dL3]
            dc[b, j] = dc_t * f  # [dL4]: on to step t - 1


@njit()
def _read_state(h: np.ndarray, mask: np.ndarray, keep: np.ndarray, out_h_read: np.ndarray, c: np.ndarray) -> None:
    """[L0] of one step: out_h_read (B,H) = r k h, and the cell c (B,H) becomes k c."""
    for b in range(h.shape[0]):
        for j in range(h.shape[1]):
            out_h_read[b, j] = keep[b] * mask[b, j] * h[b, j]
            c[b, j] *= keep[b]


@njit()
def sweep_forward(
    inputs: np.ndarray,
    places: np.ndarray,
    panels: np.ndarray,
    mask: np.ndarray,
    keep: np.ndarray,
    h: np.ndarray,
    h_read: np.ndarray,
    left: np.ndarray,
    c: np.ndarray,
    out_gates: np.ndarray,
    out_tanh_c: np.ndarray,
) -> None:
    """[L0] to [L5] for t = 0 ... T-1.

    inputs (R,4H): x W_ih^T + b; places (T*B,): the row of each position; may be the rows of out_gates itself.
    panels: weight_hh^T (H,4H) packed. mask (B,H), keep (T,B): r and k of [L0], or both of size 0: all ones.
    h, c (T+1,B,H): [0] is the state carried in, the rest is written. h_read (T,B,H): written, h[:-1] itself
    where mask and keep have size 0. left: h_read as the product reads it, itself, or (T,B,ceil(H/2)) written here.
    out_gates (T,B,4H): i f g o. out_tanh_c (T,B,H).
    """
    steps, batch, size = out_tanh_c.shape
    aside, in_order = np.empty(batch * panels.shape[2], h.dtype), np.arange(batch)
    begin, left_flat, gates = inputs.ravel(), left.ravel(), out_gates.ravel()
    for t in range(steps):
        if mask.size > 0:
            _read_state(h[t], mask, keep[t], h_read[t], c[t])
        round_rows(h_read[t], left[t])
        first, start = t * batch, t * batch * left.shape[2]
        multiply_flat(
            left_flat, start, panels, begin, places[first : first + batch], gates, 4 * first * size, batch, 4 * size,
            aside, in_order, t % 2 == 1,
        )  # fmt: skip
        step_forward(out_gates[t], c[t], c[t + 1], out_tanh_c[t], h[t + 1])


@njit()
def sweep_backward(
    gates: np.ndarray,
    left: np.ndarray,
    panels: np.ndarray,
    mask: np.ndarray,
    keep: np.ndarray,
    c: np.ndarray,
    tanh_c: np.ndarray,
    dhidden: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
) -> None:
    """[dL5] to [dL0] for t = T-1 ... 0, the first step like every other: it has a state before it too.

    gates (T,B,4H): i f g o; they leave as da: one array of that size less to stream through the caches.
    left: da as the products read it, gates itself, or (T,B,2H) written here.
    panels: weight_hh (4H,H) packed. mask, keep: as in the forward. dh, dc (B,H): gradients of the state after the
    chunk; they leave as gradients of the state before it.
    """
    steps, batch, size = tanh_c.shape
    aside, in_order = np.empty(batch * panels.shape[2], gates.dtype), np.arange(batch)
    zero, row_0 = np.zeros(size, gates.dtype), np.zeros(batch, np.intp)
    left_flat, dh_flat = left.ravel(), dh.ravel()
    at_first = int(np.intp(0))  # a literal is a type of its own, for which the product would be compiled once more
    for t in range(steps - 1, -1, -1):
        step_backward(gates[t], c[t], tanh_c[t], dhidden[t], dh, dc)
        round_rows(gates[t], left[t])
        start = t * batch * left.shape[2]
        multiply_flat(
            left_flat, start, panels, zero, row_0, dh_flat, at_first, batch, size, aside, in_order, t % 2 == 1
        )
        if mask.size > 0:
            _read_state(dh, mask, keep[t], dh, dc)  # [dL0]: the same factors
