"""A whole chunk, exactly as printed: embedding, LSTM layers, loss; then the same in reverse order.

`params` is the dict of the model's arrays: encoder.weight, rnn.weight_ih_l0, ..., decoder.bias.  Without a
decoder.weight the model is tied: encoder.weight is used in both places, and its gradient is the sum of both.
"""

from typing import NamedTuple

import numpy as np

from nplm.reference import dropout, embedding, lstm, nce


class Masks(NamedTuple):
    """The masks of a chunk: factors 1 / (1 - p) or 0 for dropout, and 1 or 0 for `keep`."""

    inputs: list[np.ndarray]  # L + 1 arrays (T,B,D): for the input of each layer, and of the scores
    recurrent: list[np.ndarray]  # L arrays (B,H)
    keep: np.ndarray  # (T,B), 0 where the state is reset


def num_layers(params):
    """L, counted from the names."""
    return sum(name.startswith("rnn.weight_hh_l") for name in params)


def no_masks(params, inputs):
    """Masks that leave nothing out."""
    layers = num_layers(params)
    one = np.ones(())
    return Masks([one] * (layers + 1), [one] * layers, np.ones(inputs.shape))


def run_layers(params, inputs, h0, c0, masks=None):
    """Hidden states (T,B,H), as input of the scores, and the cache of each layer, for h0 and c0 (L,B,H)."""
    masks = masks or no_masks(params, inputs)
    x = embedding.forward(inputs, params["encoder.weight"])  # (T,B,E)
    kept = []
    for k in range(num_layers(params)):
        x = dropout.forward(x, masks.inputs[k])
        weights = [params[f"rnn.{name}_l{k}"] for name in ("weight_ih", "weight_hh", "bias")]
        factors = {"mask": masks.recurrent[k], "keep": masks.keep}
        h, c, gates = lstm.forward(x, h0[k], c0[k], *weights, **factors)
        kept.append((x, h, c, gates))
        x = h[1:]  # (T,B,H)
    return dropout.forward(x, masks.inputs[-1]), kept


def loss(params, inputs, targets, noise_ids, h0, c0, log_q, masks=None, objective=nce):
    """Loss of a chunk in nats; complex parameters give a complex loss.

    objective: a module with nce's functions: forward(hidden, targets, noise_ids, weight, bias, log_q) and backward.
    """
    hidden, _ = run_layers(params, inputs, h0, c0, masks)
    hidden = hidden.reshape(targets.size, -1)  # (N,H)
    return objective.forward(hidden, targets.ravel(), noise_ids, *decoder(params), log_q)


def gradients(params, inputs, targets, noise_ids, h0, c0, log_q, masks=None, objective=nce):
    """Gradient of `loss` for every parameter: a dict of dense arrays with the same names."""
    masks = masks or no_masks(params, inputs)
    hidden, kept = run_layers(params, inputs, h0, c0, masks)
    flat = hidden.reshape(targets.size, -1)  # (N,H)
    grads = {}
    dflat, dweight, grads["decoder.bias"] = objective.backward(
        flat, targets.ravel(), noise_ids, *decoder(params), log_q
    )
    dx = dropout.backward(dflat.reshape(hidden.shape), masks.inputs[-1])  # (T,B,H)
    for k in reversed(range(num_layers(params))):
        names = [f"rnn.{name}_l{k}" for name in ("weight_ih", "weight_hh", "bias")]
        weights = params[names[0]], params[names[1]]
        factors = {"mask": masks.recurrent[k], "keep": masks.keep}
        x, h, c, gates = kept[k]
        dx, _, _, *dweights = lstm.backward(dx, x, h, c, gates, *weights, **factors)
        grads.update(zip(names, dweights, strict=True))
        dx = dropout.backward(dx, masks.inputs[k])
    grads["encoder.weight"] = embedding.backward(dx, inputs, params["encoder.weight"])
    if "decoder.weight" in params:
        grads["decoder.weight"] = dweight
    else:
        grads["encoder.weight"] += dweight  # tied: the matrix is used in two places
    return grads


def decoder(params):
    """Weight (V,H) and bias (V,) of the scores."""
    return params.get("decoder.weight", params["encoder.weight"]), params["decoder.bias"]


def log_probs(params, inputs, h0, c0):
    """log p (T,B,V), normalised exactly."""
    hidden, _ = run_layers(params, inputs, h0, c0)
    weight, bias = decoder(params)
    score = hidden @ weight.T + bias
    return score - np.log(np.exp(score).sum(axis=-1, keepdims=True))
