"""NumPy in the place of CuPy, and Numba's simulator in the place of a card."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.gpu.device.base import Action, Device, DeviceArray, do_nothing
from fastdp.gpu.device.tf32 import rounded_to_tf32

SMALL_BLOCK = 4
"""The simulator starts a Python thread for each thread of a block; loops within a thread are cheaper."""


def _as_it_is(values: NDArray[Any]) -> NDArray[Any]:
    return values


def shared_array(self: Any, shape: Any, dtype: Any) -> NDArray[Any]:
    """Return shared memory of a block in the simulator, the same for all threads that get to this line.

    In the place of Numba's own, where two threads that get there at once may each get an array of their own.
    """
    from numba import types
    from numba.np import numpy_support

    if isinstance(dtype, types.Type):
        dtype = numpy_support.as_dtype(dtype)
    if shape == 0:
        count = self._dynshared_size // np.dtype(dtype).itemsize
        return np.frombuffer(self._dynshared.data, dtype=dtype, count=count)
    caller = sys._getframe(1)
    place = (caller.f_code.co_filename, caller.f_lineno)
    # One operation of the interpreter, during which no other thread runs.
    found: NDArray[Any] = self._allocations.setdefault(place, np.empty(shape, dtype))
    return found


class StandIn(Device):
    """A device made of NumPy arrays and Numba's simulator (NUMBA_ENABLE_CUDASIM=1): slow, for tests."""

    name = "Numba's CUDA simulator"

    def __init__(self) -> None:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
        from numba.cuda.simulator.kernelapi import FakeCUDAShared

        FakeCUDAShared.array = shared_array
        self._wrap: Any = FakeCUDAArray

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory; poisoned, so that nothing works by chance."""
        raw = np.empty(shape, dtype)
        raw.fill(np.nan if raw.dtype.kind == "f" else -9)
        return DeviceArray(raw, self._wrap)

    def upload(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of an array of the host."""
        return DeviceArray(np.array(values, order="C"), self._wrap)

    def write(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from the host."""
        target.raw[...] = values

    def write_later(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from the host, at once."""
        target.raw[...] = values

    def read_later(self, source: DeviceArray, into: NDArray[Any]) -> None:
        """Copy an array to the host, at once."""
        into[...] = source.raw

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device."""
        target.raw[...] = source.raw

    def fill(self, target: DeviceArray, value: float) -> None:
        """Set all elements."""
        target.raw.fill(value)

    def launch(
        self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        """Return an action that runs a kernel in the simulator."""
        if grid == 0:
            return do_nothing
        values = tuple(value.argument if isinstance(value, DeviceArray) else value for value in arguments)

        def act() -> None:
            kernel[grid, block, 0, shared](*values)

        return act

    def product(
        self,
        a: DeviceArray,
        b: DeviceArray,
        out: DeviceArray,
        *,
        transposed: bool = False,
        accumulate: bool = False,
        tf32: bool = False,
    ) -> Action:
        """Return an action: a matrix product by NumPy, of rounded factors where a card would round them."""
        first, second, result = a.raw, b.raw.T if transposed else b.raw, out.raw
        rounded = rounded_to_tf32 if tf32 else _as_it_is

        def act() -> None:
            if accumulate:
                result[...] += rounded(first) @ rounded(second)
            else:
                result[...] = rounded(first) @ rounded(second)

        return act

    def capture(self, actions: list[Action]) -> Action:
        """Return one action that does all of them."""

        def act() -> None:
            for action in actions:
                action()

        return act

    def mark(self) -> float:
        """Return the time: the simulator does at once what it is asked for."""
        return time.perf_counter()

    def wait(self, mark: float) -> None:
        """Go on: everything is done."""

    def elapsed(self, first: float, last: float) -> float:
        """Return the seconds between two marks."""
        return last - first

    def memory(self) -> tuple[int, int]:
        """Return something: the simulator has the host's memory."""
        return 1 << 34, 1 << 34

    def elements(self, n: int) -> tuple[int, int]:
        """Return grid and block for one thread for each of n elements."""
        return -(-n // SMALL_BLOCK), SMALL_BLOCK

    def rows(self, n: int, width: int) -> tuple[int, int]:
        """Return grid and block for kernels that take rows by blocks and columns by threads."""
        return 1, 1

    def sums(self) -> tuple[int, int]:
        """Return grid and block of sums over all atoms."""
        return 2, SMALL_BLOCK

    def _download(self, source: DeviceArray, into: NDArray[Any] | None) -> NDArray[Any]:
        if into is None:
            return np.array(source.raw)
        into[...] = source.raw
        return into
