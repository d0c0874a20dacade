"""One chunk through the network: forward through embedding, LSTM layers and loss, and backward by BPTT.

Everything here is a function of plain arrays; the model (model.py) owns them.
"""

from typing import NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.layers import embedding, lstm, row_gradient
from nplm.layers.dropout import Dropout
from nplm.layers.objective import Decoder, Objective, make_objective
from nplm.layers.row_gradient import Gradient
from nplm.layers.workspace import Workspace

Params = dict[str, Array]
Grads = dict[str, Gradient]
Packed = dict[str, lstm.Packed | None]


class State(NamedTuple):
    """The recurrent state of B streams, carried from chunk to chunk."""

    h: Array  # (L,B,H)
    c: Array  # (L,B,H)

    def columns(self, start: int, stop: int) -> "State":
        """The state of streams start to stop."""
        return State(self.h[:, start:stop], self.c[:, start:stop])


class Network(NamedTuple):
    """The arrays for computing a chunk."""

    params: Params  # by PyTorch's names, see model.py
    packed: Packed  # `pack` of the current value of every parameter
    log_q: Array  # (V,), log of the noise distribution
    eos: int  # the word at which a plan with reset_at_eos resets the state
    bfloat16: bool = False  # whether operands of products are rounded to bfloat16, as they are in `packed`

    @property
    def num_layers(self) -> int:
        """L."""
        return sum(name.startswith("rnn.bias_l") for name in self.params)

    @property
    def tied(self) -> bool:
        """Whether input and output words share one matrix."""
        return "decoder.weight" not in self.params

    @property
    def decoder(self) -> Decoder:
        """The output layer; its weight is encoder.weight if the two are tied."""
        weight = self.params["encoder.weight" if self.tied else "decoder.weight"]
        return Decoder(weight, self.params["decoder.bias"], self.log_q, self.bfloat16)


class Plan(NamedTuple):
    """How to train on a chunk: everything besides its words."""

    objective: Objective = make_objective("nce")
    reset_at_eos: bool = False  # the state is reset to zero where </s> is read
    dropout: Dropout | None = None
    log_q: Array | None = None  # (V,), replaces the network's log_q in the loss; of the same type

    def shard(self, first: int) -> "Plan":
        """The plan of a shard whose first stream is `first`."""
        return self._replace(dropout=self.dropout and self.dropout.shard(first))


def layer_names(k: int) -> tuple[str, str, str]:
    """Names of the parameters of LSTM layer k."""
    return f"rnn.weight_ih_l{k}", f"rnn.weight_hh_l{k}", f"rnn.bias_l{k}"


def pack(name: str, value: Array, room: Workspace, bfloat16: bool = False) -> lstm.Packed | None:
    """A parameter packed for the kernels, or None if they read it unpacked; to be repeated after an update."""
    return lstm.pack(value, room, bfloat16) if name.startswith("rnn.weight") else None


class Ascent(NamedTuple):
    """The results of the forward pass, and what the backward pass needs."""

    words: Array  # the words looked up: (R,) each once, or (T,B) with dropout
    hidden: Array  # (T,B,H), the input of the output layer
    caches: list[lstm.LSTMCache]  # one per layer
    state: State  # for the next chunk


def ascend(network: Network, inputs: Array, state: State, room: Workspace, plan: Plan) -> Ascent:
    """Forward pass, bottom-up: the hidden states for inputs (T,B), which are not checked."""
    params, packed, dropout = network.params, network.packed, plan.dropout
    words, x, places = _look_up(network, inputs, plan)
    caches = []
    for k in range(network.num_layers):
        ih, hh, b = layer_names(k)
        weights = (params[ih], params[hh], params[b], packed[ih], packed[hh])
        factors = _factors(network, inputs, state.h[k], plan, k)
        x, cache = lstm.forward(x, state.h[k], state.c[k], *weights, places, room.part(ih), factors)  # (T,B,H)
        places = None  # above the first layer every position has its own row
        caches.append(cache)
        if dropout is not None and dropout.rate > 0:
            dropped = room.part(ih).empty("dropped", x.shape, x.dtype)
            dropped[...] = x
            dropout.input(x := dropped, k + 1)
    after = State(np.stack([cache.h[-1] for cache in caches]), np.stack([cache.c[-1] for cache in caches]))
    return Ascent(words, x, caches, after)


def hidden_states(network: Network, inputs: Array, state: State, room: Workspace | None = None) -> tuple[Array, State]:
    """Hidden states of the top layer (T,B,H) and the next state, for inputs (T,B), which are not checked."""
    _, hidden, _, after = ascend(network, inputs, state, room or Workspace(), Plan())
    return hidden, after


@np.errstate(over="ignore", invalid="ignore")  # training checks for numbers that are not finite, and names them
def chunk_gradient(
    network: Network,
    inputs: Array,
    targets: Array,
    noise_ids: Array,
    state: State,
    scale: float,
    room: Workspace,
    plan: Plan,
) -> tuple[float, Grads, State]:
    """Forward bottom-up, backward top-down: `scale` times the summed loss, its gradients, the next state.

    The gradients are arrays of `room`: valid until it is used again.
    """
    params, packed, decoder, grads = network.params, network.packed, network.decoder, Grads()
    if plan.log_q is not None:
        decoder = decoder._replace(log_q=plan.log_q)
    words, hidden, caches, after = ascend(network, inputs, state, room, plan)
    flat = hidden.reshape(targets.size, -1)  # (N,H)
    loss, cache = plan.objective.forward(flat, targets.ravel(), noise_ids, decoder, scale, room)

    dflat, doutput, grads["decoder.bias"] = plan.objective.backward(cache, decoder, room)
    dx = dflat.reshape(hidden.shape)  # (T,B,H)
    for k in reversed(range(network.num_layers)):
        if plan.dropout is not None:
            plan.dropout.input(dx, k + 1)
        ih, hh, b = layer_names(k)
        layer = lstm.backward(dx, caches[k], params[ih], params[hh], packed[ih], packed[hh], room.part(ih))
        grads[ih], grads[hh], grads[b] = layer.dweight_ih, layer.dweight_hh, layer.dbias
        dx = layer.dx  # (T,B,H), and (R,E) below the first layer
    dencoder = _look_up_backward(network, dx, words, plan)
    if network.tied:  # one matrix in two places: its gradient is the sum of both
        grads["encoder.weight"], _ = row_gradient.total([doutput, dencoder], room.part("tied"))
    else:
        grads["encoder.weight"], grads["decoder.weight"] = dencoder, doutput
    return loss, {name: grads[name] for name in params}, after


def _look_up(network: Network, inputs: Array, plan: Plan) -> tuple[Array, Array, Array | None]:
    """The distinct input words (R,), their vectors (R,E), and which of them each position (T,B) has.

    With dropout every position has a separate vector: inputs (T,B), x (T,B,E), None.
    """
    weight, dropout = network.params["encoder.weight"], plan.dropout
    if dropout is None or not (dropout.rate > 0 or dropout.words > 0):
        words, places = np.unique(inputs, return_inverse=True)  # (R,), (T,B): a word is looked up once
        return words, embedding.forward(words, weight), places.reshape(inputs.shape)
    x = embedding.forward(inputs, weight)  # (T,B,E)
    dropout.input_words(x, inputs, len(weight))
    dropout.input(x, 0)
    return inputs, x, None


def _look_up_backward(network: Network, dx: Array, words: Array, plan: Plan) -> Gradient:
    """Gradient of encoder.weight for dx (R,E) of words (R,), or (T,B,E) of (T,B) with dropout."""
    weight = network.params["encoder.weight"]
    if plan.dropout is not None and words.ndim == 2:
        plan.dropout.input(dx, 0)
        plan.dropout.input_words(dx, words, len(weight))
    return embedding.backward(dx, words, weight)


def _factors(network: Network, inputs: Array, h: Array, plan: Plan, layer: int) -> lstm.Factors | None:
    """r and k of [L0] for a layer whose state is h (B,H), or None if all are 1."""
    dropout, (batch, size), dtype = plan.dropout, h.shape, network.log_q.dtype
    if not plan.reset_at_eos and (dropout is None or not dropout.recurrent > 0):
        return None
    keep = np.ones(inputs.shape, dtype)
    if plan.reset_at_eos:
        keep[inputs == network.eos] = 0
    if dropout is None:
        return lstm.Factors(np.ones((batch, size), dtype), keep)
    return lstm.Factors(dropout.recurrent_mask(layer, batch, size, dtype), keep)
