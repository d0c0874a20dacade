"""Reusable scratch arrays, allocated once and used for every chunk.

A chunk needs about twenty megabytes of intermediate results.  If they are allocated each time, they come from the
operating system page by page, which took 2 to 4 ms of the 10 ms of a chunk (2 x 200 units, B = T = 20; measured).
"""

import math
from typing import Any

import numpy as np

from nplm.arrays import Array


class Workspace:
    """Arrays by name.  An array is overwritten when its name is requested again."""

    def __init__(self) -> None:
        self._buffers: dict[str, Array] = {}
        self._parts: dict[str, Workspace] = {}

    def part(self, name: str) -> "Workspace":
        """A workspace within this one, with separate names."""
        return self._parts.setdefault(name, Workspace())

    def empty(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An uninitialised array."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)

    def zeros(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of zeros."""
        array = self.empty(name, shape, dtype)
        array.fill(0)
        return array
