"""TensorFlow operations, as far as energies of se_e2_a models use them, in NumPy.

Real numbers are float64 and integers int64 whatever the graph says. Each operation knows the size of its
result before it computes it, so that a damaged or malicious file cannot ask for endless memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.activations import ACTIVATIONS
from fastdp.model.readers.graph_def import BOOL, DOUBLE, FLOAT, HALF, INT32, INT64, Node

Values = list[NDArray[Any]]
Compute = Callable[[Node, Values], Any]
Count = Callable[[Node, Values], int]


@dataclass(frozen=True)
class Operation:
    """An operation of a graph.

    Attributes
    ----------
    compute : callable
        From the node and its inputs to the result.
    size : callable
        Number of elements of the result.
    work : callable
        Number of elements and multiply-adds.
    elementwise : bool
        Whether the result at each place depends on the inputs at this place only.
    """

    compute: Compute
    size: Count
    work: Count
    elementwise: bool = False


def _broadcast_size(node: Node, inputs: Values) -> int:
    return math.prod(np.broadcast_shapes(*(value.shape for value in inputs)))


def _total_size(node: Node, inputs: Values) -> int:
    return sum(value.size for value in inputs)


def _elementwise(function: Callable[..., Any]) -> Operation:
    return Operation(lambda node, inputs: function(*inputs), _broadcast_size, _broadcast_size, True)


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Div": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Pow": np.power,
    "Square": np.square,
    "Neg": np.negative,
    "Exp": np.exp,
    "Sqrt": np.sqrt,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "LogicalAnd": np.logical_and,
    "LogicalNot": np.logical_not,
    "SelectV2": np.where,
    "OnesLike": np.ones_like,
    "ZerosLike": np.zeros_like,
    "Tanh": ACTIVATIONS["tanh"].value,
    "Relu": ACTIVATIONS["relu"].value,
    "Relu6": ACTIVATIONS["relu6"].value,
    "Softplus": ACTIVATIONS["softplus"].value,
    "Sigmoid": ACTIVATIONS["sigmoid"].value,
    # DeePMD-kit's own; "Gelu" is its name before 2.0.
    "Gelu": ACTIVATIONS["gelu"].value,
    "GeluCustom": ACTIVATIONS["gelu"].value,
}

OPERATIONS: dict[str, Operation] = {name: _elementwise(f) for name, f in _ELEMENTWISE.items()}
"""Operations by TensorFlow's names."""


def operation(
    *names: str, size: Count = _total_size, work: Count | None = None
) -> Callable[[Compute], Compute]:
    """Enter a function as the meaning of the operations called `names`."""

    def enter(compute: Compute) -> Compute:
        OPERATIONS.update(dict.fromkeys(names, Operation(compute, size, work or size)))
        return compute

    return enter


def _integer(node: Node, key: str) -> int:
    return int(node.attributes[key].i) if key in node.attributes else 0


def _flag(node: Node, key: str) -> bool:
    return bool(node.attributes[key].b) if key in node.attributes else False


def _axes(value: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in value.ravel())


@operation("Identity", "StopGradient")
def _identity(node: Node, inputs: Values) -> Any:
    return inputs[0]


@operation("Cast")
def _cast(node: Node, inputs: Values) -> Any:
    # Rounding in between is not followed: all real numbers are float64.
    kinds = {
        FLOAT: np.float64,
        DOUBLE: np.float64,
        HALF: np.float64,
        INT32: np.int64,
        INT64: np.int64,
        BOOL: np.bool_,
    }
    target = node.attributes["DstT"].type
    if target not in kinds:
        raise ValueError(f"cast to the data type {target}")
    return inputs[0].astype(kinds[target])


@operation("Shape")
def _shape(node: Node, inputs: Values) -> Any:
    return np.array(inputs[0].shape, dtype=np.int64)


@operation("Reshape")
def _reshape(node: Node, inputs: Values) -> Any:
    value, shape = inputs[0], _axes(inputs[1])
    if -1 in shape:
        # TensorFlow finds the missing extent of an empty array too, by leaving its zeros out.
        empty = 0 in shape
        present = math.prod(extent for extent in value.shape if extent or not empty)
        given = math.prod(extent for extent in shape if extent > 0)
        shape = tuple(present // given if extent == -1 else extent for extent in shape)
    return value.reshape(shape)


@operation("ExpandDims")
def _expand_dims(node: Node, inputs: Values) -> Any:
    return np.expand_dims(inputs[0], int(inputs[1]))


@operation("Squeeze")
def _squeeze(node: Node, inputs: Values) -> Any:
    axes = tuple(node.attributes["squeeze_dims"].list.i) if "squeeze_dims" in node.attributes else ()
    return np.squeeze(inputs[0], axis=axes or None)


@operation("Transpose")
def _transpose(node: Node, inputs: Values) -> Any:
    return np.transpose(inputs[0], _axes(inputs[1]))


@operation("Pack")
def _pack(node: Node, inputs: Values) -> Any:
    return np.stack(inputs, axis=_integer(node, "axis"))


@operation("ConcatV2")
def _concatenate(node: Node, inputs: Values) -> Any:
    return np.concatenate(inputs[:-1], axis=int(inputs[-1]))


@operation("Slice")
def _slice(node: Node, inputs: Values) -> Any:
    value, begin, extent = inputs
    ends = (
        total if size == -1 else start + size
        for start, size, total in zip(_axes(begin), _axes(extent), value.shape, strict=True)
    )
    return value[tuple(slice(start, end) for start, end in zip(_axes(begin), ends, strict=True))]


@operation("StridedSlice")
def _strided_slice(node: Node, inputs: Values) -> Any:
    value, begin, end, stride = inputs
    index: list[Any] = []
    for axis, (start, stop, step) in enumerate(zip(_axes(begin), _axes(end), _axes(stride), strict=True)):
        bit = 1 << axis
        if _integer(node, "ellipsis_mask") & bit:
            index.append(Ellipsis)
        elif _integer(node, "new_axis_mask") & bit:
            index.append(None)
        elif _integer(node, "shrink_axis_mask") & bit:
            index.append(start)
        else:
            open_start = bool(_integer(node, "begin_mask") & bit)
            open_stop = bool(_integer(node, "end_mask") & bit)
            index.append(slice(None if open_start else start, None if open_stop else stop, step))
    return value[tuple(index)]


def _gather_size(node: Node, inputs: Values) -> int:
    return inputs[0].size * max(1, inputs[1].size)


@operation("GatherV2", "Gather", size=_gather_size)
def _gather(node: Node, inputs: Values) -> Any:
    if _integer(node, "batch_dims"):
        raise ValueError("batched gather")
    indices = inputs[1]
    axis = int(inputs[2]) if len(inputs) > 2 else 0
    if indices.size and (indices.min() < 0 or indices.max() >= inputs[0].shape[axis]):
        raise ValueError("index out of range")
    return np.take(inputs[0], indices, axis=axis)


@operation("AddN")
def _add_n(node: Node, inputs: Values) -> Any:
    return sum(inputs[1:], inputs[0])


@operation("BiasAdd", size=_broadcast_size)
def _bias_add(node: Node, inputs: Values) -> Any:
    return inputs[0] + inputs[1]


@operation("Select", size=_total_size)
def _select(node: Node, inputs: Values) -> Any:
    condition, chosen, other = inputs
    if condition.ndim == 1 and chosen.ndim > 1:
        condition = condition.reshape(-1, *(1,) * (chosen.ndim - 1))
    return np.where(condition, chosen, other)


@operation("Sum")
def _sum(node: Node, inputs: Values) -> Any:
    return np.sum(inputs[0], axis=_axes(inputs[1]), keepdims=_flag(node, "keep_dims"))


def _fill_size(node: Node, inputs: Values) -> int:
    return math.prod(_axes(inputs[0]))


@operation("Fill", size=_fill_size)
def _fill(node: Node, inputs: Values) -> Any:
    return np.full(_axes(inputs[0]), inputs[1])


def _tile_size(node: Node, inputs: Values) -> int:
    return inputs[0].size * math.prod(_axes(inputs[1]))


@operation("Tile", size=_tile_size)
def _tile(node: Node, inputs: Values) -> Any:
    return np.tile(inputs[0], _axes(inputs[1]))


def _factors(node: Node, inputs: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = inputs
    if _flag(node, "transpose_a") or _flag(node, "adj_x"):
        a = np.swapaxes(a, -1, -2)
    if _flag(node, "transpose_b") or _flag(node, "adj_y"):
        b = np.swapaxes(b, -1, -2)
    return a, b


def _product_size(node: Node, inputs: Values) -> int:
    a, b = _factors(node, inputs)
    return math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * a.shape[-2] * b.shape[-1]


def _product_work(node: Node, inputs: Values) -> int:
    a, _ = _factors(node, inputs)
    return _product_size(node, inputs) * max(1, a.shape[-1])


@operation("MatMul", "BatchMatMul", "BatchMatMulV2", size=_product_size, work=_product_work)
def _product(node: Node, inputs: Values) -> Any:
    a, b = _factors(node, inputs)
    return a @ b


def _one_hot_size(node: Node, inputs: Values) -> int:
    return inputs[0].size * max(0, int(inputs[1]))


@operation("OneHot", size=_one_hot_size)
def _one_hot(node: Node, inputs: Values) -> Any:
    indices, depth, on, off = inputs
    if _integer(node, "axis") not in (-1, indices.ndim):
        raise ValueError("one-hot along an inner axis")
    return np.where(indices[..., None] == np.arange(int(depth)), on, off)


def _einsum_size(node: Node, inputs: Values) -> int:
    return _einsum_extents(node, inputs)[0]


def _einsum_work(node: Node, inputs: Values) -> int:
    return _einsum_extents(node, inputs)[1]


def _einsum_extents(node: Node, inputs: Values) -> tuple[int, int]:
    """Return the number of elements of the result, and of multiply-adds."""
    equation = node.attributes["equation"].s.decode()
    terms, _, result = equation.partition("->")
    extents: dict[str, int] = {}
    for term, value in zip(terms.split(","), inputs, strict=True):
        if not term.isalpha() or len(term) != value.ndim:
            raise ValueError(f"the equation {equation!r:.40}")
        for letter, extent in zip(term, value.shape, strict=True):
            if extents.setdefault(letter, extent) != extent:
                raise ValueError(f"the equation {equation!r:.40}")
    return math.prod(extents[letter] for letter in result), math.prod(extents.values())


@operation("Einsum", size=_einsum_size, work=_einsum_work)
def _einsum(node: Node, inputs: Values) -> Any:
    return np.einsum(node.attributes["equation"].s.decode(), *inputs)


@operation("Mean")
def _mean(node: Node, inputs: Values) -> Any:
    return np.mean(inputs[0], axis=_axes(inputs[1]), keepdims=_flag(node, "keep_dims"))


def _diagonal_size(node: Node, inputs: Values) -> int:
    return inputs[0].size * inputs[0].shape[-1]


@operation("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3", size=_diagonal_size)
def _matrix_diagonal(node: Node, inputs: Values) -> Any:
    # Later versions take an offset and an extent too; unit matrices leave them at their defaults.
    if len(inputs) > 1 and (np.any(inputs[1] != 0) or any(int(value) not in (-1,) for value in inputs[2:4])):
        raise ValueError("a diagonal beside the main one")
    return inputs[0][..., None] * np.eye(inputs[0].shape[-1])
