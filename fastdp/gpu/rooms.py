"""Memory of a device by name, kept from one use to the next."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.gpu.device.base import Device, DeviceArray

SPARE = 1.1
"""Where the number of atoms changes, memory is taken for so many times as many."""


class Rooms:
    """Hands out arrays by name; who asks again for a name gets the same memory, or more if it is too small.

    Parameters
    ----------
    device : Device
    spare : float
        Arrays are made longer than asked for by this factor, for numbers of atoms that change.
    """

    def __init__(self, device: Device, spare: float = 1.0) -> None:
        self._device = device
        self._spare = spare
        self._kept: dict[str, DeviceArray] = {}
        self._staging: dict[str, NDArray[Any]] = {}

    def empty(self, name: str, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory with anything in it, in the place of what was handed out under this name."""
        return self._room(name, shape, dtype, 0)

    def zeros(self, name: str, shape: int | tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return memory full of zeros, as `empty`."""
        result = self.empty(name, shape, dtype)
        self._device.fill(result, 0)
        return result

    def holding(self, name: str, values: NDArray[Any]) -> DeviceArray:
        """Return memory with a copy of an array of the host, as `empty`."""
        result = self.empty(name, values.shape, values.dtype)
        if values.size:
            self._device.write(result, values)
        return result

    def longer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike, rows: int) -> DeviceArray:
        """Return memory whose first rows, `rows` of them, are as they were, as `empty`."""
        return self._room(name, shape, dtype, rows * math.prod(shape[1:]))

    def staging(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return memory of the host that the device exchanges with quickly, as `empty`."""
        size = math.prod(shape)
        kept = self._staging.get(name)
        if kept is None or kept.size < size or kept.dtype != np.dtype(dtype):
            self._staging.pop(name, None)
            kept = self._staging[name] = self._device.staging((max(int(self._spare * size), 1),), dtype)
        return kept[:size].reshape(shape)

    def _room(self, name: str, shape: int | tuple[int, ...], dtype: DTypeLike, keep: int) -> DeviceArray:
        whole = (shape,) if isinstance(shape, int) else shape
        size = math.prod(whole)
        kept = self._kept.get(name)
        if kept is None or kept.shape[0] < size or kept.dtype != np.dtype(dtype):
            if keep == 0:
                # The memory may be needed.
                self._kept.pop(name, None)
                kept = None
            larger = self._device.empty(max(int(self._spare * size), 1), dtype)
            if keep:
                assert kept is not None
                self._device.copy(larger[:keep], kept[:keep])
            self._kept[name] = kept = larger
        return kept[:size].reshape(*whole)
