"""TensorFlow's GraphDef without TensorFlow: nodes, attributes and constants.

The messages are declared here with the fields that are needed and nothing else; protobuf skips the
rest. Field numbers: tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto.

Nothing in a file is trusted: shapes are checked against the bytes that are there before any array is
made, and every way in which a file can be wrong ends in a `ModelError` that names it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

from fastdp.errors import ModelError

MAX_REPEATED_ELEMENTS = 2**24
"""Largest tensor that a file may give as one repeated value: 128 MiB in float64."""

_PACKAGE = "fastdp.graph"
_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {
    "GraphDef": [("node", 1, "NodeDef*")],
    "NodeDef": [
        ("name", 1, "string"),
        ("op", 2, "string"),
        ("input", 3, "string*"),
        ("attr", 5, "AttrEntry*"),
    ],
    "AttrEntry": [("key", 1, "string"), ("value", 2, "AttrValue")],
    "AttrValue": [
        ("list", 1, "ListValue"),
        ("s", 2, "bytes"),
        ("i", 3, "int64"),
        ("f", 4, "float"),
        ("b", 5, "bool"),
        ("type", 6, "int32"),
        ("shape", 7, "TensorShape"),
        ("tensor", 8, "Tensor"),
    ],
    "ListValue": [
        ("s", 2, "bytes*"),
        ("i", 3, "int64*"),
        ("f", 4, "float*"),
        ("b", 5, "bool*"),
        ("type", 6, "int32*"),
    ],
    "TensorShape": [("dim", 2, "Dimension*"), ("unknown_rank", 3, "bool")],
    "Dimension": [("size", 1, "int64")],
    "Tensor": [
        ("dtype", 1, "int32"),
        ("tensor_shape", 2, "TensorShape"),
        ("tensor_content", 4, "bytes"),
        ("float_val", 5, "float*"),
        ("double_val", 6, "double*"),
        ("int_val", 7, "int32*"),
        ("string_val", 8, "bytes*"),
        ("int64_val", 10, "int64*"),
        ("bool_val", 11, "bool*"),
        ("half_val", 13, "int32*"),
    ],
}


def _make_message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="fastdp_graph.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message_name)
        for name, number, kind in fields:
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            field = declared.field.add(name=name, number=number)
            field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


MESSAGES = _make_message_classes()
"""The protobuf classes by their TensorFlow names; `MESSAGES["GraphDef"]` is the whole file."""

FLOAT, DOUBLE, INT32, STRING, INT64, BOOL, BFLOAT16, HALF = 1, 2, 3, 7, 9, 10, 14, 19
"""Numbers of TensorFlow's data types (types.proto)."""

TYPE_NAMES = {
    "DT_FLOAT": FLOAT, "DT_DOUBLE": DOUBLE, "DT_INT32": INT32, "DT_STRING": STRING, "DT_INT64": INT64,
    "DT_BOOL": BOOL, "DT_BFLOAT16": BFLOAT16, "DT_HALF": HALF,
}  # fmt: skip
"""What the text form calls them."""

_DTYPES: dict[int, tuple[np.dtype[Any], str]] = {
    FLOAT: (np.dtype("<f4"), "float_val"),
    DOUBLE: (np.dtype("<f8"), "double_val"),
    INT32: (np.dtype("<i4"), "int_val"),
    INT64: (np.dtype("<i8"), "int64_val"),
    BOOL: (np.dtype("?"), "bool_val"),
}


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes
    ----------
    name, operation : str
    inputs : tuple of (str, int)
        Name of the node and number of its output; control inputs are left out.
    attributes : dict of str to AttrValue
    """

    name: str
    operation: str
    inputs: tuple[tuple[str, int], ...]
    attributes: dict[str, Any]


class Graph:
    """The nodes of a frozen graph, by name.

    Parameters
    ----------
    nodes : iterable of Node
    source : str
        The file, for messages.
    """

    def __init__(self, nodes: Iterable[Node], source: str) -> None:
        self.source = source
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            if node.name in self.nodes:
                raise ModelError(f"{source}: damaged: two nodes are called {node.name!r}")
            self.nodes[node.name] = node

    def __contains__(self, name: str) -> bool:
        return name in self.nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __getitem__(self, name: str) -> Node:
        if name not in self.nodes:
            raise ModelError(
                f"{self.source}: the node {name!r} is missing; the file is truncated, or is not a model "
                "frozen by DeePMD-kit (dp freeze)"
            )
        return self.nodes[name]

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that take each node's output."""
        consumers: dict[str, list[Node]] = {name: [] for name in self.nodes}
        for node in self:
            for name in dict.fromkeys(name for name, _ in node.inputs):
                if name in consumers:
                    consumers[name].append(node)
        return consumers

    def ancestors(self, names: Iterable[str], stop: frozenset[str] = frozenset()) -> set[str]:
        """Return the names of all nodes that `names` depend on, themselves included.

        Parameters
        ----------
        names : iterable of str
        stop : frozenset of str
            Nodes whose inputs are not followed.

        Raises
        ------
        ModelError
            If an input is missing.
        """
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            if name not in stop:
                waiting.extend(source for source, _ in self[name].inputs)
        return found

    def constant(self, name: str) -> NDArray[Any]:
        """Return the value of a constant, reached through copies and casts if need be.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray
            Of the dtype in the file; object dtype (bytes) for strings. Read-only.

        Raises
        ------
        ModelError
            If the node is missing, is not a constant, or its content does not fit its shape.
        """
        node = self[name]
        seen = set()
        while node.operation in ("Identity", "Cast", "StopGradient"):
            if node.name in seen or not node.inputs:
                raise ModelError(f"{self.source}: damaged: the node {node.name!r} is its own input")
            seen.add(node.name)
            node = self[node.inputs[0][0]]
        if node.operation != "Const" or "value" not in node.attributes:
            raise ModelError(f"{self.source}: the node {node.name!r} should be a constant, but is not")
        return _tensor(node.attributes["value"].tensor, f"{self.source}: constant {node.name!r}")

    def text(self, name: str) -> str:
        """Return the value of a constant that is a single string.

        Raises
        ------
        ModelError
            As `constant`, and if the value is not one string of UTF-8.
        """
        value = self.constant(name)
        if value.dtype != object or value.size != 1:
            raise ModelError(f"{self.source}: the node {name!r} should hold one string")
        try:
            return bytes(value.ravel()[0]).decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.source}: the node {name!r} does not hold text ({error})") from error

    def integer(self, name: str) -> int:
        """Return the value of a constant that is a single integer.

        Raises
        ------
        ModelError
            As `constant`, and if the value is not one integer.
        """
        value = self.constant(name)
        if value.dtype.kind != "i" or value.size != 1:
            raise ModelError(f"{self.source}: the node {name!r} should hold one integer")
        return int(value.ravel()[0])

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return the value of a constant of finite real numbers, in float64.

        Raises
        ------
        ModelError
            As `constant`, and if the values are not finite real numbers.
        """
        value = self.constant(name)
        if value.dtype.kind != "f":
            raise ModelError(f"{self.source}: the node {name!r} should hold real numbers")
        if not np.isfinite(value).all():
            raise ModelError(f"{self.source}: the node {name!r} holds numbers that are not finite")
        return np.array(value, dtype=np.float64)


def parse_graph(data: bytes, source: str) -> Graph:
    """Parse a binary GraphDef.

    Parameters
    ----------
    data : bytes
        The whole file.
    source : str
        The file's name, for messages.

    Raises
    ------
    ModelError
        If the bytes are not a GraphDef.
    """
    try:
        graph = MESSAGES["GraphDef"].FromString(data)
    except message.DecodeError as error:
        raise ModelError(
            f"{source}: cannot be parsed as a TensorFlow graph; the file is truncated or damaged ({error})"
        ) from error
    if not graph.node:
        raise ModelError(f"{source}: the graph is empty; the file is not a model frozen by DeePMD-kit")
    return Graph((_node(item) for item in graph.node), source)


def _node(item: Any) -> Node:
    inputs = []
    for text in item.input:
        if text.startswith("^"):
            continue
        name, _, port = text.partition(":")
        inputs.append((name, int(port) if port.isdecimal() else 0))
    return Node(item.name, item.op, tuple(inputs), {entry.key: entry.value for entry in item.attr})


def _tensor(tensor: Any, what: str) -> NDArray[Any]:
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if any(size < 0 for size in shape) or len(shape) > 8:
        raise ModelError(f"{what}: damaged: shape {shape}")
    size = math.prod(shape)
    if tensor.dtype == STRING:
        if len(tensor.string_val) != size:
            raise ModelError(f"{what}: damaged: {len(tensor.string_val)} strings for the shape {shape}")
        strings = np.empty(size, dtype=object)
        strings[:] = list(tensor.string_val)
        return strings.reshape(shape)
    if tensor.dtype == HALF:
        values = np.array(tensor.half_val, dtype=np.int64).astype(np.uint16).view(np.float16)
        return _fill(tensor, values, np.dtype("<f2"), shape, what)
    if tensor.dtype not in _DTYPES:
        raise ModelError(f"{what}: data type {tensor.dtype} (TensorFlow's number) is not one of a model's")
    dtype, field = _DTYPES[tensor.dtype]
    return _fill(tensor, np.array(getattr(tensor, field), dtype=dtype), dtype, shape, what)


def _fill(
    tensor: Any, values: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...], what: str
) -> NDArray[Any]:
    size = math.prod(shape)
    if tensor.tensor_content:
        if len(tensor.tensor_content) != size * dtype.itemsize:
            raise ModelError(f"{what}: damaged: {len(tensor.tensor_content)} bytes for the shape {shape}")
        return np.frombuffer(tensor.tensor_content, dtype=dtype).reshape(shape)
    if len(values) > size:
        raise ModelError(f"{what}: damaged: {len(values)} values for the shape {shape}")
    if len(values) < size:
        # TensorFlow repeats the last value that is given, and takes zero where none is.
        if size > MAX_REPEATED_ELEMENTS:
            raise ModelError(f"{what}: damaged: {len(values)} values for the shape {shape}")
        last = values[-1] if len(values) else np.zeros((), dtype)
        values = np.concatenate((values, np.full(size - len(values), last, dtype)))
    return values.reshape(shape)
