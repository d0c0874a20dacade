"""Products out of registers.  Oracle: NumPy's product in longdouble, and the order of the sum, bit for bit."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nplm.kernels import matmul as gemm
from nplm.layers.matmul import pack_right, pack_transposed, product, transposed_product
from nplm.layers.workspace import Workspace

DTYPES = [np.float32, np.float64]
STEP = {dtype: gemm.width(dtype) for dtype in DTYPES}


def operands(rows, depth, columns, dtype, seed=0):
    """left (M,K), right (K,N) and what stands in out (M,N) before."""
    rng = np.random.default_rng(seed)
    shapes = ((rows, depth), (depth, columns), (rows, columns))
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def add_product(left, right, before, places=None, backwards=False):
    """Rows `places` of before (all of them) + left @ right, out of panels."""
    panels, rows, columns = pack_right(right, Workspace(), "right"), len(left), right.shape[1]
    out, in_order = np.full((rows, columns), np.nan, left.dtype), np.arange(rows)
    aside = np.full(rows * panels.shape[2] + 1, np.nan, left.dtype)  # one number more than it may write to
    gemm.multiply_flat(
        left.ravel(), 0, panels, before.ravel(), in_order if places is None else places, out.ravel(), 0,
        rows, columns, aside, in_order, backwards,
    )  # fmt: skip
    assert np.isnan(aside[-1])
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 9, 11, 12, 13, 25])
@pytest.mark.parametrize("columns", ["1", "half", "step", "step+1", "5 steps", "9.5 steps"])
@pytest.mark.parametrize("depth", [1, 7, gemm.DEPTH, gemm.DEPTH + 3])
def test_product(dtype, rows, columns, depth):
    """longdouble: both sides of every edge of tile, vector, panel, panels at once, and stretch of the depth."""
    step = STEP[dtype]
    n = {"1": 1, "half": step // 2, "step": step, "step+1": step + 1, "5 steps": 5 * step}.get(
        columns, 9 * step + step // 2
    )
    left, right, before = operands(rows, depth, n, dtype)
    wide = before.astype(np.longdouble) + left.astype(np.longdouble) @ right.astype(np.longdouble)
    bound = 4 * (depth + 1) * float(np.finfo(dtype).eps) * np.sqrt(depth)
    assert float(np.abs(add_product(left, right, before) - wide).max()) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_pass_in_parts(dtype, monkeypatch):
    """NumPy: more rows than stay in the L2 cache, so `multiply` takes them in parts."""
    left, right, before = operands(gemm.LEFT_BYTES // (600 * 4) + 30, 600, 5, dtype)
    panels, atol = pack_right(right, Workspace(), "right"), 3e-2 if dtype == np.float32 else 1e-11
    got = product(left, panels, np.full_like(before, np.nan), before[0])
    np.testing.assert_allclose(got, before[0] + left @ right, rtol=0, atol=atol)
    got = product(left, panels, np.full_like(before, np.nan))
    np.testing.assert_allclose(got, left @ right, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", [7, gemm.DEPTH + 3])
def test_where_sums_begin(dtype, depth):
    """NumPy's rows, taken beforehand: sums begin at any rows, in any order, some of them twice."""
    left, right, before = operands(13, depth, 5 * STEP[dtype] + 3, dtype)
    places = np.array([4, 4, 0, 12, 3, 2, 1, 0, 11, 4, 7, 7, 5])
    np.testing.assert_array_equal(add_product(left, right, before, places), add_product(left, right, before[places]))


@pytest.mark.skipif(gemm.numba.config.DISABLE_JIT, reason="NumPy's products do not promise it")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 5, 12, 23])
def test_a_row_does_not_depend_on_the_rows_beside_it(dtype, rows):
    """Each row multiplied alone: the same bits, so that cutting a chunk's columns changes none."""
    left, right, before = operands(rows, 70, 5 * STEP[dtype] + 3, dtype)
    together = add_product(left, right, before)
    for m in range(rows):
        np.testing.assert_array_equal(together[m : m + 1], add_product(left[m : m + 1], right, before[m : m + 1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 10])
def test_to_and_fro(dtype, rows):
    """The other direction: the panels from last to first give the same bits."""
    columns = 9 * STEP[dtype] + 1
    left, right, before = operands(rows, 40, columns, dtype)
    forwards, backwards = (add_product(left, right, before, None, way) for way in (False, True))
    np.testing.assert_array_equal(forwards, backwards)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (70, 100), (130, STEP[np.float32])])
def test_packing(dtype, shape):
    """The definition of a panel, entry by entry, zeros beyond the last column; and packing the transpose."""
    right = np.random.default_rng(1).normal(size=shape).astype(dtype)
    room, step = Workspace(), STEP[dtype]
    room.empty("right", gemm.panel_shape(*shape, dtype), dtype).fill(np.nan)  # what stood there before
    panels = pack_right(right, room, "right")
    for p, k, j in np.ndindex(panels.shape):
        column = p * step + j
        assert panels[p, k, j] == (right[k, column] if column < shape[1] else 0.0)
    np.testing.assert_array_equal(
        pack_transposed(np.ascontiguousarray(right.T), Workspace(), "right"), panels, strict=True
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows(value):
    """The definition: one entry that is not finite spoils its row, or its column, and no other."""
    left, right, before = operands(4, 6, 40, np.float32)
    left[2, 3] = value
    got = add_product(left, right, before)
    assert not np.isfinite(got[2]).any() and np.isfinite(np.delete(got, 2, axis=0)).all()
    left[2, 3], right[1, 39] = 1.0, value
    got = add_product(left, right, before)
    assert not np.isfinite(got[:, 39]).any() and np.isfinite(got[:, :39]).all()


def test_transposed_product():
    """NumPy in longdouble."""
    left, right, _ = operands(30, 7, 1, np.float64)
    right = np.random.default_rng(2).normal(size=(30, 5))
    got = transposed_product(left, right, np.empty((7, 5)))
    np.testing.assert_allclose(got, left.astype(np.longdouble).T @ right, rtol=1e-13)


@pytest.mark.skipif(gemm.numba.config.DISABLE_JIT, reason="there are no vectors without the JIT")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are processors of that family")
@pytest.mark.parametrize(
    ("name", "features", "vector_bytes"), [("haswell", "+avx,+avx2,+fma", 32), ("nocona", "+sse2", 16)]
)
def test_other_processors(name, features, vector_bytes, tmp_path):
    """NumPy, on code made for processors with shorter vectors, with and without fused multiply-adds."""
    script = """
import numpy as np
from nplm.kernels import matmul as gemm
from nplm.layers.matmul import pack_right, product
from nplm.layers.workspace import Workspace
left, right = np.random.default_rng(0).normal(size=(13, 300)), np.random.default_rng(1).normal(size=(300, 45))
for rows in (1, 13):
    got = product(left[:rows].copy(), pack_right(right, Workspace(), "right"), np.empty((rows, 45)))
    np.testing.assert_allclose(got, left[:rows] @ right, rtol=0, atol=1e-11)
print(gemm.VECTOR_BYTES)
"""
    other = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **other}, cwd=Path(gemm.__file__).parents[2],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(vector_bytes)
