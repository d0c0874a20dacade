"""What tests/test_ranks.py starts under mpirun: trains by several recipes and prints digests of what came out."""

import hashlib
import json
import random
import sys
from typing import Any

import numpy as np
from golden.recipes import RECIPES, SETTINGS, text, vocabulary

import nplm
from nplm.ranks.alone import Ranks
from nplm.ranks.mpi import join

V = 61
ASGD = {"optimizer": "asgd", "averaging_patience": 1, "patience": 2, "epochs": 5, "lr": 20.0, "clip": 2.0}


def random_settings(seed: int) -> dict[str, Any]:
    """A legal configuration that trains for seconds."""
    rng = random.Random(seed)
    choice: dict[str, Any] = {
        "optimizer": rng.choice(["sgd", "adagrad", "adam"]),
        "objective": rng.choice(["nce", "softmax", "sampled-softmax", "ranking"]),
        "precision": rng.choice(["float32", "bfloat16"]),
        "weight_decay": rng.choice([0.0, 0.01]),
        "reset_at_eos": rng.random() < 0.5,
        "batch_size": rng.randint(5, 9),
        "bptt": rng.randint(2, 7),
        "shards": rng.randint(4, 7),
        "num_noise": rng.randint(2, 30),
    }
    choice |= {name: rng.choice([0.0, 0.2]) for name in ("dropout", "dropout_words", "dropout_recurrent")}
    choice["lr"] = 0.01 if choice["optimizer"] == "adam" else 0.5
    return choice


def train(name: str, settings: dict[str, Any], ranks: Ranks) -> str:
    """Digest of the trained parameters, of the best model's, and of the metrics."""
    words, tied = vocabulary(V), name == "tied"
    sizes = nplm.ModelConfig(V, 12 if tied else 10, 12, 2, tied=tied, init_scale=0.3)
    model = nplm.LanguageModel.init(sizes, words, np.random.default_rng(1))
    decoder = model.params.get("decoder.weight", model.params["encoder.weight"])
    decoder[...] = np.random.default_rng(2).normal(0, 0.2, decoder.shape)
    corpus = nplm.Corpus("synthetic", words, text(V, 8 * 60 + 3, 0), text(V, 150, 1))
    result = nplm.train(model, corpus, nplm.TrainConfig(**{**SETTINGS, "shards": 5, **settings}), ranks=ranks)
    digest = hashlib.sha256()
    for value in [*model.params.values(), *result.best.params.values()]:
        digest.update(value.tobytes())
    clock = ("seconds", "tokens_per_second")
    lines = [{key: value for key, value in line.items() if key not in clock} for line in result.history]
    return digest.hexdigest() + json.dumps(lines)


def main(count: int, threads: int, shards: int = 0) -> None:
    """shards: of every case, with a column for each; 0: each case has its own number."""
    ranks = join()
    cases = RECIPES | {"asgd": ASGD} | {f"random {k}": random_settings(k) for k in range(count)}
    same: dict[str, Any] = {"threads": threads} | ({"shards": shards, "batch_size": shards + 1} if shards else {})
    found = {name: train(name, case | same, ranks) for name, case in cases.items()}
    if ranks.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
