"""Ways to launch a kernel on a card: by Numba, or by the driver with everything prepared beforehand.

Numba looks at every argument in every launch, and compiles each kernel anew in every process. The arguments
of a launch in fastdp never change, so they can be packed once, and machine code can be kept
(`fastdp.gpu.device.compiled`). The driver's interface: https://docs.nvidia.com/cuda/cuda-driver-api.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np

from fastdp.errors import BackendError
from fastdp.gpu.device.base import Action, DeviceArray
from fastdp.gpu.device.compiled import Compiled, compiled, compiled_source, forget, key, source_key
from fastdp.gpu.device.source_kernel import SourceKernel

_SUCCESS = 0

_MOST_DYNAMIC_SHARED = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""

SHARED_WITHOUT_ASKING = 48 * 1024
"""Bytes of shared memory that a block may have without that attribute."""


class Launcher(Protocol):
    """What makes an action of a kernel and its arguments."""

    name: str

    def action(self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int) -> Action:
        """Return an action that runs a kernel; the parameters are those of `Device.launch`."""


class NumbaLauncher:
    """Launches by Numba.

    Parameters
    ----------
    stream
        Of Numba.
    """

    name = "numba"

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def action(self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int) -> Action:
        """Return an action that runs a kernel."""
        configured = kernel[grid, block, self._stream, shared]
        values = tuple(value.argument if isinstance(value, DeviceArray) else value for value in arguments)

        def act() -> None:
            configured(*values)

        return act


class DriverLauncher:
    """Launches by the driver, with machine code that is kept on disk and arguments that are packed once.

    Parameters
    ----------
    driver
        The loaded library of the driver.
    stream : int
        Of CUDA.
    capability : (int, int)
        Compute capability of the card.
    function_of : callable
        Loads machine code; gives the address of the function, and what has to live as long as that.
    address : callable
        Gives the address of an array's first element.
    """

    name = "driver"

    def __init__(
        self,
        driver: Any,
        stream: int,
        capability: tuple[int, int],
        function_of: Callable[[Compiled], tuple[int, Any]],
        address: Callable[[Any], int],
    ) -> None:
        self._driver = driver
        self._stream = ctypes.c_void_p(stream)
        self._capability = capability
        self._function_of = function_of
        self._address = address
        self._loaded: dict[tuple[Any, ...], tuple[int, Any]] = {}

    def action(self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int) -> Action:
        """Return an action that runs a kernel."""
        if isinstance(kernel, SourceKernel):
            function, name = self._source_function(kernel), kernel.name
            values = as_in_c(arguments, self._address)
        else:
            function, name = self._function(kernel, signature_of(arguments)), kernel.py_func.__name__
            values = packed(arguments, self._address)
        if shared > SHARED_WITHOUT_ASKING:
            self._ask_for_shared(function, shared, name)
        number = ctypes.c_uint
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        one = number(1)
        call = (
            ctypes.c_void_p(function),
            number(grid), one, one,
            number(block), one, one,
            number(shared),
            self._stream,
            pointers,
            None,
        )  # fmt: skip
        launch = self._driver.cuLaunchKernel

        # The arrays' memory has to be there as long as the action.
        def act(keep: Any = (values, arguments)) -> None:
            code = launch(*call)
            if code != _SUCCESS:
                raise BackendError(f"the GPU's driver refused the kernel {name} with status {code}")

        return act

    def _function(self, kernel: Any, signature: tuple[Any, ...]) -> int:
        function, capability = kernel.py_func, self._capability
        return self._load(
            (function, signature),
            lambda: compiled(function, signature, capability),
            lambda: key(function, signature, capability),
        )

    def _source_function(self, kernel: SourceKernel) -> int:
        capability = self._capability
        return self._load(
            (kernel,), lambda: compiled_source(kernel, capability), lambda: source_key(kernel, capability)
        )

    def _load(
        self, place: tuple[Any, ...], code_of: Callable[[], Compiled], key_of: Callable[[], str]
    ) -> int:
        if place not in self._loaded:
            try:
                self._loaded[place] = self._function_of(code_of())
            # What was kept may be damaged in a way that only the driver sees.
            except Exception:
                forget(key_of())
                self._loaded[place] = self._function_of(code_of())
        return self._loaded[place][0]

    def _ask_for_shared(self, function: int, shared: int, name: str) -> None:
        code = self._driver.cuFuncSetAttribute(
            ctypes.c_void_p(function), ctypes.c_int(_MOST_DYNAMIC_SHARED), ctypes.c_int(shared)
        )
        if code != _SUCCESS:
            raise BackendError(
                f"the GPU's driver gives the kernel {name} no {shared} bytes of shared memory (status {code})"
            )


def signature_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the types that Numba compiles a kernel for.

    Parameters
    ----------
    arguments : tuple
        Numbers, and arrays of CuPy, NumPy or the device.
    """
    import numba

    found: list[Any] = []
    for value in arguments:
        raw = value.raw if isinstance(value, DeviceArray) else value
        if hasattr(raw, "shape") and hasattr(raw, "strides") and raw.shape != ():
            found.append(_array_type(raw.dtype, raw.ndim, "C" if raw.flags.c_contiguous else "A"))
        else:
            found.append(numba.float64 if isinstance(raw, float) else numba.int64)
    return tuple(found)


@cache
def _array_type(dtype: np.dtype[Any], n_axes: int, layout: Literal["C", "A"]) -> Any:
    """Return the type of an array; a large system has ten thousands of launches, of few types."""
    import numba

    return numba.types.Array(numba.from_dtype(dtype), n_axes, layout)


def as_in_c(arguments: tuple[Any, ...], address: Callable[[Any], int]) -> list[Any]:
    """Return the arguments of a `SourceKernel`: an address for each array, `long long` and `double`.

    Parameters
    ----------
    arguments, address
        As in `packed`; arrays contiguous.
    """
    found: list[Any] = []
    for value in arguments:
        if isinstance(value, DeviceArray):
            if not value.raw.flags.c_contiguous:
                raise TypeError("a kernel in CUDA C++ takes contiguous arrays")
            found.append(ctypes.c_void_p(address(value.raw)))
        else:
            found += packed((value,), address)
    return found


def packed(arguments: tuple[Any, ...], address: Callable[[Any], int]) -> list[Any]:
    """Return the arguments as Numba's kernels take them, each a number of ctypes.

    An array is 5 + 2 ndim numbers of 64 bits: two addresses that a card has no use for, the number of
    elements, the size of one, the address of the first, the shape, and the strides in bytes.

    Parameters
    ----------
    arguments : tuple
        Integers, floats, and instances of `DeviceArray`.
    address : callable
        Gives the address of an array's first element.
    """
    found: list[Any] = []
    for value in arguments:
        if isinstance(value, DeviceArray):
            raw = value.raw
            numbers = (0, 0, raw.size, raw.dtype.itemsize, address(raw), *raw.shape, *raw.strides)
            found += [ctypes.c_int64(number) for number in numbers]
        elif isinstance(value, float):
            found.append(ctypes.c_double(value))
        elif isinstance(value, (int, np.integer)):
            found.append(ctypes.c_int64(int(value)))
        else:
            raise TypeError(f"a kernel takes integers, floats and arrays, not {value!r}")
    return found
