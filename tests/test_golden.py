"""Figures and files of an earlier nplm.  Oracle: tests/golden/, made by commit f9218ac with tests/golden/make.py.

The derivations and the reference say what is right; this says that nothing has changed, down to the files of a user.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_close
from golden import make, make_later
from golden.recipes import RECIPES, SETTINGS, SHARDS, train

import nplm
from nplm import InputError
from nplm.data.units import describe
from nplm.storage import tensorfile

VALUES = json.loads((make.HERE / "values.json").read_text(encoding="utf-8"))["values"]
LATER = json.loads((make.HERE / "later.json").read_text(encoding="utf-8"))
FIGURES = json.loads((make.HERE / "runs.json").read_text(encoding="utf-8"))["runs"]


def assert_same_figures(got, expected, tolerance):
    """Dicts of the same names; relative, save that a log Z near 0 is right to the rounding of its scores."""
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=tolerance, abs=2e-6), name


def assert_same_params(got, expected, tolerance):
    """What `parts` recorded of each parameter; of an entry, to within the tolerance times the largest entry."""
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert_close(got[name]["entries"], value["entries"], tolerance)
        assert got[name]["norm"] == pytest.approx(value["norm"], rel=tolerance), name


@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_training_gives_the_recorded_values(recipe, shards):
    """Oracle: loss and gradient norm of 50 chunks and the parameters after them, in float64, to 1e-10."""
    expected = VALUES[recipe][str(shards)]
    params, figures = train(recipe, shards, np.float64)
    np.testing.assert_allclose(figures.losses, expected["losses"], rtol=1e-10)
    np.testing.assert_allclose(figures.norms, expected["norms"], rtol=1e-10)
    assert_same_params({name: make.parts(value) for name, value in params.items()}, expected["params"], 1e-10)


def test_the_recorded_values_show_something():
    """Oracle: the recipes themselves: no two end with the same loss, and gradients are clipped in each, but not all."""
    assert len({VALUES[recipe]["1"]["losses"][-1] for recipe in RECIPES}) == len(RECIPES)
    for recipe in RECIPES:
        for found in VALUES[recipe].values():
            assert np.isfinite(found["losses"]).all()
            assert min(found["norms"]) < SETTINGS["clip"] < max(found["norms"])


@pytest.mark.parametrize("run", make.RUNS)
def test_a_stopped_run_loads_and_resumes(run, tmp_path):
    """Oracle: what the earlier version evaluated its models to, and the end of the run it resumed."""
    folder, expected = make.unpack(run, tmp_path), FIGURES[run]
    for file in ("best", "last"):
        model = nplm.load(folder / f"{file}.safetensors")
        assert_same_figures(make.evaluation(model), expected[file], 1e-5)
    got, end = make.resume(run, folder), expected["end"]
    assert got["best_epoch"] == end["best_epoch"]
    for name in ("train", "valid"):
        assert got[name] == pytest.approx(end[name], rel=1e-5), name
    assert_same_figures(got["best"], end["best"], 1e-5)
    assert_same_params(got["params"], end["params"], 1e-5)


def test_a_model_file_loads():
    """Oracle: what the earlier version evaluated the model to."""
    model = nplm.load(make.HERE / "model.safetensors")
    assert_same_figures(make.evaluation(model), FIGURES["model"], 1e-5)


def test_a_run_that_is_not_resumed_where_it_stopped_is_seen(tmp_path):
    """Planted bug: the carried state of the checkpoint is lost."""
    from nplm.training.run_folder import RunFolder

    real = RunFolder.load

    def forgetful(self, model, optimizer):
        progress, state = real(self, model, optimizer)
        return progress, type(state)(*(np.zeros_like(part) for part in state))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "load", forgetful)
        got = make.resume("sgd", make.unpack("sgd", tmp_path))
    with pytest.raises(AssertionError):
        assert_same_params(got["params"], FIGURES["sgd"]["end"]["params"], 1e-5)


# ---- every version of the formats


@pytest.mark.parametrize("file", ["best", "last"])
def test_a_model_of_version_2_loads(file, tmp_path):
    """Oracle: what the version that wrote it evaluated it to; its unit is the character, its version 2."""
    path = make_later.unpack(tmp_path) / f"{file}.safetensors"
    assert tensorfile.read_metadata(path)["version"] == tensorfile.UNITS_VERSION == "2"
    model = nplm.load(path)
    assert describe(model.unit) == {"kind": "char"}
    assert_same_figures(make.evaluation_on(model, make_later.corpus()), LATER[file], 1e-5)


def test_a_run_of_version_2_resumes(tmp_path):
    """Oracle: the end of the run that the version which wrote it resumed."""
    got = make_later.resume(make_later.unpack(tmp_path))
    assert got["valid"] == pytest.approx(LATER["end"]["valid"], rel=1e-5)
    assert_same_params(got["params"], LATER["end"]["params"], 1e-5)


@pytest.mark.parametrize(
    ("file", "rule"), [("model.safetensors", "unicode"), ("white-space.safetensors", "ascii+u3000")]
)
def test_the_rule_of_white_space_is_that_of_the_file(file, rule):
    """Oracle: decision 0015: files of the first rule have no key for it, both are of version 1."""
    metadata = tensorfile.read_metadata(make.HERE / file)
    assert metadata["version"] == "1" and metadata.get("white_space", "unicode") == rule
    model = nplm.load(make.HERE / file)
    assert model.unit.split("a\u00a0b c") == (["a", "b", "c"] if rule == "unicode" else ["a\u00a0b", "c"])
    if rule != "unicode":
        assert_same_figures(make.evaluation_on(model, make_later.corpus()), LATER["white-space"], 1e-5)


def of_version(path: Path, version: str) -> None:
    """Give a file another version, and the checksum that goes with it."""
    tensors, metadata = tensorfile.read(path)
    tensorfile.write(path, tensors, metadata | {"version": version})


@pytest.mark.parametrize("version", ["3", "2.1", "10", "", "1 "])
def test_a_newer_version_is_refused_by_name(version, tmp_path):
    """Oracle: the message has the version of the file and those that are read, from every command that reads it."""
    from nplm.storage import checkpoint

    run = make.unpack("sgd", tmp_path)
    of_version(run / "last.safetensors", version)
    of_version(run / "best.safetensors", version)
    says = rf"written in version '{version}' of the format, but this nplm reads '1' and '2'"
    for read in (nplm.load, checkpoint.load_run, checkpoint.load_unit, checkpoint.provenance):
        with pytest.raises(InputError, match=says):
            read(run / "last.safetensors")
    with pytest.raises(InputError, match=says):
        make.resume("sgd", run)
    with pytest.raises(InputError, match=says):
        nplm.load(run)


def test_a_run_with_a_setting_of_a_newer_nplm_is_refused_by_name(tmp_path):
    """Oracle: the message names the field; the run's position, and a model's configuration."""
    from nplm.storage import checkpoint

    run = make.unpack("sgd", tmp_path)
    tensors, metadata = tensorfile.read(run / "last.safetensors")
    newer = json.loads(metadata["run"]) | {"phase_of_the_moon": 1}
    tensorfile.write(run / "last.safetensors", tensors, metadata | {"run": json.dumps(newer)})
    with pytest.raises(InputError, match=r"written by another version of nplm .*phase_of_the_moon"):
        make.resume("sgd", run)
    config = json.loads(metadata["config"]) | {"moon": True}
    tensorfile.write(run / "best.safetensors", tensors, metadata | {"config": json.dumps(config)})
    with pytest.raises(InputError, match=r"not a model this nplm can use .*moon"):
        checkpoint.load_model(run / "best.safetensors")
