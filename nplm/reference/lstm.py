"""One LSTM layer, exactly as printed: one step at a time, one line per equation.

[L0]  h~_{t-1} = r k_t h_{t-1}    c~_{t-1} = k_t c_{t-1}    r: recurrent dropout; k_t = 0 where a sentence begins
[L1]  a_t = x_t W_ih^T + h~_{t-1} W_hh^T + b           a = (a_i, a_f, a_g, a_o)
[L2]  i = sigmoid(a_i)   f = sigmoid(a_f)   o = sigmoid(a_o)
[L3]  g = tanh(a_g)
[L4]  c_t = f * c~_{t-1} + i * g
[L5]  h_t = o * tanh(c_t)

q is applied to the operands of every product: the identity, or the rounding of bfloat16.py.
"""

import numpy as np


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def as_it_is(operand):
    """The operand, not rounded."""
    return operand


def forward(x, h0, c0, weight_ih, weight_hh, bias, mask=None, keep=None, q=as_it_is):
    """h (T+1,B,H), c (T+1,B,H) and the gates (T,B,4,H), for x (T,B,D), h0 and c0 (B,H).

    mask (B,H), keep (T,B): r and k of [L0]; None: ones.
    """
    h, c, gates = [h0], [c0], []
    r, k = factors(x, h0, mask, keep)
    for t in range(len(x)):
        h_read, c_read = r * k[t] * h[t], k[t] * c[t]  # [L0]
        a = q(x[t]) @ q(weight_ih).T + q(h_read) @ q(weight_hh).T + bias  # [L1] (B,4H)
        a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)  # [L2]
        g = np.tanh(a_g)  # [L3]
        c.append(f * c_read + i * g)  # [L4]
        h.append(o * np.tanh(c[t + 1]))  # [L5]
        gates.append(np.stack([i, f, g, o], axis=1))
    return np.stack(h), np.stack(c), np.stack(gates)


def factors(x, h0, mask, keep):
    """r (B,H) and k (T,B,1) of [L0]."""
    r = 1.0 if mask is None else mask
    k = np.ones(x.shape[:2]) if keep is None else keep
    return r, k[:, :, None]


def backward(dhidden, x, h, c, gates, weight_ih, weight_hh, mask=None, keep=None, q=as_it_is):
    """dx, dh0, dc0, dweight_ih, dweight_hh, dbias for dhidden (T,B,H): the forward pass in reverse order."""
    dx = np.zeros_like(x)
    dweight_ih, dweight_hh = np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    dbias = np.zeros(len(weight_ih))
    dh_next, dc_next = np.zeros_like(h[0]), np.zeros_like(c[0])
    r, k = factors(x, h[0], mask, keep)
    for t in reversed(range(len(x))):
        i, f, g, o = np.moveaxis(gates[t], 1, 0)
        dh = dhidden[t] + dh_next
        do = dh * np.tanh(c[t + 1])  # [dL5]
        dc = dc_next + dh * o * (1 - np.tanh(c[t + 1]) ** 2)  # [dL5]
        df, di, dg = dc * (k[t] * c[t]), dc * g, dc * i  # [dL4]
        dc_read = dc * f  # [dL4]
        da_g = dg * (1 - g**2)  # [dL3]
        da_i, da_f, da_o = di * i * (1 - i), df * f * (1 - f), do * o * (1 - o)  # [dL2]
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)  # (B,4H)
        dx[t] = q(da) @ q(weight_ih)  # [dL1]
        dh_read = q(da) @ q(weight_hh)
        dweight_ih += q(da).T @ q(x[t])
        dweight_hh += q(da).T @ q(r * k[t] * h[t])
        dbias += da.sum(axis=0)
        dh_next, dc_next = r * k[t] * dh_read, k[t] * dc_read  # [dL0]
    return dx, dh_next, dc_next, dweight_ih, dweight_hh, dbias
