"""Explicit vectors for the kernels, as LLVM vectors in registers.

Two lengths: rows of four adjacent numbers, which is what one neighbour touches (left to itself the compiler
vectorises over neighbours instead, with gather instructions, at a third of the speed), and blocks of eight,
for loops that it does not vectorise well (short, or with run-time lengths inside).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

ROW = 4
BLOCK = 8


class Vector(types.Type):
    """Numba type of `lanes` float32 or float64."""

    def __init__(self, scalar: types.Float, lanes: int) -> None:
        self.scalar = scalar
        self.lanes = lanes
        super().__init__(name=f"Vector({scalar}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, _llvm_type(frontend_type))


def element_type(scalar):
    """Return the LLVM type of a float."""
    return ir.FloatType() if scalar == types.float32 else ir.DoubleType()


def _llvm_type(vector):
    return ir.VectorType(element_type(vector.scalar), vector.lanes)


def _array_data(context, builder, array_type, array):
    return context.make_array(array_type)(context, builder, array).data


def _loader(lanes, scale, summary):
    @intrinsic
    def function(typingctx, array, place):
        vector = Vector(array.dtype, lanes)

        def codegen(context, builder, sig, args):
            offset = builder.mul(args[1], ir.Constant(args[1].type, scale))
            pointer = builder.gep(_array_data(context, builder, sig.args[0], args[0]), [offset])
            loaded = builder.load(builder.bitcast(pointer, _llvm_type(vector).as_pointer()))
            loaded.align = array.dtype.bitwidth // 8
            return loaded

        return vector(array, types.intp), codegen

    function.__doc__ = summary
    return function


def _storer(scale, summary):
    @intrinsic
    def function(typingctx, array, place, vector):
        def codegen(context, builder, sig, args):
            offset = builder.mul(args[1], ir.Constant(args[1].type, scale))
            pointer = builder.gep(_array_data(context, builder, sig.args[0], args[0]), [offset])
            stored = builder.store(args[2], builder.bitcast(pointer, args[2].type.as_pointer()))
            stored.align = array.dtype.bitwidth // 8
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), codegen

    function.__doc__ = summary
    return function


load_row = _loader(ROW, ROW, "Return row `place` of a C-contiguous (n, 4) array.")
load_four = _loader(ROW, 1, "Return four numbers from element `place` of a contiguous array on.")
load_block = _loader(BLOCK, 1, "Return eight numbers from element `place` of a contiguous array on.")
store_row = _storer(ROW, "Write a vector of four to row `place` of a C-contiguous (n, 4) array.")
store_block = _storer(1, "Write a vector from element `place` of a contiguous array on.")


def broadcast(builder, value, llvm_type):
    """Return a vector with the same number in every lane."""
    undefined = ir.Constant(llvm_type, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), llvm_type.count), [0] * llvm_type.count)
    return builder.shuffle_vector(single, undefined, mask)


def fused_multiply_add(builder, a, b, c):
    """Return a b + c of vectors, rounded once."""
    width = 32 if isinstance(a.type.element, ir.FloatType) else 64
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), f"llvm.fma.v{a.type.count}f{width}"
    )
    return builder.call(function, [a, b, c])


@intrinsic
def make_vector(typingctx, a, b, c, d):
    """Return the vector (a, b, c, d) of four numbers of one type."""
    vector = Vector(a, ROW)

    def codegen(context, builder, sig, args):
        result = ir.Constant(_llvm_type(vector), ir.Undefined)
        for lane, value in enumerate(args):
            result = builder.insert_element(result, value, ir.Constant(ir.IntType(32), lane))
        return result

    return vector(a, a, a, a), codegen


@intrinsic
def make_block(typingctx, a):
    """Return the vector of eight times the number a."""
    vector = Vector(a, BLOCK)

    def codegen(context, builder, sig, args):
        return broadcast(builder, args[0], _llvm_type(vector))

    return vector(a), codegen


@intrinsic
def multiply_add(typingctx, factor, vector, accumulator):
    """Return factor · vector + accumulator, `factor` a number."""
    signature = accumulator(vector.scalar, vector, accumulator)

    def codegen(context, builder, sig, args):
        return fused_multiply_add(builder, broadcast(builder, args[0], args[1].type), args[1], args[2])

    return signature, codegen


@intrinsic
def multiply_add_lanes(typingctx, a, b, c):
    """Return the vector of a_l b_l + c_l."""

    def codegen(context, builder, sig, args):
        return fused_multiply_add(builder, *args)

    return a(a, a, a), codegen


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


def _shuffled(builder, vector, lanes):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


@intrinsic
def sum_lanes(typingctx, a):
    """Return the sum over lanes: halves are added until one number is left."""
    signature = a.scalar(a)

    def codegen(context, builder, sig, args):
        value, count = args[0], args[0].type.count
        while count > 1:
            count //= 2
            low = _shuffled(builder, value, list(range(count)))
            high = _shuffled(builder, value, list(range(count, 2 * count)))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return signature, codegen


@intrinsic
def widen(typingctx, a):
    """Return the vector in float64."""
    vector = Vector(types.float64, a.lanes)

    def codegen(context, builder, sig, args):
        if sig.args[0].scalar == types.float64:
            return args[0]
        return builder.fpext(args[0], _llvm_type(vector))

    return vector(a), codegen


@intrinsic
def store_transposed(typingctx, array, row, a, b, c, d):
    """Write four vectors of four as the columns of rows `row`…`row + 3` of a C-contiguous (n, 4) array."""

    def codegen(context, builder, sig, args):
        data = _array_data(context, builder, sig.args[0], args[0])

        def pick(x, y, lanes):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), ROW), lanes)
            return builder.shuffle_vector(x, y, mask)

        ab_low, ab_high = pick(args[2], args[3], [0, 4, 1, 5]), pick(args[2], args[3], [2, 6, 3, 7])
        cd_low, cd_high = pick(args[4], args[5], [0, 4, 1, 5]), pick(args[4], args[5], [2, 6, 3, 7])
        rows = (
            pick(ab_low, cd_low, [0, 1, 4, 5]),
            pick(ab_low, cd_low, [2, 3, 6, 7]),
            pick(ab_high, cd_high, [0, 1, 4, 5]),
            pick(ab_high, cd_high, [2, 3, 6, 7]),
        )
        start = builder.mul(args[1], ir.Constant(args[1].type, ROW))
        for k, value in enumerate(rows):
            pointer = builder.gep(data, [builder.add(start, ir.Constant(start.type, ROW * k))])
            stored = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
            stored.align = sig.args[0].dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, a, a, a, a), codegen


@intrinsic
def read_cycles(typingctx):
    """Return the processor's cycle counter (on x86 at its constant rate, whatever the clock does)."""

    def codegen(context, builder, sig, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(64), []), "llvm.readcyclecounter"
        )
        return builder.call(function, [])

    return types.int64(), codegen
