"""A CUDA card: memory by CuPy, kernels by Numba, matrix products by cuBLAS, all on one stream."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.errors import BackendError
from fastdp.gpu.device.base import Action, CardFeatures, Device, DeviceArray, do_nothing
from fastdp.gpu.device.card_geometry import CardGeometry
from fastdp.gpu.device.compiled import Compiled
from fastdp.gpu.device.cublas import WORKSPACE_BYTES, Cublas, load_library
from fastdp.gpu.device.launchers import DriverLauncher, Launcher, NumbaLauncher
from fastdp.gpu.device.probe import try_out


class Card(CardGeometry, Device):
    """The card of this process.

    Parameters
    ----------
    local_rank : int
        Number of this process on its node; processes take the cards in turn, and share them where there
        are fewer cards.
    launcher : {"driver", "numba"}
        What launches kernels, see `launchers.py`. The driver is tried out first; where that fails, Numba
        does it.

    Attributes
    ----------
    launchers : dict of str to Launcher
        By name.
    launcher : Launcher
        In use.
    """

    def __init__(self, local_rank: int = 0, launcher: str = "driver") -> None:
        import cupy
        import numba
        from numba import cuda

        # Small systems cannot fill a card; that is no news.
        numba.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]
        self._cupy = cupy
        number = local_rank % cupy.cuda.runtime.getDeviceCount()
        cupy.cuda.Device(number).use()
        cuda.select_device(number)
        properties = cupy.cuda.runtime.getDeviceProperties(number)
        self.name = f"{properties['name'].decode()} (number {number})"
        # A stream can only be captured if it does not wait for the default one.
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._as_argument = cuda.as_cuda_array
        self._workspace = self.empty(WORKSPACE_BYTES, np.uint8)
        self._cublas = Cublas(load_library(), self._stream.ptr, self._workspace.raw.data.ptr)
        numba_launcher = NumbaLauncher(cuda.external_stream(self._stream.ptr))
        self.launchers: dict[str, Launcher] = {numba_launcher.name: numba_launcher}
        self.launcher: Launcher = numba_launcher
        capability = (properties["major"], properties["minor"])
        wrong = self._add_driver_launcher(capability)
        if not wrong:
            self.launcher = self.launchers[launcher]
            # Only the driver launches what Numba has not compiled.
            if self.launcher is not numba_launcher:
                self.features = CardFeatures(capability, properties["multiProcessorCount"])
        elif launcher != numba_launcher.name:
            warnings.warn(f"Numba launches kernels, because the driver does not ({wrong})", stacklevel=2)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory with anything in it.

        Raises
        ------
        BackendError
            If the card has not enough left.
        """
        try:
            with self._stream:
                return DeviceArray(self._cupy.empty(shape, dtype), self._argument)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
            free, total = self.memory()
            raise BackendError(
                f"the GPU has no room for {wanted / 2**20:.0f} MiB more: {free / 2**20:.0f} of "
                f'{total / 2**20:.0f} MiB are free. Use fewer atoms, precision = "mixed" or '
                'backend = "cpu"; `fastdp check` forecasts what a run needs'
            ) from error

    def upload(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of an array of the host."""
        result = self.empty(values.shape, values.dtype)
        self.write(result, values)
        return result

    def write(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from the host."""
        target.raw.set(np.ascontiguousarray(values, target.dtype), stream=self._stream)
        # The caller may change `values` now.
        self._stream.synchronize()

    def write_later(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from pinned memory, in the order of the stream."""
        target.raw.data.copy_from_host_async(values.ctypes.data, values.nbytes, self._stream)

    def read_later(self, source: DeviceArray, into: NDArray[Any]) -> None:
        """Copy an array to pinned memory, in the order of the stream."""
        source.raw.data.copy_to_host_async(into.ctypes.data, into.nbytes, self._stream)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device; both contiguous, of one type and shape."""
        target.raw.data.copy_from_device_async(source.raw.data, source.nbytes, self._stream)

    def fill(self, target: DeviceArray, value: float) -> None:
        """Set all elements of contiguous memory.

        Zeros and NaN, which is all that steps need, go without a kernel of CuPy's: those are compiled at
        run time, and want headers of CUDA that may not be there.
        """
        if target.nbytes == 0:
            return
        if value == 0 or np.isnan(value):
            byte = 0 if value == 0 else 0xFF
            target.raw.data.memset_async(byte, target.nbytes, self._stream)
        else:
            self.write(target, np.full(target.shape, value, target.dtype))

    def launch(
        self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        """Return an action that runs a kernel."""
        if grid == 0:
            # Which the driver refuses.
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
        """Return an action: out = a b, or a bᵀ; added to `out` if so wanted."""
        return self._cublas.product(
            a.raw,
            b.raw,
            out.raw,
            transposed=transposed,
            accumulate=accumulate,
            tf32=tf32,
            address=lambda array: array.data.ptr,
        )

    def capture(self, actions: Sequence[Action]) -> Action:
        """Return one action that does all of them: a CUDA graph, from the second time on."""
        return _Graph(list(actions), self._stream)

    def mark(self) -> Any:
        """Return an event that is recorded when the stream gets there."""
        event = self._cupy.cuda.Event()
        event.record(self._stream)
        return event

    def wait(self, mark: Any) -> None:
        """Wait until the stream gets to an event."""
        mark.synchronize()

    def elapsed(self, first: Any, last: Any) -> float:
        """Return the seconds between two events; waits for the last."""
        last.synchronize()
        return 1e-3 * float(self._cupy.cuda.get_elapsed_time(first, last))

    def memory(self) -> tuple[int, int]:
        """Return free and total memory of the card, bytes; what CuPy's pool holds ready is free."""
        free, total = self._cupy.cuda.runtime.memGetInfo()
        return free + self._cupy.get_default_memory_pool().free_bytes(), total

    def staging(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return memory of the host that the card reads and writes without a copy in between."""
        import cupyx

        return cupyx.empty_pinned(shape, dtype)

    def _load(self, kernel: Compiled) -> tuple[int, Any]:
        """Load machine code; return the function's address, and the module that it lives in."""
        module = self._cupy.cuda.function.Module()
        module.load(kernel.code)
        function = module.get_function(kernel.entry)
        return function.ptr, (module, function)

    def _add_driver_launcher(self, capability: tuple[int, int]) -> str:
        """Add it to the launchers if a kernel does through it what it should; return what is wrong."""
        try:
            launcher = DriverLauncher(
                ctypes.CDLL("libcuda.so.1"),
                self._stream.ptr,
                capability,
                self._load,
                lambda array: array.data.ptr,
            )
            wrong = try_out(self, launcher)
        # Drivers and packages that do not fit announce themselves in many ways.
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if not wrong:
            self.launchers[launcher.name] = launcher
        return wrong

    def _argument(self, raw: Any) -> Any:
        return self._as_argument(raw, sync=False)

    def _download(self, source: DeviceArray, into: NDArray[Any] | None) -> NDArray[Any]:
        result = source.raw.get(stream=self._stream, out=into)
        self._stream.synchronize()
        return result


class _Graph:
    """Actions that are recorded the second time, and launched as one from then on.

    The first time compiles and loads kernels, which a stream that is being recorded does not allow.
    """

    def __init__(self, actions: list[Action], stream: Any) -> None:
        self._actions = actions
        self._stream = stream
        self._times = 0
        self._graph: Any = None

    def __call__(self) -> None:
        self._times += 1
        if self._times == 2:
            self._record()
        if self._graph is not None:
            self._graph.launch(self._stream)
            return
        for action in self._actions:
            action()

    def _record(self) -> None:
        with self._stream:
            self._stream.begin_capture()
            try:
                for action in self._actions:
                    action()
                self._graph = self._stream.end_capture()
            # What cannot be recorded is launched one by one: slower, and no reason to stop.
            except Exception as error:
                warnings.warn(f"the step cannot be captured as a CUDA graph: {error}", stacklevel=2)
                self._end_failed_capture()

    def _end_failed_capture(self) -> None:
        try:
            self._stream.end_capture()
        except Exception:
            self._graph = None
