"""Models for other programs, and from PyTorch: one file per format.

to_torch      .safetensors for load_state_dict(strict=True)
to_onnx       a graph with the state as input and output
to_word2vec   the word vectors, text or binary
to_folder     config.json, model.safetensors, vocab.txt, tokenizer.json
from_torch    a model from the state_dict of PyTorch's word_language_model
"""

from nplm.export.folder import to_folder
from nplm.export.foreign import read_state_dict, read_tokens
from nplm.export.onnx import to_onnx
from nplm.export.state_dict import from_torch
from nplm.export.torch import to_torch
from nplm.export.word2vec import to_word2vec

__all__ = ["from_torch", "read_state_dict", "read_tokens", "to_folder", "to_onnx", "to_torch", "to_word2vec"]
