"""The atoms of one of several ranks on its device, and their way to other ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import Device, DeviceArray
from fastdp.gpu.device_motion import energy_masses, inverse_masses
from fastdp.gpu.kernels import ranks as kernels
from fastdp.gpu.ranks.lists import AtomLists
from fastdp.gpu.rooms import Rooms
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.migration import Arrays, migrate
from fastdp.parallel.regions import Regions
from fastdp.parallel.space import Space

FIELDS: dict[str, tuple[int, type]] = {
    "identifiers": (1, np.int64),
    "positions": (3, np.float64),
    "velocities": (3, np.float64),
    "forces": (3, np.float64),
    "images": (3, np.int32),
    "masses": (1, np.float64),
    "types": (1, np.int32),
    "species": (1, np.int32),
}
"""What goes with an atom to another rank: numbers of each, and their type."""


class ResidentAtoms:
    """Everything that belongs to the atoms of this rank, (n, width) for each of `FIELDS`.

    Rows are in no particular order: what is left by atoms that go is filled by the last ones.

    Parameters
    ----------
    device : Device
    rooms : Rooms
        Nobody else's.
    space : Space
    communicator : Communicator

    Attributes
    ----------
    n : int
        Atoms of this rank.
    space_table : (SPACE_ROWS, 3) float64
        For kernels.
    """

    def __init__(self, device: Device, rooms: Rooms, space: Space, communicator: Communicator) -> None:
        self._device = device
        self._rooms = rooms
        self._space = space
        self._communicator = communicator
        self.n = 0
        table = np.zeros((kernels.SPACE_ROWS, 3))
        table[kernels.SPACE_VECTORS : kernels.SPACE_VECTORS + 3] = space.reduced.vectors
        table[kernels.SPACE_RECIPROCAL : kernels.SPACE_RECIPROCAL + 3] = space.reduced.reciprocal
        table[kernels.SPACE_AXES : kernels.SPACE_AXES + 3] = space.axes
        self.space_table = device.upload(table)
        self._transform = device.upload(space.transform.astype(np.int32))

    def load(self, arrays: Arrays) -> None:
        """Take over atoms from the host: `FIELDS` by name."""
        self.n = 0
        self._append(arrays)

    def fetch(self) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Return arrays of the host by ascending identifier, as `load` takes them, and their rows here."""
        found = {name: self._device.read(self.field(name)) for name in FIELDS}
        order = np.argsort(found["identifiers"][:, 0])
        ordered = {name: values[order] for name, values in found.items()}
        return {
            name: values if FIELDS[name][0] > 1 else values[:, 0].copy() for name, values in ordered.items()
        }, order

    def field(self, name: str, rows: int | None = None) -> DeviceArray:
        """Return one of `FIELDS`, (rows, width), of which the first n are this rank's atoms; by default n."""
        width, dtype = FIELDS[name]
        return self._rooms.longer(name, (self.n if rows is None else rows, width), dtype, self.n)

    def masses(self, name: str) -> DeviceArray:
        """Return one of `MASSES`, (n,)."""
        return self._rooms.longer(name, (self.n,), np.float64, self.n)

    def bring_into_cell(self, status: DeviceArray) -> None:
        """Put atoms into the reduced cell, along periodic directions, and count the images."""
        arguments = (status, self.n, self.space_table, self._transform)
        self._device.launch(
            kernels.bring_into_cell,
            *self._device.elements(self.n),
            (*arguments, self.field("positions"), self.field("images")),
        )()

    def coordinates(self) -> NDArray[np.float64]:
        """Return coordinates that ranks divide, (n, 3), on the host."""
        return np.ascontiguousarray(self._device.read(self.field("positions")) @ self._space.axes)

    def migrate(self, status: DeviceArray, regions: Regions) -> None:
        """Send atoms that other ranks own to these, and take in those that come; all ranks together.

        Parameters
        ----------
        status : (SIZE,) int32
            Asks for the neighbour list.
        regions : Regions
        """
        device, n = self._device, self.n
        lists = AtomLists(device, self._rooms, status, n, 1, n)
        rank_of = self._rooms.zeros("rank of", n, np.int32)
        planes = (
            self._rooms.holding(f"planes {axis}", _never_empty(part))
            for axis, part in enumerate((regions.first, regions.second, regions.third))
        )
        arguments = (status, n, self._communicator.rank, *regions.shape, self.space_table, *planes)
        device.launch(
            kernels.choose_ranks,
            *device.elements(n),
            (*arguments, self.field("positions"), rank_of, lists.flags),
        )()
        lists.add()
        n_leaving = lists.ends()[1]
        if not self._communicator.any(n_leaving > 0):
            return
        chosen = lists.chosen[:n_leaving]
        leaving = {name: self._take(status, name, chosen, self.field(name)) for name in FIELDS}
        ranks = self._take(status, "rank of", chosen, rank_of.reshape(n, 1))
        self._close_gaps(status, device.read(chosen))
        self._append(migrate(leaving, ranks, self._communicator))

    def _take(self, status: DeviceArray, name: str, chosen: DeviceArray, values: DeviceArray) -> NDArray[Any]:
        """Return chosen rows of an array on the host, (n,) where there is one number in each."""
        k, width = chosen.shape[0], values.shape[1]
        rows = self._rooms.empty(f"leaving {name}", (k, width), values.dtype)
        arguments = (status, k, width, chosen, values, rows)
        self._device.launch(kernels.take_rows, *self._device.elements(k), arguments)()
        found = self._device.read(rows) if k else np.zeros((0, width), values.dtype)
        return found if width > 1 else found[:, 0].copy()

    def _close_gaps(self, status: DeviceArray, gone: NDArray[np.int32]) -> None:
        """Move the last atoms to where the rows in `gone`, ascending, are free now."""
        staying = self.n - len(gone)
        gaps = gone[gone < staying]
        if len(gaps):
            behind = np.ones(len(gone), dtype=bool)
            behind[gone[gone >= staying] - staying] = False
            sources = np.flatnonzero(behind) + staying
            where = tuple(
                self._rooms.holding(name, rows.astype(np.int32))
                for name, rows in (("sources", sources), ("targets", gaps))
            )
            grid = self._device.elements(len(gaps))
            moved = [(self.field(name), width) for name, (width, _) in FIELDS.items()]
            moved += [(self.masses(name).reshape(-1, 1), 1) for name in MASSES]
            for values, width in moved:
                self._device.launch(kernels.move_rows, *grid, (status, len(gaps), width, *where, values))()
        self.n = staying

    def _append(self, arrays: Arrays) -> None:
        """Put atoms that have come behind the others."""
        n, come = self.n, len(arrays["identifiers"])
        for name, (width, dtype) in FIELDS.items():
            rows = self.field(name, n + come)
            if come:
                self._device.write(rows[n:], np.asarray(arrays[name], dtype).reshape(come, width))
        for name, function in MASSES.items():
            rows = self._rooms.longer(name, (n + come,), np.float64, n)
            if come:
                self._device.write(rows[n:], function(np.asarray(arrays["masses"]).reshape(-1)))
        self.n = n + come


MASSES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "inverse_masses": inverse_masses,
    "energy_masses": energy_masses,
}
"""What kernels want of the masses."""


def _never_empty(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return planes one row after the other, and one number where there are none."""
    return planes.ravel() if planes.size else np.zeros(1)
