"""One tile of a matrix product, in explicit vectors: R rows by two vectors whose sums stay in registers over the depth.

    out[r, j] = begin[places[r], j] + sum_k left[r, k] * panel[k, j]        2 R accumulators

The vectors are the host's: 16 float32 with AVX-512, 8 with AVX2, 4 with NEON; half as many float64.  Every vector read
from a panel is used for R rows.  The code is emitted through llvmlite; decision 0008 compares it with a loop left to
LLVM.  matmul.py makes the panels and divides products into tiles.

The entries of left and panel are numbers of the type of the sums, or pairs of bfloat16 (bfloat16.py) in a uint32, which
are multiplied and added into float32.  Only the line that multiplies differs:

    real       sum = fma(left, right, sum)
    vdpbf16ps  sum = vdpbf16ps(sum, left, right)                            twice the rate of the above on Zen 4 and 5
    portable   sum = fma(high(left), high(right), sum); sum = fma(low(left), low(right), sum)

The last two give the same bits: vdpbf16ps adds the high product first, then the low one, rounding after each
(decision 0012).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

import llvmlite.ir as ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from nplm.kernels._jit import BFLOAT16_MAKER, has_feature

VECTOR_BYTES = 64 if has_feature("avx512f") else 32 if has_feature("avx2") else 16
# Rows R of the tiles, largest first: 2 R accumulators and 3 more, of 32 registers with AVX-512 and of 16 or more else.
# A product is divided into the largest tiles that fit; a tile for every R would double the compilation time.
TILES = (12, 10, 8, 6, 4, 2, 1) if VECTOR_BYTES == 64 else (6, 5, 4, 2, 1)
# One or two rows alone cannot keep the multipliers busy, because each sum waits for the one before it.  They are
# therefore multiplied by four panels at once.
FEW_ROWS, PANELS_AT_ONCE = (2 if VECTOR_BYTES == 64 else 1), 4
# Rows of a panel that a tile prefetches.  For weights larger than the L2 cache, the product of a time step went from
# 112 to 132 GFLOP/s, and with alternating direction (see multiply_flat) to 139 (B = 10, H = 650; measured).
AHEAD = 16


@intrinsic
def multiply_tile(
    context,
    rows,
    vectors,
    left,
    left_start,
    left_stride,
    left_step,
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

    left, panels, begin, places and out are flat arrays, each with the place where its part starts; left_step is the
    distance from one k to the next, panel_size that from one panel to the next, for tiles wider than one.
    """
    place = types.intp
    kind = BFLOAT16_MAKER if left.dtype == types.uint32 else "real"
    signature = types.void(
        place, place, left, place, place, place, panels, place, place, place, begin, place, place, places, place,
        out, place, place,
    )  # fmt: skip
    shapes = [(rows, vectors) for vectors in (1, 2) for rows in TILES]
    shapes += [(rows, 2 * PANELS_AT_ONCE) for rows in TILES if rows <= FEW_ROWS]

    def generate(context, builder, signature, arguments):
        def start_of(which):
            data = context.make_array(signature.args[which])(context, builder, arguments[which]).data
            return builder.gep(data, [arguments[which + 1]])

        operands = (*(start_of(k) for k in (2, 6, 10, 13, 15)), *(arguments[k] for k in (4, 5, 8, 9, 12, 17)))
        done = builder.append_basic_block("done")
        case = builder.add(builder.mul(arguments[0], arguments[0].type(16)), arguments[1])
        choice = builder.switch(case, done)
        for rows, vectors in shapes:
            block = builder.append_basic_block(f"tile_{rows}_{vectors}")
            choice.add_case(case.type(16 * rows + vectors), block)
            builder.position_at_end(block)
            _emit_tile(builder, rows, vectors, out.dtype.bitwidth, kind, *operands)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


def _emit_tile(
    builder,
    rows,
    vectors,
    bits,
    kind,
    left,
    panel,
    begin,
    places,
    out,
    left_stride,
    left_step,
    panel_size,
    depth,
    begin_stride,
    out_stride,
) -> None:
    """The loop over the depth for one shape of tile, with the sums in registers; leaves the builder after it."""
    lanes, align = VECTOR_BYTES * 8 // bits, bits // 8
    vector = ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), lanes)
    entries = vector if kind == "real" else ir.VectorType(ir.IntType(32), lanes)  # of left and panel
    index, undefined = depth.type, ir.Constant(entries, ir.Undefined)
    lane_0 = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)  # zeros: lane 0 everywhere
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    prefetch_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = get_or_insert_function(builder.module, prefetch_type, "llvm.prefetch.p0")
    unpack, multiply_add = MULTIPLY_ADD[kind](builder, vector, bits)

    def vector_at(base, place, type=vector):
        return builder.bitcast(builder.gep(base, [place]), type.as_pointer())

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
    k, place = builder.phi(index), builder.phi(index)  # place: left_step k
    sums = [builder.phi(vector) for _ in first]
    panel_row = builder.mul(k, index(2 * lanes))
    right = [unpack(builder.load(vector_at(base, panel_row, entries), align=align)) for base in panel_vectors]
    for base in panel_vectors:
        ahead = builder.gep(base, [builder.add(panel_row, index(AHEAD * 2 * lanes))])
        # for reading (0), into the nearest cache (3), data (1)
        builder.call(prefetch, [builder.bitcast(ahead, byte), number(0), number(3), number(1)])
    following = []
    for r in range(rows):
        value = builder.load(builder.gep(left_rows[r], [place]))
        spread = builder.insert_element(undefined, value, number(0))
        spread = unpack(builder.shuffle_vector(spread, undefined, lane_0))
        following += [multiply_add(spread, right[v], sums[vectors * r + v]) for v in range(vectors)]
    next_k, next_place = builder.add(k, index(1)), builder.add(place, left_step)
    starts, steps = [index(0), index(0), *first], [next_k, next_place, *following]
    for phi, start, step in zip([k, place, *sums], starts, steps, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(step, body)
    after = builder.append_basic_block("store")
    builder.cbranch(builder.icmp_signed("<", next_k, depth), body, after)
    builder.position_at_end(after)
    for r in range(rows):
        for v in range(vectors):
            place = vector_at(out, builder.add(builder.mul(out_stride, index(r)), index(v * lanes)))
            builder.store(following[vectors * r + v], place, align=align)


# ---- how a vector of entries is made ready once it is loaded, and how two are multiplied and added to a sum


def _real(builder, vector, bits):
    kind = ir.FunctionType(vector, [vector] * 3)
    fma = get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{vector.count}f{bits}")
    return (lambda entries: entries), (lambda left, right, total: builder.call(fma, [left, right, total]))


class _Bfloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not have: only ever the target of a bitcast from pairs in i32."""

    def _to_string(self):
        return "bfloat"

    __str__ = _to_string

    def __eq__(self, other):
        return isinstance(other, _Bfloat)

    def __hash__(self):
        return hash(_Bfloat)


def _vdpbf16ps(builder, vector, bits):
    pairs = ir.VectorType(_Bfloat(), 2 * vector.count)
    kind = ir.FunctionType(vector, [vector, pairs, pairs])
    dot = get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")

    def unpack(entries):
        return builder.bitcast(entries, pairs)

    return unpack, (lambda left, right, total: builder.call(dot, [total, left, right]))


def _portable(builder, vector, bits):
    _, fma = _real(builder, vector, bits)
    numbers = ir.VectorType(ir.IntType(32), vector.count)
    shift, mask = (ir.Constant(numbers, [value] * vector.count) for value in (16, 0xFFFF0000))

    def unpack(entries):  # a bfloat16 is the upper half of a float32
        low, high = builder.shl(entries, shift), builder.and_(entries, mask)
        return builder.bitcast(low, vector), builder.bitcast(high, vector)

    def multiply_add(left, right, total):
        (left_low, left_high), (right_low, right_high) = left, right
        return fma(left_low, right_low, fma(left_high, right_high, total))

    return unpack, multiply_add


MULTIPLY_ADD = {"real": _real, "vdpbf16ps": _vdpbf16ps, "portable": _portable}
