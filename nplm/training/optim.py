"""Updates of the parameters: SGD, averaged SGD, Adagrad and Adam, with weight decay and clipping by global norm.

w is a row of a parameter and g its gradient; t counts the steps from 1, and lr is the learning rate of step t.

[O1] SGD       w -= lr g
[O2] Adagrad   v += g^2    w -= lr g / (sqrt(v) + epsilon)                    (Duchi 2011)
[O3] clipping  g *= min(1, clip / |g|),  |g| the norm over all parameters together
[O4] Adam      m = b1 m + (1 - b1) g    v = b2 v + (1 - b2) g^2    w -= a_t m / (sqrt(v) + e_t)
               a_t = lr sqrt(1 - b2^t) / (1 - b1^t)    e_t = epsilon sqrt(1 - b2^t)      (Kingma & Ba 2015)
[O5] decay     w *= 1 - lr decay, before the rule's own move; for matrices only, not for biases   (Loshchilov 2019)

A row gradient updates only its rows.  SGD and Adagrad do not change the others; Adam and decay do, and what a row
missed from step s to step t is applied when it is next read, where c_t is the sum of log(1 - lr decay) up to t:

[O6] moves     w -= sum over i = s+1 ... t of exp(c_s - c_i) a_i b1^(i-s) m / (sqrt(b2^(i-s) v) + e_i)
               m *= b1^(t-s)    v *= b2^(t-s)
[O7] decay     w *= exp(c_t - c_s)

The average of w over the n = t - T steps after step T is w_t + lag_t / n, which needs no work while w is unchanged.

[O8] lag       lag_t = sum over i = T+1 ... t of (w_i - w_t) = lag_(t-1) + (t - 1 - T) (w_(t-1) - w_t)

Derivations, with the bound on what [O6] may omit: docs/learn/optim.md; why rows lag: decision 0010.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nplm.arrays import Array, non_finite
from nplm.kernels import optim as kernels
from nplm.kernels.row_gradient import sum_of_squares
from nplm.layers.row_gradient import Gradient, RowGradient
from nplm.network import Grads, Params

EPSILON = 1e-8
BETA1, BETA2 = 0.9, 0.999  # of Adam
HISTORY = 4096  # most steps that a row may miss; then all rows catch up
LEAST_LOG = -1.0  # settle when c falls below this; otherwise differences of sums of exp(c) lose precision


def global_norm(grads: Grads) -> float:
    """Euclidean norm of all gradients together; not finite if an entry is not."""
    return math.sqrt(sum(sum_of_squares(_values(grad).ravel()) for grad in grads.values()))


def non_finite_gradient(grads: Grads) -> str | None:
    """Name of the first gradient with an entry that is not finite, or None."""
    return non_finite({name: _values(grad) for name, grad in grads.items()})


def horizon(dtype: Any) -> int:
    """Steps without a gradient after which the sum of all further moves of Adam is below the rounding of one a_t."""
    fading = BETA1 / math.sqrt(BETA2)  # factor of the moves, from step to step
    largest = (1 - BETA1) / math.sqrt((1 - BETA2) * (1 - fading**2))  # bound of |m| / sqrt(v)
    return math.ceil(math.log(float(np.finfo(dtype).eps) * (1 - fading) / largest) / math.log(fading))


def clock_is_possible(memory: Mapping[str, Array], kind: str) -> bool:
    """Whether saved steps and dates are possible; the kernels use them as indices into `history`, unchecked."""
    if "clock" not in memory:
        return True
    now, settled, averaged_from = map(int, memory["clock"])
    dates = [value for name, value in memory.items() if name.startswith("dates.") and value.size]
    return (
        0 <= settled <= now < 2**62
        and now - settled <= HISTORY
        and -1 <= averaged_from <= (now if kind == "asgd" else -1)
        and all(settled <= value.min() and value.max() <= now for value in dates)
    )


class Optimizer:
    """Applies gradients to parameters in place.

    kind: sgd, asgd (SGD that can average), adagrad or adam.  decay: see [O5], with lr * decay < 1.
    A step is: `prepare` for the rows that will be read; the gradient; `begin`; `update_one` for every parameter.
    `memory` holds everything that the next step needs besides the parameters: plain arrays, to be saved and restored.
    """

    def __init__(self, params: Params, kind: str, clip: float, decay: float = 0.0) -> None:
        self.kind, self.clip, self.decay = kind, clip, decay
        self.lazy = kind == "adam" or decay > 0  # rows without a gradient change, so they may lag behind
        self.clock = np.array([0, 0, -1])  # steps done; step of the last settle; T of [O8], or -1
        self.history = np.zeros((4, HISTORY + 1))  # a, e, c and the sum of exp(c), since the last settle
        self.squares = _like(params) if kind in ("adagrad", "adam") else {}  # v of [O2] and [O4]
        self.means = _like(params) if kind == "adam" else {}  # m of [O4]
        self.lags = _like(params) if kind == "asgd" else {}  # of [O8]
        self.dates = {name: np.zeros(len(value), np.int64) for name, value in params.items() if self.lazy}
        timed = self.lazy or kind == "asgd"  # SGD and Adagrad by themselves do not count steps
        self.memory: dict[str, Array] = {"clock": self.clock, "history": self.history} if timed else {}
        for what in ("squares", "means", "lags", "dates"):
            self.memory |= {f"{what}.{name}": value for name, value in getattr(self, what).items()}

    @property
    def averaging(self) -> bool:
        """Whether `start_averaging` was called."""
        return bool(self.clock[2] >= 0)

    def prepare(self, name: str, param: Array, rows: Array) -> None:
        """Apply the steps that these rows (any shape, int32) missed; must be called before they are read."""
        if self.lazy:
            self._catch_up(name, param, np.unique(rows), int(self.clock[0]))

    def begin(self, params: Params, lr: float) -> None:
        """Begin a step: call once before `update_one`, with the same rate.  Raises ValueError if lr * decay >= 1."""
        if lr * self.decay >= 1:
            raise ValueError(f"lr * decay = {lr:g} * {self.decay:g} must be less than 1")
        if self.lazy and self._history_is_full():
            self.settle(params)
        self.clock[0] += 1
        if self.lazy:
            self._record(lr)

    def update(self, params: Params, grads: Grads, lr: float, norm: float) -> None:
        """One whole step with gradients of global norm `norm`, clipped by [O3]; row gradients need no `prepare`."""
        self.begin(params, lr)
        for name, grad in grads.items():
            self.update_one(name, params[name], grad, lr, norm)

    def update_one(self, name: str, param: Array, grad: Gradient, lr: float, norm: float) -> None:
        """The step for one parameter; runs on any thread, since it uses only this parameter's memory."""
        scale = min(1.0, self.clip / norm) if norm > 0 else 1.0
        if self.lazy:  # [O5], and what the rows missed before
            rows = grad.rows if isinstance(grad, RowGradient) else _all_rows(param)
            self._catch_up(name, param, rows, int(self.clock[0]) - 1)
        matrix, rows, values = _as_rows(param, grad)
        if self.kind == "adam":
            rate, epsilon = self.history[:2, self.clock[0] - self.clock[1]]
            moments = self.means[name].reshape(matrix.shape), self.squares[name].reshape(matrix.shape)
            kernels.adam(matrix, rows, values, *moments, scale, rate, epsilon, BETA1, BETA2)
        elif self.kind == "adagrad":
            squares = self.squares[name].reshape(matrix.shape)
            kernels.adagrad(matrix, rows, values, squares, scale, lr, EPSILON)
        else:
            kernels.sgd(matrix, rows, values, lr * scale)
            if self.averaging:  # [O8]: w moved by -lr g, and n - 1 steps were averaged before
                before = int(self.clock[0] - 1 - self.clock[2])
                kernels.sgd(self.lags[name].reshape(matrix.shape), rows, values, -before * lr * scale)

    def settle(self, params: Params) -> None:
        """Apply everything that any row missed; must be called before the parameters are read as a whole."""
        if self.lazy:
            for name, param in params.items():
                self._catch_up(name, param, _all_rows(param), int(self.clock[0]))
        self.clock[1] = self.clock[0]

    def start_averaging(self, params: Params) -> None:
        """Average the parameters of all later steps, [O8]; a second call has no effect.  Raises ValueError."""
        if self.kind != "asgd":
            raise ValueError(f"{self.kind} keeps no average; asgd does")
        self.settle(params)
        if not self.averaging:
            self.clock[2] = self.clock[0]

    def averaged(self, params: Params) -> Params:
        """The average, in new arrays, or `params` if there is none.  Settles `params` and changes nothing else."""
        self.settle(params)
        count = int(self.clock[0] - self.clock[2])
        if not self.averaging or count == 0:
            return params
        return {name: param + self.lags[name] / count for name, param in params.items()}

    def _history_is_full(self) -> bool:
        place = self.clock[0] - self.clock[1]
        return bool(place + 1 == self.history.shape[1] or self.history[2, place] < LEAST_LOG)

    def _record(self, lr: float) -> None:
        """Write step t into the history: a_t and e_t of [O4], c_t, and the sum of exp(c) up to t."""
        t, place = int(self.clock[0]), self.clock[0] - self.clock[1]
        root = math.sqrt(1 - BETA2**t)
        log = self.history[2, place - 1] + math.log1p(-lr * self.decay)
        total = self.history[3, place - 1] + math.exp(log)
        self.history[:, place] = lr * root / (1 - BETA1**t), EPSILON * root, log, total

    def _catch_up(self, name: str, param: Array, rows: Array, moves: int) -> None:
        """Bring rows to the step in `clock`: Adam's moves up to step `moves`, then the decay up to now."""
        matrix, decays = param.reshape(len(param), -1), self.decay > 0 and param.ndim > 1
        if self.kind == "adam":
            self._replay(name, matrix, rows, moves, decays)
        if decays:
            self._decay(name, matrix, rows)
        self.dates[name][rows] = self.clock[0]

    def _replay(self, name: str, matrix: Array, rows: Array, until: int, decays: bool) -> None:
        """[O6] for rows of a parameter, seen as a matrix."""
        rates, epsilons, logs, _ = self.history
        logs = logs if decays else np.zeros_like(logs)
        means, squares = (memory[name].reshape(matrix.shape) for memory in (self.means, self.squares))
        kernels.replay(
            *(matrix, rows, means, squares, self.dates[name], rates, epsilons, logs),
            *(int(self.clock[1]), until, horizon(matrix.dtype), BETA1, BETA2),
        )

    def _decay(self, name: str, matrix: Array, rows: Array) -> None:
        """[O7] for rows of a matrix, and its effect on their lag, [O8]."""
        now, first, averaged_from = (int(step) for step in self.clock)
        dates, logs, sums = self.dates[name], self.history[2], self.history[3]
        if self.averaging:
            lag = self.lags[name].reshape(matrix.shape)
            kernels.decay_lag(lag, matrix, rows, dates, logs, sums, first, now, averaged_from)
        kernels.decay(matrix, rows, dates, logs, first, now)


def _like(params: Params) -> Params:
    return {name: np.zeros_like(value) for name, value in params.items()}


def _values(grad: Gradient) -> Array:
    return grad.values if isinstance(grad, RowGradient) else grad


def _all_rows(param: Array) -> Array:
    return np.arange(len(param), dtype=np.int32)


def _as_rows(param: Array, grad: Gradient) -> tuple[Array, Array, Array]:
    """A parameter as a matrix, the rows to change, and their gradients: a dense array is one long row."""
    if isinstance(grad, RowGradient):
        matrix = param.reshape(len(param), -1)
        return matrix, grad.rows, grad.values.reshape(grad.rows.size, matrix.shape[1])
    return param.reshape(1, -1), np.zeros(1, np.int32), grad.reshape(1, -1)
