"""Import from PyTorch: a model from the state_dict of word_language_model's LSTM and its list of words.

encoder.weight (V,E) · rnn.weight_ih_lk, rnn.weight_hh_lk, rnn.bias_ih_lk, rnn.bias_hh_lk · decoder.weight (V,H) ·
decoder.bias (V,)
A layer's two biases are added; a missing bias is zero; a tied decoder becomes a separate matrix.
Rows are put in nplm's order of words: <unk>, </s>, then the others in their old order.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.config import ModelConfig
from nplm.data.tokens import BOS, EOS, UNK
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.export.foreign import StateDict, Tokens, as_array
from nplm.model import LanguageModel, param_shapes
from nplm.network import Params

EOS_NAMES = (EOS, "<eos>")  # names of the end-of-sentence word that are found automatically
KINDS = {3: "a GRU", 1: "a plain RNN"}  # by the number of gates; an LSTM has 4
NEVER = 100.0  # nats by which the best word's score exceeds that of an added <unk>


# ---- the model


def from_torch(
    state_dict: Mapping[str, Any],
    tokens: Sequence[str],
    counts: Sequence[int] | None = None,
    *,
    eos: str | None = None,
    unk: str = UNK,
    add_unk: bool = False,
    unit: Unit = WORDS,
) -> LanguageModel:
    """The model with the parameters of a state_dict; its probabilities are those of the PyTorch model.

    state_dict  arrays or array-likes; a prefix that all names share, such as "module.", is dropped
    tokens      V words in the order of the rows
    counts      how often each was seen, for the noise distribution and the unigram model; default: once
    eos, unk    the words for the end of a sentence (default: </s> or <eos>) and for unknown words
    add_unk     if there is no word for unknown words, add one: its embedding is the mean of all, its probability ~0
    unit        what a line of text is split into; `tokens` are such units
    Raises InputError if this is not an LSTM language model, on inconsistent shapes, and on missing words.
    """
    arrays = _checked(state_dict)
    params = _params(arrays)
    vocab_size, embed_dim = params["encoder.weight"].shape
    if len(tokens) != vocab_size:
        raise InputError(
            f"{len(tokens)} words for the {vocab_size} rows of encoder.weight: give the word list that the model was"
            " trained with, in the model's order"
        )
    order, vocabulary = _order(Tokens(list(tokens), None if counts is None else list(counts)), eos, unk, add_unk)
    if len(order) > vocab_size:
        _add_unk(params)
    for name in ("encoder.weight", "decoder.weight", "decoder.bias"):
        params[name] = params[name][order]
    layers = sum(name.startswith("rnn.bias_l") for name in params)
    config = ModelConfig(len(order), embed_dim, params["decoder.weight"].shape[1], layers)
    return LanguageModel(config, vocabulary, params, unit=unit)


def _checked(state_dict: Mapping[str, Any]) -> StateDict:
    """The arrays under their plain names, all of one type, all finite."""
    if odd := [name for name in state_dict if not isinstance(name, str)]:
        raise InputError(f"{odd[0]!r} is not the name of a parameter: give model.state_dict()")
    heads = [name.removesuffix("encoder.weight") for name in state_dict if name.endswith("encoder.weight")]
    head = heads[0] if len(heads) == 1 else ""
    arrays = {name.removeprefix(head): as_array(name, value) for name, value in state_dict.items()}
    for name in ("encoder.weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "decoder.weight"):
        if name not in arrays:
            raise InputError(
                f"no {name}: an LSTM of word_language_model has encoder.weight, rnn.weight_ih_l0 ... decoder.weight"
            )
    for name, value in arrays.items():
        if value.dtype.kind != "f":
            raise InputError(f"{name} is {value.dtype}, not floating point")
        if not np.isfinite(value).all():
            raise InputError(f"{name} has numbers that are not finite: the model diverged; use an earlier one")
    dtype = np.result_type(np.float32, *(value.dtype for value in arrays.values()))
    return {name: value.astype(dtype) for name, value in arrays.items()}


def _params(arrays: StateDict) -> Params:
    """The parameters under our names, in PyTorch's order of words."""
    vocab_size, embed_dim = _matrix(arrays, "encoder.weight")
    _, hidden_dim = _matrix(arrays, "rnn.weight_hh_l0")
    _check_kind(arrays, hidden_dim)
    layers = 1
    while f"rnn.weight_ih_l{layers}" in arrays:
        layers += 1
    shapes = param_shapes(ModelConfig(vocab_size, embed_dim, hidden_dim, layers))
    dtype = arrays["encoder.weight"].dtype
    params: Params = {}
    for name, shape in shapes.items():
        parts = [name]
        if name.startswith("rnn.bias_l"):
            parts = [name.replace("bias_l", "bias_ih_l"), name.replace("bias_l", "bias_hh_l")]
        total = np.zeros(shape, dtype)
        for part in parts:
            total += _of_shape(arrays, part, shape)
        params[name] = total
    if arrays:
        raise InputError(f"{next(iter(arrays))} is not a parameter of nplm's LSTM language models")
    return params


def _of_shape(arrays: StateDict, name: str, shape: tuple[int, ...]) -> Array:
    """Pop an array and check its shape; a missing bias is zero."""
    if name not in arrays and "bias" in name:
        return np.zeros(shape)
    if name not in arrays:
        raise InputError(f"no {name}: the state_dict is incomplete")
    value = arrays.pop(name)
    if value.shape != shape:
        raise InputError(f"{name} has shape {value.shape}, but the other arrays imply {shape}")
    return value


def _matrix(arrays: StateDict, name: str) -> tuple[int, int]:
    """Rows and columns of an array, which must be a non-empty matrix."""
    if arrays[name].ndim != 2 or 0 in arrays[name].shape:
        raise InputError(f"{name} has shape {arrays[name].shape}; it should be a matrix")
    rows, columns = arrays[name].shape
    return rows, columns


def _check_kind(arrays: StateDict, hidden_dim: int) -> None:
    """Raise InputError unless this is a unidirectional LSTM without projection."""
    rows = len(arrays["rnn.weight_hh_l0"])
    if rows in (hidden_dim, 3 * hidden_dim):
        raise InputError(
            f"rnn.weight_hh_l0 has {rows} rows for {hidden_dim} units, so this is {KINDS[rows // hidden_dim]};"
            " nplm has LSTMs only: train an LSTM"
        )
    for pattern, what in ((r"_reverse$", "reads in both directions"), (r"weight_hr", "projects its state")):
        for name in arrays:
            if re.search(pattern, name):
                raise InputError(f"{name}: this LSTM {what}, which nplm does not support")


# ---- its words


def _order(tokens: Tokens, eos: str | None, unk: str, add_unk: bool) -> tuple[list[int], Vocabulary]:
    """The rows (V,) in nplm's order (an <unk> to be added is one past the last row), and the vocabulary."""
    words, counts = tokens.words, tokens.counts
    if counts is not None and len(counts) != len(words):
        raise InputError(f"{len(words)} words have {len(counts)} counts")
    if BOS in words:
        raise InputError(f"{BOS} is among the words, but nplm reserves that name; call the word <bos> in the list")
    known = [name for name in ([eos] if eos else EOS_NAMES) if name in words and name != unk]
    if not known:
        names = " or ".join([eos] if eos else EOS_NAMES)
        raise InputError(f"no {names} among the words; name the word that ends a sentence with `eos`")
    if unk not in words and not add_unk:
        raise InputError(
            f"no {unk} among the words; name the word for unknown words with `unk`, or add one that is"
            " never predicted with `add_unk`"
        )
    first = [words.index(unk) if unk in words else len(words), words.index(known[0])]
    order = [*first, *(i for i in range(len(words)) if i not in first)]
    seen = [*(counts or [1] * len(words)), 0]  # the last is for an <unk> to be added
    return order, Vocabulary([UNK, EOS, *(words[i] for i in order[2:])], [seen[i] for i in order])


def _add_unk(params: Params) -> None:
    """Add a last row for <unk>: its embedding is the mean of all, its probability below exp(-NEVER) in any state.

    |h| < 1, so every score is within bias -/+ sum |weight|; the probabilities of other words do not change.
    """
    weight, bias = params["decoder.weight"], params["decoder.bias"]
    least = (bias - np.abs(weight).sum(axis=1)).max()  # the best word's score is at least that
    mean = params["encoder.weight"].mean(axis=0, keepdims=True)
    params["encoder.weight"] = np.concatenate([params["encoder.weight"], mean])
    params["decoder.weight"] = np.concatenate([weight, np.zeros_like(weight[:1])])
    params["decoder.bias"] = np.append(bias, np.asarray(least - NEVER, bias.dtype))
