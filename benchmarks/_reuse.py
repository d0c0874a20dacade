"""What reused noise costs, predicted from the output bias alone: docs/learn/reuse.md.

A model with nothing but the bias has the score s_w for word w at every position, and the unigram p as its solution.
Trained on the expected text with a group that holds word w c_w times, and with K q(w) for q,

    change of s_w = -step ( c_w u_w - p_w K q_w ) / (u_w + K q_w),  u_w = e^s_w         [Z1]

`step` stands for the learning rate, times what clipping leaves of it, times the squared length of (1, hidden): what
a network's score moves where its bias would move by the rate alone.  To first order around s = log p, with M groups in
turn for N chunks, each for R = N / M chunks in a row,

    excess = sum_w tanh(step R p_w / 2) / (2 K)   nats of log-perplexity, with q = p    [Z5]

R = 1 is fresh noise.  `simulate` runs [Z1] itself, where the first order is not enough, and for any groups.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nplm.arrays import Array
from nplm.noise.groups import NoiseGroups

TOLERANCE = 1.05  # of the border: perplexity over that of fresh noise


def excess(probs: Array, step: float, reuse: float, num_noise: float) -> float:
    """[Z5] in nats, for probs (V,)."""
    return float(np.tanh(step * reuse * probs / 2).sum() / (2 * num_noise))


def border(probs: Array, step: float, reuse: float, tolerance: float = TOLERANCE) -> float:
    """The K at which a pool's perplexity is `tolerance` times that of fresh noise with the same K, by [Z5]."""
    return (excess(probs, step, reuse, 1) - excess(probs, step, 1, 1)) / math.log(tolerance)


def step_of(probs: Array, num_noise: Sequence[float], log_perplexity: Sequence[float]) -> float:
    """The `step` with which [Z5] explains, best in squares, how fresh noise depends on K.

    The perplexity of large K and one number besides are fitted; there must be two K or more.
    """
    inverse = 1 / np.asarray(num_noise, float)
    slope = np.polyfit(inverse, np.asarray(log_perplexity, float), 1)[0]  # sum_w tanh(step p_w / 2) / 2
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(probs, middle, 1, 1) < slope else (low, middle)
    return low


def simulate(
    probs: Array, step: float, groups: NoiseGroups, num_noise: int, chunks: int, sequences: int, first: int = 0
) -> tuple[float, float]:
    """Mean excess in nats and mean log Z of [Z1] over the chunks of sequences `first` and later; q is probs (V,)."""
    excesses, log_zs = [], []
    for sequence, scores in trajectory(probs, step, counts_of(groups, probs.size), num_noise, chunks, sequences):
        if sequence >= first:
            top = scores.max()
            log_z = top + math.log(np.exp(scores - top).sum())
            excesses.append(float(probs @ (np.log(probs) - scores)) + log_z)
            log_zs.append(log_z)
    return float(np.mean(excesses)), float(np.mean(log_zs))


def trajectory(
    probs: Array, step: float, counts: Callable[[int, int], Array], num_noise: int, chunks: int, sequences: int
) -> Iterator[tuple[int, Array]]:
    """Sequence and scores (V,) after every chunk, from s = log p on; counts(sequence, chunk): c (V,)."""
    scores, noise = np.log(probs), num_noise * probs
    for sequence in range(sequences):
        for chunk in range(chunks):
            u = np.exp(scores)
            scores = scores - step * (counts(sequence, chunk) * u - probs * noise) / (u + noise)  # [Z1]
            yield sequence, scores


def counts_of(groups: NoiseGroups, vocab: int) -> Callable[[int, int], Array]:
    """How often each word is in a chunk's group, of epoch 0."""
    return lambda sequence, chunk: np.bincount(groups.group(0, sequence, chunk), minlength=vocab)
