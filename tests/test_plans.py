"""Tied weights, dropout, sentences that begin anew, other objectives, all through a whole chunk.

Oracle: the complex step of reference.model.loss with the same masks, for every entry of every parameter.
"""

import numpy as np
import pytest
from conftest import assert_close, make_chunk, make_model
from test_gradients import check_entries

from nplm.config import ModelConfig
from nplm.errors import InputError
from nplm.layers.dropout import Dropout
from nplm.layers.workspace import Workspace
from nplm.network import Plan, ascend, hidden_states
from nplm.reference import model as reference
from nplm.testing.selfcheck import masks, objective, random_plan


def check_plan(model, chunk, plan):
    """The fast gradient, and the reference's by hand, against the complex step; and the loss."""
    inputs, targets, noise_ids, (h0, c0) = chunk
    fixed = (inputs, targets, noise_ids, h0, c0, model.noise.log_probs)
    factors, layer = masks(model, inputs, plan), objective(plan)
    loss, grads, _ = model.loss_and_grads(*chunk, plan)
    assert loss == pytest.approx(reference.loss(model.params, *fixed, factors, layer), rel=1e-12)
    for one in (grads, reference.gradients(model.params, *fixed, factors, layer)):
        check_entries(lambda params: reference.loss(params, *fixed, factors, layer), model.params, one)


@pytest.mark.parametrize("seed", range(80))
def test_gradients(seed):
    """The complex step: 80 random plans on random shapes, tied and not."""
    rng = np.random.default_rng([23, seed])
    steps, batch, embed, hidden = (int(d) for d in rng.integers(1, 5, 4))
    tied = bool(seed % 2)
    model = make_model(
        seed=seed, vocab=int(rng.integers(3, 9)), embed=hidden if tied else embed, hidden=hidden,
        layers=1 + seed % 3, tied=tied,
    )  # fmt: skip
    chunk = make_chunk(model, seed, steps, batch, noise=int(rng.integers(1, 10)))
    chunk.inputs[rng.random(chunk.inputs.shape) < 0.3] = model.vocabulary.eos
    check_plan(model, chunk, random_plan(rng, batch))


def everything(model, chunk, **changes):
    """A plan with all of it."""
    dropout = Dropout(0.3, 0.2, 0.4, False, 5, 6, chunk.inputs.shape[1])
    return Plan(reset_at_eos=True, dropout=dropout)._replace(**changes)


def test_gradients_of_everything():
    """The complex step at T=5, B=3, E=H=6, V=11, K=7: tied, all kinds of dropout, sentences that begin anew."""
    model = make_model(embed=6, tied=True)
    chunk = make_chunk(model)
    chunk.inputs[2, 1] = chunk.inputs[0, 0] = model.vocabulary.eos
    check_plan(model, chunk, everything(model, chunk))


def test_tied_is_untied_with_two_equal_matrices():
    """The untied model with a copy: the same loss, and the sum of its two gradients."""
    tied = make_model(embed=6, tied=True)
    chunk = make_chunk(tied)
    params = {name: value.copy() for name, value in tied.params.items()}
    params["decoder.weight"] = params["encoder.weight"].copy()
    untied = make_model(embed=6)
    untied.params.update(params)
    loss, grads, state = tied.loss_and_grads(*chunk)
    other_loss, other, other_state = untied.loss_and_grads(*chunk)
    assert loss == other_loss
    total = np.asarray(other["encoder.weight"]) + np.asarray(other["decoder.weight"])
    assert_close(grads["encoder.weight"], total, 1e-14)
    assert "decoder.weight" not in grads
    np.testing.assert_array_equal(state.h, other_state.h)
    logp, _ = tied.log_probs(chunk.inputs, chunk.state)
    np.testing.assert_array_equal(logp, untied.log_probs(chunk.inputs, chunk.state)[0])


def test_a_tied_model_needs_one_width():
    """The message names both sizes."""
    with pytest.raises(InputError, match="`embed_dim` = 4 and `hidden_dim` = 6"):
        ModelConfig(11, 4, 6, 1, tied=True)


def test_reset_is_a_sentence_from_the_zero_state():
    """The same text, sentence by sentence, each from the zero state: the same hidden states after every </s> read."""
    model = make_model()
    chunk = make_chunk(model, batch=1, steps=7)
    chunk.inputs[:, 0] = [3, 4, 1, 5, 6, 1, 7]
    after_each, plan = {}, Plan(reset_at_eos=True)
    network = model.network()
    _, hidden, _, after = ascend(network, chunk.inputs, chunk.state, Workspace(), plan)
    for start, stop in ((2, 5), (5, 7)):
        alone, after_each[start] = hidden_states(network, chunk.inputs[start:stop], model.zero_state(1))
        assert_close(hidden[start:stop], alone, 1e-13)
    assert_close(after.c, after_each[5].c, 1e-13)
    begun, _ = hidden_states(network, chunk.inputs[:2], chunk.state)
    assert_close(hidden[:2], begun, 1e-13)


def test_no_dropout_is_no_change():
    """The plain plan: rates of zero give the same bits."""
    model = make_model()
    chunk = make_chunk(model)
    plan = Plan(dropout=Dropout(0.0, 0.0, 0.0, True, 1, 2, 3))
    loss, grads, _ = model.loss_and_grads(*chunk)
    same_loss, same, _ = model.loss_and_grads(*chunk, plan)
    assert loss == same_loss
    for name, grad in grads.items():
        np.testing.assert_array_equal(np.asarray(grad), np.asarray(same[name]))


def test_a_mask_drawn_twice_is_noticed():
    """Planted: masks of another chunk in the reference do not give the same loss."""
    model = make_model()
    chunk = make_chunk(model)
    plan = everything(model, chunk)
    other = plan._replace(dropout=Dropout(0.3, 0.2, 0.4, False, 5, 7, chunk.inputs.shape[1]))
    inputs, targets, noise_ids, (h0, c0) = chunk
    factors = masks(model, inputs, other)
    loss = reference.loss(model.params, inputs, targets, noise_ids, h0, c0, model.noise.log_probs, factors)
    assert abs(loss - model.loss_and_grads(*chunk, plan)[0]) > 1e-3
