"""A device that runs kernels as Numba compiles them, on the processor, by the product's own launcher.

Grids and blocks are those of a card, arguments are packed and handed over as to the driver, products go
through the product's interface to cuBLAS. Memory is NumPy's, aligned as CUDA's is, and full of NaN at first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cuda import ColumnMajorBlas
from numpy.typing import DTypeLike, NDArray

from fastdp.gpu.device import choice
from fastdp.gpu.device.base import Action, CardFeatures, DeviceArray, do_nothing
from fastdp.gpu.device.card_geometry import CardGeometry
from fastdp.gpu.device.compiled import assembly, key, source_key
from fastdp.gpu.device.cublas import WORKSPACE_BYTES, Cublas
from fastdp.gpu.device.launchers import DriverLauncher
from fastdp.gpu.device.source_kernel import SourceKernel, compile_source
from fastdp.gpu.device.stand_in import StandIn
from ptx.build import compiler, folder
from ptx.counting import Counters
from ptx.errors import PtxFaultError
from ptx.machine import Kernel, Memory, load

HOPPER = (9, 0)
MULTIPROCESSORS = 132
SHARED_WITHOUT_ASKING = 48 * 1024
SHARED_AT_MOST = 227 * 1024
THREADS_AT_MOST = 1024
GRID_AT_MOST = (2**31 - 1, 65535, 65535)
DYNAMIC_SHARED_ATTRIBUTE = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""
SUCCESS, INVALID_VALUE, INVALID_HANDLE = 0, 1, 400


def why_not() -> str:
    """Return why kernels cannot be compiled and run here, or nothing."""
    if find_spec("numba_cuda") is None or find_spec("cuda") is None or find_spec("cuda.core") is None:
        return "the compiler is not installed (pip install 'numba-cuda[cu12]')"
    return "" if compiler() else "there is no gcc to compile PTX for the processor"


class PtxDriver:
    """The driver's interface, as far as launches of kernels go.

    Attributes
    ----------
    backwards : bool
        Whether blocks and threads take turns in the opposite order.
    counted : list of Counters
        Of the launches of kernels that are loaded for counting.
    """

    def __init__(self, memory: Memory, backwards: bool = False) -> None:
        self.counted: list[Counters] = []
        self._memory = memory
        self._functions: dict[int, Kernel] = {}
        self._dynamic: dict[int, int] = {}
        self.backwards = backwards

    def adopt(self, kernel: Kernel) -> int:
        """Return the handle of a kernel."""
        handle = 0x1000 + 16 * len(self._functions)
        self._functions[handle] = kernel
        return handle

    def cuFuncSetAttribute(self, function: Any, attribute: Any, value: Any) -> int:
        """Allow a kernel more shared memory."""
        function, attribute, value = map(_number, (function, attribute, value))
        if function not in self._functions:
            return INVALID_HANDLE
        if attribute == DYNAMIC_SHARED_ATTRIBUTE:
            if value + self._functions[function].source.static_shared > SHARED_AT_MOST:
                return INVALID_VALUE
            self._dynamic[function] = value
        return SUCCESS

    def cuLaunchKernel(self, function: Any, *others: Any) -> int:
        """Run a kernel whose arguments stand where `pointers` says."""
        grid, block = [_number(one) for one in others[:3]], [_number(one) for one in others[3:6]]
        shared, pointers, extra = _number(others[6]), others[8], others[9]
        handle = _number(function)
        kernel = self._functions.get(handle)
        if kernel is None:
            return INVALID_HANDLE
        allowed = self._dynamic.get(handle, SHARED_WITHOUT_ASKING - kernel.source.static_shared)
        fits = all(1 <= n <= most for n, most in zip(grid, GRID_AT_MOST, strict=True))
        threads = block[0] * block[1] * block[2]
        if extra is not None or not fits or not 1 <= threads <= THREADS_AT_MOST or shared > allowed:
            return INVALID_VALUE
        places = kernel.source.parameters
        given = bytearray(max((start + size for start, size in places), default=0))
        for (start, size), pointer in zip(places, pointers, strict=True):
            given[start : start + size] = ctypes.string_at(pointer, size)
        found = kernel.launch(grid, block, bytes(given), self._memory, shared, backwards=self.backwards)
        if found is not None:
            self.counted.append(found)
        return SUCCESS


def _number(value: Any) -> int:
    return int(getattr(value, "value", value) or 0)


class PtxLauncher(DriverLauncher):
    """The launcher of a card, with kernels left as PTX.

    Parameters
    ----------
    driver : PtxDriver
    capability : (int, int)
    counting : bool
        Whether launches are to count what they do.

    Attributes
    ----------
    kernels : set of str
        Names of those that were launched.
    texts : dict of str to tuple of str
        Lines of PTX, by its names.
    """

    def __init__(self, driver: PtxDriver, capability: tuple[int, int], counting: bool = False) -> None:
        self._counting = counting
        self.texts: dict[str, tuple[str, ...]] = {}
        super().__init__(driver, 0, capability, lambda code: (0, code), lambda array: array.ctypes.data)
        self.kernels: set[str] = set()

    def _function(self, kernel: Any, signature: tuple[Any, ...]) -> int:
        function, capability = kernel.py_func, self._capability
        self.kernels.add(function.__name__)
        return self._adopted(
            (function, signature),
            key(function, signature, capability),
            lambda: assembly(function, signature, capability),
        )

    def _source_function(self, kernel: SourceKernel) -> int:
        self.kernels.add(kernel.name)
        return self._adopted(
            (kernel,),
            source_key(kernel, self._capability),
            lambda: compile_source(kernel, self._capability, assembly=True).decode().rstrip("\0 "),
        )

    def _adopted(self, place: tuple[Any, ...], name: str, make: Callable[[], str]) -> int:
        if place not in self._loaded:
            (found,) = load(kept(name, make), counting=self._counting).values()
            self._loaded[place] = (self._driver.adopt(found), found)
            self.texts[found.name] = found.lines
        return self._loaded[place][0]


def kept(name: str, make: Callable[[], str]) -> str:
    """Return a kernel in PTX, from the disk or compiled now."""
    path = folder() / f"{name}.ptx"
    if path.exists():
        return path.read_text()
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made)
    return made


class CheckedBlas(ColumnMajorBlas):
    """cuBLAS for memory of the host; all that a product touches has to be allocated."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def _touched(self, address: int, n_bytes: int) -> None:
        if n_bytes and not self._memory.holds(address, n_bytes):
            raise PtxFaultError(f"a product beyond its operand: {self._memory.describe(address + n_bytes)}")


class PtxDevice(CardGeometry, StandIn):
    """A card's launches and products on the memory of the host.

    Parameters
    ----------
    capability : (int, int)
        Compute capability that kernels are compiled for.
    backwards : bool
        Whether blocks and threads take turns in the opposite order.
    counting : bool
        Whether `driver.counted` is to hold what launches do.
    """

    name = "compiled kernels on the processor"

    def __init__(
        self, capability: tuple[int, int] = HOPPER, *, backwards: bool = False, counting: bool = False
    ) -> None:
        super().__init__()
        self.vram = Memory()
        self.driver = PtxDriver(self.vram, backwards)
        self.launcher = PtxLauncher(self.driver, capability, counting)
        self.launchers = {self.launcher.name: self.launcher}
        self.capability = capability
        self.features = CardFeatures(capability, MULTIPROCESSORS)
        workspace = self.empty(WORKSPACE_BYTES // 2**20, np.uint8)
        self._cublas = Cublas(CheckedBlas(self.vram), 0, workspace.raw.ctypes.data)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory that nobody has written."""
        return DeviceArray(self.vram.empty(shape, dtype), self._wrap)

    def upload(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of an array of the host."""
        return DeviceArray(self.vram.upload(values), self._wrap)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device; both contiguous, of one type and shape."""
        assert target.raw.flags.c_contiguous
        assert source.raw.flags.c_contiguous
        assert target.dtype == source.dtype
        assert target.shape == source.shape
        super().copy(target, source)

    def fill(self, target: DeviceArray, value: float) -> None:
        """Set all elements of contiguous memory."""
        assert target.raw.flags.c_contiguous
        super().fill(target, value)

    def launch(
        self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        """Return an action that runs a kernel."""
        if grid == 0:
            return do_nothing
        return self.launcher.action(kernel, grid, block, arguments, shared)

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
        """Return an action: a matrix product as it is described to cuBLAS."""
        multiply = self._cublas.product(
            a.raw,
            b.raw,
            out.raw,
            transposed=transposed,
            accumulate=accumulate,
            tf32=tf32,
            address=lambda array: array.ctypes.data,
        )

        def act(keep: Any = (a, b, out)) -> None:
            multiply()

        return act


def install(device: PtxDevice, set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Make this the device of the process, and Numba compile device functions for it.

    Parameters
    ----------
    device : PtxDevice
    set_attribute : callable
        As `setattr`.
    """
    import numba.cuda.dispatcher as dispatcher

    card = SimpleNamespace(compute_capability=device.capability, id=0)
    set_attribute(dispatcher, "get_current_device", lambda: card)
    set_attribute(choice, "open_device", lambda *arguments: device)
