"""Explicit vectors of four numbers for the kernels.

What one neighbour touches is a few rows of four adjacent numbers. Left to itself the compiler
vectorises over neighbours instead, with gather instructions, at a third of the speed; so these rows
are spelled out as LLVM vectors (one xmm register in float32, one ymm in float64).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 4


class Vector4(types.Type):
    """Numba type of four float32 or float64 in one register."""

    def __init__(self, scalar: types.Float) -> None:
        self.scalar = scalar
        super().__init__(name=f"Vector4({scalar})")


def _llvm_type(scalar):
    element = ir.FloatType() if scalar == types.float32 else ir.DoubleType()
    return ir.VectorType(element, LANES)


@register_model(Vector4)
class _Vector4Model(models.PrimitiveModel):
    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, _llvm_type(frontend_type.scalar))


def _row_pointer(context, builder, array_type, array, row):
    """Address of `array[row]` for a C-contiguous (n, 4) array, as a pointer to a vector."""
    data = context.make_array(array_type)(context, builder, array).data
    offset = builder.mul(row, ir.Constant(row.type, LANES))
    pointer = builder.gep(data, [offset])
    return builder.bitcast(pointer, _llvm_type(array_type.dtype).as_pointer())


@intrinsic
def load_row(typingctx, array, row):
    """Return row `row` of a C-contiguous (n, 4) array."""
    signature = Vector4(array.dtype)(array, types.intp)

    def codegen(context, builder, sig, args):
        pointer = _row_pointer(context, builder, sig.args[0], args[0], args[1])
        loaded = builder.load(pointer)
        loaded.align = sig.args[0].dtype.bitwidth // 8
        return loaded

    return signature, codegen


@intrinsic
def store_row(typingctx, array, row, vector):
    """Write a vector to row `row` of a C-contiguous (n, 4) array."""
    signature = types.void(array, types.intp, vector)

    def codegen(context, builder, sig, args):
        pointer = _row_pointer(context, builder, sig.args[0], args[0], args[1])
        stored = builder.store(args[2], pointer)
        stored.align = sig.args[0].dtype.bitwidth // 8
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def make_vector(typingctx, a, b, c, d):
    """Return the vector (a, b, c, d) of four numbers of one type."""
    signature = Vector4(a)(a, a, a, a)

    def codegen(context, builder, sig, args):
        vector = ir.Constant(_llvm_type(sig.args[0]), ir.Undefined)
        for lane, value in enumerate(args):
            vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
        return vector

    return signature, codegen


@intrinsic
def multiply_add(typingctx, factor, vector, accumulator):
    """Return factor · vector + accumulator, `factor` a number."""
    signature = accumulator(vector.scalar, vector, accumulator)

    def codegen(context, builder, sig, args):
        llvm_type = _llvm_type(sig.args[0])
        zero = ir.Constant(ir.IntType(32), 0)
        single = builder.insert_element(ir.Constant(llvm_type, ir.Undefined), args[0], zero)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        splat = builder.shuffle_vector(single, ir.Constant(llvm_type, ir.Undefined), mask)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(llvm_type, [llvm_type] * 3),
            f"llvm.fma.v{LANES}f{sig.args[0].bitwidth}",
        )
        return builder.call(function, [splat, args[1], args[2]])

    return signature, codegen


def _lane_by_lane(operation, summary):
    """Return an intrinsic of two vectors of one type; `operation` is the name of a method of the builder."""

    def function(typingctx, a, b):
        def codegen(context, builder, sig, args):
            return getattr(builder, operation)(args[0], args[1])

        return a(a, b), codegen

    function.__doc__ = summary
    return intrinsic(function)


add = _lane_by_lane("fadd", "Return a + b.")
subtract = _lane_by_lane("fsub", "Return a − b.")
multiply = _lane_by_lane("fmul", "Return the vector of products a_l b_l.")


@intrinsic
def sum_lanes(typingctx, a):
    """Return a_0 + a_1 + a_2 + a_3 as (a_0 + a_2) + (a_1 + a_3)."""
    signature = a.scalar(a)

    def codegen(context, builder, sig, args):
        integer = ir.IntType(32)
        undefined = ir.Constant(_llvm_type(sig.return_type), ir.Undefined)

        def shuffled(vector, lanes):
            mask = ir.Constant(ir.VectorType(integer, len(lanes)), lanes)
            return builder.shuffle_vector(vector, undefined, mask)

        halves = builder.fadd(shuffled(args[0], [0, 1, 2, 3]), shuffled(args[0], [2, 3, 2, 3]))
        whole = builder.fadd(halves, shuffled(halves, [1, 0, 1, 0]))
        return builder.extract_element(whole, ir.Constant(integer, 0))

    return signature, codegen


@intrinsic
def widen(typingctx, a):
    """Return the vector in float64."""
    signature = Vector4(types.float64)(a)

    def codegen(context, builder, sig, args):
        if sig.args[0].scalar == types.float64:
            return args[0]
        return builder.fpext(args[0], _llvm_type(types.float64))

    return signature, codegen
