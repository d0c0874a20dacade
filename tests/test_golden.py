"""Figures and files of an earlier nplm.  Oracle: tests/golden/, made by commit f9218ac with tests/golden/make.py.

The derivations and the reference say what is right; this says that nothing has changed, down to the files of a user.
"""

import json

import numpy as np
import pytest
from conftest import assert_close
from golden import make
from golden.recipes import RECIPES, SETTINGS, SHARDS, train

import nplm

VALUES = json.loads((make.HERE / "values.json").read_text(encoding="utf-8"))["values"]
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
