"""Atoms on a device with a model: everything that one evaluation of energy and forces needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import Action, Device
from fastdp.gpu.kernels import reductions
from fastdp.gpu.kernels.pairs import WARP, pair_kernels
from fastdp.gpu.kernels.status import HALTED, LARGEST_ROW, Reason
from fastdp.gpu.layout import DeviceModel
from fastdp.gpu.neighbours import DeviceNeighbours
from fastdp.gpu.network import TileArrays, network_actions
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
        Atoms from here on are ghosts: forces act on them, but they have no energy of their own here.
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
    model : DeviceModel
    boundaries : Boundaries
    positions : (n_atoms, 3) float64
        Å.

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
        self, device: Device, model: DeviceModel, boundaries: Boundaries, positions: NDArray[np.float64]
    ) -> None:
        self.device = device
        self.model = model
        self.boundaries = boundaries
        n = len(boundaries.types)
        self.neighbours = DeviceNeighbours(
            device,
            boundaries.types,
            model.n_types,
            boundaries.cell,
            boundaries.periodic,
            positions,
            model.cutoff,
            boundaries.skin,
            boundaries.n_own,
        )
        self.tiles = cut_into_tiles(self.neighbours.type_start[: model.n_types + 1].tolist(), model)
        self.energies = device.zeros(n, np.float64)
        self.forces = device.zeros((n, 3), np.float64)
        self.virial = device.zeros(9, np.float64)
        # Q of ghosts stays zero: what they get is what the atoms of this rank do to them. And where the first
        # list cannot be used, Q and virials are read although nothing has been put there.
        self._q = device.zeros((n, 4, model.columns), model.dtype)
        self._arena = device.empty(arena_size(self.tiles, model), model.dtype)
        self._virials = device.zeros((n, 9), np.float64)
        self._virial_parts = device.empty((device.sums()[0], 9), np.float64)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.boundaries.types)

    @property
    def bytes(self) -> int:
        """Memory on the device, without that of the model."""
        own = sum(array.nbytes for array in vars(self).values() if hasattr(array, "raw"))
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
        kernels = pair_kernels(self.model.real)
        arrays = TileArrays(self._q, self.energies, self.neighbours.order, self.neighbours.status)
        actions = self.neighbours.actions()
        shared = 4 * self.model.n_functions * self.model.dtype.itemsize
        for tile in self.tiles:
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
        starts = self.neighbours.type_start
        for kind in range(len(starts) - 1):
            start, stop = int(starts[kind]), int(starts[kind + 1])
            if start < stop:
                actions.append(
                    self.device.launch(
                        kernels.forces,
                        stop - start,
                        WARP,
                        (
                            self.neighbours.status,
                            start,
                            kind % self.model.n_types,
                            int(virial),
                            *self._pair_arguments(),
                            self._q,
                            self.neighbours.order,
                            self.forces,
                            self._virials,
                        ),
                    )
                )
        if virial:
            grid, block = self.device.sums()
            status = self.neighbours.status
            actions += [
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
        return actions

    def make_room(self, status: NDArray[np.int32]) -> bool:
        """Make rows longer if that is all that is wrong; return whether it was. Actions are to be made anew.

        Parameters
        ----------
        status : (SIZE,) int32
            As read from the device.
        """
        if status[HALTED] != Reason.OVERFLOW:
            return False
        self.neighbours.reserve(int(status[LARGEST_ROW]))
        return True

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
