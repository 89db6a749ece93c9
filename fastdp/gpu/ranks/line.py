"""Numbers on a device that MPI sends or receives."""

from __future__ import annotations

from typing import Any

from fastdp.gpu.device.base import Device, DeviceArray
from fastdp.gpu.rooms import Rooms


class Line:
    """An array on the device, and the memory that MPI uses in its place.

    Parameters
    ----------
    device : Device
    rooms : Rooms
    name : str
        Of the memory in `rooms`.
    array : DeviceArray
    direct : bool
        Whether MPI takes memory of the device; otherwise pinned memory of the host stands in.

    Attributes
    ----------
    message : array
        What MPI is given.
    """

    def __init__(self, device: Device, rooms: Rooms, name: str, array: DeviceArray, direct: bool) -> None:
        self._device = device
        self._array = array
        self._direct = direct or array.nbytes == 0
        self.message: Any = device.lent(array) if direct else rooms.staging(name, array.shape, array.dtype)

    def bring(self) -> None:
        """Ask for the numbers of the device to be where MPI sends them from."""
        if not self._direct:
            self._device.read_later(self._array, self.message)

    def deliver(self) -> None:
        """Ask for the numbers that MPI has received to be on the device."""
        if not self._direct:
            self._device.write_later(self._array, self.message)
