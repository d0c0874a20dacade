"""Sampled softmax, exactly as printed: a sum over positions and draws, nothing shared, nothing merged.

[C1] s(n, w) = hidden_n . W_w + b_w
[C2] delta(n, w) = s(n, w) - log(K q(w))
[C3] D_n = e^delta(n, target_n) + sum_(k: noise_k != target_n) e^delta(n, noise_k)
[C4] loss = 1/N sum_n ( log D_n - delta(n, target_n) )                                nats
"""

import numpy as np


def odds(hidden, targets, noise_ids, weight, bias, log_q, keep_hits=False):
    """e^delta (N,1+K) of every position's target and noise words, 0 for a hit, and the words (N,1+K)."""
    words = np.column_stack([targets, np.tile(noise_ids, (len(targets), 1))])
    score = np.einsum("nh,nwh->nw", hidden, weight[words]) + bias[words]  # [C1]
    delta = score - np.log(len(noise_ids)) - log_q[words]  # [C2]
    counted = np.ones(words.shape)
    if not keep_hits:
        counted[:, 1:] = noise_ids != targets[:, None]
    return counted * np.exp(delta), words


def forward(hidden, targets, noise_ids, weight, bias, log_q, keep_hits=False):
    """Loss in nats for hidden (N,H), targets (N,), noise_ids (K,); keep_hits: the sum is over every k."""
    u, _ = odds(hidden, targets, noise_ids, weight, bias, log_q, keep_hits)
    return (np.log(u.sum(axis=1)) - np.log(u[:, 0])).mean()  # [C3], [C4]


def backward(hidden, targets, noise_ids, weight, bias, log_q, keep_hits=False):
    """dhidden (N,H), dweight (V,H), dbias (V,)."""
    u, words = odds(hidden, targets, noise_ids, weight, bias, log_q, keep_hits)
    ds = u / u.sum(axis=1, keepdims=True)
    ds[:, 0] -= 1
    ds /= len(targets)  # [dC4] to [dC3]
    dhidden, dweight, dbias = np.zeros_like(hidden), np.zeros_like(weight), np.zeros_like(bias)
    for n, k in np.ndindex(words.shape):
        w = words[n, k]
        dhidden[n] += ds[n, k] * weight[w]  # [dC1]
        dweight[w] += ds[n, k] * hidden[n]
        dbias[w] += ds[n, k]
    return dhidden, dweight, dbias
