"""Exact softmax, as printed.

[S1] s(n, w) = hidden_n . W_w + b_w
[S2] log Z_n = log sum_w exp(s(n, w))
[S3] log p(w | n) = s(n, w) - log Z_n
[S4] loss = -1/N sum_n log p(target_n | n)                                            nats
"""

import numpy as np


def log_probs(hidden, weight, bias):
    """log p (N,V) for hidden (N,H), weight (V,H), bias (V,)."""
    score = hidden @ weight.T + bias  # [S1]
    log_z = np.log(np.exp(score).sum(axis=1))  # [S2]
    return score - log_z[:, None]  # [S3]


def forward(hidden, targets, weight, bias):
    """Loss in nats for targets (N,)."""
    return -log_probs(hidden, weight, bias)[np.arange(len(targets)), targets].mean()  # [S4]


def backward(hidden, targets, weight, bias):
    """dhidden (N,H), dweight (V,H), dbias (V,)."""
    ds = np.exp(log_probs(hidden, weight, bias))
    ds[np.arange(len(targets)), targets] -= 1  # [dS4] to [dS2]
    ds /= len(targets)
    return ds @ weight, ds.T @ hidden, ds.sum(axis=0)  # [dS1]
