"""Products with the fixed matrices of a model: C = A B, B laid out once in panels.

The matrices of a model never change and its products are thin, so that most of what a general BLAS does for
each call (copying both operands into its own order, edges of every size) is not needed: B lies in panels of
a few columns, row by row, as the innermost loop reads it; A is read where it is; rows are padded instead of
treated apart. The block in registers is `BLOCK_ROWS` rows of A by one panel, which gives every machine
twelve independent vector sums, or six of twice the length.
"""

from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

from fastdp.parallel.symbols import by_symbol, load, outer
from fastdp.potential.compressed.simd import broadcast, element_type, fused_multiply_add

ROWS_PADDED_TO = 12
"""Rows of A and C are made a multiple of this: of every number of rows of a block, and of threes."""

_FAST = {"reassoc", "contract", "nsz", "arcp"}


def _vector_bytes() -> int:
    """Return the length of this machine's vector registers."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:
        return 16
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


VECTOR_BYTES = _vector_bytes()
# Rows and columns of the block in registers by bytes of a register and of a number: as many sums as leave
# registers for one row of the panel and a broadcast element, out of 16 (AVX-512: 32).
_BLOCKS = {
    (16, 4): (6, 8),
    (16, 8): (3, 8),
    (32, 4): (6, 16),
    (32, 8): (6, 8),
    (64, 4): (12, 16),
    (64, 8): (12, 8),
}


def panel_width(dtype: DTypeLike) -> int:
    """Return the number of columns of a panel."""
    return _BLOCKS[VECTOR_BYTES, np.dtype(dtype).itemsize][1]


def padded(size: int, multiple: int) -> int:
    """Return the smallest multiple that is not less than `size`."""
    return -(-size // multiple) * multiple


def stored_width(width: int, dtype: DTypeLike) -> int:
    """Return how many columns of C are written: whole panels, the last of them a half if that is enough."""
    return padded(width, panel_width(dtype) // 2)


def panels(matrix: NDArray, dtype: DTypeLike, *, strided: bool = False) -> NDArray:
    """Return a matrix as `times` reads it, flat.

    Parameters
    ----------
    matrix : (depth, n) float64
    dtype : float32 or float64
        Decides the width of the panels.
    strided : bool
        For `times_strided`, which has no way of its own with a single column.

    Returns
    -------
    (size,) float64
        Panels of columns, each row by row, filled up with zeros, the last of half the width if that is
        enough; a single column stays as it is.
    """
    depth, n = matrix.shape
    if n == 1 and not strided:
        return matrix[:, 0].copy()
    width = panel_width(dtype)
    filled = np.zeros((depth, stored_width(n, dtype)))
    filled[:, :n] = matrix
    return np.concatenate([filled[:, p : p + width].ravel() for p in range(0, filled.shape[1], width)])


def _block_product(group, part=1):
    """Return an intrinsic for one block.

    Rows of A and C come in groups of `group` with two strides; the panel has the 1/`part` of its width.
    """

    @intrinsic
    def block(typingctx, a, a_at, a_outer, a_inner, a_step, b, b_at, depth, c, c_at, c_outer, c_inner):
        dtype = a.dtype
        n_rows, n_columns = _BLOCKS[VECTOR_BYTES, dtype.bitwidth // 8]
        n_columns //= part
        integer = types.intp
        signature = types.void(
            a, integer, integer, integer, integer, b, integer, integer, c, integer, integer, integer
        )

        def codegen(context, builder, sig, args):
            vector = ir.VectorType(element_type(dtype), n_columns)
            word = args[1].type

            def data(k):
                return context.make_array(sig.args[k])(context, builder, args[k]).data

            def rows(pointer, outer, inner):
                places = []
                for i in range(n_rows):
                    offset = builder.mul(outer, ir.Constant(word, i // group))
                    offset = builder.add(offset, builder.mul(inner, ir.Constant(word, i % group)))
                    places.append(builder.gep(pointer, [offset]))
                return places

            def aligned(instruction):
                instruction.align = dtype.bitwidth // 8
                return instruction

            a_rows = rows(builder.gep(data(0), [args[1]]), args[2], args[3])
            b_first = builder.gep(data(5), [args[6]])
            c_rows = rows(builder.gep(data(8), [args[9]]), args[10], args[11])
            zero = ir.Constant(vector, [0.0] * n_columns)
            before = builder.basic_block
            loop = builder.append_basic_block("depth")
            after = builder.append_basic_block("after")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(word)
            k.add_incoming(ir.Constant(word, 0), before)
            sums = [builder.phi(vector) for _ in range(n_rows)]
            for value in sums:
                value.add_incoming(zero, before)
            place = builder.gep(b_first, [builder.mul(k, ir.Constant(word, n_columns))])
            row = aligned(builder.load(builder.bitcast(place, vector.as_pointer())))
            step = builder.mul(k, args[4])
            for value, pointer in zip(sums, a_rows, strict=True):
                element = builder.load(builder.gep(pointer, [step]))
                value.add_incoming(
                    fused_multiply_add(builder, broadcast(builder, element, vector), row, value), loop
                )
            following = builder.add(k, ir.Constant(word, 1))
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, args[7]), loop, after)
            builder.position_at_end(after)
            for value, pointer in zip(sums, c_rows, strict=True):
                total = next(v for v, source in value.incomings if source is loop)
                aligned(builder.store(total, builder.bitcast(pointer, vector.as_pointer())))
            return context.get_dummy_value()

        return signature, codegen

    return block


@intrinsic
def _shape(typingctx, array):
    """Return rows and columns of the block for the type of an array."""
    rows, columns = _BLOCKS[VECTOR_BYTES, array.dtype.bitwidth // 8]

    def codegen(context, builder, sig, args):
        word = ir.IntType(64)
        pair = [ir.Constant(word, rows), ir.Constant(word, columns)]
        return cgutils.pack_array(builder, pair)

    return types.UniTuple(types.int64, 2)(array), codegen


_rows_block, _rows_half_block = _block_product(1), _block_product(1, 2)
_triples_block, _triples_half_block = _block_product(3), _block_product(3, 2)


@outer(cache=True, fastmath=_FAST, error_model="numpy")
def times(n_rows, a, a_at, a_stride, b, b_at, depth, width, c, c_at, c_stride):
    """C = A B for rows in a row.

    Parameters
    ----------
    n_rows : int
        A multiple of `ROWS_PADDED_TO`.
    a, b, c : (size,) float32 or float64
    a_at, b_at, c_at : int
        Where the matrices begin.
    a_stride, c_stride : int
        From row to row. Those of C must have room for whole panels.
    depth, width : int
        B is (depth, width), as by `panels`.
    """
    if width == 1:
        for i in range(n_rows):
            total = c.dtype.type(0.0)
            for k in range(depth):
                total += a[a_at + i * a_stride + k] * b[b_at + k]
            c[c_at + i * c_stride] = total
        return
    block_rows, columns = _shape(c)
    whole = (width + columns // 2 - 1) // columns * columns
    for i in range(0, n_rows, block_rows):
        a_here = a_at + i * a_stride
        c_here = c_at + i * c_stride
        for p in range(0, whole, columns):
            _rows_block(a, a_here, a_stride, 0, 1, b, b_at + p * depth, depth, c, c_here + p, c_stride, 0)
        if whole < width:
            _rows_half_block(
                a, a_here, a_stride, 0, 1, b, b_at + whole * depth, depth, c, c_here + whole, c_stride, 0
            )


@outer(cache=True, fastmath=_FAST, error_model="numpy")
def times_strided(
    n_rows, group, a, a_at, a_outer, a_inner, a_step, b, b_at, depth, width, c, c_at, c_outer, c_inner
):
    """C = A B where elements of A lie `a_step` apart, and rows come alone or in threes.

    Parameters
    ----------
    group : {1, 3}
        Row i of A begins at a_at + (i // group)·a_outer + (i % group)·a_inner, that of C likewise.
    """
    block_rows, columns = _shape(c)
    whole = (width + columns // 2 - 1) // columns * columns
    for i in range(0, n_rows, block_rows):
        a_here = a_at + (i // group) * a_outer
        c_here = c_at + (i // group) * c_outer
        for p in range(0, whole, columns):
            b_here = b_at + p * depth
            if group == 1:
                _rows_block(a, a_here, a_outer, 0, a_step, b, b_here, depth, c, c_here + p, c_outer, 0)
            else:
                _triples_block(
                    a, a_here, a_outer, a_inner, a_step, b, b_here, depth, c, c_here + p, c_outer, c_inner
                )
        if whole < width:
            b_here = b_at + whole * depth
            c_here += whole
            if group == 1:
                _rows_half_block(a, a_here, a_outer, 0, a_step, b, b_here, depth, c, c_here, c_outer, 0)
            else:
                _triples_half_block(
                    a, a_here, a_outer, a_inner, a_step, b, b_here, depth, c, c_here, c_outer, c_inner
                )


call_times = by_symbol(times)
call_times_strided = by_symbol(times_strided)


def load_products(parameters: NDArray) -> None:
    """Make `call_times` and `call_times_strided` ready for matrices of the type of `parameters`."""
    load(times, 0, parameters, 0, 0, parameters, 0, 0, 2, parameters, 0, 0)
    load(times_strided, 0, 1, parameters, 0, 0, 0, 1, parameters, 0, 0, 2, parameters, 0, 0, 0)
