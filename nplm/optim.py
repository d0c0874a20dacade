"""Updates of the parameters: stochastic gradient descent and Adagrad, with clipping by global norm.

[O1] SGD       w -= lr g
[O2] Adagrad   s += g^2    w -= lr g / (sqrt(s) + epsilon)           (Duchi 2011)
[O3] clipping  g *= min(1, clip / |g|),  |g| the norm over all parameters together

A row gradient updates its rows only; for both rules that is exact, since the other rows' gradient is zero.
"""

import math

import numpy as np

from nplm.kernels import rows as kernels
from nplm.layers.rows import Gradient, RowGradient
from nplm.model import Grads, Params
from nplm.workspace import Array

EPSILON = 1e-8


def global_norm(grads: Grads) -> float:
    """Euclidean norm of all gradients together; not finite if an entry is not."""
    return math.sqrt(sum(kernels.sum_of_squares(_values(grad).ravel()) for grad in grads.values()))


def non_finite(grads: Grads) -> str | None:
    """Name of the first gradient with an entry that is not finite, or None."""
    return next((name for name, grad in grads.items() if not np.isfinite(_values(grad)).all()), None)


class Optimizer:
    """Applies gradients to parameters in place.  `squares` is Adagrad's memory, empty for SGD."""

    def __init__(self, params: Params, kind: str, clip: float) -> None:
        self.clip = clip
        self.squares: Params = {}
        if kind == "adagrad":
            self.squares = {name: np.zeros_like(value) for name, value in params.items()}

    def update(self, params: Params, grads: Grads, lr: float, norm: float) -> None:
        """One step, [O1] or [O2], with gradients of global norm `norm` clipped by [O3]."""
        for name, grad in grads.items():
            self.update_one(name, params[name], grad, lr, norm)

    def update_one(self, name: str, param: Array, grad: Gradient, lr: float, norm: float) -> None:
        """The same for one parameter."""
        scale = min(1.0, self.clip / norm) if norm > 0 else 1.0
        matrix, rows, values = _as_rows(param, grad)
        if self.squares:
            squares = self.squares[name].reshape(matrix.shape)
            kernels.adagrad(matrix, rows, values, squares, scale, lr, EPSILON)
        else:
            kernels.sgd(matrix, rows, values, lr * scale)


def _values(grad: Gradient) -> Array:
    return grad.values if isinstance(grad, RowGradient) else grad


def _as_rows(param: Array, grad: Gradient) -> tuple[Array, Array, Array]:
    """A parameter as a matrix, the rows to change, and their gradients: a dense array is one long row."""
    if isinstance(grad, RowGradient):
        width = grad.values.size // max(grad.rows.size, 1)
        return param.reshape(-1, width), grad.rows, grad.values.reshape(-1, width)
    return param.reshape(1, -1), np.zeros(1, np.int32), grad.reshape(1, -1)
