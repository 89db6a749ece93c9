"""What the rest of the package sees of a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Action = Callable[[], None]


def run_all(actions: Sequence[Action]) -> None:
    """Do actions one after the other, and hold on to none of them: they hold on to memory."""
    for action in actions:
        action()


def do_nothing() -> None:
    """Do what a launch without blocks does."""


class DeviceArray:
    """An array in the memory of a device; only `Device.read` brings numbers back.

    Parameters
    ----------
    raw : array
        Of CuPy or NumPy.
    wrap : callable
        Makes what Numba's kernels take from `raw`.
    """

    def __init__(self, raw: Any, wrap: Callable[[Any], Any]) -> None:
        self.raw = raw
        self._wrap = wrap

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("this array is on the device; Device.read brings it to the host")

    def __getitem__(self, place: Any) -> DeviceArray:
        """Return a part, without a copy."""
        return DeviceArray(self.raw[place], self._wrap)

    def reshape(self, *shape: int) -> DeviceArray:
        """Return the same numbers in another shape, without a copy."""
        return DeviceArray(self.raw.reshape(*shape), self._wrap)

    def transpose(self, *axes: int) -> DeviceArray:
        """Return the same numbers with other axes, without a copy."""
        return DeviceArray(self.raw.transpose(*axes), self._wrap)

    def view(self, dtype: DTypeLike) -> DeviceArray:
        """Return the same bits as numbers of another type of the same size, without a copy."""
        return DeviceArray(self.raw.view(dtype), self._wrap)

    @cached_property
    def argument(self) -> Any:
        """What kernels take."""
        return self._wrap(self.raw)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of NumPy's arrays."""
        return tuple(self.raw.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of NumPy's arrays."""
        return np.dtype(self.raw.dtype)

    @property
    def nbytes(self) -> int:
        """As of NumPy's arrays."""
        return int(self.raw.nbytes)


@dataclass(frozen=True)
class CardFeatures:
    """What kernels in CUDA C++ have to know of a card.

    Attributes
    ----------
    capability : (int, int)
        Compute capability.
    multiprocessors : int
    """

    capability: tuple[int, int]
    multiprocessors: int


class Device(ABC):
    """Memory and execution on one device, in the order of the calls.

    Attributes
    ----------
    name : str
        For messages.
    reads : int
        How often numbers were brought to the host.
    reads_forbidden : bool
        Set while no number may be brought to the host; a read is then a defect and raises.
    features : CardFeatures or None
        None where no kernels in CUDA C++ can be launched.
    """

    name: str
    reads = 0
    reads_forbidden = False
    features: CardFeatures | None = None

    @abstractmethod
    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory with anything in it."""

    @abstractmethod
    def upload(self, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of an array of the host."""

    @abstractmethod
    def write(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from the host."""

    @abstractmethod
    def write_later(self, target: DeviceArray, values: NDArray[Any]) -> None:
        """Fill an array from memory of `staging` when all that was asked for before is done.

        `values` must not change until a mark made afterwards has been waited for.
        """

    @abstractmethod
    def read_later(self, source: DeviceArray, into: NDArray[Any]) -> None:
        """Copy an array to memory of `staging` when all that was asked for before is done.

        It is there when a mark made afterwards has been waited for.
        """

    @abstractmethod
    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device."""

    @abstractmethod
    def fill(self, target: DeviceArray, value: float) -> None:
        """Set all elements."""

    @abstractmethod
    def launch(
        self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        """Return an action that runs a kernel.

        Parameters
        ----------
        kernel
            Of `numba.cuda.jit`, or a `SourceKernel` where there are `features`.
        grid, block : int
            Blocks, of which there may be none, and threads of each.
        arguments : tuple
            Numbers, and instances of `DeviceArray`.
        shared : int
            Bytes of dynamic shared memory.
        """

    @abstractmethod
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
        """Return an action: out = a b, or a bᵀ; added to `out` if so wanted.

        Parameters
        ----------
        a : (n, k) or (batch, n, k)
        b : (k, m), or (m, k) if `transposed`
        out : (n, m) or (batch, n, m)
            All of one type; only the last axis need be contiguous.
        tf32 : bool
            Whether factors of float32 may be rounded to the 11 bits of TF32.
        """

    @abstractmethod
    def capture(self, actions: list[Action]) -> Action:
        """Return one action that does all of them, recorded where the device can do that."""

    @abstractmethod
    def mark(self) -> Any:
        """Return a mark in the order of what is asked for: the device notes the time when it gets there."""

    @abstractmethod
    def wait(self, mark: Any) -> None:
        """Wait until the device gets to a mark."""

    @abstractmethod
    def elapsed(self, first: Any, last: Any) -> float:
        """Return the seconds between two marks by the device's clock; waits for the last."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Return free and total memory of the device, bytes."""

    @abstractmethod
    def elements(self, n: int) -> tuple[int, int]:
        """Return grid and block for one thread for each of n elements."""

    @abstractmethod
    def rows(self, n: int, width: int) -> tuple[int, int]:
        """Return grid and block for kernels that take rows by blocks and columns by threads."""

    @abstractmethod
    def sums(self) -> tuple[int, int]:
        """Return grid and block of sums over all atoms."""

    @abstractmethod
    def _download(self, source: DeviceArray, into: NDArray[Any] | None) -> NDArray[Any]:
        """Return a copy on the host, when all that was asked for before is done."""

    def zeros(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory full of zeros."""
        result = self.empty(shape, dtype)
        self.fill(result, 0)
        return result

    def staging(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return memory of the host that the device exchanges with quickly."""
        return np.empty(shape, dtype)

    def lent(self, array: DeviceArray) -> Any:
        """Return the array for a library that takes memory of the device, which reads or fills it later."""
        return array.raw

    def read(self, source: DeviceArray, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return a copy of an array on the host; waits for everything asked for before.

        Parameters
        ----------
        source : DeviceArray
        into : array, optional
            Of the same shape and type, to be filled in place of a new one.
        """
        if self.reads_forbidden:
            raise RuntimeError("a device-to-host copy within a step")
        self.reads += 1
        return self._download(source, into)
