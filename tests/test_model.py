"""The whole model.  Oracle: reference/model.py; closed forms for an untrained model."""

import math

import numpy as np
import pytest
from conftest import RTOL, assert_close, make_chunk, make_model, make_vocabulary

import nplm
from nplm.config import ModelConfig
from nplm.errors import InputError
from nplm.model import LanguageModel, param_shapes
from nplm.network import State
from nplm.reference import alias as reference_alias
from nplm.reference import model as reference


def wide(model):
    """The parameters in float64."""
    return {name: value.astype(np.float64) for name, value in model.params.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_gradients_and_state(dtype):
    """reference.model.loss, gradients and run_layers, for a noise distribution that is not the unigram."""
    model = make_model(dtype, power=0.75, uniform=0.2)
    inputs, targets, noise_ids, state = chunk = make_chunk(model)
    loss, grads, after = model.loss_and_grads(*chunk)
    h0, c0 = (value.astype(np.float64) for value in state)
    arguments = inputs, targets, noise_ids, h0, c0, model.noise.log_probs
    assert loss == pytest.approx(reference.loss(wide(model), *arguments), rel=RTOL[dtype])
    expected = reference.gradients(wide(model), *arguments)
    assert list(grads) == list(model.params)
    for name, grad in grads.items():
        assert np.asarray(grad).dtype == dtype
        assert_close(grad, expected[name], RTOL[dtype])
    _, kept = reference.run_layers(wide(model), inputs, h0, c0)
    for k, (_, h, c, _) in enumerate(kept):
        assert_close(after.h[k], h[-1], RTOL[dtype])
        assert_close(after.c[k], c[-1], RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_probs(dtype):
    """reference.model.log_probs, from a state that is not zero."""
    model = make_model(dtype)
    inputs, _, _, state = make_chunk(model)
    got, _ = model.log_probs(inputs, state)
    h0, c0 = (value.astype(np.float64) for value in state)
    assert got.dtype == dtype
    assert_close(got, reference.log_probs(wide(model), inputs, h0, c0), RTOL[dtype])


def test_state_is_carried():
    """The chunk in one piece: in two, with the state handed on, the log-probabilities and the last state are equal."""
    model = make_model()
    inputs, targets, noise_ids, state = make_chunk(model)
    whole, last = model.log_probs(inputs, state)
    first, between = model.log_probs(inputs[:2], state)
    second, end = model.log_probs(inputs[2:], between)
    assert_close(np.concatenate([first, second]), whole, 1e-13)
    for got, expected in zip(end, last, strict=True):
        assert_close(got, expected, 1e-13)
    trained = model.loss_and_grads(inputs, targets, noise_ids, state)[2]
    for got, expected in zip(trained, last, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_chunk_changes_nothing_but_its_results():
    """Copies made before: parameters, state and ids are left as they were, so two calls agree bit for bit."""
    model = make_model(np.float32)
    chunk = make_chunk(model)
    params, state = wide(model), State(*(value.copy() for value in chunk.state))
    loss, grads, _ = model.loss_and_grads(*chunk)
    again, grads_again, _ = model.loss_and_grads(*chunk)
    assert loss == again
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, params[name])
        np.testing.assert_array_equal(np.asarray(grads[name]), np.asarray(grads_again[name]))
    np.testing.assert_array_equal(chunk.state.h, state.h)
    np.testing.assert_array_equal(chunk.state.c, state.c)


def test_any_integer_ids_will_do():
    """The same ids as contiguous int32: int64, and a transposed view, give the same bits."""
    model = make_model()
    inputs, targets, noise_ids, state = make_chunk(model)
    expected = model.loss_and_grads(inputs, targets, noise_ids, state)
    turned = np.ascontiguousarray(inputs.T).T
    got = model.loss_and_grads(turned, targets.astype(np.int64), noise_ids.astype(np.uint8), state)
    assert got[0] == expected[0]
    for name, grad in got[1].items():
        np.testing.assert_array_equal(np.asarray(grad), np.asarray(expected[1][name]))


@pytest.mark.parametrize("num_noise", [1, 7, 256])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_first_loss_of_an_untrained_model(dtype, tolerance, num_noise):
    """log(1+K) + K log(1+1/K): the score is log q, so every delta is -log K, whatever the text and the noise."""
    config = ModelConfig(11, 4, 6, 2)
    model = LanguageModel.init(config, make_vocabulary(11), np.random.default_rng(16), dtype=dtype)
    inputs, targets, noise_ids, state = make_chunk(model, noise=num_noise)
    loss, _, _ = model.loss_and_grads(inputs, targets, noise_ids, state)
    expected = math.log(1 + num_noise) + num_noise * math.log1p(1 / num_noise)
    assert loss == pytest.approx(expected, rel=tolerance)


def test_untrained_model_is_the_unigram_model():
    """Counts over their sum, at every position: and the noise has that distribution too."""
    vocabulary = make_vocabulary(11)
    model = LanguageModel.init(ModelConfig(11, 4, 6, 2), vocabulary, np.random.default_rng(17), dtype=np.float64)
    logp, _ = model.log_probs(make_chunk(model).inputs, model.zero_state(3))
    unigram = vocabulary.counts / vocabulary.counts.sum()
    np.testing.assert_allclose(logp, np.broadcast_to(np.log(unigram), logp.shape), rtol=1e-12)
    np.testing.assert_allclose(model.noise.probs, unigram, rtol=1e-14)


def test_init():
    """The documented start: uniform weights within init_scale, zero biases, the same bits for the same seed."""
    config, vocabulary = ModelConfig(50, 40, 30, 2, init_scale=0.2), make_vocabulary(50)
    model = LanguageModel.init(config, vocabulary, np.random.default_rng(18))
    again = LanguageModel.init(config, vocabulary, np.random.default_rng(18))
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, again.params[name])
        assert value.dtype == np.float32 and value.flags.c_contiguous
        if name == "decoder.weight" or name.startswith("rnn.bias"):
            assert not value.any()
        elif name != "decoder.bias":
            assert np.abs(value).max() <= np.float32(0.2)
            assert value.std() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("power", "uniform"), [(1.0, 0.0), (0.75, 0.0), (1.0, 0.3), (0.5, 0.1)])
def test_noise_is_drawn_from_the_distribution_of_the_loss(power, uniform):
    """The distribution that the alias table implies (reference.alias) is exp(log_q) of the loss, and [Q1] by hand."""
    model = make_model(power=power, uniform=uniform)
    table = model.noise.table
    implied = reference_alias.implied_probs(table.threshold, table.alias)
    weights = model.vocabulary.counts.astype(float) ** power
    by_hand = (1 - uniform) * weights / weights.sum() + uniform / 11
    np.testing.assert_allclose(implied, by_hand, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.exp(model.log_q), by_hand, rtol=1e-13)


def test_copy_has_arrays_of_its_own():
    """The original, unchanged after the copy is overwritten."""
    model = make_model()
    before = wide(model)
    copy = model.copy()
    for name, value in copy.params.items():
        np.testing.assert_array_equal(value, before[name])
        value[...] = 0
        np.testing.assert_array_equal(model.params[name], before[name])


@pytest.mark.parametrize("bad", [-1, 11, 2**31 - 1])
@pytest.mark.parametrize("place", ["input", "target", "noise"])
def test_ids_outside_the_vocabulary(place, bad):
    """The message: what was out of range, its value and the bound; a jitted kernel would write out of bounds."""
    model = make_model()
    inputs, targets, noise_ids, state = make_chunk(model)
    broken = {"input": inputs, "target": targets, "noise": noise_ids}[place]
    broken[(0,) * broken.ndim] = bad
    with pytest.raises(ValueError, match=rf"{place} id {bad} is outside the vocabulary \[0, 11\)"):
        model.loss_and_grads(inputs, targets, noise_ids, state)
    if place == "input":
        with pytest.raises(ValueError, match=rf"input id {bad} is outside"):
            model.log_probs(inputs, state)


def test_shapes_of_ids():
    """The messages: targets unlike inputs, inputs with one axis, no noise words, noise with two axes."""
    model = make_model()
    inputs, targets, noise_ids, state = make_chunk(model)
    for ids in ((inputs, targets[:-1], noise_ids), (inputs[0], targets[0], noise_ids)):
        with pytest.raises(ValueError, match=r"must have (one )?shape \(T,B\)"):
            model.loss_and_grads(*ids, state)
    for bad in (noise_ids[:0], noise_ids[None, :]):
        with pytest.raises(ValueError, match="K >= 1"):
            model.loss_and_grads(inputs, targets, bad, state)


def test_shape_of_the_state():
    """The message: a state of other layers or streams.  NumPy would stretch one stream over all, without a word."""
    model = make_model()
    inputs, targets, noise_ids, _ = make_chunk(model)
    for shape in ((2, 1, 6), (2, 2, 6), (3, 3, 6), (1, 3, 6), (2, 3, 5)):
        state = State(np.ones(shape), np.ones(shape))
        with pytest.raises(ValueError, match="state"):
            model.loss_and_grads(inputs, targets, noise_ids, state)
        with pytest.raises(ValueError, match="state"):
            model.log_probs(inputs, state)


def test_chunk_without_steps():
    """The message: a mean over no positions has no value."""
    model = make_model()
    inputs, targets, noise_ids, state = make_chunk(model)
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        model.loss_and_grads(inputs[:0], targets[:0], noise_ids, state)


def test_parameters_must_fit_the_configuration():
    """The messages: another vocabulary size, a missing parameter, an unknown one, a wrong shape."""
    model = make_model()
    config, vocabulary = model.config, model.vocabulary
    with pytest.raises(InputError, match="vocab_size is 11, but the vocabulary has 12 words"):
        LanguageModel(config, make_vocabulary(12), model.params)
    missing = {name: value for name, value in model.params.items() if name != "decoder.bias"}
    with pytest.raises(InputError, match=r"missing or unknown: decoder\.bias"):
        LanguageModel(config, vocabulary, missing)
    with pytest.raises(InputError, match=r"missing or unknown: rnn\.bias_l2"):
        LanguageModel(config, vocabulary, {**model.params, "rnn.bias_l2": np.zeros(24)})
    with pytest.raises(InputError, match=r"rnn\.weight_ih_l1 has shape \(24, 4\), not \(24, 6\)"):
        LanguageModel(config, vocabulary, {**model.params, "rnn.weight_ih_l1": np.zeros((24, 4))})


def test_param_shapes():
    """The contract of the design: PyTorch's names and shapes, one bias a layer."""
    assert param_shapes(ModelConfig(11, 4, 6, 2)) == {
        "encoder.weight": (11, 4),
        "rnn.weight_ih_l0": (24, 4),
        "rnn.weight_hh_l0": (24, 6),
        "rnn.bias_l0": (24,),
        "rnn.weight_ih_l1": (24, 6),
        "rnn.weight_hh_l1": (24, 6),
        "rnn.bias_l1": (24,),
        "decoder.weight": (11, 6),
        "decoder.bias": (11,),
    }


def test_zero_state():
    """The definition: (L,B,H), all zero, of the model's type."""
    state = make_model(np.float32).zero_state(3)
    assert state.h.shape == state.c.shape == (2, 3, 6)
    assert state.h.dtype == state.c.dtype == np.float32
    assert not state.h.any() and not state.c.any()


@pytest.mark.parametrize("change", ["type", "order", "whole numbers"])
def test_parameters_the_kernels_cannot_trust(change):
    """The message: one parameter of another type, or not in the order of its rows."""
    model = make_model()
    params = dict(model.params)
    name = "encoder.weight" if change == "whole numbers" else "rnn.weight_hh_l0"
    value = params[name]
    params[name] = {
        "type": value.astype(np.float32 if value.dtype == np.float64 else np.float64),
        "order": np.asfortranarray(value),
        "whole numbers": value.astype(np.int64),
    }[change]
    with pytest.raises(ValueError, match="C-contiguous"):
        nplm.LanguageModel(model.config, model.vocabulary, params)
