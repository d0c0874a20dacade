"""A chunk's gradient in shards.  Oracle: LanguageModel.loss_and_grads on the whole chunk."""

import threading

import numpy as np
import pytest
from conftest import assert_close, make_chunk, make_model

from nplm import threads as threads_of
from nplm.data import streams
from nplm.training import step as shards
from nplm.training.optim import global_norm


def sharded(model, chunk, num_shards, threads, bfloat16=False):
    """Loss, gradients and state by shards on threads."""
    with threads_of.workers(threads, num_shards) as run:
        loss, grads, norm, after = shards.Shards(model, num_shards, run, bfloat16=bfloat16).gradient(*chunk)
        assert norm == pytest.approx(global_norm(grads), rel=1e-6)
        return loss, grads, after


@pytest.mark.parametrize("num_shards", [1, 2, 3, 5, 8])
def test_sum_of_the_shards(num_shards):
    """The whole chunk, to 1e-12: 1, 2 and 3 shards of 5 columns, one column each, and more shards than columns."""
    model = make_model()
    chunk = make_chunk(model, batch=5, steps=4)
    loss, grads, after = model.loss_and_grads(*chunk)
    got_loss, got_grads, got_after = sharded(model, chunk, num_shards, 1)
    assert got_loss == pytest.approx(loss, rel=1e-12)
    assert list(got_grads) == list(grads)
    for name, grad in grads.items():
        assert type(got_grads[name]) is type(grad)
        assert_close(got_grads[name], grad, 1e-12)
    for got, expected in zip(got_after, after, strict=True):
        assert_close(got, expected, 1e-13)


@pytest.mark.parametrize("num_shards", [1, 2, 3, 5])
@pytest.mark.parametrize(("dtype", "bfloat16"), [(np.float32, False), (np.float64, False), (np.float32, True)])
def test_same_bits_for_any_number_of_threads(dtype, bfloat16, num_shards):
    """One thread: 2 and 4 threads, ten times each, give the same bits."""
    model = make_model(dtype)
    chunk = make_chunk(model, batch=5, steps=4)
    loss, grads, after = sharded(model, chunk, num_shards, 1, bfloat16)
    for threads in [2, 4] * 10:
        got_loss, got_grads, got_after = sharded(model, chunk, num_shards, threads, bfloat16)
        assert got_loss == loss
        for name, grad in grads.items():
            np.testing.assert_array_equal(np.asarray(got_grads[name]), np.asarray(grad), strict=True)
        for got, expected in zip(got_after, after, strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)


def test_bounds():
    """By hand: every column once, in order, sizes within one of each other, no empty shard."""
    assert streams.bounds(5, 2) == [(0, 2), (2, 5)]
    assert streams.bounds(3, 7) == [(0, 1), (1, 2), (2, 3)]
    for columns in range(1, 20):
        for num_shards in range(1, 20):
            cuts = streams.bounds(columns, num_shards)
            assert [b for start, stop in cuts for b in range(start, stop)] == list(range(columns))
            sizes = {stop - start for start, stop in cuts}
            assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


def test_workers_use_the_threads_they_are_given():
    """A barrier: three tasks that wait for each other end only if three threads run them, in the tasks' order."""
    barrier = threading.Barrier(3, timeout=20)

    def task(k):
        def wait():
            barrier.wait()
            return k

        return wait

    with threads_of.workers(3, 3) as run:
        assert run([task(k) for k in range(3)]) == [0, 1, 2]


def test_an_error_in_a_shard_reaches_the_caller():
    """The error itself, from the calling thread's task and from another's."""

    def fails():
        raise ArithmeticError("shard")

    for tasks in ([fails, lambda: 1], [lambda: 1, fails]):
        for threads in (1, 2):
            with threads_of.workers(threads, 2) as run, pytest.raises(ArithmeticError, match="shard"):
                run(tasks)
