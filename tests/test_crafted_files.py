"""Files with a right checksum and a wrong content.  Oracle: one line that names the file, and nothing changed.

Issue 15, fault 3: such a last.safetensors ended in segmentation faults, tracebacks, or shapes taken in silence.
"""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import make_model
from test_train import Recorder, fit, toy

import nplm
from nplm import InputError
from nplm.storage import checkpoint, tensorfile
from nplm.storage.records import check_fields, is_number, parse_object
from nplm.views.metrics_log import read_history

RECIPE = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1, "dropout": 0.2, "epochs": 2}
DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "9" * 400


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run with Adam, whose rows lag: it has a clock, a history and dates."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    fit(toy(), save=folder, **RECIPE)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(finished, tmp_path / "run")


def craft(path, change):
    """Change the tensors and the metadata of a file; the checksum is right again."""
    tensors, metadata = tensorfile.read(path)
    tensors = {name: value.copy() for name, value in tensors.items()}
    change(tensors, metadata)
    tensorfile.write(path, tensors, metadata)


def refused(run):
    """The line that resuming the run fails with; the model is as it was."""
    model = make_model(np.float32, scale=0.3)
    before = {name: value.copy() for name, value in model.params.items()}
    with pytest.raises(InputError) as caught:
        fit(toy(), model=model, save=run, resume=True, **RECIPE | {"epochs": 3})
    for name, value in before.items():
        np.testing.assert_array_equal(model.params[name], value)
    line = str(caught.value)
    assert str(run) in line and "\n" not in line and len(line) < 1200
    return line


# ---- last.safetensors

PLACES = [
    ("clock", 0, -1),
    ("clock", 0, 2**62),
    ("clock", 1, 10**9),
    ("clock", 1, -1),
    ("clock", 2, 10**9),
    ("clock", 2, -2),
    ("clock", 2, 0),  # averaging, which is asgd's alone
    ("dates.encoder.weight", 3, -1),
    ("dates.encoder.weight", 3, 10**12),
    ("dates.decoder.bias", 0, -(2**63)),
    ("dates.rnn.bias_l0", 5, 2**63 - 1),
    ("squares.decoder.weight", 1, -1.0),
    ("means.encoder.weight", 1, np.nan),
    ("history", 1, np.inf),
    ("h", 0, np.nan),
]


@pytest.mark.parametrize(("name", "at", "value"), PLACES)
def test_a_number_out_of_range(name, at, value, run):
    """One number of the optimiser or of the state; the kernels trust them as places in arrays."""
    craft(run / "last.safetensors", lambda tensors, _: tensors[f"run.{name}"].flat.__setitem__(at, value))
    assert "use an earlier checkpoint" in refused(run)


SHAPES = {
    "gone": lambda a: None,
    "another type": lambda a: a.astype(np.uint8),
    "one row less": lambda a: a[:-1].copy(),
    "a scalar, which would fill the array": lambda a: np.zeros((), a.dtype),
    "one more dimension": lambda a: a[None].copy(),
    "empty": lambda a: a[:0].copy(),
}


@pytest.mark.parametrize("name", ["clock", "history", "dates.encoder.weight", "means.decoder.bias", "h", "c"])
@pytest.mark.parametrize("change", SHAPES)
def test_an_array_of_another_type_or_shape(name, change, run):
    """Each was taken in silence where NumPy could broadcast it."""

    def crafted(tensors, _):
        value = SHAPES[change](tensors.pop(f"run.{name}"))
        if value is not None:
            tensors[f"run.{name}"] = value

    craft(run / "last.safetensors", crafted)
    assert f"run.{name}" in refused(run) or name in ("h", "c")


def test_a_state_of_another_batch(run):
    """h and c that agree with each other, not with the texts."""

    def crafted(tensors, _):
        for name in ("h", "c"):
            tensors[f"run.{name}"] = np.ascontiguousarray(tensors[f"run.{name}"][:, :2])

    craft(run / "last.safetensors", crafted)
    with pytest.raises(InputError, match="is not of these texts"):
        fit(toy(), save=run, resume=True, **RECIPE | {"epochs": 3})


PROGRESS = [
    *(("epoch", bad) for bad in (-1, 1.5, "1", None, True, 10**400, [1], {})),
    *(("chunk", bad) for bad in (-1, 0.5, "0", None)),
    *(("lr", bad) for bad in (-1.0, "20", None, float("nan"), float("inf"), 10**400, [])),
    *(("best_epoch", bad) for bad in (-1, 99, "x", 2.0)),
    *(("stalled", bad) for bad in (99, -1)),
    *(("stopped", bad) for bad in (0, "no", None)),
    *(("non_finite", bad) for bad in (-1, "0")),
    *(("best_nats", bad) for bad in ("x", None, [1.0])),
    *(("metrics_lines", bad) for bad in (-3, 1.5, "9")),
    *(("tokens", bad) for bad in (-1, "1", 2**70)),
    *(("seconds", bad) for bad in (-1.0, "1", float("nan"))),
    ("<b>odd</b>", 1),
]


@pytest.mark.parametrize(("name", "value"), PROGRESS)
def test_a_position_that_cannot_be(name, value, run):
    """One value of the run's progress: of another type, or out of range."""

    def crafted(_, metadata):
        metadata["run"] = json.dumps(json.loads(metadata["run"]) | {name: value})

    craft(run / "last.safetensors", crafted)
    assert name in refused(run)


def test_a_chunk_beyond_the_epoch(run):
    """Oracle: the texts have 13 chunks."""

    def crafted(_, metadata):
        metadata["run"] = json.dumps(json.loads(metadata["run"]) | {"chunk": 13})

    craft(run / "last.safetensors", crafted)
    with pytest.raises(InputError, match=r"chunk 13 .* which have 13 chunks"):
        fit(toy(), save=run, resume=True, **RECIPE | {"epochs": 3})


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", DEEP, f'{{"lr": {HUGE}}}', '{"epoch": 1}'])
def test_a_position_that_is_no_object(text, run):
    """JSON of every kind in the place of the progress."""
    craft(run / "last.safetensors", lambda _, metadata: metadata.update(run=text))
    refused(run)


@pytest.mark.parametrize("name", ["hidden_dim", "init_scale", "noise_power", "vocab_size"])
def test_a_model_of_another_configuration(name, run):
    """The checkpoint of another model under this run's name."""
    other = {"hidden": 5} if name == "hidden_dim" else {"vocab": 12} if name == "vocab_size" else {}
    model = make_model(np.float32, **other)
    if not other:
        config = model.config.__class__(**{**model.config.__dict__, name: 0.3})
        model = nplm.LanguageModel(config, model.vocabulary, model.params)
    _, record, extra = checkpoint.load_run(run / "last.safetensors")
    made = checkpoint.provenance(run / "last.safetensors")
    checkpoint.save_run(model, run / "last.safetensors", made, record, extra)
    assert name in refused(run)


def test_other_words(run):
    """The same sizes, and one word exchanged."""

    def crafted(tensors, _):
        text = tensors["vocabulary"].tobytes().replace(b"w3\t", b"x3\t")
        tensors["vocabulary"] = np.frombuffer(text, np.uint8)

    craft(run / "last.safetensors", crafted)
    assert "vocabulary" in refused(run)


def test_settings_edited_by_hand_are_noticed(run):
    """Issue 15: config.json with dropout 0.9 was believed, although last.safetensors records 0.2."""
    record = json.loads((run / "config.json").read_text())
    record["train"]["dropout"] = 0.9
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"last\.safetensors: it was trained with `dropout` = 0\.2, .* says 0\.9"):
        fit(toy(), save=run, resume=True, **RECIPE | {"epochs": 3, "dropout": 0.9})


def test_the_epochs_of_a_cosine_edited_by_hand_are_noticed(tmp_path):
    """The rates of a cosine depend on them, so the checkpoint records them, too."""
    cosine = RECIPE | {"schedule": "cosine"}
    fit(toy(), save=tmp_path / "run", **cosine)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    record["train"]["epochs"] = 9
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="`epochs` = 2"):
        fit(toy(), save=tmp_path / "run", resume=True, **cosine | {"epochs": 9})


# ---- config.json, metrics.jsonl

CONFIG = [
    *(("train", "lr", bad) for bad in ("20", None, [], -1, 10**400, True)),
    *(("train", "epochs", bad) for bad in (0, 1.5, "3")),
    *(("model", "hidden_dim", bad) for bad in (-1, "6", 2**70)),
    ("model", "vocab_size", "many"),
    ("corpus", "sha256", 3),
    ("corpus", "name", None),
    ("source", "train", [1]),
    ("products", "precision", 3),
]


@pytest.mark.parametrize(("part", "name", "value"), CONFIG)
def test_a_setting_of_a_wrong_type(part, name, value, run):
    """One value of config.json."""
    record = json.loads((run / "config.json").read_text())
    record[part][name] = value
    (run / "config.json").write_text(json.dumps(record))
    assert "config.json: damaged" in refused(run)


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 5000, f"[{HUGE}]", f'{{"model": {HUGE}}}', "\udc80"])
def test_settings_that_are_no_object(text, run):
    """JSON that Python's parser gives up on, or another kind of it."""
    (run / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json: damaged" in refused(run)


def test_a_byte_order_mark_changes_nothing(run):
    """As editors on Windows write it."""
    (run / "config.json").write_bytes(b"\xef\xbb\xbf" + (run / "config.json").read_bytes())
    fit(toy(), save=run, resume=True, **RECIPE | {"epochs": 3})


@pytest.mark.parametrize("bad", ["", "{", "[]", DEEP, "\x00\xff", '{"kind": "tra'])
def test_a_broken_line_drops_no_other_and_is_said(bad, run):
    """Issue 15: one broken line in metrics.jsonl dropped all whole lines after it, in silence."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], bad, *lines[2:]]) + "\n")
    recorder, result = fit(toy(), save=run, resume=True, **RECIPE | {"epochs": 3})
    assert [line["tokens_trained"] for line in result.history[: len(lines) - 1]] == [
        json.loads(line)["tokens_trained"] for line in [lines[0], *lines[2:]]
    ]
    (warning,) = recorder.warnings
    assert "metrics.jsonl: 1 of its lines are damaged" in warning


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "last.safetensors", "best.safetensors"])
def test_a_pipe_is_not_waited_for(name, run):
    """Issue 15: a FIFO in the place of metrics.jsonl hung."""
    (run / name).unlink()
    os.mkfifo(run / name)
    assert "a pipe or a device, not a file" in refused(run)
    if name == "metrics.jsonl":
        with pytest.raises(InputError, match="a pipe or a device"):
            read_history(run)


METRICS = [
    {"epoch": 10**400},
    {"epoch": float("nan")},
    {"tokens_trained": "<b>"},
    {"seconds": float("inf")},
    {"kind": 3},
    {"epoch": True},
    {"tokens_trained": -1},
]


@pytest.mark.parametrize("change", METRICS)
def test_a_line_of_metrics_of_wrong_values(change, run):
    """What plot and report read: refused by its line."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="line 2: damaged"):
        read_history(run)


def test_a_figure_beyond_a_float_is_no_figure(run):
    """A loss of 400 digits in a line that is whole otherwise: NaN, as null is."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"loss": ', f'"loss": {HUGE}')
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    from nplm.views.metrics_log import series

    assert not np.isfinite(series(read_history(run).train, "loss")[0])


# ---- model files


@pytest.mark.parametrize("valid", [20.9, "good", [1], {"mean_log_z": "x"}, {"mean_log_z": 10**400}, {}, None, True])
def test_a_provenance_may_be_anything(valid, tmp_path, nplm_command):
    """Issue 15: AttributeError on {"valid": 20.9}, which a user may record.  Oracle: loads; info shows it."""
    path = tmp_path / "model.safetensors"
    nplm.save(make_model(np.float32), path, {"valid": valid, "epoch": "first", "mine": "<me>"})
    assert nplm.load(path).mean_log_z is None
    got = nplm_command("info", path)
    assert got.code == 0 and "<me>" in got.out and "first" in got.out


@pytest.fixture
def nplm_command(nplm):
    """The fixture of conftest, which has the package's name."""
    return nplm


BAD_CONFIG = [
    *("", "[]", "3", "null", "{", DEEP, "{}"),
    *(f'{{"vocab_size": {bad}}}' for bad in ('"11"', "1.5", "-1", HUGE, "null", "[]", "true", "NaN", DEEP)),
    f'{{"vocab_size": 11, "init_scale": {HUGE}}}',
    '{"vocab_size": 11, "tied": 1}',
    '{"vocab_size": 11, "num_layers": 1000000}',
]


@pytest.mark.parametrize("text", BAD_CONFIG)
def test_a_configuration_of_wrong_types(text, tmp_path):
    """JSON of wrong types in the header of a model file."""
    path = tmp_path / "model.safetensors"
    nplm.save(make_model(np.float32), path)
    craft(path, lambda _, metadata: metadata.update(config=text))
    with pytest.raises(InputError, match="not a model this nplm can use") as caught:
        nplm.load(path)
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(("name", "text"), [("mean_log_z", DEEP), ("mean_log_z", '"0.1"'), ("mean_log_z", HUGE)])
def test_a_mean_log_z_of_a_wrong_type(name, text, tmp_path):
    """It is added to scores."""
    path = tmp_path / "model.safetensors"
    nplm.save(make_model(np.float32), path)
    craft(path, lambda _, metadata: metadata.update({name: text}))
    with pytest.raises(InputError):
        nplm.load(path)


def test_the_checks_themselves():
    """By hand: what is a number, what is an object, what is said of the rest."""
    assert [is_number(v) for v in (1, 1.5, -3, True, None, "1", 10**400, float("nan"))] == [True] * 3 + [False] * 5
    assert is_number(float("inf"), finite=False)
    assert parse_object(b'\xef\xbb\xbf{"a": 1}', "x") == {"a": 1}
    with pytest.raises(InputError, match=r"x: damaged: \"a+\.\.\. instead of an object"):
        parse_object(json.dumps("a" * 500), "x")
    with pytest.raises(InputError, match="n = a number of more than 40 digits is not a whole number"):
        check_fields({"n": 10**400}, {"n": int}, "x")
    check_fields({"n": -1.0}, {"n": float}, "x", ("n",))
    assert Recorder  # what `fit` returns first
