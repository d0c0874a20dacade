"""Files of other programs' making that hold a model: its arrays, and its words."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from nplm import optional
from nplm.arrays import Array
from nplm.data.vocabulary import ASCII_SPACE
from nplm.errors import InputError

MANY = 20  # words whose counts are not by chance all the numbers up to their own
StateDict = dict[str, Array]  # under PyTorch's names


class Tokens(NamedTuple):
    """The words of a model, in its own order."""

    words: list[str]
    counts: list[int] | None  # None: unknown
    unit: str | None = None  # JSON, as nplm describes it; None: unknown, so they are words


def read_tokens(path: str | Path) -> Tokens:
    """The words in a file, one a line in id order, each with a tab and its count, or none of them with one.

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
    """The words and counts in the lines of a table; `name` says where it stands."""
    words: dict[str, int] = {}  # and their lines
    counts: list[int] = []
    for number, line in enumerate(table.rstrip("\r\n").split("\n"), start=1):
        where = f"{name}, line {number}"
        word, tab, count = line.removesuffix("\r").partition("\t")
        if not word or not ASCII_SPACE.isdisjoint(word):
            raise InputError(f"{where}: {line!r} is not a word; give one word a line, or word, tab, count")
        if word in words:
            raise InputError(f"{where}: the word {word!r} is already in line {words[word]}")
        if tab and not (count.isascii() and count.isdigit() and len(count) <= 18):
            raise InputError(f"{where}: the count {count!r} is not a whole number")
        if words and bool(tab) != bool(counts):
            raise InputError(f"{where}: some lines have a count and some have none; give all of them one")
        words[word] = number
        counts += [int(count)] if tab else []
    if _are_ids(counts):
        raise InputError(
            f"{name}: the numbers behind the words are {min(counts)} to {max(counts)}, each once: ids, not counts;"
            " give the words alone, one a line, in the order of the ids"
        )
    return Tokens(list(words), counts or None)


def _are_ids(counts: list[int]) -> bool:
    """Whether numbers are 0, 1, 2 ... or 1, 2, 3 ..., in this order or, where there are many, in any."""
    found = counts if len(counts) <= MANY else sorted(counts)
    return len(counts) > 2 and found[0] in (0, 1) and found == list(range(found[0], found[0] + len(found)))


def read_state_dict(path: str | Path) -> tuple[StateDict, Tokens | None]:
    """The arrays of a .safetensors file, or of what torch.save wrote; and the words, where the file has them.

    Raises InputError if it cannot be read, or holds something else.  A file of torch.save's needs PyTorch, and is
    read without running what may be in it.
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
            f"{path}: damaged, or in a type of number that NumPy has not ({error}); save it in float32"
        ) from error
    if metadata.get("format") == "nplm":
        raise InputError(f"{path}: this is a model of nplm's already; use it as it is")
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
            f"{path}: a whole model, or damaged, not a state_dict; in the program that made it:"
            " torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # what is no such file makes the unpickler raise anything
        raise InputError(f"{path}: not a file of torch.save's, or damaged; copy it again") from error
    if not isinstance(state_dict, Mapping) or not all(map(torch.is_tensor, state_dict.values())):
        raise InputError(f"{path}: not a state_dict alone; save model.state_dict() by itself")
    if odd := [name for name in state_dict if not isinstance(name, str)]:
        raise InputError(f"{path}: {odd[0]!r} is no name of a parameter; save model.state_dict() by itself")
    return {name: as_array(name, value) for name, value in state_dict.items()}


def as_array(name: str, value: Any) -> Array:
    """A tensor, or what NumPy can make an array of, as a plain array; float16, bfloat16 and quantised become float32.

    Raises InputError where a tensor has no numbers, as on PyTorch's device "meta", or such as NumPy has not.
    """
    try:
        if hasattr(value, "detach"):  # a tensor of PyTorch's
            value = value.detach()
            value = value.dequantize() if value.is_quantized else value
            value = value if str(value.layout) == "torch.strided" else value.to_dense()
            value = value.cpu().resolve_conj().resolve_neg()
            narrow = value.is_floating_point() and value.element_size() < 4
            value = (value.float() if narrow else value).numpy()
        array: Array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # NotImplementedError is a RuntimeError
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name}: no array of numbers ({reason}); save it as a dense tensor on the CPU") from None
    return array
