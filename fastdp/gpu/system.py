"""Atoms on a device with a model: everything that one evaluation of energy and forces needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.geometry import cell_geometry
from fastdp.gpu.kernels import reductions
from fastdp.gpu.kernels.pairs import WARP, pair_kernels
from fastdp.gpu.kernels.status import HALTED, LARGEST_ROW, Reason
from fastdp.gpu.kinds import Kinds, kind_start
from fastdp.gpu.layout import DeviceModel
from fastdp.gpu.neighbours import DeviceNeighbours, expected_neighbours
from fastdp.gpu.network import TileArrays, network_actions
from fastdp.gpu.rooms import Rooms
from fastdp.gpu.tiles import arena_size, cut_into_tiles


@dataclass(frozen=True)
class Boundaries:
    """What a system is besides its atoms' positions.

    Attributes
    ----------
    types : (n_atoms,) int32
    cell : (3, 3) float64
        Å.
    periodic : (3,) bool
    skin : float
        Å, of the neighbour list.
    n_own : int or None
        Atoms from here on are ghosts; None if there are none.
    """

    types: NDArray[np.int32]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    skin: float
    n_own: int | None = None

    def same_as(self, other: Boundaries) -> bool:
        """Whether a system made for one serves the other."""
        return (
            np.array_equal(self.types, other.types)
            and np.array_equal(self.cell, other.cell)
            and np.array_equal(self.periodic, other.periodic)
            and self.skin == other.skin
            and self.n_own == other.n_own
        )


class DeviceSystem:
    """Positions, neighbour list, Q, energies and forces of a set of atoms, all on the device.

    Parameters
    ----------
    device : Device
    rooms : Rooms
        Where the memory comes from.
    model : DeviceModel
    neighbours : DeviceNeighbours

    Attributes
    ----------
    neighbours : DeviceNeighbours
        Holds the positions, and the error word `status`.
    energies : (n_atoms,) float64
        eV, in the input's order.
    forces : (n_atoms, 3) float64
        eV/Å, in the input's order.
    """

    def __init__(
        self, device: Device, rooms: Rooms, model: DeviceModel, neighbours: DeviceNeighbours
    ) -> None:
        self.device = device
        self.model = model
        self.neighbours = neighbours
        n = neighbours.n_atoms
        self.tiles = cut_into_tiles(neighbours.kinds.own_groups(), model)
        self.energies = rooms.zeros("energies", n, np.float64)
        self.forces = rooms.zeros("forces", (n, 3), np.float64)
        self.virial = rooms.zeros("virial", 9, np.float64)
        self._q = rooms.empty("Q", (n, 4, model.columns), model.dtype)
        # Q of ghosts stays zero: what they get is what the atoms of this rank do to them.
        device.fill(self._q[neighbours.kinds.n_own :], 0)
        self._arena = rooms.empty("arena", arena_size(self.tiles, model), model.dtype)
        self._virials = rooms.empty("virials", (n, 9), np.float64)
        self._virial_parts = rooms.empty("parts of the virial", (device.sums()[0], 9), np.float64)

    @classmethod
    def of(
        cls, device: Device, model: DeviceModel, boundaries: Boundaries, positions: NDArray[np.float64]
    ) -> DeviceSystem:
        """Return the system of atoms that are given on the host.

        Parameters
        ----------
        device : Device
        model : DeviceModel
        boundaries : Boundaries
        positions : (n_atoms, 3) float64
            Å.
        """
        reach = model.cutoff + boundaries.skin
        geometry = cell_geometry(boundaries.cell, boundaries.periodic, positions, reach)
        kinds = boundaries.types.astype(np.int32)
        n_kinds = model.n_types
        if boundaries.n_own is not None and boundaries.n_own < len(kinds):
            kinds[boundaries.n_own :] += model.n_types
            n_kinds *= 2
        start = kind_start(np.bincount(kinds, minlength=n_kinds))
        rooms = Rooms(device)
        neighbours = DeviceNeighbours(
            device,
            rooms,
            Kinds(device.upload(kinds), start, model.n_types),
            geometry,
            device.upload(positions),
            model.cutoff,
            boundaries.skin,
            expected_neighbours(
                boundaries.cell, boundaries.periodic, positions, reach, len(geometry.translations)
            ),
        )
        return cls(device, rooms, model, neighbours)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.neighbours.n_atoms

    @property
    def bytes(self) -> int:
        """Memory on the device, without that of the model."""
        own = sum(array.nbytes for array in vars(self).values() if isinstance(array, DeviceArray))
        return own + self.neighbours.bytes

    @property
    def fixed_bytes(self) -> int:
        """Memory that hardly grows with the number of atoms."""
        return self._arena.nbytes

    def actions(self, *, virial: bool) -> list[Action]:
        """Return what evaluates energy and forces at the positions that the device holds.

        Parameters
        ----------
        virial : bool
            Whether the virial is wanted too.
        """
        return [
            *self.neighbours.actions(),
            *self.energy_actions(),
            *self.force_actions(0, self.neighbours.kinds.stages, virial=virial),
            *(self.virial_actions() if virial else ()),
        ]

    def energy_actions(self, stage: int | None = None) -> list[Action]:
        """Return what makes energies and Q of the own atoms of one stage, by default of all."""
        kernels = pair_kernels(self.model.real)
        arrays = TileArrays(self._q, self.energies, self.neighbours.order, self.neighbours.status)
        shared = 4 * self.model.n_functions * self.model.dtype.itemsize
        actions = []
        for tile in self.tiles:
            if stage is not None and tile.stage != stage:
                continue
            actions.append(
                self.device.launch(
                    kernels.moments,
                    tile.size,
                    WARP,
                    (
                        self.neighbours.status,
                        tile.start,
                        tile.centre_type,
                        *self._pair_arguments(),
                        self._q,
                    ),
                    shared,
                )
            )
            actions += network_actions(self.device, self.model, tile, self._arena, arrays)
        return actions

    def force_actions(self, first: int, last: int, *, virial: bool) -> list[Action]:
        """Return what makes forces on the atoms of stages first … last − 1, from Q of all."""
        kernels = pair_kernels(self.model.real)
        return [
            self.device.launch(
                kernels.forces,
                group.stop - group.start,
                WARP,
                (
                    self.neighbours.status,
                    group.start,
                    group.type,
                    int(virial),
                    *self._pair_arguments(),
                    self._q,
                    self.neighbours.order,
                    self.forces,
                    self._virials,
                ),
            )
            for group in self.neighbours.kinds.groups(first, last)
        ]

    def virial_actions(self) -> list[Action]:
        """Return what sums the virial of all atoms, ghosts among them."""
        grid, block = self.device.sums()
        status = self.neighbours.status
        return [
            self.device.launch(
                reductions.partial_sums,
                grid,
                block,
                (status, self.n_atoms, 9, self._virials, self._virial_parts),
            ),
            self.device.launch(
                reductions.finish_sums, 1, block, (status, grid, 9, self._virial_parts, self.virial)
            ),
        ]

    def lacks_room(self, status: NDArray[np.int32]) -> bool:
        """Return whether rows are too short, and nothing else is wrong.

        Parameters
        ----------
        status : (SIZE,) int32
            As read from the device.
        """
        return bool(status[HALTED] == Reason.OVERFLOW)

    def make_room(self, status: NDArray[np.int32]) -> None:
        """Make rows longer. Actions are to be made anew, and those there are to be dropped before.

        Parameters
        ----------
        status : (SIZE,) int32
            Of which `lacks_room` says so.
        """
        self.neighbours.reserve(int(status[LARGEST_ROW]))

    def _pair_arguments(self) -> tuple[object, ...]:
        model, neighbours = self.model, self.neighbours
        return (
            model.n_types,
            model.n_functions,
            model.order,
            model.cutoff**2,
            neighbours.geometry.index_mask,
            neighbours.geometry.index_bits,
            model.polynomials,
            model.pair_tables,
            neighbours.translations,
            neighbours.sorted_positions,
            neighbours.rows,
            neighbours.row_counts,
        )
