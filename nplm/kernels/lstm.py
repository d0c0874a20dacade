"""One time step of the LSTM's element-wise arithmetic, all columns of the batch, in one pass over memory.

The four gates of a column lie side by side, (4H,) in the order i f g o.  Each loop below runs over one
contiguous stretch with one formula, so LLVM turns it into vector code; a single loop over units, reading
at four offsets, defeats its alias analysis and ran at 30 ns a cell where this runs at 3.6 (measured).
"""

import numpy as np

from nplm.kernels._jit import njit
from nplm.kernels.elementary import sigmoid, tanh


@njit()
def _sigmoid_in_place(a: np.ndarray) -> None:
    for j in range(a.size):
        a[j] = sigmoid(a[j])


@njit()
def _tanh_in_place(a: np.ndarray) -> None:
    for j in range(a.size):
        a[j] = tanh(a[j])


@njit()
def _cell(
    gates: np.ndarray, c_prev: np.ndarray, out_c: np.ndarray, out_tanh_c: np.ndarray, out_h: np.ndarray
) -> None:
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
    gates: np.ndarray,
    c_prev: np.ndarray,
    tanh_c: np.ndarray,
    dhidden: np.ndarray,
    dh: np.ndarray,
    dc: np.ndarray,
    out_da: np.ndarray,
) -> None:
    """[dL5] to [dL2] of one step: `dc` (B,H) is dL/dc_t without this step's part and leaves as dL/dc_{t-1}.

    gates (B,4H): i f g o of the forward. c_prev, tanh_c (B,H). dhidden (B,H): from the layer above.
    dh (B,H): from step t + 1. out_da (B,4H): gradient of the gates' inputs.
    """
    size = c_prev.shape[1]
    one = gates.dtype.type(1.0)
    for b in range(gates.shape[0]):
        i, f = gates[b, :size], gates[b, size : 2 * size]
        g, o = gates[b, 2 * size : 3 * size], gates[b, 3 * size :]
        da_i, da_f = out_da[b, :size], out_da[b, size : 2 * size]
        da_g, da_o = out_da[b, 2 * size : 3 * size], out_da[b, 3 * size :]
        for j in range(size):
            dh_t = dhidden[b, j] + dh[b, j]
            tanh_c_t = tanh_c[b, j]
            dc_t = dc[b, j] + dh_t * o[j] * (one - tanh_c_t * tanh_c_t)  # [dL5]
            da_o[j] = dh_t * tanh_c_t * o[j] * (one - o[j])  # [dL5], [dL2]
            da_i[j] = dc_t * g[j] * i[j] * (one - i[j])  # [dL4], [dL2]
            da_f[j] = dc_t * c_prev[b, j] * f[j] * (one - f[j])  # [dL4], [dL2]
            da_g[j] = dc_t * i[j] * (one - g[j] * g[j])  # [dL4], [dL3]
            dc[b, j] = dc_t * f[j]  # [dL4]: on to step t - 1
