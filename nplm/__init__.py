"""An LSTM language model for the CPU, trained with noise-contrastive estimation.

Logarithms are natural and losses are in nats, except where a name says log10.
The public names are listed in the order of the data flow: text, ids, model, training, evaluation, files.
They are imported when first used, so that `nplm --help` need not wait for NumPy and Numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nplm._version import __version__

if TYPE_CHECKING:
    from nplm.config import ModelConfig, TrainConfig
    from nplm.data.builtin import load as load_builtin
    from nplm.data.corpus import Corpus, load_corpus
    from nplm.data.vocabulary import Vocabulary
    from nplm.errors import DivergedError, InputError
    from nplm.model import LanguageModel
    from nplm.noise import FreshNoise, NoiseDistribution, NoisePool
    from nplm.scoring.evaluate import Evaluation, evaluate
    from nplm.scoring.generate import next_words, sample
    from nplm.scoring.kenlm import Model, State
    from nplm.scoring.score import score_batch
    from nplm.storage.checkpoint import load_model as load
    from nplm.storage.checkpoint import save_model as save
    from nplm.training.loop import TrainResult, train
    from nplm.training.observer import Observer

_HOMES = {
    "Vocabulary": "nplm.data.vocabulary:Vocabulary",
    "Corpus": "nplm.data.corpus:Corpus",
    "load_corpus": "nplm.data.corpus:load_corpus",
    "load_builtin": "nplm.data.builtin:load",
    "NoiseDistribution": "nplm.noise:NoiseDistribution",
    "FreshNoise": "nplm.noise:FreshNoise",
    "NoisePool": "nplm.noise:NoisePool",
    "ModelConfig": "nplm.config:ModelConfig",
    "TrainConfig": "nplm.config:TrainConfig",
    "LanguageModel": "nplm.model:LanguageModel",
    "train": "nplm.training.loop:train",
    "Observer": "nplm.training.observer:Observer",
    "TrainResult": "nplm.training.loop:TrainResult",
    "evaluate": "nplm.scoring.evaluate:evaluate",
    "Evaluation": "nplm.scoring.evaluate:Evaluation",
    "sample": "nplm.scoring.generate:sample",
    "next_words": "nplm.scoring.generate:next_words",
    "score_batch": "nplm.scoring.score:score_batch",
    "Model": "nplm.scoring.kenlm:Model",
    "State": "nplm.scoring.kenlm:State",
    "load": "nplm.storage.checkpoint:load_model",
    "save": "nplm.storage.checkpoint:save_model",
    "InputError": "nplm.errors:InputError",
    "DivergedError": "nplm.errors:DivergedError",
}
_GONE = {"Scorer": "nplm.Model(path) has KenLM's methods, nplm.load(path) gives a LanguageModel"}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _GONE:
        raise AttributeError(f"nplm no longer has {name!r}: {_GONE[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module 'nplm' has no attribute {name!r}")
    module, attribute = _HOMES[name].split(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value  # so that the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
