"""Gradients of a whole sequence at fixed parameters: the exact gradient, and the effect of chunks and noise groups.

The sampled gradient is a sum over K draws, each from q whatever the position.  So its expectation has a closed
form: the expected count of a word w is K q(w).  This holds at every K; no limit is taken in [X1].
s and delta are [N1] and [N2] of nplm/layers/nce.py, N counts the positions of the sequence.

[X1] E ds(n, w) = ( K q(w) sigmoid(delta(n, w)) - [w = target_n] sigmoid(-delta(n, w)) ) / N
[X2] as K grows:  ds(n, w) = ( e^s(n, w) - [w = target_n] ) / N

The parameters stay as they are from chunk to chunk, so the hidden states do not depend on where the sequence is cut,
and a gradient of the sequence is the sum over its chunks.  In training an update comes between two chunks.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.data.streams import Streams
from nplm.layers import embedding, lstm
from nplm.layers.row_gradient import RowGradient
from nplm.layers.workspace import Workspace
from nplm.model import LanguageModel
from nplm.network import Grads, Params, Plan, State, ascend, chunk_gradient, hidden_states, layer_names

BLOCK = 512  # positions scored against all words at a time: 40 MB at V = 10,000
PARTS = {  # parameters by the beginning of their names
    "all": "",
    "encoder": "encoder",
    "input": "rnn.weight_ih",
    "recurrent": "rnn.weight_hh",
    "gate biases": "rnn.bias",
    "decoder": "decoder",
}


class Text(NamedTuple):
    """A sequence, and the state carried into it."""

    inputs: Array  # (S,B)
    targets: Array  # (S,B)
    state: State

    def cut(self, steps: int) -> Iterator[tuple[int, int]]:
        """Start and stop of each chunk of `steps` time steps; the last may be short."""
        for start in range(0, len(self.inputs), steps):
            yield start, min(start + steps, len(self.inputs))


def with_dtype(model: LanguageModel, dtype: Any) -> LanguageModel:
    """The same model in another precision."""
    params = {name: value.astype(dtype) for name, value in model.params.items()}
    return model.with_params(params)


def read(model: LanguageModel, ids: Array, batch: int, length: int, count: int) -> list[Text]:
    """`count` sequences of a text, from the second on: the first is read to have a state.

    Raises ValueError if the text is too short.
    """
    streams, state, texts = Streams(ids, batch), model.zero_state(batch), []
    network = model.network()
    for k in range(count + 1):
        inputs, targets = streams.window(k * length, (k + 1) * length)
        texts.append(Text(inputs, targets, state))
        _, state = hidden_states(network, inputs, state)
    return texts[1:]


def expected_dscores(scores: Array, targets: Array, log_q: Array, num_noise: float, scale: float) -> Array:
    """[X1], or [X2] where num_noise is inf, with `scale` for 1/N: (n,V) for scores (n,V) and targets (n,)."""
    places = np.arange(len(targets)), targets
    if math.isinf(num_noise):
        ds = np.exp(scores)
        ds[places] -= 1
    else:
        log_kq = math.log(num_noise) + log_q  # (V,)
        ds = 1 / (1 + np.exp(log_kq - scores))  # sigmoid(delta)
        away = 1 - ds[places]
        ds *= np.exp(log_kq)
        ds[places] -= away
    ds *= scale
    return np.asarray(ds)


def expected_above(model: LanguageModel, text: Text, num_noise: float) -> tuple[Array, Params]:
    """dhidden (S,B,H) and the gradients of the output's weight and bias, by [X1] or [X2]."""
    weight, bias = model.output_weight, model.params["decoder.bias"]
    hidden, _ = hidden_states(model.network(), text.inputs, text.state)
    flat, targets = hidden.reshape(text.targets.size, -1), text.targets.ravel()  # (N,H), (N,)
    dflat, dweight, dbias = np.empty_like(flat), np.zeros_like(weight), np.zeros_like(bias)
    for start in range(0, len(flat), BLOCK):
        block = slice(start, start + BLOCK)
        scores = flat[block] @ weight.T + bias  # (n,V)
        ds = expected_dscores(scores, targets[block], model.log_q, num_noise, 1 / len(flat))
        dflat[block] = ds @ weight
        dweight += ds.T @ flat[block]
        dbias += ds.sum(axis=0)
    output = "encoder.weight" if model.config.tied else "decoder.weight"
    return dflat.reshape(hidden.shape), {output: dweight, "decoder.bias": dbias}


def below(model: LanguageModel, text: Text, dhidden: Array, steps: int) -> Params:
    """Gradients of the encoder and the LSTM layers for dhidden (S,B,H), by BPTT through chunks of `steps`.

    The state is carried from chunk to chunk, the gradient is cut; steps = S cuts nothing.
    """
    params, network, state, total = model.params, model.network(), text.state, zeros(model)
    for start, stop in text.cut(steps):
        inputs = text.inputs[start:stop]
        _, _, caches, state = ascend(network, inputs, state, Workspace(), Plan())
        dx, grads = dhidden[start:stop], Grads()
        for k in reversed(range(model.config.num_layers)):
            ih, hh, b = layer_names(k)
            layer = lstm.backward(dx, caches[k], params[ih], params[hh], network.packed[ih], network.packed[hh])
            grads[ih], grads[hh], grads[b] = layer.dweight_ih, layer.dweight_hh, layer.dbias
            dx = layer.dx
        words = np.unique(inputs)  # the rows of dx below the first layer
        grads["encoder.weight"] = embedding.backward(dx, words, params["encoder.weight"])
        add(total, grads)
    return total


def expected(model: LanguageModel, text: Text, num_noise: float, steps: int | None = None) -> Params:
    """The sequence's gradient, expected over the noise, by BPTT through chunks of `steps`; None: the whole sequence."""
    dhidden, above = expected_above(model, text, num_noise)
    total = below(model, text, dhidden, steps or len(text.inputs))
    add(total, above)
    return total


def sampled(model: LanguageModel, text: Text, groups: Sequence[Array]) -> Iterator[Grads]:
    """Each chunk's part of the sequence's gradient as training has it, chunk n with the noise words groups[n] (K,)."""
    network, state = model.network(), text.state
    steps = -(-len(text.inputs) // len(groups))
    for (start, stop), noise_ids in zip(text.cut(steps), groups, strict=True):
        chunk = text.inputs[start:stop], text.targets[start:stop], noise_ids, state
        _, grads, state = chunk_gradient(network, *chunk, 1 / text.inputs.size, Workspace(), Plan())
        yield grads


def zeros(model: LanguageModel) -> Params:
    """A gradient of zeros in float64."""
    return {name: np.zeros(value.shape) for name, value in model.params.items()}


def add(total: Params, grads: Grads) -> None:
    """total += grads, of which some may be missing, and some be rows."""
    for name, grad in grads.items():
        if isinstance(grad, RowGradient):
            total[name][grad.rows] += grad.values
        else:
            total[name] += grad


def inner(a: Params, b: Params) -> Array:
    """Inner product of two gradients by PARTS (6,)."""
    by_name = {name: float(np.vdot(a[name], b[name])) for name in a}
    return np.array([sum(by_name[name] for name in a if name.startswith(part)) for part in PARTS.values()])
