"""The neighbour list on the device: its arrays, and what has to be launched to build it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import Action, Device
from fastdp.gpu.geometry import CellGeometry, cell_geometry
from fastdp.gpu.kernels import cell_list, rows
from fastdp.gpu.kernels.status import SIZE
from fastdp.gpu.selection import SelectionCounts

PLACES_AT_ONCE = 32
"""Rows grow by as much as a warp takes at a time."""

SPARE = 1.15
"""Rows are made longer than the longest by this factor, so that fluctuations do not outgrow them at once."""


class DeviceNeighbours:
    """A neighbour list of fixed capacity that is built on the device, when the device finds it necessary.

    Atoms are sorted by type and cell; within, by their index: the list is a function of the positions at
    build alone, whatever its capacity.

    Parameters
    ----------
    device : Device
    types : (n_atoms,) int32
    n_types : int
        Of the model.
    cell : (3, 3) float64
        Å.
    periodic : (3,) bool
    positions : (n_atoms, 3) float64
        Å; tell the box of open directions and the first guess of the capacity.
    cutoff, skin : float
        Å.
    n_own : int, optional
        Atoms from here on are ghosts: they come last in the sorted order, and see only those before.

    Attributes
    ----------
    capacity : int
        Places in a row.
    type_start : (n_types + 1,) or (2 n_types + 1,) int64
        Sorted atoms of type t are type_start[t] … type_start[t + 1], ghosts of it, where there are any,
        type_start[n_types + t] … type_start[n_types + t + 1].
    selection : SelectionCounts or None
        Counts neighbours beyond what the model was trained to see, in lists that are built from now on.
    """

    def __init__(
        self,
        device: Device,
        types: NDArray[np.int32],
        n_types: int,
        cell: NDArray[np.float64],
        periodic: NDArray[np.bool_],
        positions: NDArray[np.float64],
        cutoff: float,
        skin: float,
        n_own: int | None = None,
    ) -> None:
        self._device = device
        self._n_types = n_types
        self.n_atoms = n = len(types)
        self.reach = cutoff + skin
        self._largest_squared = (0.5 * skin) ** 2
        self.geometry: CellGeometry = cell_geometry(cell, periodic, positions, self.reach)
        self.n_own = n if n_own is None else n_own
        kinds = types.astype(np.int32)
        kinds[self.n_own :] += n_types
        n_kinds = 2 * n_types if self.n_own < n else n_types
        self.type_start = np.concatenate([[0], np.cumsum(np.bincount(kinds, minlength=n_kinds))])
        self._n_keys = n_kinds * self.geometry.n_cells
        self._scan_block = device.sums()[1]
        n_tiles = -(-self._n_keys // self._scan_block)

        self.status = device.zeros(SIZE, np.int32)
        self.positions = device.upload(positions)
        self.images = device.zeros((n, 3), np.int32)
        self.positions_at_build = device.empty((n, 3), np.float64)
        # To be read where the first list cannot be used: the launches of a step are always the same.
        self.order = device.upload(np.arange(n, dtype=np.int32))
        self.sorted_positions = device.zeros((n, 3), np.float64)
        self.row_counts = device.zeros((n, n_types), np.int32)
        self.translations = device.upload(self.geometry.translations)
        self.kinds = device.upload(kinds)
        self._table = device.upload(self.geometry.table)
        self._counts = device.upload(self.geometry.counts)
        self._key = device.zeros(n, np.int32)
        self._shift = device.empty((n, 3), np.float64)
        self._sorted_shift = device.empty((n, 3), np.float64)
        self._population = device.zeros(self._n_keys, np.int32)
        self._totals = device.zeros(n_tiles + 1, np.int32)
        self._starts = device.zeros(self._n_keys + 1, np.int32)
        self.selection: SelectionCounts | None = None
        self.capacity = 0
        self.reserve(
            expected_neighbours(cell, periodic, positions, self.reach, len(self.geometry.translations))
        )
        self.forget()

    def reserve(self, longest: int) -> None:
        """Make rows for `longest` neighbours and some more; the list must be built anew."""
        capacity = -(-int(SPARE * longest + 1) // PLACES_AT_ONCE) * PLACES_AT_ONCE
        self.capacity = max(capacity, PLACES_AT_ONCE)
        self.rows = self._device.zeros((self.n_atoms, self.capacity), np.int32)

    def forget(self) -> None:
        """Make the next evaluation build the list."""
        self._device.fill(self.positions_at_build, np.nan)

    @property
    def bytes(self) -> int:
        """Memory on the device."""
        return sum(array.nbytes for array in vars(self).values() if hasattr(array, "raw"))

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
            self._place(False),
        ]

    def build_actions(self) -> list[Action]:
        """Return what builds the list at `positions_at_build`, if the device has found that necessary."""
        n, tiles = self.n_atoms, -(-self._n_keys // self._scan_block)
        scan = (tiles, self._scan_block)
        grid, block = self._device.elements(n)
        launch = self._device.launch
        status = self.status
        return [
            self._elements(cell_list.clear, self._n_keys, self._population),
            self._elements(
                cell_list.assign_cells,
                n,
                self._table,
                self._counts,
                self.kinds,
                self.positions_at_build,
                self._key,
                self._shift,
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
            self._elements(cell_list.settle, n, self.order, self._shift, self._sorted_shift),
            self._place(True),
            launch(
                rows.fill_rows,
                grid,
                block,
                (
                    status,
                    n,
                    self.n_own,
                    self._n_types,
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

    def _place(self, at_build: bool) -> Action:
        grid, block = self._device.elements(self.n_atoms)
        return self._device.launch(
            cell_list.place,
            grid,
            block,
            (
                self.status,
                int(at_build),
                self.n_atoms,
                self.order,
                self._sorted_shift,
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
    return max(0, min(most, int(n / volume * 4.0 / 3.0 * np.pi * reach**3)))
