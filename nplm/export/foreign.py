"""Reading models from files of other programs: arrays and words."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from nplm import optional
from nplm.arrays import Array
from nplm.data.tokens import ASCII_SPACE
from nplm.errors import InputError

MANY = 20  # words; with more, counts that are a permutation of 0, 1, 2 ... or 1, 2, 3 ... are not a coincidence
StateDict = dict[str, Array]  # under PyTorch's names


class Tokens(NamedTuple):
    """The words of a model, in its own order."""

    words: list[str]
    counts: list[int] | None  # None: unknown
    unit: str | None = None  # JSON, as nplm describes it; None: unknown, so they are words


def read_tokens(path: str | Path) -> Tokens:
    """The words in a file, one per line in id order, all or none of them followed by a tab and a count.

    Raises InputError with file and line.
    """
    try:
        table = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; convert the file to UTF-8") from None
    return _tokens(table, str(path))


def _tokens(table: str, name: str) -> Tokens:
    """The words and counts in the lines of a table; `name` is its name for messages."""
    words: dict[str, int] = {}  # and their lines
    counts: list[int] = []
    for number, line in enumerate(table.rstrip("\r\n").split("\n"), start=1):
        where = f"{name}, line {number}"
        word, tab, count = line.removesuffix("\r").partition("\t")
        if not word or not ASCII_SPACE.isdisjoint(word):
            raise InputError(f"{where}: {line!r} is not a word; give one word per line, or word, tab, count")
        if word in words:
            raise InputError(f"{where}: the word {word!r} is already in line {words[word]}")
        if tab and not (count.isascii() and count.isdigit() and len(count) <= 18):
            raise InputError(f"{where}: the count {count!r} is not a whole number")
        if words and bool(tab) != bool(counts):
            raise InputError(f"{where}: only some lines have a count; give a count for all words or for none")
        words[word] = number
        counts += [int(count)] if tab else []
    if _are_ids(counts):
        raise InputError(
            f"{name}: the numbers after the words are {min(counts)} to {max(counts)}, each once: ids, not counts;"
            " give the words alone, one per line, in the order of the ids"
        )
    return Tokens(list(words), counts or None)


def _are_ids(counts: list[int]) -> bool:
    """Whether the numbers are 0, 1, 2 ... or 1, 2, 3 ..., in this order or, if there are many, in any order."""
    found = counts if len(counts) <= MANY else sorted(counts)
    return len(counts) > 2 and found[0] in (0, 1) and found == list(range(found[0], found[0] + len(found)))


def read_state_dict(path: str | Path) -> tuple[StateDict, Tokens | None]:
    """The arrays of a .safetensors file or a file of torch.save, and the words if the file has them.

    Raises InputError if it cannot be read, or contains something else.  A file of torch.save needs PyTorch, and is
    read without executing code that it may contain.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start[8:] == b"{":  # safetensors: eight bytes of length, then JSON
        return _read_safetensors(path)
    return _read_torch(path), None


def _read_safetensors(path: Path) -> tuple[StateDict, Tokens | None]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"{path}: damaged, or of a number type that NumPy does not have ({error}); save it in float32"
        ) from error
    if metadata.get("format") == "nplm":
        raise InputError(f"{path}: this is already a model of nplm; use it directly")
    for name, kept in metadata.items():  # safetensors.torch.save_model keeps one of two tied weights
        if kept in arrays and name not in arrays:
            arrays[name] = arrays[kept]
    table = metadata.get("vocabulary")
    words = None if table is None else _tokens(table, f"{path}: vocabulary")
    return arrays, words and words._replace(unit=metadata.get("unit"))


def _read_torch(path: Path) -> StateDict:
    torch = optional.load("torch", "torch", f"{path}: reading what torch.save wrote")
    try:
        with torch.sparse.check_sparse_tensor_invariants(True):  # places outside an array end the process
            state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: damaged, or a whole pickled model, not a state_dict; in the program that made it, use"
            " torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # on other files the unpickler may raise anything
        raise InputError(f"{path}: not a file of torch.save, or damaged; copy it again") from error
    if not isinstance(state_dict, Mapping) or not all(map(torch.is_tensor, state_dict.values())):
        raise InputError(f"{path}: not just a state_dict; save model.state_dict() by itself")
    if odd := [name for name in state_dict if not isinstance(name, str)]:
        raise InputError(f"{path}: {odd[0]!r} is not the name of a parameter; save model.state_dict() by itself")
    return {name: as_array(name, value) for name, value in state_dict.items()}


def as_array(name: str, value: Any) -> Array:
    """A tensor or array-like as a plain array; float16, bfloat16 and quantised tensors become float32.

    Raises InputError if a tensor has no data, as on PyTorch's device "meta", or a type that NumPy does not have.
    """
    try:
        if hasattr(value, "detach"):  # a PyTorch tensor
            value = value.detach()
            value = value.dequantize() if value.is_quantized else value
            value = value if str(value.layout) == "torch.strided" else value.to_dense()
            value = value.cpu().resolve_conj().resolve_neg()
            narrow = value.is_floating_point() and value.element_size() < 4
            value = (value.float() if narrow else value).numpy()
        array: Array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # NotImplementedError is a RuntimeError
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name}: not an array of numbers ({reason}); save it as a dense tensor on the CPU") from None
    return array
