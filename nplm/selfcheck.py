"""A plan as the reference takes it: the objective as a module with nce's face, what is left out as arrays."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.layers.dropout import Dropout
from nplm.model import LanguageModel
from nplm.network import Plan
from nplm.reference import model as reference
from nplm.reference import nce, sampled_softmax, softmax


def random_plan(rng: np.random.Generator, streams: int) -> Plan:
    """Each part on or off, at random, for a chunk of so many streams."""
    rate, words, recurrent = (float(rng.choice([0.0, 0.3, 0.6])) for _ in range(3))
    chunk, sequence = (int(key) for key in rng.integers(0, 2**63, 2))
    dropout = Dropout(rate, words, recurrent, bool(rng.integers(2)), chunk, sequence, streams)
    kind: Any = str(rng.choice(["nce", "softmax", "sampled-softmax", "ranking"]))
    penalty = float(rng.choice([0.0, 0.1])) if kind == "softmax" else 0.0
    return Plan(kind, penalty, bool(rng.integers(2)), dropout if rng.random() < 0.7 else None)


def objective(plan: Plan) -> Any:
    """The reference's module for a plan's objective."""
    if plan.objective == "softmax":
        return SimpleNamespace(
            forward=partial(_softmax, softmax.forward, plan.log_z_penalty),
            backward=partial(_softmax, softmax.backward, plan.log_z_penalty),
        )
    if plan.objective == "ranking":
        ways = {name: getattr(sampled_softmax, name) for name in ("forward", "backward")}
        return SimpleNamespace(**{name: partial(way, keep_hits=True) for name, way in ways.items()})
    return nce if plan.objective == "nce" else sampled_softmax


def masks(model: LanguageModel, inputs: Array, plan: Plan) -> Any:
    """reference.model.Masks of a chunk: what becomes of ones."""
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
    way: Any,
    penalty: float,
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    weight: Array,
    bias: Array,
    log_q: Array,
) -> Any:
    return way(hidden, targets, weight, bias, penalty)  # no noise, and so no law of it
