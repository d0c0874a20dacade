"""The package checked against its own reference, as `nplm gradcheck` does.

For a random small model, chunk and plan, the gradient of the fast code is compared with the complex step of
reference/model.py, which is given the same objective, as a module with the interface of reference/nce.py, and the same
masks, as arrays.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.config import ModelConfig
from nplm.data.vocabulary import Vocabulary
from nplm.gradcheck import complex_step, relative_error
from nplm.layers.dropout import Dropout
from nplm.layers.objective import NAMES, make_objective
from nplm.model import LanguageModel, param_shapes
from nplm.network import Plan, State
from nplm.reference import model as reference
from nplm.reference import nce, sampled_softmax, softmax


def check_one(rng: np.random.Generator) -> dict[str, float]:
    """Relative error of the gradient by parameter, for a random model, chunk and plan in float64."""
    vocab, embed, hidden, layers = (int(rng.integers(*span)) for span in ((4, 9), (1, 5), (1, 6), (1, 4)))
    steps, batch, noise = (int(rng.integers(*span)) for span in ((1, 6), (1, 4), (1, 7)))
    tied = bool(rng.integers(2))
    embed = hidden if tied else embed
    config = ModelConfig(vocab, embed, hidden, layers, tied, noise_power=0.75, noise_uniform=0.1)
    counts = {f"w{k}": int(rng.integers(1, 50)) for k in range(vocab - 2)}
    params = {name: rng.normal(0, 0.7, shape) for name, shape in param_shapes(config).items()}
    model = LanguageModel(config, Vocabulary.from_counts(counts | {"</s>": 9, "<unk>": 3}), params)
    inputs, targets = rng.integers(0, vocab, (2, steps, batch), np.int32)
    noise_ids = rng.integers(0, vocab, noise, np.int32)
    noise_ids[-1] = targets[-1, 0]  # noise that is a target
    noise_ids[0] = noise_ids[noise // 2]  # and noise drawn twice
    state = State(*rng.normal(0, 0.7, (2, layers, batch, hidden)))

    plan = random_plan(rng, batch)
    if plan.objective.name == "nce" and rng.random() < 0.5:
        plan = plan._replace(log_q=own_counts(rng, vocab, noise_ids))
    _, grads, _ = model.loss_and_grads(inputs, targets, noise_ids, state, plan)
    log_q = model.log_q if plan.log_q is None else plan.log_q
    given = (inputs, targets, noise_ids, state.h, state.c, log_q)
    same = (masks(model, inputs, plan), objective(plan))
    loss: Any = reference.loss  # written without types, to be read
    expected = complex_step(lambda point: loss(point, *given, *same), params)
    return {name: relative_error(grads[name], expected[name]) for name in params}


def random_plan(rng: np.random.Generator, streams: int) -> Plan:
    """A plan with each part on or off at random, for a chunk of `streams` streams."""
    rate, words, recurrent = (float(rng.choice([0.0, 0.3, 0.6])) for _ in range(3))
    chunk, sequence = (int(key) for key in rng.integers(0, 2**63, 2))
    dropout = Dropout(rate, words, recurrent, bool(rng.integers(2)), chunk, sequence, streams)
    kind = str(rng.choice(NAMES))
    penalty = float(rng.choice([0.0, 0.1])) if kind == "softmax" else 0.0
    return Plan(make_objective(kind, penalty), bool(rng.integers(2)), dropout if rng.random() < 0.7 else None)


def own_counts(rng: np.random.Generator, vocab: int, noise_ids: Array) -> Array:
    """The log shares of a pool of the noise words and some others; -inf for words in none of its groups."""
    pool = np.concatenate([noise_ids, rng.integers(0, vocab, 2)])
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.bincount(pool, minlength=vocab) / pool.size))


def objective(plan: Plan) -> Any:
    """The reference's module for a plan's objective."""
    name, penalty = plan.objective.name, plan.objective.log_z_penalty
    if name == "softmax":
        return SimpleNamespace(
            forward=partial(_softmax, softmax.forward, penalty), backward=partial(_softmax, softmax.backward, penalty)
        )
    if name == "ranking":
        ways = {name: getattr(sampled_softmax, name) for name in ("forward", "backward")}
        return SimpleNamespace(**{name: partial(way, keep_hits=True) for name, way in ways.items()})
    return nce if name == "nce" else sampled_softmax


def masks(model: LanguageModel, inputs: Array, plan: Plan) -> Any:
    """reference.model.Masks of a chunk: the dropout of arrays of ones."""
    config, (steps, batch) = model.config, inputs.shape
    keep = np.ones(inputs.shape)
    if plan.reset_at_eos:
        keep[inputs == model.vocabulary.eos] = 0.0
    if plan.dropout is None:
        nothing: Any = reference.no_masks
        return nothing(model.params, inputs)._replace(keep=keep)
    sizes = [config.embed_dim, *[config.hidden_dim] * config.num_layers]
    sites = [np.ones((steps, batch, size)) for size in sizes]
    for site, x in enumerate(sites):
        plan.dropout.input(x, site)
    plan.dropout.input_words(sites[0], inputs, config.vocab_size)
    layers, hidden = range(config.num_layers), config.hidden_dim
    recurrent = [plan.dropout.recurrent_mask(k, batch, hidden, np.float64) for k in layers]
    return reference.Masks(sites, recurrent, keep)


def _softmax(
    way: Any, penalty: float, hidden: Array, targets: Array, noise_ids: Array, weight: Array, bias: Array, log_q: Array
) -> Any:
    return way(hidden, targets, weight, bias, penalty)  # no noise, and so no noise distribution
