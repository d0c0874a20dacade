"""An LSTM language model for the CPU, trained with noise-contrastive estimation; log is natural, loss is nats.

The public names, in the order of the data's way: text, ids, model, training, measuring, files.
They are imported when first used, so that `nplm --help` need not wait for NumPy and Numba.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nplm.builtin import load as load_builtin
    from nplm.checkpoint import load_model as Model  # kenlm.Model's place
    from nplm.checkpoint import load_model as load
    from nplm.config import ModelConfig, TrainConfig
    from nplm.corpus import Corpus, load_corpus
    from nplm.errors import DivergedError, InputError
    from nplm.evaluate import Evaluation, evaluate
    from nplm.generate import next_words, sample
    from nplm.kenlm import Scorer, State
    from nplm.meter import Observer
    from nplm.model import LanguageModel
    from nplm.noise import FreshNoise, NoiseDistribution, NoisePool
    from nplm.score import score_batch
    from nplm.train import TrainResult, train
    from nplm.vocabulary import Vocabulary

_HOMES = {
    "Vocabulary": "nplm.vocabulary:Vocabulary",
    "Corpus": "nplm.corpus:Corpus",
    "load_corpus": "nplm.corpus:load_corpus",
    "load_builtin": "nplm.builtin:load",
    "NoiseDistribution": "nplm.noise:NoiseDistribution",
    "FreshNoise": "nplm.noise:FreshNoise",
    "NoisePool": "nplm.noise:NoisePool",
    "ModelConfig": "nplm.config:ModelConfig",
    "TrainConfig": "nplm.config:TrainConfig",
    "LanguageModel": "nplm.model:LanguageModel",
    "train": "nplm.train:train",
    "Observer": "nplm.meter:Observer",
    "TrainResult": "nplm.train:TrainResult",
    "evaluate": "nplm.evaluate:evaluate",
    "Evaluation": "nplm.evaluate:Evaluation",
    "sample": "nplm.generate:sample",
    "next_words": "nplm.generate:next_words",
    "load": "nplm.checkpoint:load_model",
    "Model": "nplm.checkpoint:load_model",
    "Scorer": "nplm.kenlm:Scorer",
    "State": "nplm.kenlm:State",
    "score_batch": "nplm.score:score_batch",
    "InputError": "nplm.errors:InputError",
    "DivergedError": "nplm.errors:DivergedError",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nplm' has no attribute {name!r}")
    module, attribute = _HOMES[name].split(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


class _Package(ModuleType):
    """This package: `nplm.train` and `nplm.evaluate` are the functions, not the files they live in."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):  # the import system binds a file it has loaded
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
