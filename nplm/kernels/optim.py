"""Updates of the rows of a parameter that a step touches, and the steps that other rows missed: no cost depends on V.

A row that is not touched is left unchanged until it is next read.  `dates[row]` is the step that it has reached;
`first` is the step at which the history begins: step i is at index i - first of rates, epsilons, logs and sums.
"""

import numpy as np

from nplm.kernels._jit import njit


@njit()
def sgd(param: np.ndarray, rows: np.ndarray, grad: np.ndarray, step: float) -> None:
    """[O1] param[rows[r]] -= step * grad[r], for param (V,D), rows (R,) without duplicates, grad (R,D)."""
    factor = param.dtype.type(step)
    for r in range(rows.size):
        p, d = param[rows[r]], grad[r]
        for j in range(d.size):
            p[j] -= factor * d[j]


@njit()
def adagrad(
    param: np.ndarray, rows: np.ndarray, grad: np.ndarray, squares: np.ndarray, scale: float, lr: float, epsilon: float
) -> None:
    """[O2] on the given rows: squares += (scale grad)^2; param -= lr scale grad / (sqrt(squares) + epsilon)."""
    factor, rate, eps = param.dtype.type(scale), param.dtype.type(lr), param.dtype.type(epsilon)
    for r in range(rows.size):
        p, s, d = param[rows[r]], squares[rows[r]], grad[r]
        for j in range(d.size):
            g = factor * d[j]
            s[j] += g * g
            p[j] -= rate * g / (np.sqrt(s[j]) + eps)


@njit()
def adam(
    param: np.ndarray,
    rows: np.ndarray,
    grad: np.ndarray,
    means: np.ndarray,
    squares: np.ndarray,
    scale: float,
    rate: float,
    epsilon: float,
    beta1: float,
    beta2: float,
) -> None:
    """[O4] on the given rows, with rate a_t and epsilon e_t; means and squares (V,D) are m and v."""
    real = param.dtype.type
    factor, a, e, b1, b2 = real(scale), real(rate), real(epsilon), real(beta1), real(beta2)
    new1, new2 = real(1.0 - beta1), real(1.0 - beta2)
    for r in range(rows.size):
        p, m, v, d = param[rows[r]], means[rows[r]], squares[rows[r]], grad[r]
        for j in range(d.size):
            g = factor * d[j]
            m[j] = b1 * m[j] + new1 * g
            v[j] = b2 * v[j] + new2 * (g * g)
            p[j] -= a * m[j] / (np.sqrt(v[j]) + e)


@njit()
def replay(
    param: np.ndarray,
    rows: np.ndarray,
    means: np.ndarray,
    squares: np.ndarray,
    dates: np.ndarray,
    rates: np.ndarray,
    epsilons: np.ndarray,
    logs: np.ndarray,
    first: int,
    until: int,
    horizon: int,
    beta1: float,
    beta2: float,
) -> None:
    """[O6] Adam's moves in the steps that the rows missed, up to `until`, before their decay; the dates stay."""
    real, root2 = param.dtype.type, np.sqrt(beta2)
    root, moves = np.empty(param.shape[1], param.dtype), np.empty(param.shape[1], param.dtype)
    for r in range(rows.size):
        p, m, v = param[rows[r]], means[rows[r]], squares[rows[r]]
        begin, missed = dates[rows[r]] - first, until - dates[rows[r]]
        if missed <= 0:
            continue
        if _moves(m):
            for j in range(p.size):
                root[j] = np.sqrt(v[j])
                moves[j] = real(0.0)
            fading, stretch = 1.0, 1.0  # (b1 / sqrt(b2))^k and sqrt(b2)^-k
            for i in range(begin + 1, begin + 1 + min(missed, horizon)):
                fading *= beta1 / root2
                stretch /= root2
                a, e = real(fading * rates[i] * np.exp(logs[begin] - logs[i])), real(stretch * epsilons[i])
                for j in range(p.size):
                    moves[j] += a / (root[j] + e)
            kept = real(beta1**missed) if missed < horizon else real(0.0)
            for j in range(p.size):
                p[j] -= moves[j] * m[j]
                m[j] *= kept
        kept = real(beta2**missed)
        for j in range(p.size):
            v[j] *= kept


@njit()
def _moves(mean: np.ndarray) -> bool:
    """Whether a row with this mean of gradients (D,) moves by itself: not if it was never touched, or long ago."""
    total = mean.dtype.type(0.0)
    for j in range(mean.size):
        total += np.abs(mean[j])
    return bool(total != 0.0)


@njit()
def decay(param: np.ndarray, rows: np.ndarray, dates: np.ndarray, logs: np.ndarray, first: int, until: int) -> None:
    """[O7] param[row] *= exp(c_t - c_s), c standing in `logs`, for s = dates[row] and t = `until`; the dates stay."""
    for r in range(rows.size):
        if dates[rows[r]] == until:
            continue
        p = param[rows[r]]
        factor = param.dtype.type(np.exp(logs[until - first] - logs[dates[rows[r]] - first]))
        for j in range(p.size):
            p[j] *= factor


@njit()
def decay_lag(
    lag: np.ndarray,
    param: np.ndarray,
    rows: np.ndarray,
    dates: np.ndarray,
    logs: np.ndarray,
    sums: np.ndarray,
    first: int,
    until: int,
    averaged_from: int,
) -> None:
    """[O8] lag[row] += the effect of the decay of the steps missed, up to `until`; before `decay` itself."""
    for r in range(rows.size):
        p, b, s, t = param[rows[r]], lag[rows[r]], dates[rows[r]] - first, until - first
        kept = np.exp(logs[t] - logs[s])
        counted = (sums[t] - sums[s]) * np.exp(-logs[s]) - (t - s) * kept
        factor = param.dtype.type((dates[rows[r]] - averaged_from) * (1.0 - kept) + counted)
        for j in range(p.size):
            b[j] += factor * p[j]
