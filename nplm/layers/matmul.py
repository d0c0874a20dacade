"""Matrix products of the layers: the right operand is packed once, then multiplied out of registers.

One interface for every product of a training step; how it is made fast is described in kernels/matmul.py.
"""

import numpy as np

from nplm.arrays import Array
from nplm.kernels import matmul as gemm
from nplm.layers.workspace import Workspace


def pack_right(right: Array, room: Workspace, name: str) -> Array:
    """Panels of a right operand (K,N)."""
    depth, columns = right.shape
    panels = room.empty(name, gemm.panel_shape(depth, columns, right.dtype), right.dtype)
    gemm.pack(right, panels)
    return panels


def pack_transposed(right: Array, room: Workspace, name: str) -> Array:
    """Panels of right' (N,K), for right (K,N)."""
    columns, depth = right.shape
    panels = room.empty(name, gemm.panel_shape(depth, columns, right.dtype), right.dtype)
    gemm.pack_transposed(right, panels)
    return panels


def product(left: Array, panels: Array, out: Array, bias: Array | None = None) -> Array:
    """out (M,N) = left (M,K) @ right, plus bias (N,), for right (K,N) in panels; returns out."""
    gemm.multiply(left, panels, np.zeros(out.shape[1], out.dtype) if bias is None else bias, out)
    return out


def transposed_product(left: Array, right: Array, out: Array) -> Array:
    """out (M,N) = left' @ right for left (K,M) and right (K,N): the sums over a chunk's positions; returns out.

    By BLAS: both operands are large, and the left one would have to be turned round for the tiles.
    """
    return np.matmul(left.T, right, out=out)
