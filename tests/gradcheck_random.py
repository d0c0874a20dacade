"""Random right layers and losses: sizes, scales, types, structures and dead ends drawn at random.

python tests/gradcheck_random.py 2000 0     the runs, and a seed: many raise a false alarm, and their reports
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from gradcheck_cases import lookup, lookup_back, lstm, lstm_back, sigmoid, softmax

from nplm.gradcheck import Report, check, check_layer


def draw(rng: np.random.Generator) -> Report:
    """One random right gradient, judged."""
    return RUNS[int(rng.integers(len(RUNS)))](rng)


def array(rng, *shape, dtype=np.float64):
    """Normal numbers, of any size between 1e-3 and 1e3, with some zeros."""
    x = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 1)
    return (x * (rng.random(shape) < 0.9)).astype(dtype)


def sizes(rng, count):
    return (int(k) for k in rng.integers(1, 7, count))


def kind(rng):
    return np.float32 if rng.random() < 0.3 else np.float64


def dense_layer(rng):
    n, d, h = sizes(rng, 3)
    dtype = kind(rng)
    x, w, b = (array(rng, *shape, dtype=dtype) for shape in ((n, d), (d, h), (h,)))
    functions = [
        (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
        (lambda a: 1 / (1 + np.exp(-a)), lambda a: sigmoid(a) * (1 - sigmoid(a))),
        (lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(dtype)),
        (lambda a: a * a * a, lambda a: 3 * a * a),
        (np.sin, np.cos),
        (np.abs, np.sign),
        (lambda a: np.logaddexp(0, a), sigmoid),
    ]
    function, derivative = functions[int(rng.integers(len(functions)))]

    def forward(x, w, b):
        return function(x @ w + b), (x, w, b)

    def backward(dy, cache):
        x, w, b = cache
        da = dy * derivative(x @ w + b)
        return da @ w.T, x.T @ da, da.sum(axis=0)

    return check_layer(forward, backward, x, w, b, rng=rng, raises=False)


def lstm_layer(rng):
    t, b, d, h = (int(k) for k in rng.integers(1, 4, 4))
    dtype = kind(rng)
    shapes = ((t, b, d), (b, h), (b, h), (4 * h, d), (4 * h, h), (4 * h,))
    inputs = [array(rng, *shape, dtype=dtype) for shape in shapes]
    return check_layer(lstm, lstm_back, *inputs, rng=rng, raises=False)


def embedding(rng):
    v, h = sizes(rng, 2)
    table, ids = array(rng, v, h, dtype=kind(rng)), rng.integers(0, v, int(rng.integers(1, 9)))
    return check_layer(lookup, lookup_back, table, ids, rng=rng, raises=False)


def softmax_loss(rng):
    """With a bias for every row, whose gradient is a sum that cancels."""
    n, d, v = sizes(rng, 3)
    x, labels, shift = array(rng, n, d), rng.integers(0, v, n), 10.0 ** rng.uniform(-2, 3)
    params = {"w": array(rng, d, v), "b": array(rng, v), "row": array(rng, n, 1)}

    def scores(p):
        return x @ p["w"] + p["b"] + shift * p["row"]

    def loss(p):
        s = scores(p)
        top = s.real.max(axis=1, keepdims=True)  # a constant: its derivative cancels
        return (np.log(np.exp(s - top).sum(axis=1)) + top[:, 0] - s[np.arange(n), labels]).mean()

    def grads(p):
        ds = softmax(scores(p))
        ds[np.arange(n), labels] -= 1
        ds /= n
        return {"w": x.T @ ds, "b": ds.sum(axis=0), "row": shift * ds.sum(axis=1, keepdims=True)}

    return check(loss, params, grads if rng.random() < 0.5 else grads(params), rng=rng, raises=False)


def normalised(rng):
    """A normalisation: what is added before it has no influence."""
    n, d = (int(k) for k in rng.integers(2, 7, 2))
    c, params = array(rng, n, d), {"x": rng.normal(size=(n, d)), "b": array(rng, n, 1), "gain": array(rng, d)}

    def parts(p):
        z = p["x"] + p["b"]
        centred = z - z.mean(axis=1, keepdims=True)
        return centred, np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)

    def loss(p):
        centred, sd = parts(p)
        return (c * p["gain"] * centred / sd).sum()

    def grads(p):
        centred, sd = parts(p)
        hat, dhat = centred / sd, c * p["gain"]
        dx = (dhat - dhat.mean(axis=1, keepdims=True) - hat * (dhat * hat).mean(axis=1, keepdims=True)) / sd
        return {"x": dx, "b": dx.sum(axis=1, keepdims=True), "gain": (c * hat).sum(axis=0)}

    return check(loss, params, grads if rng.random() < 0.5 else grads(params), rng=rng, raises=False)


def least_squares(rng):
    """In a namedtuple-free, plain array; above 60 entries by sampling."""
    n, d, k = (int(size) for size in rng.integers(2, 12, 3))
    dtype = kind(rng)
    x, y, w = (array(rng, *shape, dtype=dtype) for shape in ((n, d), (n, k), (d, k)))

    def loss(w):
        return ((x @ w - y) ** 2).sum() / 2

    def grads(w):
        return x.T @ (x @ w - y)

    return check(loss, w, grads if rng.random() < 0.5 else grads(w), rng=rng, max_entries=60, raises=False)


def product_of_many(rng):
    """Entries that span many orders of magnitude."""
    params = [array(rng, int(rng.integers(1, 6))) + 0.01 for _ in range(3)]
    scale = 10.0 ** rng.uniform(-6, 6, 3)

    def loss(p):
        return sum(s * np.exp(a).sum() for s, a in zip(scale, p, strict=True)) * np.cos(p[0]).sum()

    def grads(p):
        total = sum(s * np.exp(a).sum() for s, a in zip(scale, p, strict=True))
        cosine = np.cos(p[0]).sum()
        out = [s * np.exp(a) * cosine for s, a in zip(scale, p, strict=True)]
        out[0] = out[0] - total * np.sin(p[0])
        return out

    return check(loss, params, grads if rng.random() < 0.5 else grads(params), rng=rng, raises=False)


RUNS: list[Callable[[Any], Report]] = [
    dense_layer,
    lstm_layer,
    embedding,
    softmax_loss,
    normalised,
    least_squares,
    product_of_many,
]


def false_alarms(runs: int, seed: int = 0) -> list[tuple[int, Report]]:
    """The runs whose right gradient was called wrong."""
    found = []
    for k in range(runs):
        report = draw(np.random.default_rng([seed, k]))
        if not report.ok:
            found.append((k, report))
    return found


if __name__ == "__main__":
    count, seed = (int(word) for word in (sys.argv[1:] + ["2000", "0"][len(sys.argv) - 1 :]))
    alarms = false_alarms(count, seed)
    for number, report in alarms:
        print(f"run {number}\n{report}\n")
    print(f"{len(alarms)} false alarms in {count} runs")
