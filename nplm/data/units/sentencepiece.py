"""Pieces of a sentencepiece model, read by its own library (the extra `spm`)."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

from nplm import optional
from nplm.data.units.pieces import Pieces, damaged
from nplm.data.units.symbols import SPACE


class SentencePieces(Pieces):
    """Pieces of the model in `data`."""

    kind: ClassVar[str] = "spm"
    package: ClassVar[str] = "sentencepiece"

    @cached_property
    def _library(self) -> ModuleType:
        return optional.load("sentencepiece", "spm", f"the unit {self.name}")

    @cached_property
    def _processor(self) -> Any:
        what = "a sentencepiece model"
        if not self.data:
            raise damaged(self.file, what, "the file is empty")
        try:
            processor = self._library.SentencePieceProcessor(model_proto=self.data)
            processor.encode("a", out_type=str)
        except Exception as error:  # whatever its binding raises on bytes that are not a model
            raise damaged(self.file, what, error) from None
        return processor

    @property
    def _library_version(self) -> str:
        return str(self._library.__version__)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._pieces())

    def _pieces(self) -> Iterable[str]:
        sp = self._processor
        ids = (i for i in range(sp.get_piece_size()) if not (sp.is_control(i) or sp.is_unknown(i)))
        return map(sp.id_to_piece, ids)

    @property
    def _takes_space_mark(self) -> bool:
        return False

    def _divide(self, text: str) -> list[str]:
        pieces: list[str] = []
        for piece in self._processor.encode(text, out_type=str):
            if piece in self._known:
                pieces.append(piece)
            else:  # a run of unknown code points
                pieces += piece
        return pieces

    @cached_property
    def _ends(self) -> tuple[bool, bool]:
        """Whether the library puts a space before every text, and whether after it."""
        sample = self._processor.normalize("a")
        return sample.startswith(SPACE), sample.endswith(SPACE)

    def _unite(self, pieces: Sequence[str]) -> str:
        text: str = self._processor.decode(list(pieces))  # an unknown piece is returned unchanged
        return text.removesuffix(" ") if self._ends[1] else text  # the library removes the space before a text

    def _normal(self, text: str) -> str:
        normal: str = self._processor.normalize(text)
        before, after = self._ends
        normal = normal.removeprefix(SPACE) if before else normal.removesuffix(SPACE) if after else normal
        return normal.replace(SPACE, " ")

    def __reduce__(self) -> "tuple[type[SentencePieces], tuple[str, bytes, str]]":
        """Pickle without the processor."""
        return SentencePieces, (self.file, self.data, self.version)
