"""A device that checks kernels as compute-sanitizer does on a card, in Numba's simulator.

- memcheck: an index that is negative, beyond the end, or no integer; copies and products that a card refuses
- racecheck: races in shared memory, and in global memory between the threads of one launch
- initcheck: reads of what nobody has written
- synccheck: barriers that not all threads of a block reach, or that are not the same one for all
- of the host: memory that is changed while it is on its way; what is read there too early is not a number

What only a card can show: misaligned addresses, cuBLAS itself, launches that overlap, and what compiled code
does otherwise than Python.

`ShadowDevice.reports` is empty if all is well; the fixture `checked` of `conftest.py` looks. With
FASTDP_GPU_SHADOW=1 or =backwards, all tests of the GPU engine run on it.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from shadow_memory import Allocation, Log, Report, ShadowArray
from shadow_threads import Runner, poison, poisoned

from fastdp.gpu.device import choice
from fastdp.gpu.device.base import Action, DeviceArray, do_nothing
from fastdp.gpu.device.stand_in import SMALL_BLOCK, StandIn
from fastdp.gpu.kernels.status import FOUND, REBUILD
from fastdp.gpu.rooms import Rooms

SAME_VALUE = {
    # Every thread that writes here writes 1.
    ("check_displacement", "status", REBUILD),
    ("kick_and_measure", "trouble", 0),
    ("set_flags", "flags", None),
}
"""Where several threads of a launch may write, all of them the same."""

EITHER_VALUE = {
    # Only NO_LIST is looked at, and these threads set only TOO_CLOSE.
    ("moments", "status", FOUND),
    ("add_pair_terms", "status", FOUND),
    # Likewise; these set only NOT_HELD.
    ("forces", "status", FOUND),
    # OVERFLOW, which is what these threads set, is masked.
    ("fill_rows", "status", FOUND),
    # The largest is found whether or not a thread sees that it need not try.
    ("count_neighbours", "counts", None),
}
"""Where threads may read what others change atomically. Tests evaluate with both, the old and the new."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """Memory of the host that is on its way to the device, or from there.

    Attributes
    ----------
    call : str
    host : array
        The memory.
    during : array
        What is in it until then.
    arrived : array or None
        What comes from the device.
    """

    call: str
    host: NDArray[Any]
    during: NDArray[Any]
    arrived: NDArray[Any] | None


class ShadowDevice(StandIn):
    """A stand-in that keeps shadow memory of all its arrays and runs kernels itself.

    Rows and columns of the network's kernels are divided among several blocks and threads, as on a card.

    Parameters
    ----------
    backwards : bool
        Whether blocks, and threads of a block, run in the opposite order.
    late : bool
        Whether what other threads change atomically is seen in the next launch only, where both are allowed.

    Attributes
    ----------
    log : Log
        With the reports and the tables of exceptions.
    """

    name = "Numba's CUDA simulator with shadow memory"

    def __init__(self, *, backwards: bool = False, late: bool = False) -> None:
        super().__init__()
        self.log = Log(late=late, same_value=set(SAME_VALUE), either_value=set(EITHER_VALUE))
        self._runner = Runner(self.log)
        self._runner.backwards = backwards
        self._allocations: dict[int, Allocation] = {}
        self._under_way: list[Transfer] = []

    @property
    def reports(self) -> list[Report]:
        """What was found."""
        return self.log.reports

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory that nobody has written."""
        return self._adopted(poisoned(shape, dtype), False)

    def upload(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of an array of the host."""
        return self._adopted(np.array(values, order="C"), True)

    def write(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from the host."""
        self._settle(self._under_way)
        self._needs(target.raw.flags.c_contiguous, "write", "the target is not contiguous")
        self._needs(target.shape == np.shape(values), "write", f"{np.shape(values)} into {target.shape}")
        super().write(target, values)
        self._written(target.raw)[...] = True

    def lent(self, array: DeviceArray) -> Any:
        """Return the array for MPI, which is taken to fill it."""
        self._written(array.raw)[...] = True
        return array.raw

    def write_later(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from the host, which must not touch `values` until that has been waited for."""
        self._needs_alike(target.raw, values, "write_later")
        super().write_later(target, values)
        self._written(target.raw)[...] = True
        self._under_way.append(Transfer("write_later", values, values.copy(), None))

    def read_later(self, source: DeviceArray, into: NDArray[Any]) -> None:
        """Copy an array to the host, where it is when that has been waited for, and not before."""
        self._needs_alike(source.raw, into, "read_later")
        self._needs_written(source.raw, "read_later", "source")
        # The device keeps the order, also of what goes through the same memory.
        self._settle([one for one in self._under_way if np.shares_memory(one.host, into)])
        arrived = np.array(source.raw)
        poison(into)
        self._under_way.append(Transfer("read_later", into, into.copy(), arrived))

    def mark(self) -> Any:
        """Return a mark: what is under way, and the time."""
        return tuple(self._under_way), super().mark()

    def wait(self, mark: Any) -> None:
        """Let everything that was under way at a mark arrive."""
        self._settle(mark[0])

    def elapsed(self, first: Any, last: Any) -> float:
        """Return the seconds between two marks; waits for the last."""
        self.wait(last)
        return super().elapsed(first[1], last[1])

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device, and with the numbers whether they were ever written."""
        alike = target.shape == source.shape and target.dtype == source.dtype
        contiguous = target.raw.flags.c_contiguous and source.raw.flags.c_contiguous
        self._needs(alike and contiguous, "copy", "the arrays are not contiguous, or not alike")
        super().copy(target, source)
        self._written(target.raw)[...] = self._written(source.raw)

    def fill(self, target: DeviceArray, value: float) -> None:
        """Set all elements."""
        super().fill(target, value)
        self._written(target.raw)[...] = True

    def launch(
        self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        """Return an action that runs a kernel on shadow memory."""
        if grid == 0:
            return do_nothing
        function = kernel.py_func
        names = inspect.signature(function).parameters
        if len(names) != len(arguments):
            raise TypeError(f"{function.__name__} takes {len(names)} arguments, not {len(arguments)}")
        values = tuple(self._seen(*pair) for pair in zip(names, arguments, strict=True))

        def act() -> None:
            self._runner.run(function, grid, block, shared, values)

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
        """Return an action: a matrix product, of what was written into memory of its own."""
        multiply = super().product(a, b, out, transposed=transposed, accumulate=accumulate, tf32=tf32)
        factors = {"a": a.raw, "b": b.raw}
        for name, array in (*factors.items(), ("out", out.raw)):
            straight = array.shape[-1] <= 1 or array.strides[-1] == array.dtype.itemsize
            self._needs(straight, "product", f"the last axis of {name} is not contiguous")
        for name, array in factors.items():
            apart = not np.shares_memory(array, out.raw)
            self._needs(apart, "product", f"{name} and out overlap")

        def act() -> None:
            read = factors | {"out": out.raw} if accumulate else factors
            for name, array in read.items():
                self._needs_written(array, "product", name)
            multiply()
            self._written(out.raw)[...] = True

        return act

    def forget(self, array: DeviceArray) -> None:
        """Take memory as never written from now on, as where it is used for something new."""
        poison(array.raw)
        self._written(array.raw)[...] = False

    def rows(self, n: int, width: int) -> tuple[int, int]:
        """Return grid and block: several of each, and not as many as there are rows and columns."""
        return 2, SMALL_BLOCK - 1

    def _download(self, source: DeviceArray, into: NDArray[Any] | None) -> NDArray[Any]:
        self._settle(self._under_way)
        self._needs_written(source.raw, "read", "source")
        return super()._download(source, into)

    def _adopted(self, raw: NDArray[Any], written: bool) -> DeviceArray:
        address = raw.__array_interface__["data"][0]
        self._allocations[id(raw)] = Allocation(raw.size, raw.itemsize, address, written)
        weakref.finalize(raw, self._allocations.pop, id(raw), None)
        return DeviceArray(raw, self._wrap)

    def _allocation(self, raw: NDArray[Any]) -> Allocation:
        owner: Any = raw
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if id(owner) not in self._allocations:
            raise TypeError("not memory of this device: a reshape has made a copy?")
        return self._allocations[id(owner)]

    def _seen(self, name: str, value: Any) -> Any:
        """Return an argument as a kernel sees it."""
        if isinstance(value, DeviceArray):
            return ShadowArray(value.raw, self._allocation(value.raw), name, self.log)
        if not isinstance(value, (int, float, np.integer)):
            raise TypeError(f"a kernel takes integers, floats and arrays, not {name} = {value!r}")
        return value

    def _written(self, raw: NDArray[Any]) -> NDArray[np.bool_]:
        return self._allocation(raw).written_of(raw)

    def _needs(self, right: bool, call: str, what: str) -> None:
        if not right:
            self.log.add("memcheck", call, what)

    def _needs_alike(self, raw: NDArray[Any], host: NDArray[Any], call: str) -> None:
        alike = raw.shape == host.shape and raw.dtype == host.dtype
        contiguous = raw.flags.c_contiguous and host.flags.c_contiguous
        self._needs(alike and contiguous, call, "the arrays are not contiguous, or not alike")

    def _settle(self, transfers: Iterable[Transfer]) -> None:
        """Let transfers arrive; report those whose memory has been changed on the host meanwhile."""
        for one in list(transfers):
            if one in self._under_way:
                self._under_way.remove(one)
                untouched = np.array_equal(one.host, one.during, equal_nan=True)
                self._needs(untouched, one.call, "the host has changed memory that was under way")
                if one.arrived is not None:
                    one.host[...] = one.arrived

    def _needs_written(self, raw: NDArray[Any], call: str, name: str) -> None:
        written = self._written(raw)
        if not written.all():
            what = f"{written.size - written.sum()} of {written.size} elements were never written"
            self.log.add("initcheck", f"{name} of {call}", what)


def install(device: ShadowDevice, set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Make this the device of the process, and memory that `Rooms` hands out again as if never written.

    Parameters
    ----------
    device : ShadowDevice
    set_attribute : callable
        As `setattr`.
    """
    room = Rooms._room

    def new_room(
        self: Rooms, name: str, shape: int | tuple[int, ...], dtype: DTypeLike, keep: int
    ) -> DeviceArray:
        result = room(self, name, shape, dtype, keep)
        if isinstance(self._device, ShadowDevice):
            self._device.forget(result.reshape(-1)[keep:])
        return result

    set_attribute(choice, "open_device", lambda: device)
    set_attribute(Rooms, "_room", new_room)
