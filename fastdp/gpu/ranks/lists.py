"""Lists of the atoms for which a flag is set, in the order of the atoms."""

from __future__ import annotations

import numpy as np

from fastdp.gpu.device.base import Device, DeviceArray
from fastdp.gpu.kernels import cell_list
from fastdp.gpu.kernels import ranks as kernels
from fastdp.gpu.rooms import Rooms


class AtomLists:
    """Makes one list after the other, all in one array.

    Parameters
    ----------
    device : Device
    rooms : Rooms
    status : (SIZE,) int32
        The error word; it must ask for the neighbour list.
    n : int
        Number of atoms.
    n_lists : int
    capacity : int
        Room for all lists together.

    Attributes
    ----------
    flags : (n,) int32
        To be set to 0 or 1 before each `add`.
    chosen : (capacity,) int32
        Atoms of the first list, of the second, ….
    """

    def __init__(
        self, device: Device, rooms: Rooms, status: DeviceArray, n: int, n_lists: int, capacity: int
    ) -> None:
        self._device = device
        self._status = status
        self._n = n
        self._capacity = capacity
        self._added = 0
        self._block = device.sums()[1]
        self._tiles = -(-n // self._block)
        self._totals = rooms.zeros("totals of flags", self._tiles + 1, np.int32)
        self._starts = rooms.zeros("starts of flags", n + 1, np.int32)
        self._ends = rooms.zeros("ends of lists", n_lists + 1, np.int32)
        self.flags = rooms.zeros("flags", n, np.int32)
        self.chosen = rooms.zeros("chosen atoms", capacity, np.int32)

    def add(self) -> None:
        """Append the atoms whose flag is set, as the next list."""
        launch, status, n = self._device.launch, self._status, self._n
        scan = (self._tiles, self._block)
        launch(cell_list.sum_tiles, *scan, (status, n, self.flags, self._totals))()
        launch(cell_list.scan_totals, 1, self._block, (status, self._tiles, self._totals))()
        launch(cell_list.scan_tiles, *scan, (status, n, self.flags, self._totals, self._starts))()
        launch(
            kernels.collect,
            *self._device.elements(n),
            (status, n, self.flags, self._starts, self._ends, self._added, self._capacity, self.chosen),
        )()
        launch(kernels.end_list, 1, 1, (status, n, self._starts, self._ends, self._added))()
        self._added += 1

    def ends(self) -> list[int]:
        """Return where each list begins in `chosen`, and where the last ends or would end."""
        return [int(end) for end in self._device.read(self._ends)]
