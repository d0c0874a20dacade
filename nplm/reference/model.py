"""A whole chunk, as printed: embedding, LSTM layers, NCE; then the same upwards down.

`params` is the dict of arrays of the model: encoder.weight, rnn.weight_ih_l0, ..., decoder.bias.
"""

import numpy as np

from nplm.reference import embedding, lstm, nce


def num_layers(params):
    """L, counted from the names."""
    return sum(name.startswith("rnn.weight_hh_l") for name in params)


def run_layers(params, inputs, h0, c0):
    """Hidden states (T,B,H) of the top layer and what each layer kept, for h0 and c0 (L,B,H)."""
    x = embedding.forward(inputs, params["encoder.weight"])  # (T,B,E)
    kept = []
    for k in range(num_layers(params)):
        weights = [params[f"rnn.{name}_l{k}"] for name in ("weight_ih", "weight_hh", "bias")]
        h, c, gates = lstm.forward(x, h0[k], c0[k], *weights)
        kept.append((x, h, c, gates))
        x = h[1:]  # (T,B,H)
    return x, kept


def loss(params, inputs, targets, noise_ids, h0, c0, log_q):
    """NCE loss of a chunk in nats; complex parameters give a complex loss."""
    hidden, _ = run_layers(params, inputs, h0, c0)
    hidden = hidden.reshape(targets.size, -1)  # (N,H)
    decoder = params["decoder.weight"], params["decoder.bias"]
    return nce.forward(hidden, targets.ravel(), noise_ids, *decoder, log_q)


def gradients(params, inputs, targets, noise_ids, h0, c0, log_q):
    """Gradient of `loss` for every parameter: a dict of dense arrays with the same names."""
    hidden, kept = run_layers(params, inputs, h0, c0)
    flat = hidden.reshape(targets.size, -1)  # (N,H)
    decoder = params["decoder.weight"], params["decoder.bias"]
    grads = {}
    dflat, grads["decoder.weight"], grads["decoder.bias"] = nce.backward(
        flat, targets.ravel(), noise_ids, *decoder, log_q
    )
    dx = dflat.reshape(hidden.shape)  # (T,B,H)
    for k in reversed(range(num_layers(params))):
        names = [f"rnn.{name}_l{k}" for name in ("weight_ih", "weight_hh", "bias")]
        x, h, c, gates = kept[k]
        dx, _, _, *dweights = lstm.backward(dx, x, h, c, gates, params[names[0]], params[names[1]])
        grads.update(zip(names, dweights, strict=True))
    grads["encoder.weight"] = embedding.backward(dx, inputs, params["encoder.weight"])
    return grads


def log_probs(params, inputs, h0, c0):
    """log p (T,B,V), normalised exactly."""
    hidden, _ = run_layers(params, inputs, h0, c0)
    score = hidden @ params["decoder.weight"].T + params["decoder.bias"]
    return score - np.log(np.exp(score).sum(axis=-1, keepdims=True))
