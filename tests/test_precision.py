"""Training and scoring with bfloat16 operands.  Oracles: the reference with rounded operands; float32; the same run."""

import json
import math
from importlib import import_module

import numpy as np
import pytest
from conftest import assert_close, make_chunk, make_model
from test_resume import assert_same_run
from test_train import assert_same_bits, fit, toy

import nplm
from nplm import InputError
from nplm.layers import lstm, nce, precision
from nplm.layers.precision import Products, choose
from nplm.layers.workspace import Workspace
from nplm.reference import bfloat16 as reference
from nplm.reference import lstm as reference_lstm
from nplm.storage import checkpoint

FINE, ROUNDED = 1e-5, 2.0**-8  # an operand may fall on the other side of a tie, and be off by one rounding
BFLOAT16 = {"precision": "bfloat16", "save_interval": 0.0}


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch):
    """Nothing to compile for later here."""
    monkeypatch.setattr(import_module("nplm.training.loop"), "warm_up", lambda dtype, config: 0.0)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype(np.float32)


# ---- layers


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("factors", [False, True])
@pytest.mark.parametrize("size", [6, 7])
def test_lstm(batch, factors, size):
    """The reference with q on every operand: odd sizes too, T B odd and even, with and without dropout and resets."""
    steps, embed = 5, 4
    x, h0, c0 = normal(steps, batch, embed), normal(batch, size, seed=1), normal(batch, size, seed=2)
    weights = normal(4 * size, embed, seed=3), normal(4 * size, size, seed=4)
    bias, dhidden = normal(4 * size, seed=5), normal(steps, batch, size, seed=6)
    given = {}
    if factors:
        mask = np.float32(1.25) * (normal(batch, size, seed=7) > 0)
        keep = (normal(steps, batch, seed=8) > -0.4).astype(np.float32)
        given = {"mask": mask, "keep": keep}
    packed = [lstm.pack(weight, Workspace(), bfloat16=True) for weight in weights]
    hidden, cache = lstm.forward(x, h0, c0, *weights, bias, *packed, factors=lstm.Factors(**given) if given else None)
    h, c, gates = reference_lstm.forward(x, h0, c0, *weights, bias, **given, q=reference.q)
    assert_close(hidden, h[1:], 1e-2 * ROUNDED)
    got = lstm.backward(dhidden, cache, *weights, *packed)
    expected = reference_lstm.backward(dhidden, x, h, c, gates, *weights, **given, q=reference.q)
    for name, value, right in zip(got._fields, got, expected, strict=True):
        assert_close(value, right, ROUNDED), name
        assert np.median(np.abs(value - right)) <= FINE * np.abs(right).max(), name


def test_lstm_with_shared_rows():
    """The same words given one by one: rows are rounded after their gradients are summed, so to one rounding each."""
    rows, places = normal(3, 4), np.array([[0, 2], [1, 0], [2, 2], [0, 1]])
    h0, c0, bias, dhidden = normal(2, 6), normal(2, 6, seed=1), normal(24), normal(4, 2, 6)
    weights = normal(24, 4, seed=3), normal(24, 6, seed=4)
    packed = [lstm.pack(weight, Workspace(), bfloat16=True) for weight in weights]
    hidden, cache = lstm.forward(rows, h0, c0, *weights, bias, *packed, places)
    alone, cache_alone = lstm.forward(rows[places], h0, c0, *weights, bias, *packed)
    np.testing.assert_array_equal(hidden, alone)
    got = lstm.backward(dhidden, cache, *weights, *packed)
    expected = lstm.backward(dhidden, cache_alone, *weights, *packed)
    dx = np.zeros_like(rows)
    np.add.at(dx, places, expected.dx)
    assert_close(got.dx, dx, 2 * ROUNDED)
    assert_close(got.dweight_ih, expected.dweight_ih, 2 * ROUNDED)
    np.testing.assert_array_equal(got.dweight_hh, expected.dweight_hh)


def test_nce():
    """[N1] and [dN1] by hand: the noise words' products of rounded operands, the targets' scores of exact ones."""
    hidden, weight, bias = normal(5, 7), normal(9, 7, seed=1), normal(9, seed=2)
    log_q = np.log(np.full(9, 1 / 9, np.float32))
    targets, noise = np.array([3, 3, 8, 0, 1], np.int32), np.array([1, 4, 4, 6], np.int32)
    words, counts = np.unique(noise, return_counts=True)
    _, cache = nce.forward(hidden, targets, noise, weight, bias, log_q, 0.2, bfloat16=True)
    offset = bias - log_q - np.log(4)
    delta = reference.product(hidden, weight[words].T) + offset[words]
    dnoise = 0.2 * counts / (1 + np.exp(-delta))
    target_delta = (hidden * weight[targets]).sum(axis=1) + offset[targets]
    dtarget = -0.2 / (1 + np.exp(target_delta))
    assert_close(cache.dnoise, dnoise, FINE)
    assert_close(cache.dtarget, dtarget, FINE)
    dhidden, dweight, dbias = nce.backward(cache, weight)
    expected = reference.product(dnoise, weight[words]) + dtarget[:, None] * weight[targets]
    assert_close(dhidden, expected, ROUNDED)
    full = np.zeros_like(weight, np.float64)
    full[words] = reference.product(dnoise.T, hidden)
    np.add.at(full, targets, dtarget[:, None] * hidden)
    assert_close(dweight, full, ROUNDED)
    sums = np.bincount(words, dnoise.sum(axis=0), 9) + np.bincount(targets, dtarget, 9)
    assert_close(dbias, sums, FINE)


@pytest.mark.parametrize("objective", ["nce", "ranking", "sampled-softmax", "softmax"])
def test_gradient_of_a_model(objective):
    """float32: every gradient within a few roundings of its largest entry, and not the same."""
    model = make_model(np.float32, scale=0.3, vocab=40, embed=9, hidden=15)
    inputs, targets, noise_ids, state = make_chunk(model, steps=6, batch=5)
    plan = nplm.network.Plan(nplm.layers.objective.make_objective(objective))
    given = (inputs, targets, noise_ids, state, 1 / targets.size, Workspace(), plan)
    got, exact = (
        nplm.network.chunk_gradient(model.network(bfloat16), *given[:5], Workspace(), plan)
        for bfloat16 in (True, False)
    )
    assert got[0] == pytest.approx(exact[0], rel=1e-2) and got[0] != exact[0]
    for name, grad in exact[1].items():
        assert_close(got[1][name], np.asarray(grad), 0.03)


# ---- the choice


@pytest.mark.parametrize(
    ("asked", "maker", "name", "hidden", "dtype", "chosen"),
    [
        ("float32", "vdpbf16ps", "znver4", 200, np.float32, ("float32", "fma")),
        ("bfloat16", "vdpbf16ps", "znver4", 2, np.float32, ("bfloat16", "vdpbf16ps")),
        ("bfloat16", "portable", "haswell", 200, np.float32, ("bfloat16", "portable")),
        ("auto", "vdpbf16ps", "znver4", 64, np.float32, ("bfloat16", "vdpbf16ps")),
        ("auto", "vdpbf16ps", "znver5", 650, np.float32, ("bfloat16", "vdpbf16ps")),
        ("auto", "vdpbf16ps", "znver4", 63, np.float32, ("float32", "fma")),
        ("auto", "vdpbf16ps", "cooperlake", 200, np.float32, ("float32", "fma")),
        ("auto", "portable", "znver4", 200, np.float32, ("float32", "fma")),
        ("auto", "vdpbf16ps", "znver4", 200, "float32", ("bfloat16", "vdpbf16ps")),
        ("auto", None, "znver4", 200, np.float32, ("float32", "fma")),
        ("auto", "vdpbf16ps", "znver4", 200, np.float64, ("float64", "fma")),
        ("float32", "numpy", "znver4", 200, np.float32, ("float32", "numpy")),
    ],
)
def test_the_rule(asked, maker, name, hidden, dtype, chosen, monkeypatch):
    """The rule as written in decision 0012."""
    monkeypatch.setattr(precision, "bfloat16_maker", lambda: maker)
    monkeypatch.setattr(precision, "processor", lambda: name)
    assert choose(asked, dtype, hidden) == Products(*chosen)


def test_bfloat16_is_refused(monkeypatch):
    """For float64 models, and where it is masked off: the message names the setting and the reason."""
    with pytest.raises(InputError, match="`precision` bfloat16 is for float32 models, but this one is float64"):
        fit(toy(), np.float64, precision="bfloat16")
    monkeypatch.setenv("NPLM_BFLOAT16", "off")
    with pytest.raises(InputError, match="`precision` is bfloat16, which NPLM_BFLOAT16=off masks off"):
        fit(toy(), precision="bfloat16")
    assert choose("auto", np.dtype(np.float32), 200).precision == "float32"
    with pytest.raises(InputError, match="`precision` = 'half' is not one of float32, bfloat16, auto"):
        nplm.TrainConfig(precision="half")


# ---- runs


def test_a_run_in_bfloat16(tmp_path):
    """float32: nearly the same loss, other bits; the choice stands in the folder and in both model files."""
    _, result = fit(toy(), save=tmp_path / "run", **BFLOAT16)
    _, exact = fit(toy())
    assert result.history[-1]["nats"] == pytest.approx(exact.history[-1]["nats"], rel=1e-2)
    assert any((result.best.params[name] != value).any() for name, value in exact.best.params.items())
    products = {"precision": "bfloat16", "maker": precision.bfloat16_maker()}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["products"] == products
    for name in ("best", "last"):
        assert checkpoint.provenance(tmp_path / "run" / f"{name}.safetensors")["products"] == products


def test_validation_is_exact(tmp_path):
    """nplm.evaluate on the model that was kept: validation in float32, whatever training was in."""
    corpus = toy()
    _, result = fit(corpus, save=tmp_path / "run", **BFLOAT16)
    best = nplm.load(tmp_path / "run")
    valid = nplm.evaluate(best, corpus.valid, batch_size=10)
    lines = [line for line in result.history if line["kind"] == "valid"]
    assert lines[result.progress.best_epoch - 1]["nats"] == valid.nats


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_resume(optimizer, tmp_path):
    """The uninterrupted run, bit for bit."""
    changes = BFLOAT16 | {"optimizer": optimizer, "lr": 0.01, "dropout": 0.2, "dropout_recurrent": 0.2}
    fit(toy(), save=tmp_path / "whole", epochs=4, **changes)
    fit(toy(), save=tmp_path / "parts", epochs=2, **changes)
    fit(toy(), save=tmp_path / "parts", epochs=4, resume=True, **changes)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_no_bit(threads):
    """One thread; four shards."""
    changes = BFLOAT16 | {"shards": 4, "batch_size": 7}
    _, one = fit(toy(), **changes, threads=1)
    _, got = fit(toy(), **changes, threads=threads)
    assert_same_bits(got.best.params, one.best.params)


def test_another_precision_or_maker_is_refused(tmp_path, monkeypatch):
    """The message names the setting, and both choices; the folder is as it was; an old run was in float32."""
    rounded, exact = tmp_path / "rounded", tmp_path / "exact"
    fit(toy(), save=rounded, **BFLOAT16)
    fit(toy(), save=exact)
    maker = precision.bfloat16_maker()
    before = {path: path.read_bytes() for path in rounded.iterdir()}
    with pytest.raises(InputError, match=rf"`precision` was bfloat16 by {maker} and is now float32"):
        fit(toy(), save=rounded, resume=True, epochs=3)
    with pytest.raises(InputError, match=rf"`precision` was float32 by .* and is now bfloat16 by {maker}"):
        fit(toy(), save=exact, resume=True, epochs=3, precision="bfloat16")
    record = json.loads((exact / "config.json").read_text())
    del record["products"], record["train"]["precision"]
    (exact / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="`precision` was float32 by fma and is now bfloat16"):
        fit(toy(), save=exact, resume=True, epochs=3, precision="bfloat16")
    fit(toy(), save=exact, resume=True, epochs=3)
    monkeypatch.setattr(precision, "bfloat16_maker", lambda: "tdpbf16ps")
    with pytest.raises(InputError, match=rf"was bfloat16 by {maker} and is now bfloat16 by tdpbf16ps"):
        fit(toy(), save=rounded, resume=True, epochs=3, **BFLOAT16)
    assert {path: path.read_bytes() for path in rounded.iterdir()} == before


def test_auto_may_stand_for_what_it_chose(tmp_path):
    """A small model: auto is float32, so the run goes on with either."""
    fit(toy(), save=tmp_path / "run")
    fit(toy(), save=tmp_path / "run", resume=True, epochs=3, precision="auto")
    fit(toy(), save=tmp_path / "whole", epochs=3)
    models = [checkpoint.load_run(tmp_path / name / "last.safetensors")[0].params for name in ("run", "whole")]
    assert_same_bits(*models)


# ---- scoring


@pytest.mark.parametrize("normalize", [True, False])
def test_score_batch(normalize):
    """float32: to a hundredth of a nat a word, and not the same; float64 models are refused."""
    model = make_model(np.float32, scale=0.3, vocab=30, embed=9, hidden=15)
    sentences = ["w2 w3 w4 w5", "w9", "w11 w12 w2 w2 w2 w7", ""]
    exact = nplm.score_batch(model, sentences, normalize=normalize)
    got = nplm.score_batch(model, sentences, normalize=normalize, precision="bfloat16")
    words = np.array([len(sentence.split()) + 1 for sentence in sentences])
    assert (np.abs(got - exact) <= 0.01 * words / math.log(10)).all() and (got != exact).any()
    with pytest.raises(InputError, match="float64"):
        nplm.score_batch(make_model(), sentences, precision="bfloat16")


def test_the_command(nplm, tmp_path):
    """The flag reaches the run; what it says of a wrong one names it."""
    text = tmp_path / "text.txt"
    text.write_text("a b c a b\n" * 60)
    small = ("--hidden", 4, "--emsize", 4, "--layers", 1, "--nce", 4, "--bptt", 4, "--batch-size", 4)
    given = ("train", "--train", text, "--save", tmp_path / "run", "--epochs", 1, *small)
    assert nplm(*given, "--precision", "bfloat16").code == 0
    assert nplm("info", tmp_path / "run", "--json").figures["products"]["precision"] == "bfloat16"
    again = nplm(*given[: -len(small)], *small, "--precision", "float32", "--resume", "--epochs", 2)
    assert again.code == 2 and "precision was bfloat16" in again.err.replace("`", "").replace("--", "")
