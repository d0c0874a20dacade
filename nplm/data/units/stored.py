"""Making a unit from its name on the command line, and from its description in a model file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nplm.data.tokens import UNK
from nplm.data.units.characters import Characters, Graphemes
from nplm.data.units.sentencepiece import SentencePieces
from nplm.data.units.tokenizer import Tokens
from nplm.data.units.unit import Unit
from nplm.data.units.words import FIRST_RULE, WHITE_SPACE, WORDS, Words
from nplm.errors import InputError

OF_A_FILE: dict[str, type[SentencePieces] | type[Tokens]] = {"spm": SentencePieces, "hf": Tokens}
NAMES = "word, char, grapheme, spm:FILE.model, hf:FILE.json"


def open_unit(name: str) -> Unit:
    """The unit that `--unit` names.  Raises InputError on any other name, and if a file or package is missing."""
    plain: dict[str, Unit] = {"word": WORDS, "char": Characters()}
    if name in plain:
        return plain[name]
    if name == "grapheme":
        return Graphemes(Graphemes().identity.rpartition(" ")[2])
    kind, colon, file = name.partition(":")
    if not colon or kind not in OF_A_FILE or not file:
        raise InputError(f"`unit` = {name[:80]!r} is not one of {NAMES}")
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path in `unit`") from None
    unit = OF_A_FILE[kind](Path(file).name, data)
    unit.split("a")  # reports a damaged file now, not after the text has been read
    return OF_A_FILE[kind](unit.file, data, unit.identity.rpartition(" ")[2])


def describe(unit: Unit) -> dict[str, Any]:
    """The description of a unit in a model file, without the tokenizer's bytes: plain values, for `restore`."""
    about: dict[str, Any] = {"kind": unit.kind}
    if isinstance(unit, Words):
        about |= {"white_space": unit.rule} | ({} if unit.unk == UNK else {"unk": unit.unk})
    elif isinstance(unit, Graphemes):
        about["version"] = unit.version
    elif isinstance(unit, (SentencePieces, Tokens)):
        about |= {"file": unit.file, "version": unit.version}
    return about


def restore(about: Mapping[str, Any], data: bytes = b"") -> Unit:
    """The unit that `describe` described.  Raises InputError on one that this nplm does not know."""
    if not isinstance(about, Mapping) or not all(isinstance(value, str) for value in about.values()):
        raise InputError(f"its unit {str(about)[:80]!r} is not described by strings")
    kind = about.get("kind", "")
    if kind == "word":
        if (rule := about.get("white_space", FIRST_RULE)) not in WHITE_SPACE:
            raise InputError(f"its words are split by a rule {rule[:40]!r} that this nplm does not know")
        return Words(rule, about.get("unk", UNK))
    if kind == "char":
        return Characters()
    if kind == "grapheme":
        return Graphemes(about.get("version", ""))
    if kind not in OF_A_FILE:
        raise InputError(f"its unit {kind[:40]!r} is one that this nplm does not know")
    return OF_A_FILE[kind](about.get("file", ""), data, about.get("version", ""))


def version_note(unit: Unit) -> str | None:
    """A warning if the library that splits text does not have the version that the model was made with, or None."""
    made = unit.version if isinstance(unit, (Graphemes, SentencePieces, Tokens)) else ""
    library = unit.identity.partition(" by ")[2]
    if not made or library.endswith(f" {made}"):
        return None
    return f"the model's text was split by version {made} of {library.partition(' ')[0]}, but this is {library}"
