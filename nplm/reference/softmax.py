"""Exact softmax, as printed.

[S1] s(n, w) = hidden_n . W_w + b_w
[S2] log Z_n = log sum_w exp(s(n, w))
[S3] log P(w | n) = s(n, w) - log Z_n
[S4] loss = -1/N sum_n log P(target_n | n)                                            nats
[S5] objective = loss + penalty/N sum_n (log Z_n)^2
"""

import numpy as np


def log_z(hidden, weight, bias):
    """log Z (N,) for hidden (N,H), weight (V,H), bias (V,)."""
    score = hidden @ weight.T + bias  # [S1]
    return np.log(np.exp(score).sum(axis=1))  # [S2]


def log_probs(hidden, weight, bias):
    """log P (N,V) for hidden (N,H), weight (V,H), bias (V,)."""
    return hidden @ weight.T + bias - log_z(hidden, weight, bias)[:, None]  # [S3]


def forward(hidden, targets, weight, bias, penalty=0.0):
    """Objective in nats for targets (N,); without a penalty it is the loss."""
    loss = -log_probs(hidden, weight, bias)[np.arange(len(targets)), targets].mean()  # [S4]
    return loss + penalty * (log_z(hidden, weight, bias) ** 2).mean()  # [S5]


def backward(hidden, targets, weight, bias, penalty=0.0):
    """dhidden (N,H), dweight (V,H), dbias (V,)."""
    p = np.exp(log_probs(hidden, weight, bias))
    dlog_z = 2 * penalty * log_z(hidden, weight, bias) / len(targets)  # [dS5]
    ds = p / len(targets) + p * dlog_z[:, None]  # [dS4] to [dS2]
    ds[np.arange(len(targets)), targets] -= 1 / len(targets)
    return ds @ weight, ds.T @ hidden, ds.sum(axis=0)  # [dS1]
