"""Functions with their gradients, right and wrong, as people write them: what the tests and the benchmark check.

A case is the arguments of `check`: a loss, the parameters, and a function that returns the gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """What `check` takes."""

    loss: Callable[[Any], Any]
    params: Any
    grads: Callable[[Any], Any]


class Pair(NamedTuple):
    """A namedtuple of parameters."""

    w: Any
    b: Any


@dataclass(frozen=True)
class Linear:
    """A dataclass of parameters."""

    w: Any
    b: Any


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softplus_stable(x):
    """The project's [X5]: max(x, 0) + log(1 + exp(-|x|))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def into_buffer(w):
    """tanh, row by row into an array of zeros."""
    out = np.zeros(w.shape)
    for row in range(len(w)):
        out[row] = np.tanh(w[row])
    return out.sum()


def with_out(w):
    """exp with out=."""
    out = np.empty(w.shape)
    np.exp(w, out=out)
    return out.sum()


def layer_norm(x, gain):
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * gain


def right(seed: int = 0) -> dict[str, Case]:
    """Functions whose gradient is right, most of them in one array w (5,4)."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(5, 4))
    x, y = rng.normal(size=(7, 5)), rng.normal(size=(7, 4))
    c = rng.normal(size=(5, 4))
    ids = np.array([3, 1, 3, 0, 3])
    labels = rng.integers(0, 4, 7)
    positive = np.abs(w) + 0.1
    b = rng.normal(size=4)
    square = rng.normal(size=(4, 4)) + 4 * np.eye(4)
    one_hot = np.eye(4)[labels]

    def norm_dx(x, gain=1.0):
        """d sum(c * layer_norm(x)) / dx."""
        n = x.shape[-1]
        sd = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        hat = (x - x.mean(axis=-1, keepdims=True)) / sd
        dy = c * gain
        return (dy - dy.mean(axis=-1, keepdims=True) - hat * (dy * hat).sum(axis=-1, keepdims=True) / n) / sd

    def count(ids, shape, d):
        out = np.zeros(shape)
        np.add.at(out, ids, d)
        return out

    def relu_net(p):
        return (np.maximum(x @ p["w"] + p["b"], 0) ** 2).sum()

    def relu_grads(p):
        h = np.maximum(x @ p["w"] + p["b"], 0)
        return {"w": 2 * x.T @ h, "b": 2 * h.sum(axis=0)}

    def mlp(p):
        return ((np.tanh(x @ p.w + p.b) - y) ** 2).mean()

    def mlp_grads(p):
        h = np.tanh(x @ p.w + p.b)
        da = 2 * (h - y) / y.size * (1 - h**2)
        return type(p)(x.T @ da, da.sum(axis=0))

    def rnn(p):
        h = np.zeros(4)
        for t in range(7):
            h = np.tanh(x[t] @ p["w"] + h @ p["u"])
        return (h * b).sum()

    def rnn_grads(p):
        h = [np.zeros(4)]
        for t in range(7):
            h.append(np.tanh(x[t] @ p["w"] + h[-1] @ p["u"]))
        dh, dw, du = b, np.zeros_like(p["w"]), np.zeros_like(p["u"])
        for t in reversed(range(7)):
            da = dh * (1 - h[t + 1] ** 2)
            dw, du, dh = dw + np.outer(x[t], da), du + np.outer(h[t], da), p["u"] @ da
        return {"w": dw, "u": du}

    both = {"w": w, "b": b}
    return {
        # ---- the 14 functions of a newcomer
        "polynomial": Case(lambda w: (c * w**3).sum(), w, lambda w: 3 * c * w**2),
        "logistic regression": Case(
            lambda w: -np.log(softmax(x @ w)[np.arange(7), labels]).mean(),
            w,
            lambda w: x.T @ (softmax(x @ w) - one_hot) / 7,
        ),
        "np.abs": Case(lambda w: np.abs(w).sum(), w, np.sign),
        "np.linalg.norm": Case(np.linalg.norm, w, lambda w: w / np.linalg.norm(w)),
        ".real": Case(lambda w: (w.real**2).sum(), w, lambda w: 2 * w),
        "np.vdot": Case(lambda w: np.vdot(w, w), w, lambda w: 2 * w),
        ".var()": Case(lambda w: w.var(), w, lambda w: 2 * (w - w.mean()) / w.size),
        "stable softplus": Case(lambda w: softplus_stable(w).sum(), w, sigmoid),
        "np.zeros buffer": Case(into_buffer, w, lambda w: 1 - np.tanh(w) ** 2),
        "float()": Case(lambda w: float((w**2).sum()), w, lambda w: 2 * w),
        "integer ids": Case(
            lambda p: (p["w"][p["ids"]] ** 2).sum(),
            {"w": w, "ids": ids},
            lambda p: {"w": count(ids, w.shape, 2 * p["w"][ids])},
        ),
        "np.logaddexp": Case(lambda w: np.logaddexp(0, w).sum(), w, sigmoid),
        "out=": Case(with_out, w, np.exp),
        "an array of one number": Case(lambda w: (w**2).sum(keepdims=True), w, lambda w: 2 * w),
        # ---- kinks
        "ReLU network": Case(relu_net, both, relu_grads),
        "ReLU at zero, one side": Case(lambda w: np.maximum(w, 0).sum(), np.round(w), lambda w: (w > 0).astype(float)),
        "ReLU at zero, other side": Case(
            lambda w: np.maximum(w, 0).sum(), np.round(w), lambda w: (w >= 0).astype(float)
        ),
        "np.where": Case(lambda w: np.where(w > 0, w, 0.1 * w).sum(), w, lambda w: np.where(w > 0, 1.0, 0.1)),
        "w * (w > 0)": Case(lambda w: (w * (w > 0)).sum(), w, lambda w: 1.0 * (w > 0)),
        "row maximum": Case(lambda w: w.max(axis=1).sum(), w, lambda w: 1.0 * (w == w.max(axis=1)[:, None])),
        "np.clip": Case(lambda w: np.clip(w, -1, 1).sum(), w, lambda w: 1.0 * (np.abs(w) < 1)),
        "abs at zero": Case(lambda w: np.abs(w).sum(), np.round(w), np.sign),
        "hinge": Case(lambda w: np.maximum(0, 1 - y * (x @ w)).sum(), w, lambda w: -x.T @ (y * (y * (x @ w) < 1))),
        "np.sort": Case(
            lambda w: (np.sort(w, axis=None) * np.arange(20)).sum(),
            w,
            lambda w: np.argsort(np.argsort(w, axis=None)).reshape(w.shape).astype(float),
        ),
        "Huber": Case(
            lambda w: np.where(np.abs(w) < 1, w**2 / 2, np.abs(w) - 0.5).sum(), w, lambda w: np.clip(w, -1, 1)
        ),
        # ---- structures
        "namedtuple": Case(mlp, Pair(w, b), mlp_grads),
        "dataclass": Case(mlp, Linear(w, b), mlp_grads),
        "nested": Case(
            lambda p: mlp(p["layers"][0]), {"layers": [Pair(w, b)]}, lambda p: {"layers": [mlp_grads(p["layers"][0])]}
        ),
        "a number": Case(lambda p: np.sin(p["a"]) * 2, {"a": 0.3}, lambda p: {"a": 2 * np.cos(p["a"])}),
        "zero-dimensional": Case(np.sin, np.array(0.3), np.cos),
        "empty array": Case(
            lambda p: (p[0] ** 2).sum() + p[1].sum(), [w, np.zeros((0, 3))], lambda p: [2 * p[0], p[1]]
        ),
        "Fortran order": Case(lambda w: (w**2 * c).sum(), np.asfortranarray(w), lambda w: 2 * w * c),
        # ---- recurrent, normalised, algebraic
        "RNN": Case(rnn, {"w": w, "u": square / 4}, rnn_grads),
        "layer normalisation": Case(lambda w: (c * layer_norm(w, 1.0)).sum(), w, norm_dx),
        "batch bias before a normalisation": Case(
            lambda p: (c * layer_norm(p["w"] + p["b"], 1.0)).sum(),
            {"w": w, "b": np.zeros((5, 1))},
            lambda p: {"w": norm_dx(p["w"] + p["b"]), "b": norm_dx(p["w"] + p["b"]).sum(axis=1, keepdims=True)},
        ),
        "log determinant": Case(lambda a: np.log(np.linalg.det(a)), square, lambda a: np.linalg.inv(a).T),
        "solve": Case(
            lambda a: b @ np.linalg.solve(a, b),
            square,
            lambda a: -np.outer(np.linalg.solve(a.T, b), np.linalg.solve(a, b)),
        ),
        "einsum": Case(lambda w: np.einsum("ni,ij,nj->", x, w, y), w, lambda w: np.einsum("ni,nj->ij", x, y)),
        "power": Case(lambda w: (w**1.7).sum(), positive, lambda w: 1.7 * w**0.7),
        "log": Case(lambda w: np.log(w).sum(), positive, lambda w: 1 / w),
        "square root": Case(lambda w: np.sqrt(w).sum(), positive, lambda w: 0.5 / np.sqrt(w)),
        "arctan2": Case(lambda w: np.arctan2(w, 2.0).sum(), w, lambda w: 2.0 / (4.0 + w**2)),
        "hypot": Case(lambda w: np.hypot(w, 1.0).sum(), w, lambda w: w / np.hypot(w, 1.0)),
        "cosine similarity": Case(
            lambda w: w[0] @ w[1] / np.sqrt((w[0] @ w[0]) * (w[1] @ w[1])), w, lambda w: _cosine_gradient(w)
        ),
        "scales of 1e8 and 1e-6": Case(
            lambda w: (1e8 * w[0]).sum() + np.sin(w[1]).sum() + 1e-6 * (w[2] ** 2).sum(),
            w,
            lambda w: np.stack([np.full(4, 1e8), np.cos(w[1]), 2e-6 * w[2], 0 * w[3], 0 * w[4]]),
        ),
        "constant": Case(lambda w: 3.0 + 0.0 * w.sum(), w, np.zeros_like),
        "cancelling sums": Case(lambda w: (w.sum() * 1e6 - (w * 1e6).sum()) + (w**2).sum(), w, lambda w: 2 * w),
        "float32 inside": Case(lambda w: (w.astype(np.float32) ** 2).sum(), w, lambda w: (2 * w).astype(np.float32)),
        "float32 parameters": Case(mlp, Pair(w.astype(np.float32), b.astype(np.float32)), mlp_grads),
        "writes into its parameters": Case(_in_place, w.copy(), lambda w: 2 * w),
        "math.exp": Case(_with_math, w, np.exp),
        "median": Case(lambda w: np.median(w), w, _median_gradient),
        "standard deviation": Case(
            lambda w: w.std(axis=0).sum(), w, lambda w: (w - w.mean(axis=0)) / (5 * w.std(axis=0))
        ),
    }


def _cosine_gradient(w):
    a, b = w[0], w[1]
    na, nb = np.sqrt(a @ a), np.sqrt(b @ b)
    grad = np.zeros_like(w)
    grad[0] = b / (na * nb) - (a @ b) * a / (na**3 * nb)
    grad[1] = a / (na * nb) - (a @ b) * b / (na * nb**3)
    return grad


def _in_place(w):
    w *= w
    return w.sum()


def _with_math(w):
    import math

    return sum(math.exp(v) for v in w.ravel())


def _median_gradient(w):
    order = np.argsort(w, axis=None)
    grad = np.zeros(w.size)
    grad[order[[w.size // 2 - 1, w.size // 2]]] = 0.5
    return grad.reshape(w.shape)


# ---- planted faults


class Fault(NamedTuple):
    """A wrong layer: its forward and backward pass, its inputs, and the pattern that has to be named."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: tuple[Any, ...]
    pattern: str | None  # None: not one of the patterns in the list
    where: str = "w"  # the input whose gradient is wrong


T, B, D, H, V = 6, 3, 5, 4, 9


def _arrays(seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    ids = np.array([7, 2, 7, 0, 5, 2])
    return {
        "x": rng.normal(size=(T, D)),
        "w": rng.normal(size=(D, H)),
        "u": rng.normal(size=(D, H)),
        "b": rng.normal(size=H),
        "square": rng.normal(size=(H, H)),
        "table": rng.normal(size=(V, H)),
        "ids": ids,
        "gates": rng.normal(size=(4 * H, D)),
        "recurrent": 0.5 * rng.normal(size=(4 * H, H)),
        "steps": rng.normal(size=(T, B, D)),
        "h0": rng.normal(size=(B, H)),
        "c0": rng.normal(size=(B, H)),
        "bias": rng.normal(size=4 * H),
    }


def dense(x, w, b):
    y = np.tanh(x @ w + b)
    return y, (x, w, y)


def dense_back(dy, cache, *, dx=None, dw=None, db=None):
    """The right gradients, and a change to one of them: a function of its factors (da, x, w) and its value."""
    x, w, y = cache
    da = dy * (1 - y**2)
    got = [da @ w.T, x.T @ da, da.sum(axis=0)]
    for k, change in enumerate((dx, dw, db)):
        if change is not None:
            got[k] = change(da, x, w, got[k])
    return tuple(got)


def two_dense(x, w, u):
    return np.tanh(x @ w) * np.sin(x @ u)


def two_dense_back(dy, x, w, u):
    a, s = np.tanh(x @ w), x @ u
    da, ds = dy * np.sin(s) * (1 - a**2), dy * a * np.cos(s)
    return da @ w.T + ds @ u.T, x.T @ da, x.T @ ds


def lookup(table, ids):
    return np.tanh(table[ids]), (table, ids)


def lookup_back(dy, cache, add=True):
    table, ids = cache
    d, dtable = dy * (1 - np.tanh(table[ids]) ** 2), np.zeros_like(table)
    if add:
        np.add.at(dtable, ids, d)
    else:
        dtable[ids] += d
    return dtable, None


def product(x, square):
    return np.sin(x[:, :H] @ square)


def product_back(dy, x, square, transpose=False):
    da = dy * np.cos(x[:, :H] @ square)
    dx = np.zeros_like(x)
    dx[:, :H] = da @ square.T
    dsquare = x[:, :H].T @ da
    return dx, dsquare.T if transpose else dsquare


def lstm(x, h0, c0, weight_ih, weight_hh, bias):
    """h (T,B,H) of an LSTM with gates i f g o."""
    h, c, gates = [h0], [c0], []
    for t in range(len(x)):
        i, f, g, o = np.split(x[t] @ weight_ih.T + h[-1] @ weight_hh.T + bias, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c.append(f * c[-1] + i * g)
        h.append(o * np.tanh(c[-1]))
        gates.append((i, f, g, o))
    return np.stack(h[1:]), (x, h, c, gates, weight_ih, weight_hh)


def lstm_back(dhidden, cache, fault=""):
    """The gradients of `lstm`, with one fault."""
    x, h, c, gates, weight_ih, weight_hh = cache
    dx, dih, dhh = np.zeros_like(x), np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    dbias = np.zeros(len(weight_ih))
    dh, dc = np.zeros_like(h[0]), np.zeros_like(c[0])
    steps = range(len(x))
    if fault == "first step":
        steps = steps[1:]
    if fault == "last step":
        steps = steps[:-1]
    for t in reversed(steps):
        i, f, g, o = gates[t]
        dh = dh + dhidden[t]
        tanh = np.tanh(c[t + 1])
        dc = dc + dh * o * (1 - tanh**2)
        parts = [dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g**2), dh * tanh * o * (1 - o)]
        if fault == "order of the gates":
            parts = [parts[0], parts[1], parts[3], parts[2]]
        if fault == "forget gate's cell":
            parts[1] = dc * c[t + 1] * f * (1 - f)
        if fault == "tanh":
            parts[2] = dc * i * (1 - g)
        da = np.concatenate(parts, axis=1)
        dx[t] = da @ weight_ih
        dih += da.T @ x[t]
        dhh += da.T @ (h[t + 1] if fault == "h of this step" else h[t])
        dbias += da[0] if fault == "one stream" else da.sum(axis=0)
        dh = da @ weight_hh
        dc = np.zeros_like(dc) if fault == "cell not carried" else dc * f
        if fault == "hidden not carried":
            dh = np.zeros_like(dh)
    if fault == "gates of the weights":
        dih = np.roll(dih.reshape(4, -1, dih.shape[1]), 1, axis=0).reshape(dih.shape)
    if fault == "input gate's bias":
        dbias[: len(dbias) // 4] = 0
    if fault == "last gate's sign":
        dhh[-len(dhh) // 4 :] *= -1
    return dx, dh, dc, dih, dhh, dbias


class Stale:
    """A layer that keeps something from call to call."""

    def __init__(self, kind):
        self.kind, self.buffer, self.kept = kind, None, None

    def forward(self, x, w):
        if self.kept is None or self.kind != "first input":
            self.kept = x
        return np.tanh(x @ w), (x, w)

    def backward(self, dy, cache):
        x, w = cache
        da = dy * (1 - np.tanh(x @ w) ** 2)
        dw = x.T @ da
        if self.kind == "accumulates":
            self.buffer = dw if self.buffer is None else self.buffer + dw
            dw = self.buffer
        if self.kind == "half of the old":
            self.buffer, dw = dw, dw + (0.5 * self.buffer if self.buffer is not None else 0)
        if self.kind == "cached gradient":
            self.buffer = dw = dw if self.buffer is None else self.buffer + 1e-3
        return da @ w.T, dw


def faults(seed: int = 1) -> dict[str, Fault]:
    """Layers with one fault each."""
    a = _arrays(seed)
    x, w, b = a["x"], a["w"], a["b"]
    rnn = tuple(a[k] for k in ("steps", "h0", "c0", "gates", "recurrent", "bias"))

    def planted(pattern, where="w", **change):
        return Fault(dense, lambda dy, cache: dense_back(dy, cache, **change), (x, w, b), pattern, where)

    def lstm_fault(fault, pattern, where):
        return Fault(lstm, lambda dh, cache: lstm_back(dh, cache, fault), rnn, pattern, where)

    def scaled(r):
        return lambda da, x, w, g: r * g

    def at(index, r):
        def change(da, x, w, g):
            g[index] *= r
            return g

        return change

    def added(index, amount):
        def change(da, x, w, g):
            g[index] += amount
            return g

        return change

    def permuted(order, axis):
        return lambda da, x, w, g: np.concatenate([np.split(g, len(order), axis)[k] for k in order], axis)

    def table_fault(change, pattern):
        def backward(dy, cache):
            dtable, _ = lookup_back(dy, cache)
            return change(dtable, dy, cache), None

        return Fault(lookup, backward, (a["table"], a["ids"]), pattern, "table")

    def swapped(dy, *inputs):
        dx, dw, du = two_dense_back(dy, *inputs)
        return dx, du, dw

    def stale(kind):
        layer = Stale(kind)
        return Fault(layer.forward, layer.backward, (x, w), "stale buffer", "w")

    mean_out = lambda x, w, b: dense(x, w, b)[0].mean(axis=0)  # noqa: E731
    sum_out = lambda x, w, b: dense(x, w, b)[0].sum(axis=0)  # noqa: E731

    def reduced(factor):
        def backward(dy, x, w, b):
            return dense_back(np.broadcast_to(dy, (T, H)) * factor, dense(x, w, b)[1])

        return backward

    return {
        # ---- constant ratios
        "twice": planted("ratio", dw=scaled(2)),
        "half": planted("ratio", dw=scaled(0.5)),
        "opposite sign": planted("sign", dw=scaled(-1)),
        "opposite sign of the bias": planted("sign", "b", db=scaled(-1)),
        "1/N": planted("mean", dw=scaled(1 / T)),
        "1/B of the input": planted("mean", "x", dx=scaled(1 / T)),
        "N times": planted("sum", dw=scaled(T)),
        "1/D": planted("mean", dw=scaled(1 / D)),
        "mean for a sum": Fault(sum_out, reduced(1 / T), (x, w, b), "mean"),
        "sum for a mean": Fault(mean_out, reduced(1), (x, w, b), "sum"),
        "factor 1.5": planted("ratio", dw=scaled(1.5)),
        "factor 1 + 1e-7": planted("ratio", dw=scaled(1 + 1e-7)),
        # ---- shapes and places
        "transposed": Fault(
            product, lambda dy, *i: product_back(dy, *i, transpose=True), (x, a["square"]), "transposed", "square"
        ),
        "transposed shape": planted("transposed", dw=lambda da, x, w, g: g.T),
        "transposed and reshaped": planted("transposed", dw=lambda da, x, w, g: g.T.reshape(g.shape)),
        "sum over the batch missing": planted("sum over an axis missing", "b", db=lambda da, x, w, g: da),
        "mean over the batch, kept": planted(
            "sum over an axis missing", "b", db=lambda da, x, w, g: da.mean(axis=0, keepdims=True) * T
        ),
        "one row for the sum": planted("sum over an axis missing", "b", db=lambda da, x, w, g: da[0].copy()),
        "another row for the sum": planted("sum over an axis missing", "b", db=lambda da, x, w, g: da[2].copy()),
        "summed once too often": planted(None, dw=lambda da, x, w, g: g.sum(axis=0)),
        "blocks of columns permuted": planted("blocks permuted", dw=permuted([1, 0, 3, 2], 1)),
        "halves exchanged": planted("blocks permuted", "b", db=permuted([1, 0], 0)),
        "gates of the weights permuted": lstm_fault("gates of the weights", "blocks permuted", "weight_ih"),
        "gates permuted": lstm_fault("order of the gates", "blocks permuted", "bias"),
        "reversed in time": planted("reversed", "x", dx=lambda da, x, w, g: g[::-1].copy()),
        "shifted in time": planted("shifted", "x", dx=lambda da, x, w, g: np.vstack([np.zeros(D), g[:-1]])),
        # ---- steps
        "first row missing": planted("first step", "x", dx=at(0, 0)),
        "last row missing": planted("last step", "x", dx=at(-1, 0)),
        "first step left out of the weights": lstm_fault("first step", "first step", "weight_hh"),
        "first step left out of the bias": lstm_fault("first step", "first step", "bias"),
        "last step left out of the weights": lstm_fault("last step", "last step", "weight_ih"),
        "last step left out of the bias": lstm_fault("last step", "last step", "bias"),
        "dense without its first row": planted("first step", dw=lambda da, x, w, g: x[1:].T @ da[1:]),
        "dense without its last row": planted("last step", dw=lambda da, x, w, g: x[:-1].T @ da[:-1]),
        # ---- ids
        "repeated ids": Fault(
            lookup, lambda dy, cache: lookup_back(dy, cache, add=False), (a["table"], a["ids"]), "repeated ids", "table"
        ),
        "repeated ids averaged": table_fault(
            lambda d, dy, cache: d / np.maximum(np.bincount(cache[1], minlength=V), 1)[:, None], "repeated ids"
        ),
        "first id missing": table_fault(lambda d, dy, cache: d * (np.arange(V) != 0)[:, None], "first step"),
        "one id missing": table_fault(lambda d, dy, cache: d * (np.arange(V) != 5)[:, None], "some indices"),
        "a row that is not used": table_fault(
            lambda d, dy, cache: d + 1e-5 * (np.arange(V) == 4)[:, None], "some indices"
        ),
        # ---- parameters and buffers
        "gradients exchanged": Fault(two_dense, swapped, (x, w, a["u"]), "another parameter's", "w"),
        "gradient of another": Fault(
            two_dense,
            lambda dy, *i: (lambda g: (g[0], g[1], g[1]))(two_dense_back(dy, *i)),
            (x, w, a["u"]),
            "another parameter's",
            "u",
        ),
        "accumulates": stale("accumulates"),
        "half of the old gradient": stale("half of the old"),
        "gradient of the last call": stale("cached gradient"),
        "never computed": planted("missing", dw=lambda da, x, w, g: np.zeros_like(g)),
        "None": planted("missing", dw=lambda da, x, w, g: None),
        "NaN": planted("not finite", dw=added((1, 1), np.nan)),
        "infinite": planted("not finite", dw=added((1, 1), np.inf)),
        "sign lost": planted("sign lost", dw=lambda da, x, w, g: np.abs(g)),
        "weight decay": planted("weight decay", dw=lambda da, x, w, g: g + 1e-3 * w),
        "clipped": planted("clipped", dw=lambda da, x, w, g: np.clip(g, -0.5, 0.5)),
        "rounded to float16": planted("rounded", dw=lambda da, x, w, g: g.astype(np.float16).astype(float)),
        "rounded to float32": planted("rounded", dw=lambda da, x, w, g: g.astype(np.float32).astype(float)),
        # ---- some entries
        "one entry off by 1e-6": planted("some indices", dw=added((2, 3), 1e-6)),
        "one entry off by 1e-10": planted("some indices", dw=added((2, 3), 1e-10)),
        "one entry dropped": planted("some indices", dw=at((2, 1), 0)),
        "one column twice": planted("some indices", dw=at((slice(None), 2), 2)),
        "one gate's bias missing": lstm_fault("input gate's bias", "one block", "bias"),
        "one gate's sign": lstm_fault("last gate's sign", "one block", "weight_hh"),
        "rows scaled": planted(
            "factor by index", dw=lambda da, x, w, g: g * np.array([1.1, 1.2, 1.3, 1.4, 1.5])[:, None]
        ),
        "offset": planted("constant along an axis", dw=lambda da, x, w, g: g + 0.1),
        # ---- wrong formulas
        "tanh' = 1 - tanh": Fault(
            dense, lambda dy, c: dense_back(dy / (1 - c[2] ** 2) * (1 - c[2]), c), (x, w, b), None
        ),
        "activation's derivative left out": Fault(
            dense, lambda dy, c: dense_back(dy / (1 - c[2] ** 2), c), (x, w, b), None
        ),
        "gate: tanh' = 1 - tanh": lstm_fault("tanh", "one block", "weight_ih"),
        "cell not carried": lstm_fault("cell not carried", "later steps", "weight_ih"),
        "hidden state not carried": lstm_fault("hidden not carried", "later steps", "weight_ih"),
        "forget gate takes c of this step": lstm_fault("forget gate's cell", "one block", "bias"),
        "h of this step for the step before": lstm_fault("h of this step", None, "weight_hh"),
        "one stream for the sum": lstm_fault("one stream", "sum over an axis missing", "bias"),
        "noise": planted(None, dw=lambda da, x, w, g: g + 1e-8 * np.random.default_rng(0).normal(size=g.shape)),
    }
