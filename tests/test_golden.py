"""Training, files and resuming are what they were.  Oracle: values and files of an earlier version, in tests/golden."""

import json
import shutil

import numpy as np
import pytest
from golden import make, recipes
from golden.make import HERE, RUNS, file_figures

import nplm
from nplm.training import optim

VALUES = json.loads((HERE / "values.json").read_text(encoding="utf-8"))["recipes"]
FILES = json.loads((HERE / "files.json").read_text(encoding="utf-8"))["files"]
EXACT = 1e-10  # relative, in float64: other processors add in another order
CLOSE = 1e-5  # in float32


def assert_golden(got, golden, tolerance, place=""):
    """Numbers agree to within `tolerance` of the largest in their list, all else is equal; `got` may have more keys."""
    if isinstance(golden, dict):
        for key, value in golden.items():
            assert_golden(got[key], value, tolerance, f"{place}/{key}")
    elif isinstance(golden, list) and golden and isinstance(golden[0], dict):
        assert len(got) == len(golden), place
        for k, value in enumerate(golden):
            assert_golden(got[k], value, tolerance, f"{place}/{k}")
    elif isinstance(golden, list | float):
        scale = np.abs(np.array(golden)).max()
        np.testing.assert_allclose(got, golden, rtol=0, atol=tolerance * scale, err_msg=place)
    else:
        assert got == golden, place


@pytest.mark.parametrize("shards", recipes.SHARDS)
@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_values(recipe, shards):
    """Loss of every chunk, and every parameter after an epoch of 18 chunks, the last of which is the tail."""
    golden = VALUES[recipe][str(shards)]
    assert len(golden["losses"]) == 18
    assert_golden(make.values(recipes.RECIPES[recipe], shards), golden, EXACT)


def test_a_small_change_is_noticed(monkeypatch):
    """Planted: Adam's second rate is off by a millionth."""
    monkeypatch.setattr(optim, "BETA2", optim.BETA2 + 1e-6)
    golden = VALUES["adam with dropout"]["1"]
    with pytest.raises(AssertionError):
        assert_golden(make.values(recipes.RECIPES["adam with dropout"], 1), golden, EXACT)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["best", "last"])
def test_old_runs_load(run, name):
    """Perplexity, log Z, and the scores of a sentence, normalised and not, as they were."""
    assert_golden(file_figures(HERE / run / f"{name}.safetensors"), FILES[run][name], CLOSE)


def test_old_models_load(tmp_path):
    """The same for a model file; and for its copy, written by this version."""
    golden = FILES["model.safetensors"]
    assert_golden(file_figures(HERE / "model.safetensors"), golden, CLOSE)
    nplm.save(nplm.load(HERE / "model.safetensors"), tmp_path / "copy.safetensors")
    assert_golden(file_figures(tmp_path / "copy.safetensors"), golden, CLOSE)


@pytest.mark.parametrize("run", RUNS)
def test_old_runs_resume(run, tmp_path):
    """Stopped in the second of three epochs: parameters, metrics and best model at the end as they were."""
    shutil.copytree(HERE / run, tmp_path / run)
    assert_golden(make.end(tmp_path / run, RUNS[run]), FILES[run]["end"], CLOSE)
