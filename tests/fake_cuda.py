"""CuPy and cuBLAS as fastdp uses them, for memory of the host: so that code for a card runs without one."""

from __future__ import annotations

import ctypes
import time
from types import ModuleType, SimpleNamespace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastdp.gpu.device.tf32 import rounded_to_tf32


class ColumnMajorBlas:
    """cuBLAS as its documentation says, for memory of the host."""

    def __getattr__(self, name: str):
        if name == "cublasGemmStridedBatchedEx":
            return self._extended
        if name in ("cublasDgemmStridedBatched", "cublasSgemmStridedBatched"):
            kind = ctypes.c_double if name[6] == "D" else ctypes.c_float
            return lambda *arguments: self._product(kind, *arguments)
        return lambda *arguments: 0

    def _extended(self, *arguments):
        plain = list(arguments)
        types = [plain.pop(place).value for place in (8, 11, 15)]
        assert types == [0, 0, 0]
        assert [value.value for value in plain[-2:]] == [77, -1]
        return self._product(ctypes.c_float, *plain[:-2], rounded=rounded_to_tf32)

    def _touched(self, address: int, n_bytes: int) -> None:
        """Take note of memory that a product uses."""

    def _product(
        self, kind, handle, op_a, op_b, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, batch,
        rounded=np.asarray,
    ):  # fmt: skip
        dtype = np.dtype(kind)

        def matrix(pointer, rows, columns, leading, number, stride):
            address = pointer.value + number * stride.value * dtype.itemsize
            size = leading.value * (columns - 1) + rows
            self._touched(address, size * dtype.itemsize)
            flat = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(kind)), (size,))
            assert leading.value >= rows
            return as_strided(flat, (rows, columns), (dtype.itemsize, leading.value * dtype.itemsize))

        m, n, k = m.value, n.value, k.value
        for number in range(batch.value):
            first = matrix(a, *((m, k) if op_a.value == 0 else (k, m)), lda, number, sa)
            second = matrix(b, *((k, n) if op_b.value == 0 else (n, k)), ldb, number, sb)
            result = matrix(c, m, n, ldc, number, sc)
            first, second = rounded(first), rounded(second)
            product = (first if op_a.value == 0 else first.T) @ (second if op_b.value == 0 else second.T)
            # With a factor of zero the result is not read: it may be anything before.
            before = 0.0 if beta._obj.value == 0.0 else beta._obj.value * result
            result[...] = alpha._obj.value * product + before
        return 0


class HostPointer:
    """The address of an array."""

    def __init__(self, array: np.ndarray) -> None:
        self.ptr = array.ctypes.data

    def copy_from_device_async(self, source: HostPointer, n_bytes: int, stream: object) -> None:
        ctypes.memmove(self.ptr, source.ptr, n_bytes)

    def memset_async(self, value: int, n_bytes: int, stream: object) -> None:
        ctypes.memset(self.ptr, value, n_bytes)


class HostArray(np.ndarray):
    """An array with the methods of CuPy's."""

    @property
    def data(self) -> HostPointer:
        return HostPointer(self)

    def set(self, values: np.ndarray, stream: object) -> None:
        assert values.dtype == self.dtype
        assert values.shape == self.shape
        self[...] = values

    def fill(self, value: float) -> None:
        raise AssertionError("CuPy would compile a kernel for this")

    def get(self, stream: object = None, out: np.ndarray | None = None) -> np.ndarray:
        result = np.empty(self.shape, self.dtype) if out is None else out
        result[...] = self
        return result


class Stream:
    """A stream that does everything at once."""

    ptr = 11

    def __init__(self, non_blocking: bool) -> None:
        assert non_blocking

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Event:
    """A time."""

    def record(self, stream: Stream) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass


class OutOfMemoryError(Exception):
    """As CuPy raises."""


def fake_cupy(devices: int, memory: int) -> ModuleType:
    """Return a module with what fastdp uses of CuPy; arrays above `memory` bytes do not fit."""
    used: list[int] = []

    def empty(shape, dtype) -> HostArray:
        if np.prod(shape) * np.dtype(dtype).itemsize > memory:
            raise OutOfMemoryError
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 77, dtype).view(HostArray)

    def device(number: int) -> SimpleNamespace:
        return SimpleNamespace(use=lambda: used.append(number))

    module = ModuleType("cupy")
    module.used, module.selected = used, []  # type: ignore[attr-defined]
    module.empty = empty  # type: ignore[attr-defined]
    pool = SimpleNamespace(free_bytes=lambda: 5)
    module.get_default_memory_pool = lambda: pool  # type: ignore[attr-defined]
    module.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        Device=device,
        Stream=Stream,
        Event=Event,
        get_elapsed_time=lambda first, last: 1e3 * (last.time - first.time),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=SimpleNamespace(
            getDeviceCount=lambda: devices,
            getDeviceProperties=lambda number: {
                "name": b"Fake H9000",
                "major": 9,
                "minor": 0,
                "multiProcessorCount": 132,
            },
            memGetInfo=lambda: (memory - 5, 2 * memory),
        ),
    )
    return module
