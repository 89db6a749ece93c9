"""Unpickling of PyTorch's archives into plain containers and arrays, and nothing else.

A pickle is a program. Before one runs, its opcodes are read through: only those that PyTorch writes are
accepted, with sizes that fit the file. While it runs, every name that it asks for is looked up in a short
table
of harmless stand-ins; a name that is not there ends the reading. No code of the archive is ever executed.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError

OPCODES = frozenset(
    (
        "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT",
        "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
        "BINSTRING", "SHORT_BINSTRING", "SHORT_BINBYTES", "BINBYTES", "EMPTY_DICT", "EMPTY_LIST",
        "EMPTY_TUPLE", "EMPTY_SET", "DICT", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "SETITEM",
        "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT",
        "MEMOIZE", "BINPERSID", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD"
    )
)  # fmt: skip

DTYPES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "BFloat16Storage": np.dtype("<u2"),
}
"""Types of numbers by PyTorch's names of their storage; bfloat16 is the upper half of a float32."""


class Instance:
    """An object of a class of the archive: its attributes, and nothing that the class does."""

    def __init__(self, *_: object) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class Container(dict[Any, Any]):
    """In place of `collections.OrderedDict`; attributes that PyTorch hangs on it are dropped."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


class Storage:
    """The type of a storage, until the numbers are read."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Ignored:
    """In place of things that carry no numbers, such as a device or a generator's state."""

    def __init__(self, *_: object) -> None:
        """Take anything."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


def _first(value: object, *_: object) -> object:
    return value


def _container(*arguments: object) -> Container:
    return Container(*arguments)


def load(data: bytes, storage: Callable[[str], bytes], source: str) -> Any:
    """Unpickle the main part of an archive.

    Parameters
    ----------
    data : bytes
        The pickle.
    storage : callable
        From the key of a storage to its bytes.
    source : str
        The file, for messages.

    Returns
    -------
    dict, list, tuple, str, number, ndarray or Instance

    Raises
    ------
    UnsupportedModelError
        If the pickle asks for anything but tensors and containers.
    ModelError
        If it is damaged.
    """
    _check_opcodes(data, source)
    try:
        return _Unpickler(data, storage, source).load()
    except ModelError:
        raise
    except (
        pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
        OverflowError, RecursionError, MemoryError, UnicodeError, struct.error,
    ) as error:  # fmt: skip
        raise ModelError(f"{source}: damaged: its pickle cannot be read ({error})") from error


def _check_opcodes(data: bytes, source: str) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in OPCODES:
                raise UnsupportedModelError(
                    f"{source}: its pickle uses {opcode.name}, which no PyTorch model needs; it was not run"
                )
            if opcode.name in ("LONG_BINPUT", "BINPUT") and int(argument or 0) > len(data):
                raise ModelError(f"{source}: damaged: its pickle numbers an object {argument}")
    except (ValueError, UnicodeError, struct.error, OverflowError, EOFError) as error:
        raise ModelError(f"{source}: damaged: its pickle is not complete ({error})") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, storage: Callable[[str], bytes], source: str) -> None:
        super().__init__(io.BytesIO(data))
        self._storage = storage
        self._source = source
        self._read: dict[tuple[str, str], NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name, or refuse it."""
        if module == "torch" and name in DTYPES:
            return Storage(name)
        if module.startswith("__torch__"):
            return Instance
        if (module, name) in STAND_INS:
            return STAND_INS[module, name]
        raise UnsupportedModelError(
            f"{self._source}: its pickle asks for {module}.{name}, which is neither a tensor nor a "
            f"container; "
            "the file may be malicious, and nothing of it was run"
        )

    def persistent_load(self, identifier: Any) -> NDArray[Any]:
        """Return the numbers of a storage."""
        if not (isinstance(identifier, tuple) and len(identifier) == 5 and identifier[0] == "storage"):
            raise ModelError(f"{self._source}: damaged: {identifier!r:.80} is not a storage")
        _, kind, key, _, size = identifier
        if not (isinstance(kind, Storage) and isinstance(key, str) and isinstance(size, int)):
            raise ModelError(f"{self._source}: damaged: {key!r:.80} is not a storage")
        if (kind.name, key) not in self._read:
            dtype = DTYPES[kind.name]
            data = self._storage(key)
            if size < 0 or len(data) != size * dtype.itemsize:
                raise ModelError(
                    f"{self._source}: damaged: storage {key!r} has {len(data)} bytes for {size} numbers"
                )
            values: NDArray[Any] = np.frombuffer(data, dtype)
            if kind.name == "BFloat16Storage":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            self._read[kind.name, key] = values
        return self._read[kind.name, key]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> NDArray[Any]:
    """Return the tensor that a storage holds; every element is inside it, or this raises."""
    if not isinstance(storage, np.ndarray):
        raise ValueError("a tensor without numbers")
    shape, strides = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    offset = int(offset)
    if len(shape) != len(strides) or len(shape) > 8 or min((*shape, *strides, offset, 0)) < 0:
        raise ValueError(f"a tensor of shape {shape} and strides {strides}")
    if math.prod(shape) == 0:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(storage) or math.prod(shape) > len(storage):
        raise ValueError(f"a tensor of shape {shape} outside its storage of {len(storage)} numbers")
    step = storage.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage[offset:], shape, tuple(step * n for n in strides), writeable=False
    )
    return np.array(view)


STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _container,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch", "Size"): _first,
    ("torch", "device"): _Ignored,
    ("torch.jit._pickle", "restore_type_tag"): _first,
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
}
"""What stands in for the names that PyTorch's archives use."""
