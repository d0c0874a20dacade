"""The reference training loop against nplm.train, and against what a language model must be able to do.

Oracle: two programs that share no code, and the perplexity of the unigram model.
"""

import numpy as np
import pytest
from conftest import assert_close, make_model, make_vocabulary

import nplm
from nplm import Corpus, ModelConfig, Observer, TrainConfig
from nplm.data.streams import Streams
from nplm.noise import make_noise
from nplm.reference import model as reference_model
from nplm.reference import train as reference
from nplm.training.optim import Optimizer, global_norm
from nplm.training.step import Shards

V = 11
RECIPE = {"bptt": 4, "batch_size": 5, "sequence_length": 10, "lr": 0.3, "clip": 2.0, "epochs": 2}


class Losses(Observer):
    """Keeps where every chunk was and its loss."""

    def __init__(self):
        self.steps = []

    def step(self, step):
        self.steps.append(step)


def random_text(n):
    """A text of n tokens, low ids being more frequent."""
    return (V * np.random.default_rng(0).random(n) ** 2).astype(np.int32)


def compare(ids, tied=False, shards=2, noise="fresh", **changes):
    """Both loops on one text; fails unless every loss and the final parameters agree to 1e-10."""
    model = make_model(np.float64, embed=6, tied=tied, scale=0.3)
    recipe = RECIPE | {name: value for name, value in changes.items() if name in RECIPE}
    config = TrainConfig(num_noise=7, schedule="constant", shards=shards, noise=noise, **RECIPE | changes)
    group = make_noise(model.noise, config, config.seed).group
    expected = list(reference.train(model.params, ids, group, model.log_q, **recipe))
    losses = Losses()
    nplm.train(model, Corpus("toy", make_vocabulary(V), ids), config, observer=losses)
    got = np.array([step.loss for step in losses.steps])
    np.testing.assert_allclose(got, [update.loss for update in expected], rtol=1e-10)
    for name, value in expected[-1].params.items():
        assert_close(model.params[name], value, 1e-10)
    return losses.steps


@pytest.mark.parametrize(
    ("n", "changes"),
    [
        (110, {}),  # 22 steps, no tail: sequences of 10, 10 and 2
        (113, {}),  # and a tail of 3 columns
        (113, {"shards": 1, "tied": True}),
        (113, {"noise": "pool"}),
        (61, {"batch_size": 1}),  # one stream never has a tail
        (47, {"sequence_length": 100, "bptt": 1}),  # one sequence
        (113, {"bptt": 10, "baseline": True}),  # N = 1: nothing is cut but the last sequence, short as it is
        (113, {"noise": "pool", "noise_groups": 1, "baseline": True}),  # M = 1
    ],
    ids=str,
)
def test_every_chunk_is_that_of_the_reference(n, changes):
    """Oracle: the reference, in float64: losses chunk by chunk, and the parameters after two epochs."""
    steps = compare(random_text(n), **changes)
    tail = [step for step in steps if step.tokens == n % changes.get("batch_size", 5)]
    assert len(tail) == (0 if n in (110, 61) else 2)
    assert sum(step.tokens for step in steps) == 2 * n


def test_one_chunk_is_the_gradient_of_the_whole_sequence():
    """Oracle: LanguageModel.loss_and_grads of every uncut sequence, and one update of each: N = 1, the same bits."""
    ids, model, expected = random_text(110), make_model(np.float64, scale=0.3), make_model(np.float64, scale=0.3)
    config = TrainConfig(
        num_noise=7, schedule="constant", shards=1, baseline=True, **RECIPE | {"bptt": 10, "epochs": 1}
    )
    nplm.train(model, Corpus("toy", make_vocabulary(V), ids), config)
    streams, state = Streams(ids, 5), expected.zero_state(5)
    optimizer = Optimizer(expected.params, "sgd", config.clip)
    noise = make_noise(expected.noise, config, config.seed)
    for sequence, start in enumerate(range(0, 22, 10)):
        window = streams.window(start, min(start + 10, 22))
        _, grads, state = expected.loss_and_grads(*window, noise.group(0, sequence, 0), state)
        optimizer.update(expected.params, grads, config.lr, global_norm(grads))
    for name, value in expected.params.items():
        np.testing.assert_array_equal(model.params[name], value, err_msg=name)


def test_a_state_that_is_not_carried_is_seen(monkeypatch):
    """Planted bug: every chunk of nplm.train begins with the zero state."""
    real = Shards.gradient

    def forgetful(shards, inputs, targets, noise_ids, state, plan):
        return real(shards, inputs, targets, noise_ids, shards.model.zero_state(inputs.shape[1]), plan)

    monkeypatch.setattr(Shards, "gradient", forgetful)
    with pytest.raises(AssertionError):
        compare(random_text(113))


def test_the_reference_learns():
    """Oracle: the unigram model's perplexity on the test text, and the source's entropy, which is the floor."""
    corpus = nplm.load_builtin("markov")
    sizes = ModelConfig(len(corpus.vocabulary), 8, 16, 1)
    model = nplm.LanguageModel.init(sizes, corpus.vocabulary, np.random.default_rng(1), np.float64)
    recipe = {"bptt": 10, "batch_size": 20, "sequence_length": 50, "lr": 10.0, "clip": 0.5, "epochs": 1}
    config = TrainConfig(num_noise=10, **recipe)
    group = make_noise(model.noise, config, config.seed).group
    params = model.params
    for update in reference.train(model.params, corpus.train[:60_000], group, model.log_q, **recipe):
        params = update.params
    test = corpus.test[:5_000]
    zero = np.zeros((1, 1, 16))
    log_probs = reference_model.log_probs(params, np.append(reference.EOS, test[:-1])[:, None], zero, zero)
    nats = -log_probs[np.arange(len(test)), 0, test].mean()
    unigram = -model.log_q[test].mean()  # the noise is the unigram model
    assert corpus.floor.nats - 0.1 < nats < unigram - 0.5
