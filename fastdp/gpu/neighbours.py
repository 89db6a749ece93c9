"""The neighbour list on the device: its arrays, and what has to be launched to build it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import StructureError
from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.geometry import CellGeometry
from fastdp.gpu.kernels import cell_list, rows
from fastdp.gpu.kernels.status import SIZE
from fastdp.gpu.kinds import Kinds
from fastdp.gpu.rooms import Rooms
from fastdp.gpu.selection import SelectionCounts

PLACES_AT_ONCE = 8
"""Rows begin where one of the 32 bytes that memory is read by does."""

SPARE = 1.15
"""Rows are made longer than the longest by this factor, so that fluctuations do not outgrow them at once."""

FEW_ATOMS, FEW_KEYS = 2048, 1 << 14
"""Atoms, and cells times types, that one block sorts in about the time of the launches it saves; a guess,
to be settled by measurement."""


class DeviceNeighbours:
    """A neighbour list of fixed capacity that is built on the device, when the device finds it necessary.

    Atoms are sorted by kind and cell; within, by their index: the list is a function of the positions at
    build alone, whatever its capacity.

    Parameters
    ----------
    device : Device
    rooms : Rooms
        Where the memory comes from.
    kinds : Kinds
    geometry : CellGeometry
        For cutoff and skin together.
    positions : (n_atoms, 3) float64
        On the device, Å.
    cutoff, skin : float
        Å.
    longest : int
        First guess at the most neighbours of an atom.
    status : (SIZE,) int32, optional
        The error word, if there is one already.

    Attributes
    ----------
    capacity : int
        Places in a row.
    selection : SelectionCounts or None
        Counts neighbours beyond what the model was trained to see, in lists that are built from now on.
    """

    def __init__(
        self,
        device: Device,
        rooms: Rooms,
        kinds: Kinds,
        geometry: CellGeometry,
        positions: DeviceArray,
        cutoff: float,
        skin: float,
        longest: int,
        status: DeviceArray | None = None,
    ) -> None:
        self._device = device
        self._rooms = rooms
        self.kinds = kinds
        self.n_atoms = n = kinds.n_atoms
        self.reach = cutoff + skin
        self._largest_squared = (0.5 * skin) ** 2
        self.geometry = geometry
        self._n_keys = (len(kinds.start) - 1) * geometry.n_cells
        self._scan_block = device.sums()[1]
        if self._n_keys >= 1 << 31:
            raise StructureError(
                f"{self._n_keys} cells for the neighbour search are more than the GPU can number: the box is "
                'mostly empty; use backend = "cpu"'
            )
        n_tiles = -(-self._n_keys // self._scan_block)

        self.status = rooms.zeros("status", SIZE, np.int32) if status is None else status
        self.positions = positions
        self.images = rooms.zeros("images", (n, 3), np.int32)
        self.positions_at_build = rooms.empty("positions at build", (n, 3), np.float64)
        self.order = rooms.zeros("order", n, np.int32)
        self.sorted_positions = rooms.empty("sorted positions", (n, 3), np.float64)
        self.row_counts = rooms.zeros("row counts", (n, kinds.n_types), np.int32)
        self.translations = rooms.holding("translations", geometry.translations)
        self._table = rooms.holding("geometry", geometry.table)
        self._counts = rooms.holding("cells", geometry.counts)
        self._key = rooms.zeros("key", n, np.int32)
        self._moved = rooms.zeros("moved", (n, 3), np.int32)
        self._population = rooms.zeros("population", self._n_keys, np.int32)
        self._totals = rooms.zeros("totals", n_tiles + 1, np.int32)
        self._starts = rooms.zeros("starts", self._n_keys + 1, np.int32)
        self.selection: SelectionCounts | None = None
        self.capacity = 0
        self.reserve(longest)
        self.forget()

    def reserve(self, longest: int) -> None:
        """Make rows for `longest` neighbours and some more; the list must be built anew."""
        capacity = -(-int(SPARE * longest + 1) // PLACES_AT_ONCE) * PLACES_AT_ONCE
        self.capacity = max(capacity, PLACES_AT_ONCE)
        # The memory may be needed.
        self.__dict__.pop("rows", None)
        self.rows = self._rooms.zeros("rows", (self.n_atoms, self.capacity), np.int32)

    def forget(self) -> None:
        """Make the next evaluation build the list."""
        self._device.fill(self.positions_at_build, np.nan)

    @property
    def bytes(self) -> int:
        """Memory on the device."""
        own = sum(array.nbytes for array in vars(self).values() if isinstance(array, DeviceArray))
        return own + self.kinds.of.nbytes

    def actions(self) -> list[Action]:
        """Return what brings the list up to date with `positions`."""
        return [
            self._elements(
                cell_list.check_displacement,
                self.n_atoms,
                self.positions,
                self.positions_at_build,
                self._largest_squared,
            ),
            self._elements(
                cell_list.wrap,
                self.n_atoms,
                self._table,
                self.positions,
                self.images,
                self.positions_at_build,
            ),
            *self.build_actions(),
            self.place(),
        ]

    def build_actions(self) -> list[Action]:
        """Return what builds the list at `positions_at_build`, if the device has found that necessary."""
        n, status = self.n_atoms, self.status
        grid, block = self._device.elements(n)
        few = n <= FEW_ATOMS and self._n_keys <= FEW_KEYS
        return [
            *(self._sort_in_one_launch() if few else self._sort()),
            self._device.launch(
                rows.fill_rows,
                grid,
                block,
                (
                    status,
                    n,
                    self.kinds.n_own,
                    self.kinds.n_types,
                    self.kinds.own_stages,
                    self.kinds.stages,
                    self.geometry.n_cells,
                    self.reach**2,
                    self.geometry.index_bits,
                    self.capacity,
                    self._counts,
                    self._key,
                    self.order,
                    self._starts,
                    self.translations,
                    self.sorted_positions,
                    self.rows,
                    self.row_counts,
                ),
            ),
            *(() if self.selection is None else self.selection.actions(self)),
        ]

    def _sort_in_one_launch(self) -> list[Action]:
        """Return what sorts few atoms by type and cell."""
        arguments = (
            self.status,
            self.n_atoms,
            self._n_keys,
            self._table,
            self._counts,
            self.kinds.of,
            self.positions_at_build,
            self._key,
            self._moved,
            self._population,
            self._starts,
            self.order,
            self.sorted_positions,
        )
        return [self._device.launch(cell_list.sort_few, 1, self._device.elements(1)[1], arguments)]

    def _sort(self) -> list[Action]:
        """Return what sorts atoms by type and cell."""
        n, tiles = self.n_atoms, -(-self._n_keys // self._scan_block)
        scan = (tiles, self._scan_block)
        launch, status = self._device.launch, self.status
        return [
            self._elements(cell_list.clear, self._n_keys, self._population),
            self._elements(
                cell_list.assign_cells,
                n,
                self._table,
                self._counts,
                self.kinds.of,
                self.positions_at_build,
                self._key,
                self._moved,
                self._population,
            ),
            launch(cell_list.sum_tiles, *scan, (status, self._n_keys, self._population, self._totals)),
            launch(cell_list.scan_totals, 1, self._scan_block, (status, tiles, self._totals)),
            launch(
                cell_list.scan_tiles,
                *scan,
                (status, self._n_keys, self._population, self._totals, self._starts),
            ),
            self._elements(cell_list.scatter, n, self._key, self._starts, self._population, self.order),
            self._elements(cell_list.sort_within_cells, self._n_keys, self._starts, self.order),
            self._place(True, 0, n),
        ]

    def place(self, start: int = 0, stop: int | None = None) -> Action:
        """Return what brings sorted atoms `start` to `stop`, by default all, to their present positions."""
        return self._place(False, start, self.n_atoms if stop is None else stop)

    def _place(self, at_build: bool, start: int, stop: int) -> Action:
        grid, block = self._device.elements(stop - start)
        return self._device.launch(
            cell_list.place,
            grid,
            block,
            (
                self.status,
                int(at_build),
                start,
                stop,
                self._table,
                self.order,
                self._moved,
                self.positions_at_build if at_build else self.positions,
                self.sorted_positions,
            ),
        )

    def _elements(self, kernel: object, n: int, *arguments: object) -> Action:
        grid, block = self._device.elements(n)
        return self._device.launch(kernel, grid, block, (self.status, n, *arguments))


def expected_neighbours(
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    positions: NDArray[np.float64],
    reach: float,
    n_images: int,
) -> int:
    """Return a first guess at the most neighbours of an atom, from the density.

    Parameters
    ----------
    cell, periodic, positions
        Of the structure.
    reach : float
        Å.
    n_images : int
        Images of every atom that are looked at.
    """
    positions = positions[np.isfinite(positions).all(axis=1)]
    n = len(positions)
    most = n * n_images - 1
    if np.all(periodic):
        volume = abs(float(np.linalg.det(cell)))
    else:
        # With a margin, within which a small cluster has its neighbours.
        volume = float(np.prod(np.ptp(positions, axis=0) + 3.0)) if n else 1.0
    return max(0, min(most, neighbours_at_density(n / volume, reach)))


def neighbours_at_density(density: float, reach: float) -> int:
    """Return how many atoms are within `reach`, Å, of a point on average; `density` in 1/Å³."""
    return int(density * 4.0 / 3.0 * np.pi * reach**3)
