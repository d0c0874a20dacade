"""The language model: configuration, vocabulary, parameters, and the mean log Z of its last validation.

The model knows only shapes and equations: no files, no corpus, no optimiser.  network.py computes a chunk.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from nplm.arrays import Array
from nplm.config import ModelConfig
from nplm.data.tokens import check_ids
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.layers import softmax
from nplm.layers.workspace import Workspace
from nplm.network import Grads, Network, Params, Plan, State, chunk_gradient, hidden_states, pack
from nplm.noise import NoiseDistribution

GONE = {  # methods from before 0.1.0, and their replacements
    "save": "nplm.save(model, path)",
    "score": "nplm.Model(path).score(sentence), or nplm.score_batch(model, sentences)",
    "score_batch": "nplm.score_batch(model, sentences)",
    "full_scores": "nplm.Model(path).full_scores(sentence)",
    "perplexity": "nplm.Model(path).perplexity(sentence)",
    "hidden": "nplm.network.hidden_states(model.network(), inputs, state)",
}


class LanguageModel:
    """An LSTM language model and its noise distribution.

    Parameters
    ----------
    config : ModelConfig
        The sizes V, E, H, L, and the noise distribution.
    vocabulary : Vocabulary
        V words with their counts.
    params : dict of ndarray
        float32 or float64, C-contiguous, keyed by PyTorch's names: encoder.weight (V,E); for each layer k
        rnn.weight_ih_lk (4H,E or H), rnn.weight_hh_lk (4H,H), rnn.bias_lk (4H,); decoder.weight (V,H), which a tied
        model does not have; decoder.bias (V,).
    mean_log_z : float, optional
        Mean of log Z in nats over the validation text when the model was last validated; unnormalised scores use it in
        place of log Z.  None if it was never measured.
    unit : Unit
        What lines of text are split into before they are read; by default words separated by white space.

    Raises
    ------
    InputError
        If the vocabulary or the parameters do not fit the configuration.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: Vocabulary,
        params: Params,
        mean_log_z: float | None = None,
        unit: Unit = WORDS,
    ) -> None:
        if len(vocabulary) != config.vocab_size:
            raise InputError(f"vocab_size is {config.vocab_size}, but the vocabulary has {len(vocabulary)} words")
        shapes = param_shapes(config)
        if set(params) != set(shapes):
            odd = sorted(set(params) ^ set(shapes))
            raise InputError(f"parameters missing or unknown: {', '.join(odd)}")
        for name, shape in shapes.items():
            if params[name].shape != shape:
                raise InputError(f"{name} has shape {params[name].shape}, not {shape} as the configuration says")
        dtype = params["encoder.weight"].dtype
        for name, value in params.items():  # the kernels trust both
            if value.dtype != dtype or dtype not in (np.float32, np.float64) or not value.flags.c_contiguous:
                raise InputError(f"{name}: {value.dtype}; all parameters must be float32, or float64, C-contiguous")
        self.config = config
        self.vocabulary = vocabulary
        self.params = params
        self.mean_log_z = mean_log_z
        self.unit = unit
        self.noise = NoiseDistribution.from_counts(
            vocabulary.counts, power=config.noise_power, uniform=config.noise_uniform
        )
        self.dtype = dtype
        self.log_q = self.noise.log_probs.astype(self.dtype)  # (V,)

    @classmethod
    def init(
        cls,
        config: ModelConfig,
        vocabulary: Vocabulary,
        rng: np.random.Generator,
        dtype: Any = np.float32,
        unit: Unit = WORDS,
    ) -> "LanguageModel":
        """An untrained model: the unigram model, with Z = 1, or close to 1 if the weights are tied.

        Weights are uniform in [-init_scale, init_scale]; recurrent biases and decoder.weight are zero.  decoder.bias
        holds the log unigram probabilities, so the first NCE loss is log(1+K) + K log(1+1/K) if q is the unigram
        distribution.

        Parameters
        ----------
        config : ModelConfig
        vocabulary : Vocabulary
            V words, as in `config`.
        rng : numpy.random.Generator
            Draws the weights.
        dtype : dtype
            float32 or float64.
        unit : Unit
            What lines of text are split into; the unit of the corpus.

        Returns
        -------
        LanguageModel
        """
        if config.init_scale > float(np.finfo(dtype).max) / 4:
            raise InputError(f"`init_scale` = {config.init_scale:g} is too large for {np.dtype(dtype)}; lower it")
        params: Params = {name: np.zeros(shape, dtype) for name, shape in param_shapes(config).items()}
        for name, value in params.items():
            if name == "encoder.weight" or name.startswith("rnn.weight"):
                for start in range(0, len(value), 4096):  # in parts: in float64 all would take twice the model's memory
                    part = value[start : start + 4096]
                    part[...] = rng.uniform(-config.init_scale, config.init_scale, part.shape)
        counts = np.maximum(vocabulary.counts, 1)
        params["decoder.bias"][...] = np.log(counts / counts.sum())
        return cls(config, vocabulary, params, unit=unit)

    def __repr__(self) -> str:
        c = self.config
        tied = ", tied" if c.tied else ""
        tied += "" if self.unit.kind == "word" else f", unit {self.unit.name}"
        size = f"V={c.vocab_size}, E={c.embed_dim}, H={c.hidden_dim}, L={c.num_layers}{tied}"
        return f"<LanguageModel {size}, {sum(p.size for p in self.params.values()):,} parameters, {self.dtype}>"

    def __getattr__(self, name: str) -> Any:
        if name in GONE:
            raise AttributeError(f"a LanguageModel has no {name!r}: use {GONE[name]}")
        raise AttributeError(f"'LanguageModel' object has no attribute {name!r}")

    def __reduce__(self) -> "tuple[Callable[..., LanguageModel], tuple[Any, ...]]":
        """Pickle the model by its parts; the tables of the noise distribution are recomputed from them."""
        return LanguageModel, (self.config, self.vocabulary, self.params, self.mean_log_z, self.unit)

    def copy(self) -> "LanguageModel":
        """A copy of the model, with its own arrays.

        Returns
        -------
        LanguageModel
        """
        params = {name: value.copy() for name, value in self.params.items()}
        return self.with_params(params, self.mean_log_z)

    def with_params(self, params: Params, mean_log_z: float | None = None) -> "LanguageModel":
        """The same model with other parameters.

        Parameters
        ----------
        params : dict of ndarray
        mean_log_z : float, optional

        Returns
        -------
        LanguageModel
        """
        return LanguageModel(self.config, self.vocabulary, params, mean_log_z, self.unit)

    @property
    def output_weight(self) -> Array:
        """The output weights (V,H): decoder.weight, or encoder.weight if the two are tied."""
        return self.params["encoder.weight" if self.config.tied else "decoder.weight"]

    def zero_state(self, batch: int) -> State:
        """The state before any text.

        Parameters
        ----------
        batch : int
            B, the number of streams.

        Returns
        -------
        State
            h and c, (L,B,H) each.
        """
        shape = (self.config.num_layers, batch, self.config.hidden_dim)
        return State(np.zeros(shape, self.dtype), np.zeros(shape, self.dtype))

    def network(self, bfloat16: bool = False) -> Network:
        """The arrays for computing chunks, packed from the current parameters; stale once these change.

        Parameters
        ----------
        bfloat16 : bool
            Round the operands of products to bfloat16; float32 models only.

        Returns
        -------
        Network
        """
        packed = {name: pack(name, value, Workspace(), bfloat16) for name, value in self.params.items()}
        return Network(self.params, packed, self.log_q, self.vocabulary.eos, bfloat16)

    def loss_and_grads(
        self, inputs: Array, targets: Array, noise_ids: Array, state: State, plan: Plan | None = None
    ) -> tuple[float, Grads, State]:
        """Loss of a chunk, its gradient by BPTT, and the state for the next chunk.

        Parameters
        ----------
        inputs, targets : ndarray (T,B)
            Word ids.
        noise_ids : ndarray (K,)
            The chunk's noise group: word ids, K >= 1.
        state : State
            The state carried in, h and c (L,B,H).
        plan : Plan, optional
            Objective, dropout and reset at </s>; by default plain NCE.

        Returns
        -------
        loss : float
            Nats per position.
        grads : dict
            With the keys of `params`.  A gradient that is zero outside a few rows may be a RowGradient, which holds
            only these rows; np.asarray makes it dense.
        state : State
            The state after the chunk.

        Raises
        ------
        ValueError
            On inconsistent shapes, and on a word id outside the vocabulary.
        """
        if np.shape(inputs) != np.shape(targets):
            raise ValueError(f"inputs {np.shape(inputs)} and targets {np.shape(targets)} must have one shape (T,B)")
        self._check_shapes(inputs, state)
        if np.ndim(noise_ids) != 1 or np.size(noise_ids) < 1:
            raise ValueError(f"noise_ids {np.shape(noise_ids)} must be (K,) with K >= 1")
        inputs, targets = self._checked(inputs, "input"), self._checked(targets, "target")
        noise_ids = self._checked(noise_ids, "noise")
        given = (inputs, targets, noise_ids, state, 1.0 / targets.size, Workspace(), plan or Plan())
        return chunk_gradient(self.network(), *given)

    def log_probs(self, inputs: Array, state: State) -> tuple[Array, State]:
        """Exact log softmax, and the state for the next inputs.

        Parameters
        ----------
        inputs : ndarray (T,B)
            Word ids.
        state : State
            The state carried in, h and c (L,B,H).

        Returns
        -------
        log_probs : ndarray (T,B,V)
            In nats.
        state : State
            The state after the inputs.

        Raises
        ------
        ValueError
            On inconsistent shapes, and on a word id outside the vocabulary.
        """
        self._check_shapes(inputs, state)
        inputs = self._checked(inputs, "input")
        hidden, state = hidden_states(self.network(), inputs, state)
        flat = hidden.reshape(inputs.size, -1)  # (N,H)
        logp = softmax.log_probs(flat, self.output_weight, self.params["decoder.bias"])
        return logp.reshape(*inputs.shape, -1), state

    def _check_shapes(self, inputs: Array, state: State) -> None:
        if np.ndim(inputs) != 2 or np.size(inputs) == 0:
            raise ValueError(f"inputs {np.shape(inputs)} must have shape (T,B) with T, B >= 1")
        expected = (self.config.num_layers, np.shape(inputs)[1], self.config.hidden_dim)
        if state.h.shape != expected or state.c.shape != expected:
            raise ValueError(f"the state is {state.h.shape} and {state.c.shape}, not (L,B,H) = {expected}")

    def _checked(self, ids: Array, what: str) -> Array:
        """Word ids as the kernels need them: within the vocabulary, int32, contiguous."""
        check_ids(np.asarray(ids), self.config.vocab_size, what)
        return np.ascontiguousarray(ids, np.int32)


class HasLanguageModel(Protocol):
    """An object that contains a language model, as nplm.Model does."""

    @property
    def language_model(self) -> LanguageModel: ...


def language_model_of(model: LanguageModel | HasLanguageModel) -> LanguageModel:
    """The model itself, or the one in an nplm.Model."""
    return model if isinstance(model, LanguageModel) else model.language_model


def param_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in the order in which the forward pass uses them."""
    gates, size = 4 * config.hidden_dim, config.hidden_dim
    shapes: dict[str, tuple[int, ...]] = {"encoder.weight": (config.vocab_size, config.embed_dim)}
    for k in range(config.num_layers):
        shapes[f"rnn.weight_ih_l{k}"] = (gates, config.embed_dim if k == 0 else size)
        shapes[f"rnn.weight_hh_l{k}"] = (gates, size)
        shapes[f"rnn.bias_l{k}"] = (gates,)
    if not config.tied:
        shapes["decoder.weight"] = (config.vocab_size, size)
    shapes["decoder.bias"] = (config.vocab_size,)
    return shapes
