"""Nested containers of arrays as one flat vector of real numbers, and back again."""

import copy
import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Path = tuple[Any, ...]  # the keys, positions and attribute names that lead from the root to a leaf


class Leaf(NamedTuple):
    """One array of real numbers, and its position in the flat vector."""

    name: str
    path: Path
    array: Array
    span: slice


class Tree:
    """The real arrays in nested dicts, lists, tuples, namedtuples and dataclasses.

    Arrays of integers and everything else that is not a real number stay as they are.

    Parameters
    ----------
    structure
        The containers; a bare array will do.
    only
        Names of the arrays that vary, shell wildcards included; all others are held constant.
    root
        The name of a bare array.
    """

    def __init__(self, structure: Any, only: str | Iterable[str] | None = None, root: str = "x") -> None:
        self.structure = structure
        self.leaves: list[Leaf] = []
        self.integers: dict[str, Array] = {}
        wanted = [only] if isinstance(only, str) else None if only is None else list(only)
        names, start = [], 0
        for path, value in _walk(structure, ()):
            name = ".".join(map(str, path)) or root
            array = np.asarray(value)
            if array.dtype.kind in "iu":
                self.integers[name] = array
            if array.dtype.kind == "c":
                raise TypeError(f"{name} is complex; give its real and its imaginary part as two arrays")
            if array.dtype.kind != "f":
                continue
            names.append(name)
            if wanted is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted):
                self.leaves.append(Leaf(name, path, array.copy(order="K"), slice(start, start + array.size)))
                start += array.size
        if not self.leaves:
            chosen = "" if wanted is None else f" that match only={wanted}"
            raise ValueError(f"there are no arrays of real numbers{chosen}; there are {names or 'none at all'}")
        self.size = start

    @property
    def flat(self) -> Array:
        """The point itself, (size,) float64."""
        return np.concatenate([leaf.array.ravel().astype(np.float64) for leaf in self.leaves])

    @property
    def eps(self) -> Array:
        """One unit in the last place of every entry, relative to the entry, (size,)."""
        return np.concatenate([np.full(leaf.array.size, np.finfo(leaf.array.dtype).eps) for leaf in self.leaves])

    def build(self, flat: Array, dtype: Any = None) -> Any:
        """The containers with new arrays that hold `flat`, in `dtype` or in the original types.

        The arrays are copies: a function that writes into its arguments spoils nothing.
        """
        found = {}
        for leaf in self.leaves:
            part = np.empty_like(leaf.array, dtype=dtype or leaf.array.dtype)
            part[...] = flat[leaf.span].reshape(leaf.array.shape)
            found[leaf.path] = part
        return self.replace(found)

    def build_complex(self, x: Array, imaginary: Array, dtype: Any = complex) -> Any:
        """The containers with new arrays that hold x + i imaginary."""
        found = {}
        for leaf in self.leaves:
            part = np.empty_like(leaf.array, dtype=dtype)
            part.real = x[leaf.span].reshape(leaf.array.shape)
            part.imag = imaginary[leaf.span].reshape(leaf.array.shape)
            found[leaf.path] = part
        return self.replace(found)

    def replace(self, found: Mapping[Path, Any]) -> Any:
        """The containers with other leaves at the given paths."""
        return _rebuild(self.structure, (), found)

    def rounded(self, flat: Array) -> Array:
        """A point (n,) as the arrays can hold it in their own precision."""
        parts = [flat[leaf.span].astype(leaf.array.dtype).astype(np.float64) for leaf in self.leaves]
        return np.concatenate(parts)

    def match(self, other: Any) -> list[Array | None]:
        """For every leaf the array at the same place of `other`; None where there is none."""
        return [None if (x := _follow(other, leaf.path)) is None else np.asarray(x) for leaf in self.leaves]

    def place(self, j: int) -> tuple[Leaf, tuple[int, ...]]:
        """The leaf of entry j of the flat vector, and the entry's index in its array."""
        leaf = next(leaf for leaf in self.leaves if j < leaf.span.stop)
        index = np.unravel_index(j - leaf.span.start, leaf.array.shape)
        return leaf, tuple(int(k) for k in index)


def transform(structure: Any, function: Callable[[Array], Array]) -> Any:
    """The containers with `function` applied to every array of complex numbers."""
    found = [(path, np.asarray(value)) for path, value in _walk(structure, ())]
    return _rebuild(structure, (), {path: function(array) for path, array in found if array.dtype.kind == "c"})


def leaves(structure: Any) -> list[Array]:
    """The arrays of numbers in a structure, integers included, in order."""
    return [x for _, value in _walk(structure, ()) if (x := np.asarray(value)).dtype.kind in "fciu"]


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    """The keys and parts of a container; None for a leaf.  What converts to an array is a leaf."""
    if hasattr(node, "__array__"):
        return None
    if isinstance(node, Mapping):
        return list(node.items())
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return list(zip(node._fields, node, strict=True))
    if isinstance(node, (list, tuple)):
        return list(enumerate(node))
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return [(field.name, getattr(node, field.name)) for field in dataclasses.fields(node)]
    return None


def _walk(node: Any, path: Path) -> Iterable[tuple[Path, Any]]:
    parts = _children(node)
    if parts is None:
        yield path, node
        return
    for key, part in parts:
        yield from _walk(part, (*path, key))


def _rebuild(node: Any, path: Path, found: Mapping[Path, Any]) -> Any:
    """The node with its leaves replaced by those of `found`."""
    if path in found:
        array = found[path]
        return array if isinstance(node, np.ndarray) else array[()]  # a number stays a number
    parts = _children(node)
    if parts is None:
        return node
    made = {key: _rebuild(part, (*path, key), found) for key, part in parts}
    if isinstance(node, Mapping):
        return made
    if isinstance(node, tuple) and hasattr(node, "_make"):
        return node._make(made.values())
    if isinstance(node, (list, tuple)):
        return type(node)(made.values())
    new = copy.copy(node)
    for key, part in made.items():
        object.__setattr__(new, key, part)  # frozen dataclasses too
    return new


def _follow(node: Any, path: Path) -> Any:
    """The value at a path; None if there is none."""
    for key in path:
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(key, str):
            node = getattr(node, key, None)
        elif isinstance(node, (list, tuple)) and key < len(node):
            node = node[key]
        else:
            return None
    return node
