"""For PyTorch: one .safetensors file whose tensors load_state_dict(strict=True) takes, all of them.

tensors   encoder.weight, rnn.weight_ih_lk, rnn.weight_hh_lk, rnn.bias_ih_lk (the layer's one bias),
          rnn.bias_hh_lk (zero), decoder.weight, decoder.bias
metadata  format "pt", config (JSON), vocabulary (lines of "token<TAB>count", in id order)
"""

import json
from dataclasses import asdict
from pathlib import Path

from nplm import files
from nplm.checkpoint import blocks, torch_tensors
from nplm.model import LanguageModel


def to_torch(model: LanguageModel, path: str | Path) -> None:
    """Write the model as a state_dict.  Raises InputError where the file cannot be written."""
    files.write(path, blocks(torch_tensors(model), metadata(model)))


def metadata(model: LanguageModel) -> dict[str, str]:
    """What a file for another program says about the model besides its arrays."""
    config = json.dumps(asdict(model.config), sort_keys=True)
    return {"format": "pt", "config": config, "vocabulary": model.vocabulary.to_bytes().decode()}
