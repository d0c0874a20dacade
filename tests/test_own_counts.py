"""The pool's own counts in the loss.  Oracle: counts by hand, the reference's gradient and its complex step."""

from collections import Counter

import numpy as np
import pytest
from conftest import RTOL, assert_close, make_chunk, make_model, make_vocabulary
from numpy.testing import assert_array_equal

import nplm
from nplm import Corpus, TrainConfig
from nplm.errors import InputError
from nplm.gradcheck import complex_step
from nplm.layers import nce
from nplm.network import Plan
from nplm.noise import FreshNoise, NoiseDistribution, NoisePool, make_noise
from nplm.reference import model as reference_model
from nplm.reference import nce as reference

Q = NoiseDistribution.from_counts(1000 // np.arange(1, 301))
K, M, N = 24, 3, 7


def pool(**changes):
    """A pool of three groups of 24 of 300 words."""
    return NoisePool(Q, K, 1, M, N, **{"own_counts": True} | changes)


def test_the_shares_of_a_pool():
    """Counted word by word over the chunks' groups: shares of all draws, and -inf for words in no group."""
    for redraw in ("sequence", "epoch", "never"):
        noise = pool(redraw=redraw)
        for epoch, sequence in ((0, 0), (1, 2), (0, 2)):
            groups = {noise.group_of(n): noise.group(epoch, sequence, n) for n in range(N)}
            counts = Counter(np.concatenate(list(groups.values())).tolist())
            log_q = noise.log_q(epoch, sequence)
            assert np.flatnonzero(np.isfinite(log_q)).tolist() == sorted(counts)
            for word, count in counts.items():
                assert log_q[word] == pytest.approx(np.log(count / (M * K)))
            assert (log_q[np.setdiff1d(np.arange(300), list(counts))] == -np.inf).all()
            assert not log_q.flags.writeable


def test_the_shares_are_those_of_the_round():
    """A function of the place: asked for in any order; another pool of the same settings has the same."""
    places = [(e, s) for e in range(2) for s in range(3)]
    forward = [pool().log_q(*place).copy() for place in places]
    one = pool()
    for place, log_q in reversed(list(zip(places, forward, strict=True))):
        assert_array_equal(one.log_q(*place), log_q)
    assert len({log_q.tobytes() for log_q in forward}) == 6
    assert len({pool(redraw="never").log_q(*place).tobytes() for place in places}) == 1


def test_others_take_q():
    """The definition: None stands for q."""
    assert FreshNoise(Q, K, 1).log_q(0, 0) is None and pool(own_counts=False).log_q(0, 0) is None
    with pytest.raises(InputError, match="`sequence` = -1 is outside"):
        pool().log_q(0, -1)


def case(dtype=np.float64):
    """hidden (15,6), targets, noise_ids, weight (11,6), bias, log_q, where words 8 to 10 are in no group."""
    rng = np.random.default_rng(13)
    hidden, weight, bias = rng.normal(size=(15, 6)), rng.normal(size=(11, 6)), rng.normal(size=11)
    targets = np.array([3, 1, 3, 10, 5, 0, 2, 1, 9, 3, 4, 6, 8, 1, 5], np.int32)
    noise_ids = np.array([3, 7, 3, 0, 7, 7, 5], np.int32)
    counts = np.array([2, 1, 3, 4, 1, 2, 1, 5, 0, 0, 0])
    with np.errstate(divide="ignore"):
        log_q = np.log(counts / counts.sum())
    return hidden.astype(dtype), targets, noise_ids, *(value.astype(dtype) for value in (weight, bias, log_q))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_target_outside_the_pool(dtype):
    """reference.nce, in which log 0 = -inf is what it is; and exact zeros where it has them."""
    arguments = case(dtype)
    loss, cache = nce.forward(*arguments, 1 / 15)
    grads = [np.asarray(value) for value in nce.backward(cache, arguments[3])]
    wide = [value.astype(np.float64) if value.dtype.kind == "f" else value for value in arguments]
    assert loss == pytest.approx(reference.forward(*wide), rel=RTOL[dtype])
    for got, expected in zip(grads, reference.backward(*wide), strict=True):
        assert_close(got, expected, RTOL[dtype])
    assert not grads[1][8:].any() and not grads[2][8:].any()
    assert (grads[2][:8] != 0).all()


def test_gradients_of_a_chunk():
    """The complex step of reference.model.loss with the pool's shares, for every parameter."""
    model = make_model()
    inputs, targets, noise_ids, state = make_chunk(model)
    held = np.concatenate([noise_ids, targets[0]])
    with np.errstate(divide="ignore"):
        log_q = np.log(np.bincount(held, minlength=11) / held.size)
    assert np.isneginf(log_q[targets]).any()
    loss, grads, _ = model.loss_and_grads(inputs, targets, noise_ids, state, Plan(log_q=log_q))
    given = inputs, targets, noise_ids, state.h, state.c, log_q
    assert loss == pytest.approx(reference_model.loss(model.params, *given), rel=1e-12)
    expected = complex_step(lambda params: reference_model.loss(params, *given), model.params)
    for name, value in expected.items():
        assert_close(grads[name], value, 1e-10)


def test_every_update_by_hand():
    """The final parameters: plain SGD with the reference gradient of every chunk, given its own pool's counts."""
    ids = (11 * np.random.default_rng(0).random(110) ** 2).astype(np.int32)
    settings = {"bptt": 4, "batch_size": 5, "sequence_length": 8, "num_noise": 5, "epochs": 2, "lr": 0.3}
    config = TrainConfig(**settings, schedule="constant", noise="pool", own_counts=True, clip=np.inf)
    model, by_hand = make_model(np.float64, scale=0.3), make_model(np.float64, scale=0.3)
    nplm.train(model, Corpus("toy", make_vocabulary(11), ids), config)
    noise, streams = make_noise(by_hand.noise, config, config.seed), nplm.data.streams.Streams(ids, 5)
    outside = 0
    for epoch in range(2):
        state = by_hand.zero_state(5)
        for span in streams.spans(8, 4):
            inputs, targets = streams.window(span.start, span.stop)
            log_q = noise.log_q(epoch, span.sequence)
            outside += int(np.isneginf(log_q[targets]).sum())
            group = noise.group(epoch, span.sequence, span.chunk)
            given = by_hand.params, inputs, targets, group, *state, log_q
            grads, (_, kept) = reference_model.gradients(*given), reference_model.run_layers(*given[:2], *state)
            state = tuple(np.stack([layer[place][-1] for layer in kept]) for place in (1, 2))
            for name, value in by_hand.params.items():
                value -= 0.3 * grads[name]
    assert outside > 5
    for name, value in by_hand.params.items():
        assert_close(model.params[name], value, 1e-10)


@pytest.mark.parametrize("changes", [{"noise": "fresh"}, {"noise": "pool", "objective": "ranking"}], ids=str)
def test_own_counts_without_a_pool_are_refused(changes):
    """The message: what it belongs to."""
    with pytest.raises(InputError, match="`own_counts` is for the NCE loss with a pool"):
        TrainConfig(own_counts=True, **changes)
