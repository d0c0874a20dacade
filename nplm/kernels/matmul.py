"""Matrix products of a shard: the right operand is packed in panels, and the result is computed tile by tile.

BLAS is made for large matrices.  The product of one time step, (B,H) times (H,4H) with B of 10 or 20, ran at
28 to 55 GFLOP/s in BLAS; from packed panels with the tiles of tile.py it runs at 162, while a large product in
OpenBLAS runs at 151 on the same core (AVX-512, H = 200, B = 10, float32).

    panels[p, k, j] = right[k, p * WIDTH + j]       WIDTH: two vectors of the host; zero beyond the last column
    out[m, p * WIDTH + j] = begin[places[m], p * WIDTH + j] + sum_k left[m, k] * panels[p, k, j]

The initial value of a sum is any row of `begin`: the bias, zero, the input part of a gate, or `out` itself; filling
`out` with it beforehand would be a separate pass over memory.
Every entry of `out` is summed over k in order, independently of other rows.
Without the JIT, NumPy multiplies the same panels.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return, call-arg"

from typing import Any

import numba
import numpy as np

from nplm.kernels._jit import njit
from nplm.kernels.tile import FEW_ROWS, PANELS_AT_ONCE, TILES, VECTOR_BYTES, multiply_tile

DEPTH = 256  # of a block of a panel: 32 KiB, which stay in the L1 cache while all rows are multiplied by it
LEFT_BYTES = 2**19  # of the rows multiplied by a panel, which stay in the L2 cache for all panels


def width(dtype: Any) -> int:
    """Columns of a panel: two vectors."""
    return 2 * VECTOR_BYTES // np.dtype(dtype).itemsize


def panel_shape(depth: int, columns: int, dtype: Any) -> tuple[int, int, int]:
    """Shape (P,K,WIDTH) of the panels of a right operand (K,N)."""
    return (-(-columns // width(dtype)), depth, width(dtype))


@njit()
def pack(right: np.ndarray, panels: np.ndarray) -> None:
    """Pack a right operand (K,N), C-contiguous, reading it row by row in the order of its memory."""
    columns, step = right.shape[1], panels.shape[2]
    for k in range(panels.shape[1]):
        row = right[k]
        for p in range(panels.shape[0]):
            out = panels[p, k]
            valid = min(step, columns - p * step)
            for j in range(valid):
                out[j] = row[p * step + j]
            for j in range(valid, step):
                out[j] = 0


@njit()
def pack_transposed(right: np.ndarray, panels: np.ndarray) -> None:
    """Pack the right operand whose transpose (N,K), C-contiguous, is given, writing in the order of the panels' memory.

    A panel has few rows, so their cache lines stay in the cache while k runs along them; writing one row at a time
    took more than twice as long (measured).
    """
    columns, step = right.shape[0], panels.shape[2]
    for p in range(panels.shape[0]):
        valid = min(step, columns - p * step)
        rows = right[p * step : p * step + valid]
        for k in range(panels.shape[1]):
            out = panels[p, k]
            for j in range(valid):
                out[j] = rows[j, k]
            for j in range(valid, step):
                out[j] = 0


@njit()
def _largest_tile(rows: int) -> int:
    for tile in TILES:
        if tile <= rows:
            return tile
    return 0


@njit(inline=True)
def _multiply_stretch(
    left, left_start, left_stride, left_step, panels, p, start, depth, vectors,
    begin, begin_start, begin_stride, places, out, out_start, out_stride, rows,
):  # fmt: skip
    """All rows, cut into tiles, times a stretch of `depth` rows of panel p from row `start`."""
    size, step = panels.shape[1] * panels.shape[2], panels.shape[2]
    flat, m = panels.ravel(), 0
    while m < rows:
        tile = _largest_tile(rows - m)
        multiply_tile(
            tile, vectors, left, left_start + m * left_stride, left_stride, left_step,
            flat, p * size + start * step, size, depth,
            begin, begin_start, begin_stride, places, m, out, out_start + m * out_stride, out_stride,
        )  # fmt: skip
        m += tile


@njit()
def _put_aside(begin, start, stride, places, rows, rest, aside, step):
    for m in range(rows):
        for j in range(rest):
            aside[m * step + j] = begin[places[m] * stride + start + j]
        for j in range(rest, step):
            aside[m * step + j] = 0


@njit()
def multiply_flat(
    left: np.ndarray,
    left_start: int,
    panels: np.ndarray,
    begin: np.ndarray,
    places: np.ndarray,
    out: np.ndarray,
    out_start: int,
    rows: int,
    columns: int,
    aside: np.ndarray,
    in_order: np.ndarray,
    backwards: bool,
) -> None:
    """out (M,N) = rows `places` (M,) of begin (R,N), plus left (M,K) times panels.

    left, begin and out are flat arrays; left and out with the place where they start.
    aside: scratch space for M WIDTH numbers, for the last panel where it is wider than what is left of the columns.
    in_order: 0, 1, ... M - 1 at least.
    backwards: from the last panel to the first.  A sweep goes to and fro: where the panels outgrow the L2 cache,
    each step then begins with those that the step before has left there.
    """
    depth, step = panels.shape[1], panels.shape[2]
    whole, at_once = columns // step, PANELS_AT_ONCE if rows <= FEW_ROWS else 1
    rest, groups = columns - whole * step, whole // at_once
    turns = groups + whole % at_once + (rest > 0)
    for turn in range(turns):  # with one call below: every call is compiled with all its tiles
        if turn < groups:
            p, vectors = at_once * (groups - 1 - turn if backwards else turn), 2 * at_once
        else:
            p, vectors = turn + groups * (at_once - 1), 2
        first, sums, sums_start, stride, rows_of = p * step, begin, p * step, columns, places
        target, target_start = out, out_start + first
        if p == whole:  # the last panel, wider than what is left of the columns
            _put_aside(begin, first, columns, places, rows, rest, aside, step)
            vectors = 1 if 2 * rest <= step else 2
            sums, sums_start, stride, rows_of, target, target_start = aside, 0, step, in_order, aside, 0
        for start in range(0, depth, DEPTH):
            _multiply_stretch(
                left, left_start + start, depth, 1, panels, p, start, min(DEPTH, depth - start), vectors,
                sums, sums_start, stride, rows_of, target, target_start, stride, rows,
            )  # fmt: skip
            sums, sums_start, rows_of = target, target_start, in_order  # the next stretch goes on where this one stops
    for m in range(rows if rest > 0 else 0):
        for j in range(rest):
            out[out_start + m * columns + whole * step + j] = aside[m * step + j]


def multiply(left: np.ndarray, panels: np.ndarray, begin: np.ndarray, out: np.ndarray) -> None:
    """out (M,N) = begin (N,) + left (M,K) @ right, all C-contiguous, right in panels."""
    (rows, columns), depth, step = out.shape, panels.shape[1], panels.shape[2]
    most = max(TILES[0], LEFT_BYTES // max(1, depth * left.itemsize) // TILES[0] * TILES[0])
    aside = np.empty(min(rows, most) * step, out.dtype)
    in_order, places = np.arange(min(rows, most)), np.zeros(min(rows, most), np.intp)
    flat_left, flat_out = left.ravel(), out.ravel()
    for first in range(0, rows, most):
        part = min(most, rows - first)
        multiply_flat(
            flat_left, first * depth, panels, begin, places, flat_out, first * columns, part, columns,
            aside, in_order, False,
        )  # fmt: skip


@njit()
def multiply_panels(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out (M,N) = left' @ right for left (K,M) and right (K,N), both in panels: neither is transposed.

    A stretch of all panels of the right operand stays in the L2 cache, one of the left operand's in the L1 cache.
    """
    rows, columns = out.shape
    depth, step = right.shape[1], right.shape[2]
    whole = columns // step
    rest = columns - whole * step
    flat_left, flat_out = left.ravel(), out.ravel()
    in_order, zero, first_row = np.arange(step), np.zeros(step, out.dtype), np.zeros(step, np.intp)
    aside = np.zeros((left.shape[0], step * step if rest > 0 else 0), out.dtype).ravel()
    for start in range(0, depth, DEPTH):
        stretch = min(DEPTH, depth - start)
        for q in range(left.shape[0]):
            part = min(step, rows - q * step)
            for p in range(right.shape[0]):
                vectors, target, target_start, stride = 2, flat_out, q * step * columns + p * step, columns
                if p == whole:  # wider than what is left of the columns
                    vectors = 1 if 2 * rest <= step else 2
                    target, target_start, stride = aside, q * step * step, step
                begin, begin_start, begin_stride, places = target, target_start, stride, in_order
                if start == 0:
                    begin, begin_start, begin_stride, places = zero, 0, 0, first_row
                _multiply_stretch(
                    flat_left, (q * depth + start) * step, 1, step, right, p, start, stretch, vectors,
                    begin, begin_start, begin_stride, places, target, target_start, stride, part,
                )  # fmt: skip
    for m in range(rows if rest > 0 else 0):
        for j in range(rest):
            flat_out[m * columns + whole * step + j] = aside[m * step + j]


if getattr(numba.config, "DISABLE_JIT", False):

    def multiply_flat(
        left, left_start, panels, begin, places, out, out_start, rows, columns, aside, in_order, backwards
    ):
        """The same product by NumPy."""
        depth = panels.shape[1]
        matrix = _numbers(left[left_start : left_start + rows * depth].reshape(rows, depth).T).T  # (M,K)
        right = _matrix(panels)[:, :columns]  # (K,N)
        sums = begin[places[:rows, None] * columns + np.arange(columns)] + matrix @ right
        out[out_start : out_start + rows * columns] = sums.ravel()

    def multiply_panels(left, right, out):
        """The same product by NumPy."""
        out[...] = (_matrix(left).T @ _matrix(right))[: out.shape[0], : out.shape[1]]

    def _matrix(panels):
        """What is in panels: (K,P WIDTH)."""
        return _numbers(panels.transpose(1, 0, 2).reshape(panels.shape[1], len(panels) * panels.shape[2]))

    def _numbers(entries):
        """Entries (K,...) of an operand, or pairs (K/2,...) of bfloat16, as numbers (K,...)."""
        if entries.dtype != np.uint32:
            return entries
        halves = np.stack([entries << 16, entries & 0xFFFF0000], axis=1)  # (K/2,2,...)
        return halves.reshape(2 * len(entries), *entries.shape[1:]).view(np.float32)
