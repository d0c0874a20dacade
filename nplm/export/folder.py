"""Export to a folder that can be read without nplm: model, vocabulary and tokenizer in formats of other programs.

config.json         the model's configuration
model.safetensors   the file that nplm.save writes
vocab.txt           one token per line, in id order
tokenizer.json      for Hugging Face's tokenizers: maps a line of text to nplm's ids; only for words and characters,
                    since any other tokenizer has its own ids
unit.*              the tokenizer's own file, if the model's unit has one
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nplm import atomic
from nplm._version import __version__
from nplm.data.tokens import BOS, EOS, UNK
from nplm.data.units import FIRST_RULE, Words, describe, text_of
from nplm.data.units.words import ASCII_SPACE
from nplm.data.vocabulary import Vocabulary
from nplm.model import LanguageModel
from nplm.storage.checkpoint import save_model


def to_folder(model: LanguageModel, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write the folder, whole or not at all.  Raises InputError if something of that name already exists."""
    vocabulary = model.vocabulary
    with atomic.atomic_folder(path) as folder:
        _write_json(folder / "config.json", _config(model))
        save_model(model, folder / "model.safetensors", provenance)
        atomic.write(folder / "vocab.txt", (f"{token}\n".encode() for token in vocabulary.tokens))
        if isinstance(model.unit, Words):
            _write_json(folder / "tokenizer.json", tokenizer(vocabulary, _word_parts(model.unit)))
        elif model.unit.kind == "char":
            _write_json(folder / "tokenizer.json", tokenizer(vocabulary, CHARACTERS, text_of))
        elif model.unit.data:
            atomic.write(folder / f"unit{Path(model.unit.name).suffix}", [model.unit.data])


CHARACTERS = {
    "normalizer": None,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False},
}


def _word_parts(unit: Words) -> dict[str, Any]:
    """Words separated by white space by the unit's rule; one <s> at a line's start and one </s> at its end are dropped.

    The rule "unicode" is Python's, whose split() includes U+001C to U+001F, which are not white space in Unicode.
    """
    first = unit.rule == FIRST_RULE
    spaces = r"\s" if first else rf"{ASCII_SPACE}\u3000"
    marks = [_replace(rf"\A[{spaces}]*{BOS}(?![^{spaces}])", ""), _replace(rf"(?<![^{spaces}]){EOS}[{spaces}]*\z", "")]
    split = {"type": "Split", "pattern": {"Regex": f"[{spaces}]+"}, "behavior": "Removed", "invert": False}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [_replace("[\x1c-\x1f]", " "), *marks] if first else marks},
        "pre_tokenizer": {"type": "WhitespaceSplit"} if first else split,
    }


def tokenizer(
    vocabulary: Vocabulary, parts: Mapping[str, Any], text: Callable[[str], str] = lambda token: token
) -> dict[str, Any]:
    """The vocabulary as Hugging Face's tokenizers describe it; </s> is added.

    parts: the normaliser and pre-tokeniser of a line.  text: maps a token to its form in a line.  No token is
    declared as an added token, because the library would also match those inside words.
    """
    special = vocabulary.tokens[:2]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        **parts,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_part("Sequence", "A"), _part("SpecialToken", EOS)],
            "pair": [
                _part("Sequence", "A"),
                _part("SpecialToken", EOS),
                _part("Sequence", "B"),
                _part("SpecialToken", EOS),
            ],
            "special_tokens": {EOS: {"id": EOS, "ids": [vocabulary.eos], "tokens": [EOS]}},
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {token if token in special else text(token): i for i, token in enumerate(vocabulary.tokens)},
            "unk_token": UNK,
        },
    }


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _part(kind: str, name: str) -> dict[str, Any]:
    return {kind: {"id": name, "type_id": 0}}


def _config(model: LanguageModel) -> dict[str, Any]:
    ids = {"unk_token_id": model.vocabulary.unk, "eos_token_id": model.vocabulary.eos}
    about = {"model_type": "nplm", "nplm": __version__, "dtype": str(model.dtype)}
    return about | asdict(model.config) | ids | {"unit": describe(model.unit)}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    atomic.write(path, [(json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()])
