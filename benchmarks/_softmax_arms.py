"""The arms of study_softmax.py: objective, dropout, start and clipping, and sets of them."""

import math
from typing import Any, NamedTuple

import numpy as np

from nplm.config import ModelConfig
from nplm.data.vocabulary import Vocabulary
from nplm.model import LanguageModel

DROPOUT = {"dropout": 0.2, "dropout_words": 0.1, "variational": True}  # of the recipe ptb-small-regularised
CLIP = 0.25


class Arm(NamedTuple):
    """One way to train."""

    objective: str = "nce"
    num_noise: int | None = None  # K
    dropout: bool = False  # and one matrix for input and output words
    start: str = "unigram"  # distribution of the untrained model: unigram or uniform
    clip: float = CLIP
    penalty: float = 0.0  # of log^2 Z

    @property
    def name(self) -> str:
        """As on the command line."""
        parts = [self.objective, *([str(self.num_noise)] if self.num_noise else [])]
        parts += ["dropout"] if self.dropout else []
        parts += [self.start] if self.start != "unigram" else []
        parts += ["unclipped"] if self.clip == math.inf else []
        parts += [f"penalty-{self.penalty:g}"] if self.penalty else []
        return "-".join(parts)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of TrainConfig."""
        found = {"objective": self.objective, "clip": self.clip, "log_z_penalty": self.penalty}
        found |= {"num_noise": self.num_noise} if self.num_noise else {}
        return found | (DROPOUT if self.dropout else {})


NCE, SOFTMAX = Arm("nce", 500), Arm("softmax")
MAIN = [NCE, SOFTMAX, NCE._replace(dropout=True), SOFTMAX._replace(dropout=True)]
CAUSES = [
    SOFTMAX._replace(penalty=0.5), Arm("sampled-softmax", 500), Arm("nce", 2000),
    SOFTMAX._replace(dropout=True, penalty=0.5), Arm("nce", 2000, dropout=True),
    *(arm._replace(start="uniform") for arm in (NCE, SOFTMAX)),
    *(arm._replace(clip=math.inf) for arm in (NCE, SOFTMAX)),
    Arm("nce", 100),
]  # fmt: skip
SETS = {"main": MAIN, "causes": CAUSES, "quick": [Arm("nce", 50, start="uniform"), Arm("softmax", dropout=True)]}
ARMS = {arm.name: arm for arms in SETS.values() for arm in arms}


def make_model(arm: Arm, vocabulary: Vocabulary, hidden: int, seed: int) -> LanguageModel:
    """The untrained model of an arm."""
    sizes = ModelConfig(len(vocabulary), hidden, hidden, 2, tied=arm.dropout)
    model = LanguageModel.init(sizes, vocabulary, np.random.default_rng(seed))
    if arm.start == "uniform":
        model.params["decoder.bias"][...] = -np.log(len(vocabulary))
    return model
