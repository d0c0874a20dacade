"""Noise-contrastive estimation, exactly as printed: a sum over positions and draws, nothing shared, nothing merged.

[N1] s(n, w) = hidden_n . W_w + b_w
[N2] delta(n, w) = s(n, w) - log(K q(w))
[N3] loss = 1/N sum_n ( softplus(-delta(n, target_n)) + sum_k softplus(delta(n, noise_k)) )     nats
"""

import numpy as np


def softplus(x):
    """log(1 + e^x)."""
    return np.log(1 + np.exp(x))


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def delta(hidden, words, weight, bias, log_q, num_noise):
    """Log-odds that `words` (N,W) are text and not noise, for hidden (N,H)."""
    score = np.einsum("nh,nwh->nw", hidden, weight[words]) + bias[words]  # [N1]
    return score - np.log(num_noise) - log_q[words]  # [N2]


def _words(targets, noise_ids):
    """The target and the K noise words of every position (N,1+K)."""
    return np.column_stack([targets, np.tile(noise_ids, (len(targets), 1))])


def forward(hidden, targets, noise_ids, weight, bias, log_q):
    """Loss in nats for hidden (N,H), targets (N,), noise_ids (K,)."""
    d = delta(hidden, _words(targets, noise_ids), weight, bias, log_q, len(noise_ids))
    return (softplus(-d[:, 0]).sum() + softplus(d[:, 1:]).sum()) / len(targets)  # [N3]


def backward(hidden, targets, noise_ids, weight, bias, log_q):
    """dhidden (N,H), dweight (V,H), dbias (V,)."""
    words = _words(targets, noise_ids)
    d = delta(hidden, words, weight, bias, log_q, len(noise_ids))
    ds = sigmoid(d) / len(targets)  # [dN3] noise
    ds[:, 0] = -sigmoid(-d[:, 0]) / len(targets)  # [dN3] target
    dhidden, dweight, dbias = np.zeros_like(hidden), np.zeros_like(weight), np.zeros_like(bias)
    for n, k in np.ndindex(words.shape):
        w = words[n, k]
        dhidden[n] += ds[n, k] * weight[w]  # [dN1]
        dweight[w] += ds[n, k] * hidden[n]
        dbias[w] += ds[n, k]
    return dhidden, dweight, dbias
