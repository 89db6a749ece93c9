"""Launching translated kernels: memory that may be touched, arguments, and what went wrong."""

from __future__ import annotations

import bisect
import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ptx.build import library
from ptx.counting import Counters, Counting, counters
from ptx.errors import PtxFaultError
from ptx.translate import SHARED_START, KernelSource, translate

ALIGNMENT = 256
"""Bytes, of what CUDA allocates."""
FUEL = 1 << 34
"""Branches of a launch after which it counts as endless."""

FAULTS = {
    1: "an access to memory that was not allocated",
    2: "a misaligned access",
    3: "an access beyond shared memory",
    4: "an access beyond local memory",
    5: "an access beyond the parameters",
    6: "threads wait for others that never come",
    7: "threads wait at different barriers",
    8: "a thread is not in the mask of what it takes part in",
    9: "a product of matrices without all threads of a warp",
    10: "an endless loop",
    11: "a trap",
    12: "a call of a function of the system",
    13: "no memory is left",
    14: "a barrier of a number that there is not",
    15: "threads take part with different masks",
}


class _Failure(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_int32),
        ("line", ctypes.c_int32),
        ("other_line", ctypes.c_int32),
        ("size", ctypes.c_uint32),
        ("block", ctypes.c_uint32 * 3),
        ("thread", ctypes.c_uint32 * 3),
        ("address", ctypes.c_uint64),
    )


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("parameters", ctypes.c_void_p),
        ("parameter_bytes", ctypes.c_uint64),
        ("shared_bytes", ctypes.c_uint64),
        ("ranges", ctypes.c_void_p),
        ("n_ranges", ctypes.c_int64),
        ("backwards", ctypes.c_int32),
        ("fuel", ctypes.c_uint64),
        ("failure", _Failure),
        ("counters", ctypes.c_void_p),
    )


class Memory:
    """What kernels may touch: arrays at addresses such as CUDA gives, each in a room of its own."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._table: NDArray[np.uint64] | None = None

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return memory that nobody has written: all bits are set, so numbers are NaN or -1."""
        kind = np.dtype(dtype)
        n_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        # Space before and after, so that nothing else is near.
        raw = np.full(n_bytes + 3 * ALIGNMENT, 0xFF, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT + ALIGNMENT
        result = raw[start : start + n_bytes].view(kind).reshape(shape)
        address = raw.ctypes.data + start
        self.add(address, n_bytes)
        weakref.finalize(raw, self._forget, address)
        return result

    def upload(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of an array."""
        result = self.empty(values.shape, values.dtype)
        result[...] = values
        return result

    def add(self, address: int, n_bytes: int) -> None:
        """Allow access to some bytes."""
        if n_bytes:
            place = bisect.bisect(self._starts, address)
            self._starts.insert(place, address)
            self._ends.insert(place, address + n_bytes)
            self._table = None

    def _forget(self, address: int) -> None:
        place = bisect.bisect_left(self._starts, address)
        if place < len(self._starts) and self._starts[place] == address:
            del self._starts[place], self._ends[place]
            self._table = None

    @property
    def table(self) -> NDArray[np.uint64]:
        """First and last address of all ranges, in their order."""
        if self._table is None:
            self._table = np.array([self._starts, self._ends], np.uint64).T.copy()
        return self._table

    def holds(self, address: int, n_bytes: int) -> bool:
        """Whether all of some bytes are in one array."""
        place = bisect.bisect(self._starts, address) - 1
        return place >= 0 and address + n_bytes <= self._ends[place]

    def describe(self, address: int) -> str:
        """Return where an address is."""
        place = bisect.bisect(self._starts, address) - 1
        if place < 0:
            return "before all arrays"
        start, end = self._starts[place], self._ends[place]
        if address < end:
            return f"byte {address - start} of an array of {end - start} bytes"
        return f"{address - end} bytes behind the end of an array of {end - start} bytes"


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be launched."""

    source: KernelSource
    lines: tuple[str, ...]
    run: Any
    counting: Counting | None = None

    @property
    def name(self) -> str:
        """In PTX."""
        return self.source.name

    def launch(
        self,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        parameters: bytes,
        memory: Memory,
        shared: int = 0,
        *,
        backwards: bool = False,
        fuel: int = FUEL,
    ) -> Counters | None:
        """Run all threads; return what was counted, if the kernel was loaded for that.

        Parameters
        ----------
        grid, block : int or up to three
        parameters : bytes
            As they are laid out in PTX.
        memory : Memory
            What may be touched.
        shared : int
            Bytes of dynamic shared memory.
        backwards : bool
            Whether blocks and threads take turns in the opposite order.
        fuel : int
            Branches after which the launch counts as endless.

        Raises
        ------
        PtxFaultError
            If a thread does what it must not.
        """
        table = memory.table
        found = None if self.counting is None else np.zeros(self.counting.size, np.int64)
        room = ctypes.create_string_buffer(parameters, len(parameters) + 8)
        launch = _Launch(
            grid=_three(grid),
            block=_three(block),
            parameters=ctypes.addressof(room),
            parameter_bytes=len(parameters),
            shared_bytes=self.source.static_shared + shared,
            ranges=table.ctypes.data,
            n_ranges=len(table),
            backwards=backwards,
            fuel=fuel,
            counters=None if found is None else found.ctypes.data,
        )
        if self.run(ctypes.byref(launch)):
            raise PtxFaultError(self._told(launch.failure, memory, launch.shared_bytes))
        if self.counting is None or found is None:
            return None
        blocks, threads = (int(np.prod(list(three))) for three in (launch.grid, launch.block))
        return counters(self.counting, self.name, blocks, threads, found)

    def packed(self, *values: Any) -> bytes:
        """Return arguments as PTX lays them out: arrays by their address, numbers of NumPy by their bytes."""
        offsets = self.source.parameters
        if len(values) != len(offsets):
            raise TypeError(f"{self.name} takes {len(offsets)} parameters, not {len(values)}")
        end = max((start + size for start, size in offsets), default=0)
        found = bytearray(end)
        for value, (start, size) in zip(values, offsets, strict=True):
            if isinstance(value, np.ndarray):
                value = np.uint64(value.ctypes.data)
            data = value if isinstance(value, bytes) else value.tobytes()
            if len(data) != size:
                raise TypeError(f"{self.name} takes {size} bytes at {start}, not {len(data)}")
            found[start : start + size] = data
        return bytes(found)

    def _told(self, failure: _Failure, memory: Memory, shared_bytes: int) -> str:
        line = failure.line
        text = self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""
        what = FAULTS.get(failure.code, f"fault {failure.code}")
        where = ""
        if failure.code in (1, 2, 3, 4, 5):
            where = f", {failure.size} bytes at address {failure.address:#x}"
            if failure.code in (1, 2):
                where += f" ({memory.describe(failure.address)})"
            if failure.code == 3:
                where += f" (shared memory has {shared_bytes} bytes from {SHARED_START:#x} on)"
        if failure.other_line:
            where += f"; others wait in line {failure.other_line}"
        return (
            f"kernel {self.name}: {what}{where}; PTX line {line}: `{text}`, block {tuple(failure.block)}, "
            f"thread {tuple(failure.thread)}"
        )


def _three(count: int | Sequence[int]) -> Any:
    numbers = [count] if isinstance(count, (int, np.integer)) else list(count)
    return (ctypes.c_uint32 * 3)(*numbers, *[1] * (3 - len(numbers)))


def load(text: str, options: tuple[str, ...] = (), *, counting: bool = False) -> dict[str, Kernel]:
    """Return the kernels of a module of PTX by their names.

    Parameters
    ----------
    text : str
    options : tuple of str
        Further ones of gcc.
    counting : bool
        Whether launches count instructions and accesses.
    """
    made = translate(text, counting=counting)
    compiled = library(made.source, options)
    return {
        one.name: Kernel(one, made.lines, compiled[f"launch_{one.number}"], made.counting)
        for one in made.kernels
    }
