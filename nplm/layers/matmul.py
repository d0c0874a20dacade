"""Matrix products of the layers: one interface for all implementations.

    product             out (M,N) = left (M,K) @ right (K,N) + bias      right packed once, left from `operand`
    transposed_product  out (M,N) = left (K,M)^T @ right (K,N)            both from `by_position`

Operands are the numbers themselves or, if they were made with bfloat16=True, pairs of bfloat16
(kernels/bfloat16.py).  Results have the numbers' type in both cases.  The implementation, in kernels/, follows from
the operands and the processor:

    operands            product                                  transposed_product
    float32, float64    tiles of fused multiply-adds             BLAS
    bfloat16            tiles of vdpbf16ps where the processor   the same tiles: pairs of neighbouring positions are
                        has it, else of float32 multiply-adds    panels of both operands, so neither is transposed

AMX would be another implementation of the second line, with its own shape of panels, made and read in kernels/.
"""

from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.kernels import bfloat16 as pairs
from nplm.kernels import matmul as gemm
from nplm.layers.workspace import Workspace


def pack_right(right: Array, room: Workspace, name: str, bfloat16: bool = False) -> Array:
    """Panels of a right operand (K,N)."""
    panels = _panels(right.shape[0], right.shape[1], right.dtype, room, name, bfloat16)
    (pairs if bfloat16 else gemm).pack(right, panels)
    return panels


def pack_transposed(right: Array, room: Workspace, name: str, bfloat16: bool = False) -> Array:
    """Panels of right' (N,K), for right (K,N)."""
    panels = _panels(right.shape[1], right.shape[0], right.dtype, room, name, bfloat16)
    (pairs if bfloat16 else gemm).pack_transposed(right, panels)
    return panels


def pack_both(weight: Array, room: Workspace, bfloat16: bool = False) -> tuple[Array, Array]:
    """`pack_transposed` and `pack_right` of one weight, for the forward and the backward pass."""
    if not bfloat16:
        return pack_transposed(weight, room, "forward"), pack_right(weight, room, "backward")
    rows, columns = weight.shape
    forward = _panels(columns, rows, weight.dtype, room, "forward", bfloat16)
    backward = _panels(rows, columns, weight.dtype, room, "backward", bfloat16)
    pairs.pack_both(weight, forward, backward)
    return forward, backward


def is_bfloat16(operand: Array) -> bool:
    """Whether an operand, packed or not, holds pairs of bfloat16."""
    return bool(operand.dtype == np.uint32)


def operand_like(values: Array, room: Workspace, name: str, bfloat16: bool) -> Array:
    """The result of `operand`, not yet filled: a kernel that writes `values` also fills it."""
    if not bfloat16:
        return values
    return room.empty(name, (*values.shape[:-1], -(-values.shape[-1] // 2)), np.uint32)


def operand(values: Array, room: Workspace, name: str, bfloat16: bool) -> Array:
    """values (...,K) as an operand: themselves, or rounded to bfloat16 in pairs (...,ceil(K/2))."""
    out = operand_like(values, room, name, bfloat16)
    if bfloat16:
        pairs.write_rows(values.reshape(-1, values.shape[-1]), out.reshape(-1, out.shape[-1]))
    return out


def product(left: Array, panels: Array, out: Array, bias: Array | None = None) -> Array:
    """out (M,N) = left (M,K) @ right, plus bias (N,), for right (K,N) in panels; returns out."""
    gemm.multiply(left, panels, np.zeros(out.shape[1], out.dtype) if bias is None else bias, out)
    return out


def by_position(rows: Array, columns: int, room: Workspace, name: str) -> Array:
    """An operand (K,N) of N columns for `transposed_product`: itself, or panels of pairs of its rows."""
    if not is_bfloat16(rows):
        return rows
    panels = _panels(len(rows), columns, np.float32, room, name, bfloat16=True)
    pairs.pair_rows(rows, columns, panels)
    return panels


def transposed_product(left: Array, right: Array, out: Array) -> Array:
    """out (M,N) = left' @ right for left (K,M) and right (K,N): the sums over a chunk's positions; returns out.

    BLAS multiplies unrounded operands: both are large, and the left one would have to be transposed for the tiles.
    """
    if not is_bfloat16(left):
        return np.matmul(left.T, right, out=out)
    gemm.multiply_panels(left, right, out)
    return out


def _panels(depth: int, columns: int, dtype: Any, room: Workspace, name: str, bfloat16: bool) -> Array:
    """Panels, not yet filled, of a right operand (K,N)."""
    if bfloat16:
        return room.empty(name, gemm.panel_shape(-(-depth // 2), columns, np.float32), np.uint32)
    return room.empty(name, gemm.panel_shape(depth, columns, dtype), dtype)
