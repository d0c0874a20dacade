"""Makes the files of formats that came after the first: to be run once, by the version that later ones are held to.

    PYTHONPATH=<checkout>:tests python tests/golden/make_later.py      the checkout: main of 2026-11-27

characters/         version 2 of the model file: the folder of a run over characters, stopped in its second epoch
white-space.safetensors   version 1 with the rule that separates words, ascii+u3000, which is no longer the first rule
later.json          what those models evaluate to, and where the run ends when it is resumed
"""

import gzip
import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from golden.make import HERE, SMALL, Stop, StopError, evaluation_on, parts

import nplm
from nplm.data.units import Words, open_unit

TEXT = "the cat sat on the mat\nthe dog \u4eca\u5929 sat\n" * 7
SIZES = {"embed_dim": 4, "hidden_dim": 6, "num_layers": 1, "init_scale": 1.0}


def corpus() -> nplm.Corpus:
    """A text in characters: 308 units to train on, and 88 to validate on."""
    unit = open_unit("char")
    lines = [[*unit.split(line), "</s>"] for line in TEXT.splitlines()]
    tokens = [token for line in lines for token in line]
    counts = {token: tokens.count(token) for token in tokens}
    vocabulary = nplm.Vocabulary.from_counts(counts)
    ids = vocabulary.encode(tokens)
    return nplm.Corpus("characters", vocabulary, ids, ids[:88], unit=unit)


def model_of(text: nplm.Corpus, unit: Any) -> nplm.LanguageModel:
    """An untrained model of its words."""
    config = nplm.ModelConfig(len(text.vocabulary), **SIZES)
    return nplm.LanguageModel.init(config, text.vocabulary, np.random.default_rng(4), unit=unit)


def settings() -> nplm.TrainConfig:
    return nplm.TrainConfig(**SMALL)


def resume(folder: Path) -> dict[str, Any]:
    """Where the stopped run ends."""
    text = corpus()
    model = model_of(text, text.unit)
    result = nplm.train(model, text, settings(), save=folder, resume=True)
    return {
        "valid": [line["nats"] for line in result.history if line["kind"] == "valid"],
        "params": {name: parts(value) for name, value in model.params.items()},
    }


def unpack(scratch: Path) -> Path:
    """A copy of the stopped run's folder, to go on with."""
    folder = scratch / "characters"
    shutil.copytree(HERE / "characters", folder)
    packed = folder / "last.safetensors.gz"
    (folder / "last.safetensors").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def main() -> None:
    """Write all of it."""
    text, folder = corpus(), HERE / "characters"
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(StopError):
        nplm.train(model_of(text, text.unit), text, settings(), save=folder, observer=Stop())
    last = folder / "last.safetensors"
    (folder / "last.safetensors.gz").write_bytes(gzip.compress(last.read_bytes(), mtime=0))
    last.unlink()
    words = model_of(text, Words("ascii+u3000"))
    nplm.save(words, HERE / "white-space.safetensors", {"corpus": "none: it is untrained"})
    git = subprocess.run(["git", "-C", HERE, "describe", "--always"], capture_output=True, text=True, check=True)
    found: dict[str, Any] = {"commit": git.stdout.strip()}
    with tempfile.TemporaryDirectory() as scratch:
        copy = unpack(Path(scratch))
        for name in ("best", "last"):
            found[name] = evaluation_on(nplm.load(copy / f"{name}.safetensors"), text)
        found["white-space"] = evaluation_on(nplm.load(HERE / "white-space.safetensors"), text)
        found["end"] = resume(copy)
    (HERE / "later.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
