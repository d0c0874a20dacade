"""Sampling.  Oracle: the probabilities of LanguageModel.log_probs."""

import numpy as np
import pytest
from conftest import make_model

import nplm
from nplm import InputError


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_first_words_follow_the_model(temperature):
    """log_probs after </s>, sharpened by the temperature, without <unk>: 4,000 draws, five standard errors."""
    model, lines = make_model(scale=0.7), 4000
    logp, _ = model.log_probs(np.array([[model.vocabulary.eos]]), model.zero_state(1))
    scores = logp[0, 0] / temperature
    scores[model.vocabulary.unk] = -np.inf
    expected = np.exp(scores - np.logaddexp.reduce(scores))
    drawn = nplm.sample(model, np.random.default_rng(3), lines=lines, max_words=1, temperature=temperature)
    for k, token in enumerate(model.vocabulary.tokens):
        share = sum(line == ("" if k == model.vocabulary.eos else token) for line in drawn) / lines
        assert abs(share - expected[k]) <= 5 * np.sqrt(expected[k] * (1 - expected[k]) / lines) + 1e-12


def test_second_words_follow_the_first():
    """log_probs after </s> and the first word, the state carried: one word's successors, five standard errors."""
    model, lines = make_model(scale=0.7), 8000
    drawn = nplm.sample(model, np.random.default_rng(4), lines=lines, max_words=2, allow_unk=True)
    most = (
        int(model.log_probs(np.array([[1]]), model.zero_state(1))[0][0, 0, 2:].argmax()) + 2
    )  # a frequent word
    first = model.vocabulary.tokens[most]
    seconds = [[*line.split(), ""][1] for line in drawn if line.split()[:1] == [first]]
    inputs = np.array([[model.vocabulary.eos], [most]])
    logp, _ = model.log_probs(inputs, model.zero_state(1))
    expected = np.exp(logp[1, 0])
    assert len(seconds) > 100
    for k, token in enumerate(model.vocabulary.tokens):
        share = seconds.count("" if k == model.vocabulary.eos else token) / len(seconds)
        assert abs(share - expected[k]) <= 5 * np.sqrt(expected[k] * (1 - expected[k]) / len(seconds)) + 1e-12


def test_lines():
    """The definition: as many lines as asked for, none too long, no <unk>; the same seed, the same lines."""
    model = make_model(scale=0.7)
    drawn = nplm.sample(model, np.random.default_rng(5), lines=7, max_words=6)
    assert len(drawn) == 7 and max(len(line.split()) for line in drawn) <= 6
    assert not any("<unk>" in line or "</s>" in line for line in drawn)
    assert drawn == nplm.sample(model, np.random.default_rng(5), lines=7, max_words=6)


@pytest.mark.parametrize(
    "bad", [{"temperature": 0.0}, {"temperature": np.nan}, {"lines": 0}, {"max_words": 0}]
)
def test_bad_settings(bad):
    """The message names the setting."""
    with pytest.raises(InputError, match=next(iter(bad))):
        nplm.sample(make_model(), np.random.default_rng(1), **bad)
