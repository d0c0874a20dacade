"""Tokens of one of Hugging Face's tokenizers, a tokenizer.json, read by its own library (the extra `hf`)."""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

from nplm import optional
from nplm.data.units.pieces import Pieces, damaged
from nplm.data.units.symbols import SPACE
from nplm.errors import InputError

WORD_MODELS = ("WordPiece", "WordLevel")  # their unknown token stands for a whole word


class Tokens(Pieces):
    """Tokens of the tokenizer in `data`, with truncation, padding and special tokens disabled: all input is text."""

    kind: ClassVar[str] = "hf"
    package: ClassVar[str] = "tokenizers"

    @cached_property
    def _library(self) -> ModuleType:
        return optional.load("tokenizers", "hf", f"the unit {self.name}")

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            tokenizer = self._library.Tokenizer.from_str(self.data.decode("utf-8-sig"))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            tokenizer.encode_special_tokens = True  # "<s>" in a text is three characters, not a special token
            tokenizer.encode("a", add_special_tokens=False)
        except BaseException as error:  # its binding raises Exception, and on some files a panic, which is not one
            if isinstance(error, (KeyboardInterrupt, SystemExit, InputError)):
                raise
            raise damaged(self.file, "a tokenizer.json", error) from None
        return tokenizer

    @property
    def _library_version(self) -> str:
        return str(self._library.__version__)

    def _pieces(self) -> Iterable[str]:
        tokens: set[str] = self._tokenizer.get_vocab(with_added_tokens=True).keys() - {self._unknown_token}
        return tokens

    @cached_property
    def _model(self) -> dict[str, Any]:
        """The tokenizer file's description of its model."""
        found: dict[str, Any] = json.loads(self._tokenizer.to_str())["model"]
        return found

    @cached_property
    def _unknown(self) -> int | None:
        """The id of the tokenizer's unknown token; None if it has none."""
        token, number = self._model.get("unk_token"), self._model.get("unk_id")
        return number if token is None else self._tokenizer.token_to_id(token)

    @cached_property
    def _takes_space_mark(self) -> bool:
        found = self._tokenizer.encode(f"a{SPACE}a", add_special_tokens=False)
        return SPACE in self._unite(found.tokens)

    def _divide(self, text: str) -> list[str]:
        found = self._tokenizer.encode(text, add_special_tokens=False)
        if self._unknown not in found.ids:
            return list(found.tokens)
        pieces: list[str] = []
        for number, token, (start, stop) in zip(found.ids, found.tokens, found.offsets, strict=True):
            if number != self._unknown:
                pieces.append(token)
            elif self._model["type"] in WORD_MODELS:
                pieces.append(text[start:stop])
            else:  # a run of code points, which a unigram model gives as the token
                pieces += token if token != self._unknown_token else text[start:stop].replace(" ", SPACE)
        return [piece for piece in pieces if piece]

    @property
    def _unknown_token(self) -> str | None:
        return None if self._unknown is None else self._tokenizer.id_to_token(self._unknown)

    def _unite(self, pieces: Sequence[str]) -> str:
        decoder = self._tokenizer.decoder
        text: str = " ".join(pieces) if decoder is None else decoder.decode(list(pieces))
        return text

    def _normal(self, text: str) -> str:
        found = self._tokenizer.encode(text, add_special_tokens=False)
        if self._unknown in found.ids:
            return self._unite(self._divide(text))
        normal: str = self._tokenizer.decode(found.ids, skip_special_tokens=False)
        return normal

    def __reduce__(self) -> "tuple[type[Tokens], tuple[str, bytes, str]]":
        """Pickle without the tokenizer."""
        return Tokens, (self.file, self.data, self.version)
