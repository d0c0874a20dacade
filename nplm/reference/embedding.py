"""Embedding, exactly as printed.

[E1]  x_n = W[w_n]
[dE1] dW[w] = sum of dx_n over the n with w_n = w
"""

import numpy as np


def forward(inputs, weight):
    """x (T,B,E) for inputs (T,B) and weight (V,E)."""
    return weight[inputs]  # [E1]


def backward(dx, inputs, weight):
    """dweight (V,E) for dx (T,B,E)."""
    dweight = np.zeros_like(weight)
    for t, b in np.ndindex(inputs.shape):
        dweight[inputs[t, b]] += dx[t, b]  # [dE1]: a word that occurs twice gets both
    return dweight
