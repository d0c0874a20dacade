"""Matrix products of a shard, in explicit vectors: a tile of the result stays in registers over the depth.

BLAS is built for large matrices.  The product of one time step, (B,H) times (H,4H) with B of 10 or 20, ran at
28 to 55 GFLOP/s there; from packed panels and the tile below it runs at 162, where a large product in
OpenBLAS has 151 on the same core (AVX-512, H = 200, B = 10, float32).

    panels[p, k, j] = right[k, p * WIDTH + j]       WIDTH: two vectors of the host; zero beyond the last column
    out[m, p * WIDTH + j] = begin[places[m], p * WIDTH + j] + sum_k left[m, k] * panels[p, k, j]

The vectors are the host's: 16 float32 with AVX-512, 8 with AVX2, 4 with NEON; half as many float64.  A tile is
R rows by two vectors, 2 R accumulators, so that every vector read from a panel serves R rows.
A sum begins at any row of `begin`: the bias, zero, the input part of a gate, or `out` itself; to fill `out` with it
beforehand was a pass over memory of its own.
Every entry of `out` is summed over k in order: it does not depend on the rows beside it.
Without the JIT the same panels are multiplied by NumPy.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return, type-var, call-arg"

from typing import Any

import llvmlite.binding
import llvmlite.ir as ir
import numba
import numpy as np
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from nplm.kernels._jit import njit


def _host_vector_bytes() -> int:
    chosen = getattr(numba.config, "CPU_FEATURES", None)
    if chosen:  # NUMBA_CPU_FEATURES: code for another processor
        return 64 if "+avx512f" in chosen else 32 if "+avx2" in chosen else 16
    features = llvmlite.binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


VECTOR_BYTES = _host_vector_bytes()
# Rows R of the tiles, largest first: 2 R accumulators and 3 more, of 32 registers with AVX-512 and of 16 else.
# A product is cut into the largest tiles that fit; a tile for every R would double what the compiler takes.
TILES = (12, 10, 8, 6, 4, 2, 1) if VECTOR_BYTES == 64 else (6, 5, 4, 2, 1)
# One or two rows alone cannot keep the multipliers busy: a sum waits for the one before it.  They take four panels
# at once.
FEW_ROWS, PANELS_AT_ONCE = (2 if VECTOR_BYTES == 64 else 1), 4
# Rows of a panel that a tile asks the memory for in advance.  Where the weights outgrow the L2 cache, the product of a
# time step went from 112 to 132 GFLOP/s, and to and fro (see multiply_flat) to 139 (B = 10, H = 650; measured).
AHEAD = 16
DEPTH = 256  # of a stretch of a panel: 32 KiB, which stay in the L1 cache while all rows pass by
LEFT_BYTES = 2**19  # of the rows that pass by a panel, and stay in the L2 cache while all panels do


@intrinsic
def _tile(
    context,
    rows,
    vectors,
    left,
    left_start,
    left_stride,
    panels,
    panel_start,
    panel_size,
    depth,
    begin,
    begin_start,
    begin_stride,
    places,
    places_start,
    out,
    out_start,
    out_stride,
):
    """out[r, j] = begin[places[r], j] + sum_k left[r, k] panel[k, j] for r < rows, one of TILES, and j in the first
    `vectors` vectors.

    left, panels, begin, places and out are flat arrays, each with the place where its part starts; panel_size is the
    distance from one panel to the next, for tiles wider than one.
    """
    real, place = left.dtype, types.intp
    signature = types.void(
        place, place, left, place, place, panels, place, place, place, begin, place, place, places, place,
        out, place, place,
    )  # fmt: skip
    shapes = [(rows, vectors) for vectors in (1, 2) for rows in TILES]
    shapes += [(rows, 2 * PANELS_AT_ONCE) for rows in TILES if rows <= FEW_ROWS]

    def generate(context, builder, signature, arguments):
        def start_of(which):
            data = context.make_array(signature.args[which])(context, builder, arguments[which]).data
            return builder.gep(data, [arguments[which + 1]])

        operands = (*(start_of(k) for k in (2, 5, 9, 12, 14)), *(arguments[k] for k in (4, 7, 8, 11, 16)))
        done = builder.append_basic_block("done")
        case = builder.add(builder.mul(arguments[0], arguments[0].type(16)), arguments[1])
        choice = builder.switch(case, done)
        for rows, vectors in shapes:
            block = builder.append_basic_block(f"tile_{rows}_{vectors}")
            choice.add_case(case.type(16 * rows + vectors), block)
            builder.position_at_end(block)
            _emit_tile(builder, rows, vectors, real.bitwidth, *operands)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


def _emit_tile(
    builder,
    rows,
    vectors,
    bits,
    left,
    panel,
    begin,
    places,
    out,
    left_stride,
    panel_size,
    depth,
    begin_stride,
    out_stride,
) -> None:
    """The loop over the depth for one shape of tile, with the sums in registers; leaves the builder after it."""
    lanes, align = VECTOR_BYTES * 8 // bits, bits // 8
    vector = ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), lanes)
    index, undefined = depth.type, ir.Constant(vector, ir.Undefined)
    lane_0 = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)  # zeros: lane 0 everywhere
    fma_type = ir.FunctionType(vector, [vector] * 3)
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    prefetch_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = get_or_insert_function(builder.module, prefetch_type, "llvm.prefetch.p0")
    fma = get_or_insert_function(builder.module, fma_type, f"llvm.fmuladd.v{lanes}f{bits}")

    def vector_at(base, place):
        return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

    left_rows = [builder.gep(left, [builder.mul(left_stride, index(r))]) for r in range(rows)]
    panel_vectors = [  # two vectors lie in one panel
        builder.gep(panel, [builder.add(builder.mul(panel_size, index(v // 2)), index(v % 2 * lanes))])
        for v in range(vectors)
    ]
    first = []
    for r in range(rows):
        row = builder.mul(builder.load(builder.gep(places, [index(r)])), begin_stride)
        vectors_of_row = [vector_at(begin, builder.add(row, index(v * lanes))) for v in range(vectors)]
        first += [builder.load(place, align=align) for place in vectors_of_row]
    before, body = builder.block, builder.append_basic_block("depth")
    builder.branch(body)
    builder.position_at_end(body)
    k = builder.phi(index)
    sums = [builder.phi(vector) for _ in first]
    panel_row = builder.mul(k, index(2 * lanes))
    right = [builder.load(vector_at(base, panel_row), align=align) for base in panel_vectors]
    for base in panel_vectors:
        ahead = builder.gep(base, [builder.add(panel_row, index(AHEAD * 2 * lanes))])
        # for reading (0), into the nearest cache (3), data (1)
        builder.call(prefetch, [builder.bitcast(ahead, byte), number(0), number(3), number(1)])
    following = []
    for r in range(rows):
        value = builder.load(builder.gep(left_rows[r], [k]))
        spread = builder.insert_element(undefined, value, number(0))
        spread = builder.shuffle_vector(spread, undefined, lane_0)
        following += [builder.call(fma, [spread, right[v], sums[vectors * r + v]]) for v in range(vectors)]
    next_k = builder.add(k, index(1))
    for phi, start, step in zip([k, *sums], [index(0), *first], [next_k, *following], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(step, body)
    after = builder.append_basic_block("store")
    builder.cbranch(builder.icmp_signed("<", next_k, depth), body, after)
    builder.position_at_end(after)
    for r in range(rows):
        for v in range(vectors):
            place = vector_at(out, builder.add(builder.mul(out_stride, index(r)), index(v * lanes)))
            builder.store(following[vectors * r + v], place, align=align)


def width(dtype: Any) -> int:
    """Columns of a panel: two vectors."""
    return 2 * VECTOR_BYTES // np.dtype(dtype).itemsize


def panel_shape(depth: int, columns: int, dtype: Any) -> tuple[int, int, int]:
    """Shape (P,K,WIDTH) of the panels of a right operand (K,N)."""
    return (-(-columns // width(dtype)), depth, width(dtype))


@njit()
def pack(right: np.ndarray, panels: np.ndarray) -> None:
    """Packs a right operand (K,N), C-contiguous: read row by row, in the order of its memory."""
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
    """Packs the right operand whose transpose (N,K), C-contiguous, is given: written in the order of its memory.

    The rows of one panel are few, so their cache lines stay while k passes along them; writing one row at a time
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


@njit()
def _multiply_panel(
    left, left_start, panels, p, vectors, begin, begin_start, begin_stride, places,
    out, out_start, out_stride, rows, in_order,
):  # fmt: skip
    depth, step = panels.shape[1], panels.shape[2]
    flat = panels.ravel()
    for start in range(0, depth, DEPTH):
        m = 0
        while m < rows:
            tile = _largest_tile(rows - m)
            _tile(
                tile, vectors, left, left_start + m * depth + start, depth,
                flat, (p * depth + start) * step, depth * step, min(DEPTH, depth - start),
                begin, begin_start, begin_stride, places, m,
                out, out_start + m * out_stride, out_stride,
            )  # fmt: skip
            m += tile
        # the next stretch goes on where this one has stopped
        begin, begin_start, begin_stride, places = out, out_start, out_stride, in_order


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
    aside: room for M WIDTH numbers, for the last panel where it is wider than what is left of the columns.
    in_order: 0, 1, ... M - 1 at least.
    backwards: from the last panel to the first.  A sweep goes to and fro: where the panels outgrow the L2 cache,
    each step then begins with those that the step before has left there.
    """
    step = panels.shape[2]
    whole, at_once = columns // step, PANELS_AT_ONCE if rows <= FEW_ROWS else 1
    rest, groups = columns - whole * step, whole // at_once
    turns = groups + whole % at_once + (rest > 0)
    for turn in range(turns):  # with one call below: every call is compiled with all its tiles
        if turn < groups:
            p, vectors = at_once * (groups - 1 - turn if backwards else turn), 2 * at_once
        else:
            p, vectors = turn + groups * (at_once - 1), 2
        first, sums, start, stride, rows_of = p * step, begin, p * step, columns, places
        target, target_start = out, out_start + first
        if p == whole:  # the last panel, wider than what is left of the columns
            _put_aside(begin, first, columns, places, rows, rest, aside, step)
            vectors = 1 if 2 * rest <= step else 2
            sums, start, stride, rows_of, target, target_start = aside, 0, step, in_order, aside, 0
        _multiply_panel(
            left, left_start, panels, p, vectors, sums, start, stride, rows_of,
            target, target_start, stride, rows, in_order,
        )  # fmt: skip
    for m in range(rows if rest > 0 else 0):
        for j in range(rest):
            out[out_start + m * columns + whole * step + j] = aside[m * step + j]


@njit()
def multiply(left: np.ndarray, panels: np.ndarray, begin: np.ndarray, out: np.ndarray) -> None:
    """out (M,N) = begin (N,) + left (M,K) @ right, all C-contiguous, right in panels."""
    rows, columns = out.shape
    depth, step = panels.shape[1], panels.shape[2]
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


if getattr(numba.config, "DISABLE_JIT", False):

    def multiply_flat(
        left, left_start, panels, begin, places, out, out_start, rows, columns, aside, in_order, backwards
    ):
        """The same product by NumPy."""
        depth = panels.shape[1]
        right = panels.transpose(1, 0, 2).reshape(depth, len(panels) * panels.shape[2])[:, :columns]  # (K,N)
        matrix = left[left_start : left_start + rows * depth].reshape(rows, depth)
        sums = begin[places[:rows, None] * columns + np.arange(columns)] + matrix @ right
        out[out_start : out_start + rows * columns] = sums.ravel()
