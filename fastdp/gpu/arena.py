"""One piece of memory that every tile of atoms uses in turn."""

from __future__ import annotations

import math

from fastdp.gpu.device.base import DeviceArray

ALIGNMENT = 64
"""Elements; every array begins where a cuBLAS kernel may read wide words."""


class Arena:
    """Hands out arrays from one piece of memory, one behind the other.

    Parameters
    ----------
    memory : (size,) DeviceArray
    """

    def __init__(self, memory: DeviceArray) -> None:
        self._memory = memory
        self._used = 0

    def take(self, *shape: int) -> DeviceArray:
        """Return the next array."""
        size = math.prod(shape)
        start = self._used
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        if self._used > self._memory.shape[0]:
            raise MemoryError(f"the arena of {self._memory.shape[0]} numbers is too small for {shape} more")
        return self._memory[start : start + size].reshape(*shape)
