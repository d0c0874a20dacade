"""bfloat16 operands.  Oracle: reference/bfloat16.py, which rounds by arithmetic; and the two makers hold each other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nplm.kernels import bfloat16 as pairs
from nplm.kernels import matmul as gemm
from nplm.kernels._jit import BFLOAT16_MAKER, has_feature
from nplm.layers.matmul import by_position, operand, pack_both, pack_right, pack_transposed, product, transposed_product
from nplm.layers.workspace import Workspace
from nplm.reference import bfloat16 as reference

STEP = gemm.width(np.float32)
NO_JIT = bool(gemm.numba.config.DISABLE_JIT)
COLUMNS = [1, STEP // 2, STEP, STEP + 1, 5 * STEP, 9 * STEP + STEP // 2]
DEPTHS = [1, 2, 7, 2 * gemm.DEPTH - 1, 2 * gemm.DEPTH, 2 * gemm.DEPTH + 3]


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def rounded(values):
    """Rows of pairs, as numbers again: the upper halves of float32."""
    halves = operand(values, Workspace(), "rows", True).view(np.uint16).astype(np.uint32) << 16
    return halves.view(np.float32)


def multiply(left, right, bias=None):
    """left @ right by bfloat16 operands."""
    out = np.full((len(left), right.shape[1]), np.nan, np.float32)
    panels = pack_right(right, Workspace(), "right", True)
    return product(operand(left, Workspace(), "left", True), panels, out, bias)


def multiply_transposed(left, right):
    """left' @ right by bfloat16 operands."""
    left_read, right_read = (
        by_position(operand(values, Workspace(), "", True), values.shape[1], Workspace(), "")
        for values in (left, right)
    )
    out = np.full((left.shape[1], right.shape[1]), np.nan, np.float32)
    return transposed_product(left_read, right_read, out)


def assert_right(got, left, right):
    """The reference, to what float32 loses in a sum of K terms."""
    bound = 2.0**-22 * (np.abs(reference.q(left)) @ np.abs(reference.q(right)))
    bound *= np.sqrt(left.shape[1]) if not NO_JIT else left.shape[1]
    assert (np.abs(got - reference.product(left, right)) <= bound + 1e-30).all()


# ---- rounding


def test_rounding_of_every_upper_half():
    """The reference: each of the 65,536 bfloat16 numbers, and float32 numbers just beside each tie and on it."""
    upper = np.arange(2**16, dtype=np.uint32)[:, None] << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    x = (upper | lower).view(np.float32)
    with np.errstate(invalid="ignore"):
        expected = reference.q(x).astype(np.float32)
    np.testing.assert_array_equal(rounded(x), expected)


def test_ties_go_to_even_by_hand():
    """By hand: 1 + 2^-8 lies between 1 and 1 + 2^-7, whose last bits are 0 and 1; then 1 + 3 2^-8."""
    x = np.array([[1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.4e38]], np.float32)
    np.testing.assert_array_equal(rounded(x), [[1, 1 + 2**-6, -1, np.inf]])
    np.testing.assert_array_equal(reference.q(x), [[1, 1 + 2**-6, -1, np.inf]])


def test_nan_and_inf():
    """Themselves: also the NaN whose set bits are all in the lower half, and the one that a carry would make zero."""
    bits = np.array([[0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF]], np.uint32)
    assert np.isnan(rounded(bits.view(np.float32))).all()
    x = np.array([[np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(rounded(x), x)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 6), (2, 33)])
def test_pairs_along_the_depth(shape):
    """The definition, entry by entry: the earlier number in the lower half, zero after an odd end."""
    x, room = normal(*shape), Workspace()
    room.empty("rows", (shape[0], -(-shape[1] // 2)), np.uint32).fill(0x7FC07FC0)  # what was there before is not read
    rows = operand(x, room, "rows", True)
    assert rows.shape == (shape[0], -(-shape[1] // 2))
    for m, k in np.ndindex(rows.shape):
        low, high = ((rows[m, k] << 16) & 0xFFFF0000), rows[m, k] & 0xFFFF0000
        assert np.uint32(low).view(np.float32) == reference.q(x[m, 2 * k])
        expected = reference.q(x[m, 2 * k + 1]) if 2 * k + 1 < shape[1] else 0.0
        assert np.uint32(high).view(np.float32) == expected


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (70, 100), (131, STEP), (2, STEP + 1)])
def test_packing(shape):
    """The definition of a panel; packing the transpose; and packing what is bfloat16 already."""
    right, room = normal(*shape), Workspace()
    room.empty("right", gemm.panel_shape(-(-shape[0] // 2), shape[1], np.float32), np.uint32).fill(0x7FC07FC0)
    panels = pack_right(right, room, "right", True)
    q = np.zeros((2 * panels.shape[1], panels.shape[0] * STEP))
    q[: shape[0], : shape[1]] = reference.q(right)
    for p, k, j in np.ndindex(panels.shape):
        low, high = ((panels[p, k, j] << 16) & 0xFFFF0000), panels[p, k, j] & 0xFFFF0000
        assert np.uint32(low).view(np.float32) == q[2 * k, p * STEP + j]
        assert np.uint32(high).view(np.float32) == q[2 * k + 1, p * STEP + j]
    transposed = np.ascontiguousarray(right.T)
    np.testing.assert_array_equal(pack_transposed(transposed, Workspace(), "", True), panels, strict=True)
    both = pack_both(transposed, Workspace(), bfloat16=True)
    np.testing.assert_array_equal(both[0], panels)
    np.testing.assert_array_equal(both[1], pack_right(transposed, Workspace(), "", True), strict=True)
    again = np.full_like(panels, 7)
    pairs.pair_rows(operand(right, Workspace(), "", True), shape[1], again)
    np.testing.assert_array_equal(again, panels)


# ---- products


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 9, 11, 12, 13, 25])
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_product(rows, columns, depth):
    """The reference: both sides of every edge of tile, vector, panel, panels at once, stretch, and pair."""
    left, right = normal(rows, depth, seed=1), normal(depth, columns, seed=2)
    assert_right(multiply(left, right), left, right)


@pytest.mark.parametrize("rows", [1, 2, 11, STEP - 1, STEP, STEP + 1, 3 * STEP + 13])
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_transposed_product(rows, columns, depth):
    """The reference: sums over positions, an odd number of them too."""
    left, right = normal(depth, rows, seed=3), normal(depth, columns, seed=4)
    assert_right(multiply_transposed(left, right), np.ascontiguousarray(left.T), right)


@pytest.mark.parametrize("seed", range(20))
def test_random_shapes(seed):
    """The reference: shapes by chance, and sums that begin at a bias."""
    rows, depth, columns = np.random.default_rng(seed).integers(1, 150, 3)
    left, right, bias = normal(rows, depth, seed=5), normal(depth, columns, seed=6), normal(columns, seed=7)
    assert_right(multiply(left, right), left, right)
    assert_right(multiply_transposed(np.ascontiguousarray(left.T), right), left, right)
    np.testing.assert_allclose(multiply(left, right, bias), bias + reference.product(left, right), atol=1e-4)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("depth", [6, 7])
def test_what_is_not_finite_shows(value, depth):
    """The definition: it spoils its row, or its column, and no other; in the last, unpaired, place too."""
    left, right = normal(4, depth, seed=8), normal(depth, STEP + 8, seed=9)
    left[2, depth - 1] = value
    for got in (multiply(left, right), multiply_transposed(np.ascontiguousarray(left.T), right)):
        assert not np.isfinite(got[2]).any() and np.isfinite(np.delete(got, 2, axis=0)).all()
    left[2, depth - 1], right[depth - 1, STEP + 7] = 1.0, value
    for got in (multiply(left, right), multiply_transposed(np.ascontiguousarray(left.T), right)):
        assert not np.isfinite(got[:, STEP + 7]).any() and np.isfinite(got[:, : STEP + 7]).all()


@pytest.mark.skipif(NO_JIT, reason="NumPy's products do not promise it")
@pytest.mark.parametrize("rows", [1, 2, 5, 12, 23])
def test_a_row_does_not_depend_on_the_rows_beside_it(rows):
    """Each row multiplied alone: the same bits."""
    left, right = normal(rows, 70), normal(70, 5 * STEP + 3)
    together = multiply(left, right)
    for m in range(rows):
        np.testing.assert_array_equal(together[m : m + 1], multiply(left[m : m + 1], right))


# ---- makers


SCRIPT = """
import sys
import numpy as np
from nplm.kernels._jit import BFLOAT16_MAKER
from test_bfloat16 import multiply, multiply_transposed, normal
left, right = normal(25, 523, seed=1), normal(523, 70, seed=2)
got = {"product": multiply(left, right), "transposed": multiply_transposed(np.ascontiguousarray(left.T), right)}
np.savez(sys.argv[1], maker=BFLOAT16_MAKER, **got)
"""


def by_another(tmp_path, **variables):
    """What SCRIPT computes in a process with these variables."""
    tests, path = Path(__file__).parent, tmp_path / "got.npz"
    paths = os.pathsep.join([str(tests.parent), str(tests)])
    environment = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path), **variables}
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return np.load(path)


@pytest.mark.skipif(NO_JIT, reason="without the JIT NumPy multiplies, whatever the maker")
@pytest.mark.parametrize(
    "variables",
    [{"NPLM_BFLOAT16": "portable"}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}],
    ids=["masked by us", "another processor"],
)
def test_the_portable_maker(variables, tmp_path):
    """The reference, everywhere; and on this processor's vectors the bits of vdpbf16ps, where it is there."""
    got = by_another(tmp_path, **variables)
    left, right = normal(25, 523, seed=1), normal(523, 70, seed=2)
    assert got["maker"] == "portable"
    for name in ("product", "transposed"):
        assert_right(got[name], left, right)
    if BFLOAT16_MAKER == "vdpbf16ps":
        np.testing.assert_array_equal(got["product"], multiply(left, right))


@pytest.mark.skipif(NO_JIT, reason="without the JIT NumPy multiplies, whatever the maker")
def test_the_maker_in_use():
    """The flags of the processor: where it has vdpbf16ps, and nothing masks that, the tests above ran on it."""
    if not has_feature("avx512bf16"):
        pytest.skip("this processor has no vdpbf16ps (avx512_bf16): only the portable maker was tested")
    if os.environ.get("NPLM_BFLOAT16") in ("portable", "off"):
        pytest.skip("NPLM_BFLOAT16 masks vdpbf16ps off")
    assert BFLOAT16_MAKER == "vdpbf16ps"
