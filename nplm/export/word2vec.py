"""The word vectors in word2vec's two formats: a line "V D", then every word with its D numbers.

text     word, space, D numbers with enough digits to round-trip exactly, newline
binary   word, space, D float32, little-endian, newline
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nplm import atomic
from nplm.arrays import Array
from nplm.errors import InputError
from nplm.model import LanguageModel

LAYERS = ("input", "output")  # (V,E), (V,H)


def to_word2vec(model: LanguageModel, path: str | Path, *, binary: bool = False, layer: str = "input") -> None:
    """Write the word vectors: the input embeddings, or (`layer` output) the output embeddings.

    Raises InputError if the file cannot be written.
    """
    if layer not in LAYERS:
        raise InputError(f"layer = {layer!r} is not one of {', '.join(LAYERS)}")
    weight = model.params["encoder.weight"] if layer == "input" else model.output_weight
    lines = _binary(model.vocabulary.tokens, weight) if binary else _text(model.vocabulary.tokens, weight)
    atomic.write(path, lines)


def _text(tokens: tuple[str, ...], weight: Array) -> Iterator[bytes]:
    digits = 9 if weight.dtype == np.float32 else 17
    form = " ".join([f"%.{digits}g"] * weight.shape[1])
    yield _first_line(weight)
    for token, row in zip(tokens, weight, strict=True):
        yield f"{token} {form % tuple(row.tolist())}\n".encode()


def _binary(tokens: tuple[str, ...], weight: Array) -> Iterator[bytes]:
    yield _first_line(weight)
    for token, row in zip(tokens, weight, strict=True):
        yield token.encode() + b" " + row.astype("<f4").tobytes() + b"\n"


def _first_line(weight: Array) -> bytes:
    return b"%d %d\n" % weight.shape
