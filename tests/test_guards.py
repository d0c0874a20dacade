"""Look-ups and numbers at their edges.  Oracles: one line that names the value, or what the plain input gives.

Issue 15, fault 10.
"""

import re

import numpy as np
import pytest
from conftest import make_model

import nplm
from nplm import InputError, ModelConfig, TrainConfig
from nplm.cli.settings import read_config_file
from nplm.export import from_torch
from nplm.storage.checkpoint import torch_tensors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_that_the_type_cannot_hold(dtype):
    """`init_scale` 1e308 was a traceback out of NumPy."""
    vocabulary = make_model().vocabulary
    with pytest.raises(InputError, match=r"`init_scale` = 1e\+308 is too large for"):
        nplm.LanguageModel.init(ModelConfig(11, init_scale=1e308), vocabulary, np.random.default_rng(1), dtype)


@pytest.mark.parametrize("name", ["lr", "clip", "epochs", "save_interval", "dropout"])
def test_a_number_of_400_digits(name):
    """It is a whole number in TOML and JSON, and fits into no float."""
    with pytest.raises(InputError, match=f"`{name}` is a number of more than 19 digits") as caught:
        TrainConfig(**{name: 10**400})
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("text", ["lr = " + "9" * 400, "lr = " + "9" * 5000, "a = " + "[" * 100_000])
def test_a_config_file_beyond_python(text, tmp_path):
    """Numbers and nesting that Python's own parsers give up on."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "a.toml"))) as caught:
        read_config_file(str(tmp_path / "a.toml"))
    assert len(str(caught.value)) < 1200


def test_a_byte_order_mark_in_toml(tmp_path):
    """As Windows' editors write it, with CR LF.  Oracle: the file without."""
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbflr = 3\r\n[model]\r\nhidden = 5\r\n")
    assert read_config_file(str(tmp_path / "a.toml")) == {"lr": 3, "hidden_dim": 5}


def tensors_of(torch, model):
    return {name: torch.tensor(value) for name, value in torch_tensors(model).items()}


ODD = {
    "requires_grad": lambda torch, t: t.requires_grad_(),
    "sparse": lambda torch, t: t.to_sparse(),
    "a negative view": lambda torch, t: torch._neg_view(-t),
    "not contiguous": lambda torch, t: t.T.contiguous().T,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_state_dict_of_odd_tensors(kind):
    """Oracle: the model of the same numbers in plain arrays."""
    torch = pytest.importorskip("torch")
    model = make_model(np.float32)
    given = tensors_of(torch, model)
    given["decoder.weight"] = ODD[kind](torch, given["decoder.weight"])
    got = from_torch(given, model.vocabulary.tokens)
    for name, value in model.params.items():
        np.testing.assert_array_equal(got.params[name], value)


@pytest.mark.parametrize("kind", ["meta", "a number for a name", "words"])
def test_a_state_dict_without_numbers(kind):
    """Oracle: the name in the message."""
    torch = pytest.importorskip("torch")
    model = make_model(np.float32)
    given = tensors_of(torch, model)
    if kind == "meta":
        given["decoder.bias"] = given["decoder.bias"].to("meta")
    elif kind == "words":
        given["decoder.bias"] = ["a"] * 11
    else:
        given[3] = given.pop("decoder.bias")
    with pytest.raises(InputError, match="3 is not the name" if kind.startswith("a number") else r"decoder\.bias"):
        from_torch(given, model.vocabulary.tokens)


def test_a_folder_that_cannot_be_locked_is_said(tmp_path, monkeypatch):
    """A file system without flock: two runs trained into one folder without a word."""
    fcntl = pytest.importorskip("fcntl")
    from test_train import fit, toy

    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    recorder, _ = fit(toy(), save=tmp_path / "run", epochs=1)
    (warning,) = recorder.warnings
    assert "cannot be locked" in warning and str(tmp_path / "run") in warning
