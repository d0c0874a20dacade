"""Embedding: a row of the matrix for every input word.

[E1]  x_n = W[w_n]
[dE1] dW[w] = sum of dx_n over the n with w_n = w
"""

from nplm.arrays import Array
from nplm.layers.row_gradient import RowGradient, sum_by_row


def forward(inputs: Array, weight: Array) -> Array:
    """x (T,B,E), [E1], for inputs (T,B) int32 and weight (V,E)."""
    return weight[inputs]


def backward(dx: Array, inputs: Array, weight: Array) -> RowGradient:
    """Gradient of weight (V,E), [dE1], for dx (T,B,E)."""
    return sum_by_row(inputs.ravel(), dx.reshape(inputs.size, -1), len(weight))
