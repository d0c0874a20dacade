"""Which of several values a setting has, flag > config file > resumed > default, and the dataclasses made of them."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from nplm.cli.settings import SETTINGS, defaults
from nplm.errors import InputError

Source = Literal["default", "resumed", "config file", "flag"]
RANKS: tuple[Source, ...] = get_args(Source)


class Value(NamedTuple):
    """A setting's value and where it comes from."""

    value: Any
    source: Source


def merge(*layers: tuple[Source, Mapping[str, Any]]) -> dict[str, Value]:
    """Every setting's value by field: the last layer that has one wins; None is no value."""
    found = {}
    first: tuple[Source, dict[str, Any]] = (
        "default",
        {s.field: defaults(s.config).get(s.field) for s in SETTINGS},
    )
    for source, values in (first, *layers):
        for field, value in values.items():
            if value is not None or source == "default":
                found[field] = Value(value, source)
    return _settle_chunks(found)


def build(config: type, found: Mapping[str, Value], **more: Any) -> Any:
    """The dataclass `config` with the values found.  Its complaints name the flag, not the field."""
    try:
        return config(**{s.field: found[s.field].value for s in SETTINGS if s.config is config}, **more)
    except InputError as error:
        name, sign, rest = str(error).partition(" = ")
        flag = next((s.flag for s in SETTINGS if s.field == name), None)
        raise InputError(f"--{flag}{sign}{rest}" if flag else str(error)) from None


def _settle_chunks(found: dict[str, Value]) -> dict[str, Value]:
    """Turn the number of chunks N into a sequence length, or with both into a chunk length."""
    chunks = found.pop("chunks", None)
    if chunks is None:
        return found
    length, bptt = found["sequence_length"], found["bptt"]
    rank = RANKS.index(chunks.source)
    if RANKS.index(length.source) > rank:  # a flag wins over the file
        return found
    if chunks.value < 2:
        raise InputError(f"--chunks = {chunks.value}: the method needs N >= 2 chunks in a sequence")
    if RANKS.index(length.source) < rank:
        found["sequence_length"] = Value(chunks.value * bptt.value, chunks.source)
    elif RANKS.index(bptt.source) < rank:
        found["bptt"] = Value(-(-length.value // chunks.value), chunks.source)
    steps, chunk = found["sequence_length"].value, found["bptt"].value
    if chunk >= 1 and -(-steps // chunk) != chunks.value:
        raise InputError(
            f"a sequence of {steps} steps in chunks of {chunk} has {-(-steps // chunk)} chunks,"
            f" not {chunks.value}: make --sequence-length, --chunks and --bptt agree, or leave one out"
        )
    return found
