"""Export to PyTorch: one .safetensors file with exactly the tensors that load_state_dict(strict=True) expects.

tensors   encoder.weight, rnn.weight_ih_lk, rnn.weight_hh_lk, rnn.bias_ih_lk (the layer's one bias),
          rnn.bias_hh_lk (zero), decoder.weight, decoder.bias
metadata  format "pt", config (JSON), unit (JSON: what text is split into), vocabulary (lines of "token<TAB>count", in
          id order)
"""

import json
from dataclasses import asdict
from pathlib import Path

from nplm import atomic
from nplm.data.units import describe
from nplm.errors import InputError
from nplm.model import LanguageModel
from nplm.storage.checkpoint import torch_tensors
from nplm.storage.tensorfile import blocks

MAX_METADATA = 99_000_000  # bytes: readers of safetensors reject a header of more than 100 MB


def to_torch(model: LanguageModel, path: str | Path) -> None:
    """Write the model as a state_dict.  Raises InputError if the file cannot be written."""
    about = metadata(model)
    if (size := len(json.dumps(about))) > MAX_METADATA:
        raise InputError(f"{path}: the words take {size / 1e6:.0f} MB, but a header holds 99 MB; export it to folder")
    atomic.write(path, blocks(torch_tensors(model), about))


def metadata(model: LanguageModel) -> dict[str, str]:
    """The description of the model, besides its arrays, in a file for another program."""
    config = json.dumps(asdict(model.config), sort_keys=True)
    unit = json.dumps(describe(model.unit), sort_keys=True)
    return {"format": "pt", "config": config, "unit": unit, "vocabulary": model.vocabulary.to_bytes().decode()}
