"""The language model: embedding, LSTM layers, and a score for every word, composed forward and backward.

The model knows shapes and equations only: no files, no corpus, no optimiser.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nplm.config import ModelConfig
from nplm.errors import InputError
from nplm.layers import embedding, lstm, nce, softmax
from nplm.layers.rows import Gradient
from nplm.noise import NoiseDistribution
from nplm.vocabulary import Vocabulary, check_ids
from nplm.workspace import Array, Workspace

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


class LanguageModel:
    """An LSTM language model with a noise law.  `params` maps PyTorch's names to plain arrays.

    encoder.weight (V,E) · rnn.weight_ih_lk (4H,E or H) · rnn.weight_hh_lk (4H,H) · rnn.bias_lk (4H,) ·
    decoder.weight (V,H) · decoder.bias (V,)
    """

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary, params: Params) -> None:
        if len(vocabulary) != config.vocab_size:
            raise InputError(
                f"vocab_size is {config.vocab_size} but the vocabulary has {len(vocabulary)} words"
            )
        shapes = param_shapes(config)
        if set(params) != set(shapes):
            odd = sorted(set(params) ^ set(shapes))
            raise InputError(f"parameters missing or unknown: {', '.join(odd)}")
        for name, shape in shapes.items():
            if params[name].shape != shape:
                raise InputError(
                    f"{name} has shape {params[name].shape}, not {shape} as the configuration says"
                )
        dtype = params["encoder.weight"].dtype
        for name, value in params.items():  # the kernels trust both
            if value.dtype != dtype or dtype not in (np.float32, np.float64) or not value.flags.c_contiguous:
                raise InputError(
                    f"{name}: {value.dtype}; all parameters must be float32, or float64, C-contiguous"
                )
        self.config = config
        self.vocabulary = vocabulary
        self.params = params
        self.noise = NoiseDistribution.from_counts(
            vocabulary.counts, power=config.noise_power, uniform=config.noise_uniform
        )
        self.dtype = dtype
        self.log_q = self.noise.log_probs.astype(self.dtype)  # (V,)

    @classmethod
    def init(
        cls, config: ModelConfig, vocabulary: Vocabulary, rng: np.random.Generator, dtype: Any = np.float32
    ) -> "LanguageModel":
        """An untrained model: it is the unigram model, with Z = 1.

        Weights are uniform in [-init_scale, init_scale]; recurrent biases and decoder.weight are zero and
        decoder.bias is the log unigram, so the first NCE loss is log(1+K) + K log(1+1/K) when q is the unigram.
        """
        params: Params = {name: np.zeros(shape, dtype) for name, shape in param_shapes(config).items()}
        for name, value in params.items():
            if name == "encoder.weight" or name.startswith("rnn.weight"):
                for start in range(0, len(value), 4096):  # in parts: float64 for all would be twice the model
                    part = value[start : start + 4096]
                    part[...] = rng.uniform(-config.init_scale, config.init_scale, part.shape)
        counts = np.maximum(vocabulary.counts, 1)
        params["decoder.bias"][...] = np.log(counts / counts.sum())
        return cls(config, vocabulary, params)

    def zero_state(self, batch: int) -> State:
        """The state before any text, for `batch` streams: h and c (L,B,H)."""
        shape = (self.config.num_layers, batch, self.config.hidden_dim)
        return State(np.zeros(shape, self.dtype), np.zeros(shape, self.dtype))

    def loss_and_grads(
        self, inputs: Array, targets: Array, noise_ids: Array, state: State
    ) -> tuple[float, Grads, State]:
        """NCE loss of a chunk in nats per position, its gradient by BPTT, and the state to carry on.

        inputs, targets (T,B), noise_ids (K,): word ids.  Raises ValueError on a word id outside the vocabulary.
        """
        if np.shape(inputs) != np.shape(targets):
            raise ValueError(
                f"inputs {np.shape(inputs)} and targets {np.shape(targets)} must be one shape (T,B)"
            )
        self._check_shapes(inputs, state)
        if np.ndim(noise_ids) != 1 or np.size(noise_ids) < 1:
            raise ValueError(f"noise_ids {np.shape(noise_ids)} must be (K,) with K >= 1")
        inputs, targets = self._checked(inputs, "input"), self._checked(targets, "target")
        noise_ids = self._checked(noise_ids, "noise")
        return chunk_gradient(
            self, inputs, targets, noise_ids, state, 1.0 / targets.size, self.pack_all(), Workspace()
        )

    def hidden(
        self,
        inputs: Array,
        state: State,
        packed: Packed | None = None,
        room: Workspace | None = None,
    ) -> tuple[Array, State]:
        """Hidden states of the top layer (T,B,H) and the state to carry on, for inputs (T,B)."""
        _, x, _, state = run_layers(self, inputs, state, packed or self.pack_all(), room or Workspace())
        return x, state

    def log_probs(self, inputs: Array, state: State) -> tuple[Array, State]:
        """Exact log softmax (T,B,V) in nats, and the state to carry on, for inputs (T,B)."""
        self._check_shapes(inputs, state)
        inputs = self._checked(inputs, "input")
        hidden, state = self.hidden(inputs, state)
        flat = hidden.reshape(inputs.size, -1)  # (N,H)
        logp = softmax.log_probs(flat, self.params["decoder.weight"], self.params["decoder.bias"])
        return logp.reshape(*inputs.shape, -1), state

    def _check_shapes(self, inputs: Array, state: State) -> None:
        if np.ndim(inputs) != 2 or np.size(inputs) == 0:
            raise ValueError(f"inputs {np.shape(inputs)} must be one shape (T,B) with T, B >= 1")
        expected = (self.config.num_layers, np.shape(inputs)[1], self.config.hidden_dim)
        if state.h.shape != expected or state.c.shape != expected:
            raise ValueError(f"the state is {state.h.shape} and {state.c.shape}, not (L,B,H) = {expected}")

    def _checked(self, ids: Array, what: str) -> Array:
        """Word ids as the kernels trust them: within the vocabulary, int32, contiguous."""
        check_ids(np.asarray(ids), self.config.vocab_size, what)
        return np.ascontiguousarray(ids, np.int32)

    def pack(self, name: str, room: Workspace) -> lstm.Packed | None:
        """A recurrent layer's weight as the kernels read it, or None; to be made anew after an update."""
        return lstm.pack(self.params[name], room) if name.startswith("rnn.weight") else None

    def pack_all(self) -> Packed:
        """`pack` for every parameter."""
        return {name: self.pack(name, Workspace()) for name in self.params}

    def copy(self) -> "LanguageModel":
        """A model with arrays of its own."""
        params = {name: value.copy() for name, value in self.params.items()}
        return LanguageModel(self.config, self.vocabulary, params)

    def save(self, path: str | Path) -> None:
        """Write the model to one .safetensors file, whole or not at all."""
        from nplm import checkpoint  # files are not the model's business; the method is for convenience

        checkpoint.save_model(self, path)


def param_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in the order of the data's way through the model."""
    gates, size = 4 * config.hidden_dim, config.hidden_dim
    shapes: dict[str, tuple[int, ...]] = {"encoder.weight": (config.vocab_size, config.embed_dim)}
    for k in range(config.num_layers):
        shapes[f"rnn.weight_ih_l{k}"] = (gates, config.embed_dim if k == 0 else size)
        shapes[f"rnn.weight_hh_l{k}"] = (gates, size)
        shapes[f"rnn.bias_l{k}"] = (gates,)
    shapes["decoder.weight"] = (config.vocab_size, size)
    shapes["decoder.bias"] = (config.vocab_size,)
    return shapes


def layer_names(k: int) -> tuple[str, str, str]:
    """Names of the parameters of LSTM layer k."""
    return f"rnn.weight_ih_l{k}", f"rnn.weight_hh_l{k}", f"rnn.bias_l{k}"


def run_layers(
    model: LanguageModel, inputs: Array, state: State, packed: Packed, room: Workspace
) -> tuple[Array, Array, list[lstm.LSTMCache], State]:
    """Bottom-up: the distinct input words (R,), the top layer's hidden states (T,B,H), caches, the next state."""
    params = model.params
    words, places = np.unique(inputs, return_inverse=True)  # (R,), (T,B): a word is looked up once
    x = embedding.forward(words, params["encoder.weight"])  # (R,E)
    rows_of: Array | None = places.reshape(inputs.shape)
    caches = []
    for k in range(model.config.num_layers):
        ih, hh, b = layer_names(k)
        weights = (params[ih], params[hh], params[b], packed[ih], packed[hh])
        x, cache = lstm.forward(x, state.h[k], state.c[k], *weights, rows_of, room.part(ih))  # (T,B,H)
        rows_of = None  # above the first layer every position is a row of its own
        caches.append(cache)
    after = State(np.stack([cache.h[-1] for cache in caches]), np.stack([cache.c[-1] for cache in caches]))
    return words, x, caches, after


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is looked for, and named, in training
def chunk_gradient(
    model: LanguageModel,
    inputs: Array,
    targets: Array,
    noise_ids: Array,
    state: State,
    scale: float,
    packed: Packed,
    room: Workspace,
) -> tuple[float, Grads, State]:
    """Forward bottom-up, backward top-down: `scale` times the summed loss, its gradients, the next state.

    The gradients are arrays of `room`: good until it is used again.
    """
    params, grads = model.params, Grads()
    words, hidden, caches, after = run_layers(model, inputs, state, packed, room)
    flat = hidden.reshape(targets.size, -1)  # (N,H)
    weight, bias = params["decoder.weight"], params["decoder.bias"]
    loss, nce_cache = nce.forward(flat, targets.ravel(), noise_ids, weight, bias, model.log_q, scale, room)

    dflat, grads["decoder.weight"], grads["decoder.bias"] = nce.backward(nce_cache, weight, room)
    dx = dflat.reshape(hidden.shape)  # (T,B,H)
    for k in reversed(range(model.config.num_layers)):
        ih, hh, b = layer_names(k)
        layer = lstm.backward(dx, caches[k], params[ih], params[hh], packed[ih], packed[hh], room.part(ih))
        grads[ih], grads[hh], grads[b] = layer.dweight_ih, layer.dweight_hh, layer.dbias
        dx = layer.dx  # (T,B,H), and (R,E) below the first layer
    grads["encoder.weight"] = embedding.backward(dx, words, params["encoder.weight"])
    return loss, {name: grads[name] for name in params}, after
