"""What the tests share: tiny models and chunks, how a command ended, and where the Penn Treebank lies."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nplm.cli import main
from nplm.config import ModelConfig
from nplm.data.vocabulary import Vocabulary
from nplm.model import LanguageModel, param_shapes
from nplm.network import State

RTOL = {np.float32: 2e-5, np.float64: 1e-12}  # of an array's largest entry, for sums of a few dozen terms


class Chunk(NamedTuple):
    """What LanguageModel.loss_and_grads takes."""

    inputs: np.ndarray  # (T,B)
    targets: np.ndarray  # (T,B)
    noise_ids: np.ndarray  # (K,)
    state: State  # (L,B,H) each, not zero


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def figures(self) -> Any:
        """What --json gives: the last line on stdout."""
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture
def nplm(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command line in this process."""

    def call(*args: Any) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        return Outcome(int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def refused(nplm: Callable[..., Outcome]) -> Callable[..., str]:
    """Runs a command line that must be refused; returns the one line on stderr."""

    def call(*args: Any, code: int = 2) -> str:
        got = nplm(*args)
        assert (got.code, got.out) == (code, ""), got
        assert got.err.startswith("nplm: error: ") and got.err.count("\n") == 1, got.err
        return got.err

    return call


def assert_close(got: Any, expected: Any, tolerance: float) -> None:
    """Shapes equal, and every entry within `tolerance` times the largest entry of `expected`."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=0.0))


def make_vocabulary(size: int) -> Vocabulary:
    """`size` tokens, all with different counts."""
    tokens = ["<unk>", "</s>", *(f"w{k}" for k in range(2, size))]
    return Vocabulary(tokens, [3 * k + k * k + 2 for k in reversed(range(size))])


def make_model(
    dtype: Any = np.float64,
    seed: int = 1,
    vocab: int = 11,
    embed: int = 4,
    hidden: int = 6,
    layers: int = 2,
    scale: float = 0.7,
    power: float = 1.0,
    uniform: float = 0.0,
    tied: bool = False,
) -> LanguageModel:
    """A model whose every parameter is random, none of them zero; the defaults have all shapes different."""
    config = ModelConfig(vocab, embed, hidden, layers, tied, noise_power=power, noise_uniform=uniform)
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(0, scale, shape).astype(dtype) for name, shape in param_shapes(config).items()}
    return LanguageModel(config, make_vocabulary(vocab), params)


def make_chunk(model: LanguageModel, seed: int = 2, steps: int = 5, batch: int = 3, noise: int = 7) -> Chunk:
    """A random chunk with a state that is not zero.  The last noise word is a target; of three, two are equal."""
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(0, model.config.vocab_size, (2, steps, batch), np.int32)
    noise_ids = rng.integers(0, model.config.vocab_size, noise, np.int32)
    noise_ids[-1] = targets[-1, 0]
    if noise > 2:
        noise_ids[0] = noise_ids[1]
    shape = (2, model.config.num_layers, batch, model.config.hidden_dim)
    return Chunk(inputs, targets, noise_ids, State(*rng.normal(0, 0.7, shape).astype(model.dtype)))


def ptb() -> Path:
    """The folder of train.txt, valid.txt and test.txt of the Penn Treebank; skips the test where there is none."""
    folder = Path(os.environ.get("NPLM_DATA") or "../shared/data") / "ptb"
    if not (folder / "train.txt").is_file():
        pytest.skip(f"no Penn Treebank in {folder}: set NPLM_DATA to the folder that holds ptb/")
    return folder
