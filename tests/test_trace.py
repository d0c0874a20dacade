"""The claims, read off a trace of real training runs.  Oracle: the claims' own words, counted with sets."""

import hashlib
from importlib import import_module
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import pytest
from conftest import make_model, make_vocabulary

import nplm
from nplm import Corpus, FreshNoise, NoisePool, Observer, TrainConfig
from nplm.data.streams import Span, Streams
from nplm.training.step import Shards

V, B, T, S, K, M, EPOCHS = 11, 5, 4, 27, 24, 3, 3
N = 7  # chunks of a whole sequence: six of 4 steps and one of 3
FULL_STEPS, TAIL = 64, 2  # two whole sequences, one of 10 steps in 3 chunks, and a tail of one step
SEQUENCES = [N, N, 3, 1]  # chunks of each
TEXT = np.random.default_rng(0).integers(0, V, FULL_STEPS * B + TAIL).astype(np.int32)


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch):
    """The warm-up takes a gradient too, which is not one of the run's."""
    monkeypatch.setattr(import_module("nplm.training.loop"), "warm_up", lambda dtype, config: 0.0)


class Row(NamedTuple):
    """What was seen of one chunk."""

    epoch: int
    span: Span
    noise: tuple[int, ...]  # what the gradient was computed with
    before: str  # digest of the parameters that the gradient was computed at
    after: str  # and of those after the update


class Tracer(Observer):
    """Looks at every chunk twice: when its gradient is computed, and when it is done with."""

    def __init__(self, model, monkeypatch):
        self.model, self.rows, self.pending = model, [], []
        compute = Shards.gradient

        def watched(shards, inputs, targets, noise_ids, state, plan):
            self.pending.append((tuple(noise_ids.tolist()), self.digest()))
            return compute(shards, inputs, targets, noise_ids, state, plan)

        monkeypatch.setattr(Shards, "gradient", watched)

    def digest(self):
        return hashlib.sha256(b"".join(value.tobytes() for value in self.model.params.values())).hexdigest()

    def step(self, step):
        assert len(self.pending) == 1, "one gradient for one update"
        noise, before = self.pending.pop()
        assert noise == tuple(step.noise_ids.tolist())
        self.rows.append(Row(step.epoch, step.span, noise, before, self.digest()))


def trace(monkeypatch, **changes):
    """The rows of a real training run, and its settings."""
    model = make_model(np.float32, scale=0.3)
    settings = {"bptt": T, "batch_size": B, "sequence_length": S, "num_noise": K, "epochs": EPOCHS, "lr": 1.0}
    config = TrainConfig(**settings | {"noise_groups": M} | changes)
    tracer = Tracer(model, monkeypatch)
    nplm.train(model, Corpus("toy", make_vocabulary(V), TEXT), config, observer=tracer)
    return tracer.rows, config


def check(rows, config):
    """Fails unless the rows are what the claims say."""
    check_order(rows)
    check_updates(rows)
    if config.noise == "fresh":
        assert len({row.noise for row in rows}) == len(rows), "claim 2: a new group for every chunk"
    else:
        check_pool(rows, config)


def check_order(rows):
    """Claim 1: each sequence is cut by time, and its chunks are used earliest first, each once, none left out."""
    for epoch, group in groupby(rows, key=lambda row: row.epoch):
        spans = [row.span for row in group]
        assert [(span.sequence, span.chunk) for span in spans] == [
            (s, c) for s, chunks in enumerate(SEQUENCES) for c in range(chunks)
        ], f"epoch {epoch}"
        assert spans[0].start == 0
        assert spans[-1].stop == FULL_STEPS + 1
        assert all(early.stop == late.start for early, late in pairwise(spans)), "no gap, no overlap"
        assert all(0 < span.stop - span.start <= T for span in spans)
    assert [epoch for epoch, _ in groupby(row.epoch for row in rows)] == list(range(EPOCHS))


def check_updates(rows):
    """Claim 1: an update after every chunk's gradient, before the next chunk's is computed."""
    for row in rows:
        assert row.after != row.before, "the chunk's gradient changes the parameters"
    for early, late in pairwise(rows):
        assert late.before == early.after, "the next gradient is computed at the updated parameters"
    assert len({row.after for row in rows}) == len(rows)


def check_pool(rows, config):
    """Claim 3: M groups for N chunks, which are divided into M parts, one to one with the groups."""
    groups_wanted = config.noise_groups  # M, 1 in a baseline
    by_sequence = {
        place: [row.noise for row in part]
        for place, part in groupby(rows, key=lambda row: (row.epoch, row.span.sequence))
    }
    pools = {}
    for (epoch, sequence), noise in by_sequence.items():
        if len(noise) < N:
            continue
        pool = list(dict.fromkeys(noise))  # in the order of first use
        assert len(pool) == groups_wanted, "exactly M groups"
        if config.group_map == "contiguous":
            assert len(list(groupby(noise))) == groups_wanted, "each group has one run of chunks"
            sizes = [noise.count(group) for group in pool]
            assert max(sizes) - min(sizes) <= 1
        else:
            assert noise == [pool[chunk % groups_wanted] for chunk in range(N)], "each group has one residue of chunks"
        pools[epoch, sequence] = set(pool)
    rounds = {"sequence": lambda e, s: (e, s), "epoch": lambda e, s: e, "never": lambda e, s: 0}[config.redraw]
    for one, groups in pools.items():
        for other, others in pools.items():
            same = rounds(*one) == rounds(*other)
            assert (groups == others) if same else not (groups & others), "redrawn when it should be"
    for (epoch, _), noise in by_sequence.items():  # short sequences use the same map
        if len(noise) < N and config.redraw != "sequence":
            assert noise == by_sequence[epoch, 0][: len(noise)]


POOLS = [
    {"noise": "pool", "group_map": group_map, "redraw": redraw}
    for group_map in ("contiguous", "cyclic")
    for redraw in ("sequence", "epoch", "never")
]


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("noise", [{"noise": "fresh"}, *POOLS], ids=lambda noise: " ".join(noise.values()))
def test_a_training_run_does_what_the_claims_say(noise, optimizer, monkeypatch):
    """Oracle: `check`, over three epochs of 18 chunks."""
    rows, config = trace(monkeypatch, optimizer=optimizer, lr=0.1, **noise)
    assert len(rows) == EPOCHS * sum(SEQUENCES)
    check(rows, config)


@pytest.mark.parametrize("groups", [2, N])
@pytest.mark.parametrize("group_map", ["contiguous", "cyclic"])
def test_smallest_and_largest_pool(groups, group_map, monkeypatch):
    """Oracle: `check` with M = 2 and with M = N, a group for every chunk."""
    rows, config = trace(monkeypatch, noise="pool", noise_groups=groups, group_map=group_map)
    check(rows, config)


@pytest.mark.parametrize("noise", [{"noise": "fresh"}, {"noise": "pool", "noise_groups": 1}], ids=["fresh", "pool"])
def test_baseline_of_one_chunk(noise, monkeypatch):
    """Oracle: `check_updates` and counting: N = 1, one gradient and one update for each whole, uncut sequence."""
    rows, _ = trace(monkeypatch, bptt=S, baseline=True, **noise)
    check_updates(rows)
    spans = [(row.span.sequence, row.span.start, row.span.stop) for row in rows if row.epoch == 0]
    assert spans == [(0, 0, S), (1, S, 2 * S), (2, 2 * S, FULL_STEPS), (3, FULL_STEPS, FULL_STEPS + 1)]
    assert len(rows) == EPOCHS * len(spans) == len({row.noise for row in rows})


@pytest.mark.parametrize("redraw", ["sequence", "epoch", "never"])
def test_baseline_of_one_group(redraw, monkeypatch):
    """Oracle: `check` with M = 1: an update a chunk as in claim 1, and one group for all chunks of a round."""
    rows, config = trace(monkeypatch, noise="pool", noise_groups=1, redraw=redraw, baseline=True)
    check(rows, config)
    rounds = {"sequence": EPOCHS * len(SEQUENCES), "epoch": EPOCHS, "never": 1}
    assert len({row.noise for row in rows}) == rounds[redraw]


@pytest.mark.parametrize("changes", [{}, {"own_counts": True}], ids=str)
@pytest.mark.parametrize("redraw", ["sequence", "never"])
def test_stratified_pools(redraw, changes, monkeypatch):
    """Oracle: `check_order` and `check_updates`, and claim 3: each chunk has the group of its part."""
    settings = {"noise": "pool", "group_map": "cyclic", "redraw": redraw, "noise_draw": "stratified"} | changes
    rows, config = trace(monkeypatch, **settings)
    check_order(rows)
    check_updates(rows)
    ahead = NoisePool(make_model().noise, K, config.seed, M, N, "cyclic", config.redraw, draw="stratified")
    for row in rows:
        pool = ahead.pool(row.epoch, row.span.sequence)
        assert row.noise == tuple(pool[row.span.chunk % M])


@pytest.mark.parametrize("settings", [{"bptt": S}, {"noise": "pool", "noise_groups": 1}, {"baseline": True}], ids=str)
def test_a_baseline_is_no_run_of_the_method(settings):
    """The claims' own numbers, 2 <= N and 2 <= M: refused without the name, and the name without the deed."""
    with pytest.raises(nplm.InputError, match="baseline"):
        TrainConfig(**{"bptt": T, "sequence_length": S} | settings)


# ---- planted bugs: the check must see each of them


def other_spans(change):
    """Streams whose chunks come otherwise than they should."""
    real = Streams.spans
    return lambda self, *sizes: change(real(self, *sizes))


def swapped(spans):
    return [spans[0], spans[2], spans[1], *spans[3:]]


def other_group(real, change):
    """A noise source that is asked for another place."""
    return lambda self, *place: real(self, *change(*place))


def skipping(real):
    """An optimiser that does nothing at every second call."""
    calls = []

    def update(self, *arguments):
        calls.append(0)
        if len(calls) % 2:
            real(self, *arguments)

    return update


FRESH, POOL, CYCLIC = {"noise": "fresh"}, POOLS[0], POOLS[3]
STREAMS, FRESH_GROUP, POOL_GROUP = (Streams, "spans"), (FreshNoise, "group"), (NoisePool, "group")
fresh, pool = FreshNoise.group, NoisePool.group
BUGS = {
    "two chunks swapped": (FRESH, STREAMS, other_spans(swapped)),
    "backwards": (FRESH, STREAMS, other_spans(lambda spans: [*spans[-2::-1], spans[-1]])),
    "a short chunk dropped": (FRESH, STREAMS, other_spans(lambda spans: spans[: N - 1] + spans[N:])),
    "the tail dropped": (FRESH, STREAMS, other_spans(lambda spans: spans[:-1])),
    "a chunk used twice": (POOL, STREAMS, other_spans(lambda spans: [spans[0], *spans])),
    "an update in two": (FRESH, (Shards, "update"), skipping(Shards.update)),
    "one group for two chunks": (FRESH, FRESH_GROUP, other_group(fresh, lambda e, s, c: (e, s, c // 2))),
    "the groups of every sequence": (FRESH, FRESH_GROUP, other_group(fresh, lambda e, s, c: (e, 0, c))),
    "the groups of every epoch": (FRESH, FRESH_GROUP, other_group(fresh, lambda e, s, c: (0, s, c))),
    "a pool of one": (POOL, POOL_GROUP, other_group(pool, lambda e, s, c: (e, s, 0))),
    "the pool not redrawn": (POOL, POOL_GROUP, other_group(pool, lambda e, s, c: (e, 0, c))),
    "contiguous is cyclic": (POOL, (NoisePool, "group_of"), lambda self, chunk: chunk % self.groups),
    "cyclic is contiguous": (CYCLIC, (NoisePool, "group_of"), lambda self, chunk: chunk * self.groups // N),
    "a group too many": (POOL, (NoisePool, "group_of"), lambda self, chunk: chunk * (M + 1) // N),
    "never is always": (POOLS[2], (NoisePool, "_draw"), lambda self, e, s, g: self.distribution.draw(K, 1, (g, s, e))),
    "epoch is never": (POOLS[1], POOL_GROUP, other_group(pool, lambda e, s, c: (0, s, c))),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_seen(bug, monkeypatch):
    """Planted bugs in the order, the updates and the noise of a run: the check fails."""
    settings, place, planted = BUGS[bug]
    monkeypatch.setattr(*place, planted)
    rows, config = trace(monkeypatch, **settings)
    with pytest.raises(AssertionError):
        check(rows, config)
