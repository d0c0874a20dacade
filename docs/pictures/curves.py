"""Pictures of numbers: each is computed here, or read from log_z.json, which measure.py writes."""

import json
from pathlib import Path

import numpy as np
from _svg import Axes, Picture

HERE = Path(__file__).resolve().parent


def score_gradient() -> Picture:
    """dJ/ds = K q / (u + K q) (u - p) against u, in units of p, for q = p."""
    p = Picture(720, 360)
    axes = Axes(p, (70, 40, 460, 260), (0, 12), (-1, 11))
    axes.ticks(
        range(0, 13, 2), range(-1, 12, 2), "u / p: the model's value for the word over the right one", "gradient / p"
    )
    u = np.linspace(0, 12, 121)
    for k, colour in ((1, "a"), (10, "b"), (100, "c")):
        axes.curve(u, k / (u + k) * (u - 1), colour, f"K = {k}")
    axes.curve(u, u - 1, "d", "u - p, large K", dashed=True)
    return p


def gradient_norms(steps: int = 40, size: int = 64) -> dict[str, list[float]]:
    """|dh_t| over |dh_T| when only the last step has a loss, through an RNN and through LSTMs of the same size."""
    rng = np.random.default_rng(1)
    weight, dh_last = rng.normal(size=(size, size)) / np.sqrt(size), rng.normal(size=size)
    x = rng.normal(size=(steps, size)) * 0.5
    found = {}
    for scale, name in ((0.5, "RNN, 0.5 U"), (1.0, "RNN, U"), (2.0, "RNN, 2 U")):
        h, kept = np.zeros(size), []
        for t in range(steps):
            h = np.tanh(x[t] + scale * weight @ h)
            kept.append(h)
        dh, norms = dh_last, []
        for t in reversed(range(steps)):
            norms.append(np.linalg.norm(dh))
            dh = scale * weight.T @ (dh * (1 - kept[t] ** 2))
        found[name] = norms
    matrices = rng.normal(size=(4, size, size)) / np.sqrt(size) * 0.5
    for bias, name in ((0.0, "LSTM, b_f = 0"), (3.0, "LSTM, b_f = 3")):
        found[name] = lstm_norms(x, matrices, bias, dh_last)
    return {name: [value / norms[0] for value in norms] for name, norms in found.items()}


def lstm_norms(x: np.ndarray, matrices: np.ndarray, bias: float, dh_last: np.ndarray) -> list[float]:
    """|dc_t|, going back from the last step, for a loss dh_last . h_T: the gradient of the cell carries the memory."""
    h = c = np.zeros(x.shape[1])
    kept = []
    for x_t in x:
        i, f, o = (1 / (1 + np.exp(-(x_t + m @ h + b))) for m, b in zip(matrices[[0, 1, 3]], (0, bias, 0), strict=True))
        g = np.tanh(x_t + matrices[2] @ h)
        before, c = c, f * c + i * g
        h = o * np.tanh(c)
        kept.append((i, f, g, o, c, before))
    dh, dc, norms = dh_last, np.zeros_like(dh_last), []
    for i, f, g, o, c, before in reversed(kept):
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        norms.append(float(np.linalg.norm(dc)))
        da = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g**2), dh * np.tanh(c) * o * (1 - o)
        dh = sum(m.T @ d for m, d in zip(matrices, da, strict=True))
        dc = dc * f
    return norms


def vanishing() -> Picture:
    """The curves of `gradient_norms`."""
    p = Picture(720, 380)
    axes = Axes(p, (70, 40, 500, 280), (0, 39), (1e-12, 1e3), log="y")
    axes.ticks(
        (0, 10, 20, 30, 39),
        (1e-12, 1e-9, 1e-6, 1e-3, 1, 1e3),
        "steps back from the loss",
        "gradient, relative to the last step",
    )
    norms = gradient_norms()
    for (name, values), colour in zip(norms.items(), ("d", "b", "ink", "c", "a"), strict=True):
        values = [value for value in values if 1e-12 <= value <= 1e3]
        axes.curve(range(len(values)), values, colour, name, shift=-10 if len(values) < len(norms[name]) else 0)
    return p


def log_z() -> Picture:
    """The curves of log_z.json."""
    recorded = json.loads((HERE / "log_z.json").read_text(encoding="utf-8"))
    p = Picture(720, 380)
    last = max(recorded["chunks"])
    axes = Axes(p, (60, 40, 440, 280), (0, last), (-5, 8))
    axes.ticks(range(0, last + 1, 100), range(-4, 9, 2), "chunks trained on", "mean log Z")
    for (name, values), colour in zip(recorded["log_z"].items(), "abcd", strict=True):
        axes.curve(recorded["chunks"], values, colour, name, shift={"a": 9, "c": -7}.get(colour, 0))
    expected = -np.log(recorded["num_noise"])
    axes.curve((0, last), (expected, expected), "b", "", dashed=True)
    p.text(*axes.place(0.75 * last, expected - 0.6), "-log K", "b", size=12)
    return p


def adam_path(steps: int = 60, seen: tuple[int, ...] = (0, 30)) -> tuple[list[float], list[float]]:
    """A parameter whose row is met at two steps: what dense Adam does, and what is stored while the row lags."""
    lr, b1, b2, epsilon = 0.1, 0.9, 0.999, 1e-8
    w = m = v = 0.0
    dense, stored, last = [], [], 0.0
    for t in range(steps):
        if t in seen or t == steps - 1:
            last = w  # the row catches up before it is read
        g = 1.0 if t in seen else 0.0
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w -= lr * (m / (1 - b1 ** (t + 1))) / (np.sqrt(v / (1 - b2 ** (t + 1))) + epsilon)
        last = w if t in seen else last
        dense.append(float(w))
        stored.append(float(last))
    return dense, stored


def catch_up() -> Picture:
    """The curves of `adam_path`."""
    p = Picture(720, 340)
    dense, stored = adam_path()
    axes = Axes(p, (70, 40, 480, 240), (0, 60), (-1.2, 0))
    axes.ticks((0, 15, 30, 45, 60), (-1.2, -0.9, -0.6, -0.3, 0), "step; the word occurs at steps 0 and 30", "weight")
    axes.curve(range(60), dense, "a", "dense Adam")
    axes.curve(np.repeat(range(60), 2)[1:], np.repeat(stored, 2)[:-1], "b", "", dashed=True)
    p.text(320, 96, "the stored row waits,", "b", size=13, anchor="start")
    p.text(320, 114, "and catches up when it is read", "b", size=13, anchor="start")
    return p
