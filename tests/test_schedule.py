"""Learning rates.  Oracle: the rules written out by hand, and torch's cosine."""

import math
from types import SimpleNamespace

import pytest

from nplm.training import schedule

CHUNKS = 7  # in an epoch


def settings(**changes):
    """The fields that are read."""
    fields = {"lr": 20.0, "schedule": "step", "lr_decay": 0.7, "decay_after": 4}
    return SimpleNamespace(**(fields | {"epochs": 13, "warmup": 0, "lr_floor": 0.0} | changes))


def rates(config, stalled=None):
    """The rate of every chunk; stalled: epochs since the best, after each epoch."""
    rate, found = schedule.first_rate(config), []
    for epoch in range(config.epochs):
        chunks = range(epoch * CHUNKS, (epoch + 1) * CHUNKS)
        found.append([schedule.chunk_rate(config, rate, chunk, CHUNKS) for chunk in chunks])
        rate = schedule.next_rate(config, rate, epoch + 1, stalled[epoch] if stalled else 0)
    return found


def test_step():
    """Zaremba's rule, bit for bit: lr in epochs 1 to 4, then times 0.7 an epoch, the same for all chunks."""
    expected = [20.0 * 0.7 ** max(epoch - 4, 0) for epoch in range(1, 14)]
    assert rates(settings()) == [[rate] * CHUNKS for rate in expected]
    assert rates(settings(decay_after=0))[0] == [20.0 * 0.7] * CHUNKS


def test_plateau():
    """Bit for bit: times 0.7 after each epoch that was not the best, two in a row count twice."""
    stalled, expected = [0, 0, 1, 2, 0, 1], [20.0, 20.0, 20.0]
    expected += [20.0 * 0.7, 20.0 * 0.7 * 0.7, 20.0 * 0.7 * 0.7]
    config = settings(schedule="plateau", epochs=6)
    assert rates(config, stalled) == [[rate] * CHUNKS for rate in expected]


def test_constant():
    """lr, whatever valid does."""
    config = settings(schedule="constant", epochs=3)
    assert rates(config, [1, 2, 3]) == [[20.0] * CHUNKS] * 3


def test_cosine():
    """By hand: lr at the start, the mean of lr and floor half-way, the floor at the end and ever after."""
    config = settings(schedule="cosine", epochs=4, lr_floor=0.1)
    found = [rate for epoch in rates(config) for rate in epoch]
    assert found[0] == 20 and found == sorted(found, reverse=True)
    assert found[14] == pytest.approx(11, rel=1e-15)
    for chunk in (28, 29, 1000):  # a resumed run may be given more epochs
        assert schedule.chunk_rate(config, 20.0, chunk, CHUNKS) == pytest.approx(2, rel=1e-15)


def test_cosine_against_torch():
    """torch.optim.lr_scheduler.CosineAnnealingLR, chunk by chunk."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=20.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4 * CHUNKS, eta_min=2.0)
    for rate in (rate for epoch in rates(settings(schedule="cosine", epochs=4, lr_floor=0.1)) for rate in epoch):
        assert rate == pytest.approx(peer.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        peer.step()


@pytest.mark.parametrize("name", ["step", "plateau", "constant", "cosine"])
def test_warm_up(name):
    """By hand: k/10 of lr in chunk k of the first 10, across the epoch's end; then as without, or the whole cosine."""
    config = settings(schedule=name, warmup=10, epochs=5, lr_floor=0.1)
    found = [rate for epoch in rates(config) for rate in epoch]
    assert found[:10] == pytest.approx([2.0 * k for k in range(1, 11)], rel=1e-15)
    if name == "cosine":
        shares = [k / (5 * CHUNKS - 10) for k in range(5 * CHUNKS - 10)]
        assert found[10:] == pytest.approx([2 + 9 * (1 + math.cos(math.pi * x)) for x in shares], rel=1e-14)
    else:
        plain = rates(settings(schedule=name, epochs=5))
        assert found[10:] == [rate for epoch in plain for rate in epoch][10:]


def test_warm_up_longer_than_training():
    """By hand: the rate rises to the end, and nothing is divided by zero."""
    config = settings(schedule="cosine", warmup=4 * CHUNKS, epochs=2)
    found = [rate for epoch in rates(config) for rate in epoch]
    assert found == pytest.approx([20.0 * k / (4 * CHUNKS) for k in range(1, 2 * CHUNKS + 1)], rel=1e-15)
