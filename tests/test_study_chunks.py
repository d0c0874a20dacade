"""Study of chunks and noise groups.  Oracles: all V^K noise groups, the reference's complex step, figures by hand."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import assert_close, make_model
from test_nce import enumerated

from nplm.cli.train import command as train_command
from nplm.gradcheck import complex_step
from nplm.network import State, hidden_states
from nplm.noise.groups import FreshNoise, NoisePool
from nplm.reference import model as reference
from nplm.reference.nce import softplus

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def make_text(benchmark, model, steps, batch):
    """A random sequence with a state that is not zero."""
    rng = np.random.default_rng(3)
    inputs, targets = rng.integers(0, model.config.vocab_size, (2, steps, batch), np.int32)
    shape = (2, model.config.num_layers, batch, model.config.hidden_dim)
    return benchmark("_exact").Text(inputs, targets, State(*rng.normal(0, 0.7, shape)))


# ---- the exact gradient


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("num_noise", [7, math.inf])
def test_the_whole_sequence(benchmark, num_noise, tied):
    """The complex step of the reference over all S steps; noise terms K q(w) softplus(delta), or e^s in the limit."""
    model = make_model(embed=6 if tied else 4, power=0.75, uniform=0.1, tied=tied)
    text = make_text(benchmark, model, steps=7, batch=3)
    q = model.noise.probs

    def loss(params):
        hidden, _ = reference.run_layers(params, text.inputs, *text.state)
        weight, bias = reference.decoder(params)
        scores = hidden.reshape(21, -1) @ weight.T + bias
        ours = scores[np.arange(21), text.targets.ravel()]
        if math.isinf(num_noise):
            return (np.exp(scores).sum() - ours.sum()) / 21
        delta = scores - np.log(num_noise * q)
        ours = delta[np.arange(21), text.targets.ravel()]
        return (softplus(-ours).sum() + (num_noise * q * softplus(delta)).sum()) / 21

    got = benchmark("_exact").expected(model, text, num_noise)
    expected = complex_step(loss, model.params)
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert_close(got[name], value, 1e-10)


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_mean_over_all_noise_groups(benchmark, steps):
    """The sum over chunks of LanguageModel.loss_and_grads, its mean over all V^K groups, the last chunk short."""
    model = make_model(vocab=4, hidden=3, embed=2, layers=2, power=0.75, uniform=0.1)
    text = make_text(benchmark, model, steps=7, batch=2)
    mean = {name: np.zeros_like(value) for name, value in model.params.items()}
    state = text.state
    for start in range(0, 7, steps):
        inputs, targets = text.inputs[start : start + steps], text.targets[start : start + steps]
        for noise_ids, probability in enumerated(model.noise.probs, 3):
            _, grads, after = model.loss_and_grads(inputs, targets, noise_ids, state)
            for name, grad in grads.items():
                mean[name] += probability * len(inputs) / 7 * np.asarray(grad)
        state = after
    got = benchmark("_exact").expected(model, text, 3, steps)
    for name, value in mean.items():
        assert_close(got[name], value, 1e-12)


def test_cutting_changes_only_what_goes_back_in_time(benchmark):
    """The equations: the scores' parameters do not see the cut, the LSTM's do, the more the shorter the chunks."""
    exact = benchmark("_exact")
    model = make_model()
    text = make_text(benchmark, model, steps=12, batch=3)
    distance = {steps: benchmark("study_gradients").Distance() for steps in (6, 3, 1)}
    whole = exact.expected(model, text, 5)
    for steps, total in distance.items():
        total.add(exact.expected(model, text, 5, steps), whole)
    bias = {steps: {row["parameters"]: row["bias"] for row in total.figures()} for steps, total in distance.items()}
    for part in ("all", "encoder", "input", "recurrent", "gate biases"):
        assert 1e-3 < bias[6][part] < bias[3][part] < bias[1][part]
    assert all(row["decoder"] == 0 for row in bias.values())


def test_sequences_follow_each_other(benchmark):
    """One run over the whole text: the states between sequences, and the words of a stream in order."""
    model = make_model()
    ids = np.random.default_rng(4).integers(0, 11, 62, np.int32)
    texts = benchmark("_exact").read(model, ids, batch=3, length=5, count=2)
    inputs = np.concatenate([text.inputs for text in texts])
    np.testing.assert_array_equal(inputs[:, 0], ids[4:14])
    np.testing.assert_array_equal(texts[1].targets[:, 0], ids[10:15])
    for text in texts:
        assert text.state.h.any()
    before = np.insert(ids[:4], 0, model.vocabulary.eos)[:, None]
    _, state = hidden_states(model.network(), before, model.zero_state(1))
    assert_close(texts[0].state.h[:, :1], state.h, 1e-12)


# ---- distances and variances


def test_distance(benchmark):
    """By hand: two sequences, vectors of two numbers, the same in every part."""
    total, names = benchmark("study_gradients").Distance(), list(make_model(layers=1).params)
    for estimate, exact in (([3.0, 1.0], [3.0, 0.0]), ([1.0, 2.0], [1.0, 4.0])):
        total.add(dict.fromkeys(names, np.array(estimate)), dict.fromkeys(names, np.array(exact)))
    rows = {row["parameters"]: row for row in total.figures()}
    assert set(rows) == set(benchmark("_exact").PARTS)
    for part in ("all", "decoder", "recurrent"):
        check_distance(rows[part])


def check_distance(row):
    """The figures of (3,1) for (3,0) and (1,2) for (1,4)."""
    assert row["bias"] == pytest.approx(math.sqrt((1 + 4) / (9 + 17)))
    assert row["bias_of_mean"] == pytest.approx(math.sqrt(1 / 32))
    assert row["cosine"] == pytest.approx((9 + 9) / math.sqrt((10 + 5) * (9 + 17)))
    assert row["spread"] == pytest.approx(math.sqrt((2 + 8) / 13))  # mean (2, 2), so (1,-2) and (-1,2)


class Enumerated:
    """Exact variances of a tiny sequence of 4 chunks, from all V^K noise groups."""

    V, K, N = 4, 2, 4

    def __init__(self, benchmark):
        self.exact = benchmark("_exact")
        self.model = make_model(vocab=self.V, hidden=3, embed=2, layers=1)
        self.text = make_text(benchmark, self.model, steps=8, batch=2)
        self.draws = [
            (probability, [*map(self.flat, self.exact.sampled(self.model, self.text, [ids] * self.N))])
            for ids, probability in enumerated(self.model.noise.probs, self.K)
        ]

    def flat(self, grads):
        """All parameters in one row."""
        return np.concatenate([np.asarray(value).ravel() for value in grads.values()])

    def variance(self, noise):
        """Of the sum of all chunks: parts with a group of their own are independent."""
        groups = [n if noise is None else noise.group_of(n) for n in range(self.N)]
        total = 0.0
        for group in set(groups):
            part = [n for n in range(self.N) if groups[n] == group]
            sums = [(p, np.sum([chunks[n] for n in part], axis=0)) for p, chunks in self.draws]
            mean = sum(p * x for p, x in sums)
            total += sum(p * float((x - mean) @ (x - mean)) for p, x in sums)
        return total


@pytest.fixture(scope="module")
def tiny():
    """Variances by enumeration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield Enumerated(importlib.import_module)


def pools(tiny):
    """Fresh noise, and the three pools of 4 chunks that differ."""
    q, k, n = tiny.model.noise, tiny.K, tiny.N
    return [
        FreshNoise(q, k, 5), NoisePool(q, k, 5, 2, n), NoisePool(q, k, 5, 2, n, "cyclic"),
        NoisePool(q, k, 5, n, n),
    ]  # fmt: skip


def test_variance(benchmark, tiny):
    """All V^K groups of every part: within 4 standard errors, fresh and shared; the mean is the expected gradient."""
    study = benchmark("study_gradients")
    mean = tiny.exact.expected(tiny.model, tiny.text, tiny.K, 2)
    values = []
    for noise in pools(tiny):
        squares, unbiased = study.deviations(tiny.model, tiny.text, mean, noise, tiny.N, 400)
        values.append(tiny.variance(noise if isinstance(noise, NoisePool) else None))
        error = squares[:, 0].std() / 20
        assert abs(squares[:, 0].mean() - values[-1]) < 4 * error < values[-1] / 2
        assert unbiased[0] < 4
    fresh, contiguous, cyclic, every = values
    assert every == pytest.approx(fresh) and min(contiguous, cyclic) > 1.2 * fresh  # a pool that is not one shows


def test_predicted_growth(benchmark, tiny):
    """The variances of all V^K groups: [W1] from covariances measured apart is their ratio."""
    study = benchmark("study_gradients")
    covariance = study.covariances(tiny.model, tiny.text, tiny.K, tiny.N, 400, 6)
    assert_close(covariance, covariance.transpose(0, 2, 1), 1e-12)
    assert_close(covariance[1:].sum(axis=0), covariance[0], 1e-12)
    fresh = tiny.variance(None)
    assert np.trace(covariance[0]) == pytest.approx(fresh, rel=0.15)
    for noise in pools(tiny)[1:]:
        got = study.predicted(covariance, noise)[0]
        assert got == pytest.approx(tiny.variance(noise) / fresh, rel=0.1)


# ---- cases, rows, scripts


def test_cases(benchmark):
    """The definitions of the series: T N = S; B T is the same throughout `matched`; M divides N."""
    study = benchmark("study_chunks")
    assert set(study.DEFAULT.split()) <= set(study.CASES)
    assert len(study.CASES) == 2 * 2 * 6 + 2 * 3 * 5 * 2
    for name, case in study.CASES.items():
        flags = dict(zip(case.flags[::2], case.flags[1::2], strict=True))
        steps, streams = int(flags["--bptt"]), int(flags["--batch-size"])
        assert steps * case.chunks == int(flags["--sequence-length"]) == study.S
        assert case.name == name
        if case.kind == "matched":
            assert steps * streams == 640
        else:
            assert streams == 20
        if case.kind == "pool":
            assert case.chunks % int(flags["--noise-groups"]) == 0


def test_perplexity_at(benchmark):
    """By hand: half-way between 100 and 400 on a logarithmic scale is 200; nothing beyond the ends."""
    at = benchmark("_training").perplexity_at
    curve = [{"seconds": 10.0, "perplexity": 400.0}, {"seconds": 20.0, "perplexity": 100.0}]
    assert at(curve, 15.0) == pytest.approx(200)
    assert at(curve, 10.0) == pytest.approx(400)
    assert at(curve, 9.0) is None and at(curve, 21.0) is None


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Files train.txt and valid.txt of a random text: 30 words, a sequence of 640 steps of 20 streams and a bit."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(7)
    for name, lines in (("train", 1300), ("valid", 20)):
        words = rng.integers(0, 30, (lines, 9)) * rng.integers(0, 2, (lines, 9))
        text = "\n".join(" ".join(f"w{w}" for w in line) for line in words)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


def script(benchmark, monkeypatch, name, *arguments):
    """Run a script of benchmarks/ in this process."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    benchmark(name).main()


def test_train(benchmark, monkeypatch, texts, tmp_path, capsys):
    """The settings of the runs and their pools' words; a case that is run again replaces its row."""
    given = ["--train", str(texts / "train.txt"), "--valid", str(texts / "valid.txt"), "--json"]

    def train(folder, recipe, changes):
        assert recipe == "markov"
        more = ["--resume"] if folder.exists() else [*given[:4], *changes]
        done = CliRunner().invoke(train_command, ["--save", str(folder), "--json", *more])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.splitlines()[-1])

    monkeypatch.setattr(benchmark("_training"), "train", train)
    file, runs = tmp_path / "rows.json", tmp_path / "runs"
    names = ["split-64-k25", "pool-2-cyclic-never-k25"]
    for given_names in (names, names[:1]):
        script(benchmark, monkeypatch, "study_chunks", *given_names, "--runs", runs, "--quick", "--json", file)
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [row["kind"] for row in rows] == ["pool", "split"]
    pool, fresh = rows
    assert [row["tokens"] for row in rows] == [2 * 13000] * 2
    assert (pool["bptt"], fresh["bptt"], pool["groups"], fresh["groups"]) == (20, 10, 2, None)
    # 650 steps: the last sequence has one chunk
    assert (pool["updates"], fresh["updates"]) == (2 * 33, 2 * 65)
    assert pool["curve"][-1]["perplexity"] == pool["perplexity"] > 1

    model = importlib.import_module("nplm").load(runs / f"{names[1]}-seed1" / "best.safetensors")
    words = NoisePool(model.noise, 25, 1, 2, 32, "cyclic", "never").pool(0, 0)
    missing = np.setdiff1d(np.arange(len(model.vocabulary)), words)
    assert pool["uncovered"] == pool["never_covered"] == pytest.approx(model.noise.probs[missing].sum())
    assert fresh["never_covered"] < 1e-3 < pool["uncovered"] / 10  # <unk> may be in no group: it is not in the text


def test_gradients(benchmark, monkeypatch, texts, tmp_path, capsys):
    """A row for every cut, pool and part; what the definitions say of the first and of the scores' parameters."""
    run, file = tmp_path / "run", tmp_path / "rows.json"
    sizes = "--hidden 8 --emsize 6 --layers 1 --epochs 1 --sequence-length 64 --bptt 16 --batch-size 2"
    options = ["--train", str(texts / "train.txt"), *sizes.split(), "--save", str(run)]
    assert CliRunner().invoke(train_command, options).exit_code == 0
    for _ in range(2):
        script(
            benchmark, monkeypatch, "study_gradients",
            "--run", run, "--quick", "--json", file, "--num-noise", 25,
        )  # fmt: skip
    with pytest.raises(SystemExit):  # the seed of the run
        script(benchmark, monkeypatch, "study_gradients", "--run", run, "--quick", "--seed", 1)
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    parts = benchmark("_exact").PARTS
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("truncation", "objective", "reuse")}
    assert {kind: len(found) / len(parts) for kind, found in kinds.items()} == {
        "truncation": 6, "objective": 1, "reuse": 4,
    }  # fmt: skip
    for row in kinds["truncation"]:
        assert row["bias"] == 0 if row["parameters"] == "decoder" else 0 < row["bias"] < 1
    for row in kinds["reuse"]:
        assert row["noise"] > 0 and row["error"] > 0
        if row["groups"] is None:
            assert row["growth"] == row["predicted"] == 1
        else:
            assert row["growth"] > 0.3 and row["predicted"] > 0.9
