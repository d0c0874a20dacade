"""Training, as printed: claim 1 with SGD, one line a step of the method.

    ids    cut into B streams of equal length, read side by side; the first n mod B of them have one step more
    steps  cut by time into sequences of S steps, and these into chunks of T
    chunk  in order: its noise group, the NCE loss, the gradient by BPTT, clipping, an update

The state (h, c) is carried from chunk to chunk until the epoch ends, the gradient is not.
"""

from typing import NamedTuple

import numpy as np

from nplm.reference import model

EOS = 1  # the id of </s>, which stands before the first word of a text


class Update(NamedTuple):
    """One chunk, trained on."""

    loss: float  # nats per position, before the update
    norm: float  # global norm of the gradient, before clipping
    params: dict[str, np.ndarray]  # after the update


def train(params, ids, noise_group, log_q, *, batch_size, sequence_length, bptt, lr, clip, epochs):
    """Yield an Update for every chunk of a text ids (n,); `params` is left alone.

    noise_group: called with (epoch, sequence, chunk), all from 0, returns the noise words (K,).
    log_q: (V,).  The settings are those of TrainConfig: B, S, T, and rates for the loss in nats per position.
    """
    targets = np.array_split(ids, batch_size)  # B streams, the longer ones first
    inputs = np.array_split(np.append(EOS, ids[:-1]), batch_size)  # each word's predecessor
    for epoch in range(epochs):
        h = c = np.zeros((model.num_layers(params), batch_size, params["rnn.weight_hh_l0"].shape[1]))
        for sequence, chunk, steps in chunks(len(targets[0]), len(targets[-1]), sequence_length, bptt):
            x, y = window(inputs, steps), window(targets, steps)  # (T,B)
            h, c = h[:, : y.shape[1]], c[:, : y.shape[1]]  # in the tail only the longer streams go on
            given = x, y, noise_group(epoch, sequence, chunk), h, c, log_q
            loss, grads = model.loss(params, *given), model.gradients(params, *given)
            _, kept = model.run_layers(params, x, h, c)
            h, c = (np.stack([layer[place][-1] for layer in kept]) for place in (1, 2))  # kept: x, h, c, gates
            norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
            scale = min(1.0, clip / norm)
            params = {name: value - lr * scale * grads[name] for name, value in params.items()}
            yield Update(float(loss), float(norm), params)


def chunks(num_steps, num_full_steps, sequence_length, bptt):
    """Sequence, chunk and time steps of every chunk, in order; the tail is a separate last sequence."""
    full = np.arange(num_full_steps)
    sequences = [full[start : start + sequence_length] for start in range(0, num_full_steps, sequence_length)]
    if num_steps > num_full_steps:
        sequences.append(np.array([num_full_steps]))  # the tail: one step, which only some streams have
    for s, steps in enumerate(sequences):
        for n, start in enumerate(range(0, len(steps), bptt)):
            yield s, n, steps[start : start + bptt]


def window(streams, steps):
    """The words (T,B) of the streams at some time steps; fewer columns in the tail."""
    return np.array([[stream[t] for stream in streams if t < len(stream)] for t in steps])
