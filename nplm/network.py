"""One chunk's way: up through embedding, LSTM layers and loss, and down again, by BPTT.

What goes up and what comes down are plain arrays; the parameters are the model's (model.py).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nplm.arrays import Array
from nplm.config import Objective
from nplm.layers import embedding, lstm, nce, sampled_softmax, softmax
from nplm.layers import row_gradient as rows
from nplm.layers.dropout import Dropout
from nplm.layers.row_gradient import Gradient
from nplm.layers.workspace import Workspace

if TYPE_CHECKING:
    from nplm.model import LanguageModel

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


class Plan(NamedTuple):
    """How a chunk is trained on, besides its words."""

    objective: Objective = "nce"
    log_z_penalty: float = 0.0  # of the softmax objective, times the mean of log^2 Z
    reset_at_eos: bool = False  # the state begins anew, at zero, where </s> is read
    dropout: Dropout | None = None

    def shard(self, first: int) -> "Plan":
        """The plan of a shard whose first stream is `first`."""
        return self._replace(dropout=self.dropout and self.dropout.shard(first))


def layer_names(k: int) -> tuple[str, str, str]:
    """Names of the parameters of LSTM layer k."""
    return f"rnn.weight_ih_l{k}", f"rnn.weight_hh_l{k}", f"rnn.bias_l{k}"


def run_layers(
    model: "LanguageModel", inputs: Array, state: State, packed: Packed, room: Workspace, plan: Plan
) -> tuple[Array, Array, list[lstm.LSTMCache], State]:
    """Bottom-up: the words looked up, (R,) each once or (T,B) with dropout; hidden states (T,B,H) as the scores read
    them; what each layer kept; the next state."""
    params, dropout = model.params, plan.dropout
    words, x, places = _look_up(model, inputs, plan)
    caches = []
    for k in range(model.config.num_layers):
        ih, hh, b = layer_names(k)
        weights = (params[ih], params[hh], params[b], packed[ih], packed[hh])
        factors = _factors(model, inputs, plan, k)
        x, cache = lstm.forward(
            x, state.h[k], state.c[k], *weights, places, room.part(ih), factors
        )  # (T,B,H)
        places = None  # above the first layer every position is a row of its own
        caches.append(cache)
        if dropout is not None and dropout.rate > 0:
            dropped = room.part(ih).empty("dropped", x.shape, x.dtype)
            dropped[...] = x
            dropout.input(x := dropped, k + 1)
    after = State(np.stack([cache.h[-1] for cache in caches]), np.stack([cache.c[-1] for cache in caches]))
    return words, x, caches, after


def _look_up(model: "LanguageModel", inputs: Array, plan: Plan) -> tuple[Array, Array, Array | None]:
    """The distinct input words (R,), their vectors (R,E), and which of them each position (T,B) has.

    With dropout every position has a vector of its own: inputs (T,B), x (T,B,E), None.
    """
    weight, dropout = model.params["encoder.weight"], plan.dropout
    if dropout is None or not (dropout.rate > 0 or dropout.words > 0):
        words, places = np.unique(inputs, return_inverse=True)  # (R,), (T,B): a word is looked up once
        return words, embedding.forward(words, weight), places.reshape(inputs.shape)
    x = embedding.forward(inputs, weight)  # (T,B,E)
    dropout.input_words(x, inputs, model.config.vocab_size)
    dropout.input(x, 0)
    return inputs, x, None


def _look_up_backward(model: "LanguageModel", dx: Array, words: Array, plan: Plan) -> Gradient:
    """Gradient of encoder.weight for dx (R,E) of words (R,), or (T,B,E) of (T,B) with dropout."""
    if plan.dropout is not None and words.ndim == 2:
        plan.dropout.input(dx, 0)
        plan.dropout.input_words(dx, words, model.config.vocab_size)
    return embedding.backward(dx, words, model.params["encoder.weight"])


def _factors(model: "LanguageModel", inputs: Array, plan: Plan, layer: int) -> lstm.Factors | None:
    """r and k of [L0], or None where all are 1."""
    dropout, batch, size = plan.dropout, inputs.shape[1], model.config.hidden_dim
    if not plan.reset_at_eos and (dropout is None or not dropout.recurrent > 0):
        return None
    keep = np.ones(inputs.shape, model.dtype)
    if plan.reset_at_eos:
        keep[inputs == model.vocabulary.eos] = 0
    mask = np.ones((batch, size), model.dtype)
    return lstm.Factors(
        mask if dropout is None else dropout.recurrent_mask(layer, batch, size, model.dtype), keep
    )


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is looked for, and named, in training
def chunk_gradient(
    model: "LanguageModel",
    inputs: Array,
    targets: Array,
    noise_ids: Array,
    state: State,
    scale: float,
    packed: Packed,
    room: Workspace,
    plan: Plan | None = None,
) -> tuple[float, Grads, State]:
    """Forward bottom-up, backward top-down: `scale` times the summed loss, its gradients, the next state.

    The gradients are arrays of `room`: good until it is used again.
    """
    params, grads, plan = model.params, Grads(), plan or Plan()
    words, hidden, caches, after = run_layers(model, inputs, state, packed, room, plan)
    flat = hidden.reshape(targets.size, -1)  # (N,H)
    loss, backward = _loss(model, flat, targets.ravel(), noise_ids, scale, room, plan)

    dflat, doutput, grads["decoder.bias"] = backward()
    dx = dflat.reshape(hidden.shape)  # (T,B,H)
    for k in reversed(range(model.config.num_layers)):
        if plan.dropout is not None:
            plan.dropout.input(dx, k + 1)
        ih, hh, b = layer_names(k)
        layer = lstm.backward(dx, caches[k], params[ih], params[hh], packed[ih], packed[hh], room.part(ih))
        grads[ih], grads[hh], grads[b] = layer.dweight_ih, layer.dweight_hh, layer.dbias
        dx = layer.dx  # (T,B,H), and (R,E) below the first layer
    dencoder = _look_up_backward(model, dx, words, plan)
    if model.config.tied:  # one matrix in two places: its gradient is the sum of both
        grads["encoder.weight"], _ = rows.total([doutput, dencoder], room.part("tied"))
    else:
        grads["encoder.weight"], grads["decoder.weight"] = dencoder, doutput
    return loss, {name: grads[name] for name in params}, after


def _loss(
    model: "LanguageModel",
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    scale: float,
    room: Workspace,
    plan: Plan,
) -> tuple[float, Callable[[], tuple[Array, Gradient, Gradient]]]:
    """Loss by the plan's objective, for hidden (N,H) and targets (N,); its backward gives dhidden, dweight, dbias."""
    weight, bias = model.output_weight, model.params["decoder.bias"]
    if plan.objective == "softmax":
        loss, exact = softmax.forward(hidden, targets, weight, bias, scale, plan.log_z_penalty, room)
        return loss, partial(softmax.backward, exact, weight, room)
    given = (hidden, targets, noise_ids, weight, bias, model.log_q, scale, room)
    if plan.objective == "nce":
        loss, cache = nce.forward(*given)
    else:  # a noise word that is the target is masked in sampled softmax, and kept in ranking
        loss, cache = sampled_softmax.forward(*given, keep_hits=plan.objective == "ranking")
    return loss, partial(nce.backward, cache, weight, room)
