"""Atoms on a device with a model: everything that one evaluation of energy and forces needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.geometry import cell_geometry
from fastdp.gpu.kernels import reductions
from fastdp.gpu.kernels.forces import force_kernel, is_wide
from fastdp.gpu.kernels.moments import moment_kernel
from fastdp.gpu.kernels.pairs import PLACE_COLUMNS, WARP
from fastdp.gpu.kernels.status import HALTED, LARGEST_ROW, Reason
from fastdp.gpu.kinds import Kinds, kind_start
from fastdp.gpu.layout import DeviceModel
from fastdp.gpu.neighbours import DeviceNeighbours, expected_neighbours
from fastdp.gpu.network import NetworkArrays, network_actions
from fastdp.gpu.rooms import Rooms
from fastdp.gpu.tiles import Tile, arena_size, cut_for_sums, cut_into_tiles, in_batches
from fastdp.gpu.windows import FEWEST, RESERVE, Target, Window, most_pieces, sliding_window

BYTES_PER_ATOM_OF_A_RUN = 24 + 2 * 8 + 4 * 24 + 12
"""Velocities, masses, and the saved start of a chunk: see `DeviceEngine.bytes`."""


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
    forces : (n_atoms, 3) float64, optional
        Where forces go, if they have a place already.

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
        self,
        device: Device,
        rooms: Rooms,
        model: DeviceModel,
        neighbours: DeviceNeighbours,
        forces: DeviceArray | None = None,
    ) -> None:
        self.device = device
        self.model = model
        self.neighbours = neighbours
        n = neighbours.n_atoms
        self._rooms = rooms
        self.tiles = cut_into_tiles(neighbours.kinds.own_groups(), model)
        self._pieces = cut_for_sums(self.tiles, neighbours.kinds)
        self.energies = rooms.zeros("energies", n, np.float64)
        self.forces = rooms.zeros("forces", (n, 3), np.float64) if forces is None else forces
        self.virial = rooms.zeros("virial", 9, np.float64)
        self._kind_starts = rooms.holding("starts of kinds", neighbours.kinds.start)
        self._batches = in_batches(self.tiles, model)
        self._arena = rooms.empty("arena", arena_size(self._batches, model), model.dtype)
        longest = max((piece.stop - piece.start for piece in self._pieces), default=0)
        # Where the first list cannot be used, these are read although nothing has been put there.
        self._virials = rooms.zeros("virials", (longest, 9), np.float64)
        blocks = device.sums()[0]
        self._virial_parts = rooms.empty("parts of the virial", (len(self._pieces) * blocks, 9), np.float64)
        self._hold_q(self._pieces_of_a_window())

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
        reach = model.reach + boundaries.skin
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
            model.reach,
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
        return self._arena.nbytes + self._virials.nbytes

    @property
    def window_pieces(self) -> int:
        """Pieces that Q is made in, HELD of which are there at a time; 1 if it is there for all atoms."""
        return 1 if self._window is None else len(self._window.passes)

    def actions(self, *, virial: bool) -> list[Action]:
        """Return what evaluates energy and forces at the positions that the device holds.

        Parameters
        ----------
        virial : bool
            Whether the virial is wanted too.
        """
        actions = self.neighbours.actions()
        if self._window is None:
            actions += self.energy_actions()
            actions += self.force_actions(0, self.neighbours.kinds.stages, virial=virial)
        else:
            for number, one in enumerate(self._window.passes):
                for tile, row, again in one.tiles:
                    actions += self._moments_of([(tile, row)])
                    actions += self._network_actions([(tile, row)], again=again)
                for target in one.targets:
                    actions += self._gather(target, self._places[number], virial)
        return [*actions, *(self.virial_actions() if virial else ())]

    def energy_actions(self, stage: int | None = None) -> list[Action]:
        """Return what makes energies and Q of the own atoms of one stage, by default of all."""
        actions: list[Action] = []
        for one in dict.fromkeys(tile.stage for tile in self.tiles) if stage is None else (stage,):
            batches = [batch for batch in self._batches if batch[0].stage == one]
            tiles = [tile for batch in batches for tile in batch]
            # Few atoms do not fill a card: all types at once.
            together = len({tile.centre_type for tile in tiles}) == len(tiles) > 0
            if together:
                actions.append(self._moments(tiles[0].start, tiles[-1].stop, tiles[0].start))
            for batch in batches:
                placed = [(tile, tile.start) for tile in batch]
                actions += [] if together else self._moments_of(placed)
                actions += self._network_actions(placed)
        return actions

    def force_actions(self, first: int, last: int, *, virial: bool) -> list[Action]:
        """Return what makes forces on the atoms of stages first … last − 1, from Q of all.

        Further terms follow, which add to the energies of these atoms, too.
        """
        targets = [
            Target(group.start, group.stop, group.type, group.start)
            for group in self.neighbours.kinds.groups(first, last)
        ]
        if virial or not targets:
            return [action for one in targets for action in self._gather(one, self._places[0], virial)]
        # Sorted atoms of several types and stages follow each other.
        gather = self._force_action(
            targets[0].start, targets[-1].stop, targets[0].row, self._places[0], False
        )
        return [gather, *(action for one in targets for action in self._term_actions(one, False))]

    def virial_actions(self) -> list[Action]:
        """Return what sums the virial of all atoms, ghosts among them."""
        grid, block = self.device.sums()
        status, rows = self.neighbours.status, len(self._pieces) * grid
        arguments = (status, rows, 9, self._virial_parts, self.virial)
        return [self.device.launch(reductions.finish_sums, 1, block, arguments)]

    def _network_actions(self, batch: Sequence[tuple[Tile, int]], *, again: bool = False) -> list[Action]:
        """Return what makes energies and Q of tiles, the latter from a row each on; `again`: Q alone."""
        energies = None if again else self.energies
        arrays = NetworkArrays(self._q, energies, self.neighbours.order, self.neighbours.status)
        return network_actions(self.device, self.model, batch, self._arena, arrays)

    def _moments_of(self, batch: Sequence[tuple[Tile, int]]) -> list[Action]:
        """Return what makes M of tiles, from a row each on."""
        return [self._moments(tile.start, tile.stop, row) for tile, row in batch]

    def _moments(self, start: int, stop: int, row: int) -> Action:
        """Return what makes M of sorted atoms, from a row on."""
        stride = self.model.moment_stride
        return self.device.launch(
            moment_kernel(self.model.real, self.model.order),
            stop - start,
            WARP,
            (
                self.neighbours.status,
                start,
                self._kind_starts,
                *self._pair_arguments(),
                stride,
                self._q[row : row + stop - start],
            ),
            4 * stride * self.model.dtype.itemsize,
        )

    def _gather(self, target: Target, places: DeviceArray, virial: bool) -> list[Action]:
        """Return what makes forces on some atoms; the virial piece by piece, each with sums of its own."""
        if not virial:
            return self._force_actions(target, places, False)
        grid, block = self.device.sums()
        status, actions = self.neighbours.status, []
        for number, piece in enumerate(self._pieces):
            if target.start <= piece.start < target.stop:
                shift = target.row - target.start
                part = Target(piece.start, piece.stop, target.type, piece.start + shift)
                sums = self._virial_parts[number * grid : (number + 1) * grid]
                arguments = (status, piece.stop - piece.start, 9, self._virials, sums)
                actions += [
                    *self._force_actions(part, places, True),
                    self.device.launch(reductions.partial_sums, grid, block, arguments),
                ]
        return actions

    def _force_actions(self, target: Target, places: DeviceArray, virial: bool) -> list[Action]:
        """Return what makes forces on some atoms; further terms follow, which add to energies, too."""
        gather = self._force_action(target.start, target.stop, target.row, places, virial)
        return [gather, *self._term_actions(target, virial)]

    def _force_action(self, start: int, stop: int, row: int, places: DeviceArray, virial: bool) -> Action:
        """Return what makes forces on sorted atoms; Q of the first is in a row."""
        q = self._q.reshape(-1)
        return self.device.launch(
            force_kernel(self.model.real, self.model.order, self._window is not None, is_wide(q.shape[0])),
            stop - start,
            WARP,
            (
                self.neighbours.status,
                start,
                row,
                self._kind_starts,
                int(virial),
                *self._pair_arguments(),
                q,
                places,
                self.neighbours.order,
                self.forces,
                self._virials,
            ),
        )

    def _term_actions(self, target: Target, virial: bool) -> list[Action]:
        """Return what adds further terms to atoms of the rank's own."""
        terms, start, stop = self.model.terms, target.start, target.stop
        if terms is None or start >= self.neighbours.kinds.n_own:
            return []
        return [terms.action(self, self._virials, start, stop, virial=virial)]

    def _pieces_of_a_window(self) -> int:
        """Return 1 if there is memory for Q of all atoms, else as many pieces as can be."""
        kinds = self.neighbours.kinds
        numbers = 4 * self.model.columns * self.model.dtype.itemsize
        needed = kinds.n_atoms * (numbers + BYTES_PER_ATOM_OF_A_RUN) + RESERVE
        # Ghosts are no layers of the same system.
        if kinds.stages > 1 or needed <= self.device.memory()[0]:
            return 1
        return most_pieces(self.tiles, self.neighbours.geometry.height, self.neighbours.reach)

    def _hold_q(self, pieces: int) -> None:
        """Make room for Q of all atoms, or of those in a window; the latter with FEWEST pieces or more."""
        n_types, kinds = self.model.n_types, self.neighbours.kinds
        self._window: Window | None = None
        if pieces >= FEWEST:
            self._window = sliding_window(self.tiles, n_types, pieces)
        window = self._window
        rows = kinds.n_atoms if window is None else window.rows
        places = np.zeros((1, n_types, 1, PLACE_COLUMNS), np.int64)
        if window is not None:
            places = np.stack([one.places for one in window.passes])
        # The memory may be needed.
        self.__dict__.pop("_q", None)
        self._places = self._rooms.holding("places", places)
        # Q of ghosts stays zero: what they get is what the atoms of this rank do to them. And where the first
        # list cannot be used, Q is read although nothing has been put there.
        self._q = self._rooms.zeros("Q", (rows, 4, self.model.columns), self.model.dtype)

    def lacks_room(self, status: NDArray[np.int32]) -> bool:
        """Return whether rows are too short, or the window too narrow, and nothing else is wrong.

        Parameters
        ----------
        status : (SIZE,) int32
            As read from the device.
        """
        return status[HALTED] in (Reason.OVERFLOW, Reason.NOT_HELD)

    def make_room(self, status: NDArray[np.int32]) -> None:
        """Make rows longer, or the window wider. Actions are to be made anew, and the old dropped before.

        Parameters
        ----------
        status : (SIZE,) int32
            Of which `lacks_room` says so.
        """
        if status[HALTED] == Reason.NOT_HELD:
            self._hold_q(self.window_pieces // 2)
        else:
            self.neighbours.reserve(int(status[LARGEST_ROW]))

    def _pair_arguments(self) -> tuple[object, ...]:
        model, neighbours = self.model, self.neighbours
        return (
            model.n_types,
            model.n_functions,
            model.cutoff**2,
            neighbours.geometry.index_mask,
            neighbours.geometry.index_bits,
            model.pair_tables,
            neighbours.translations,
            neighbours.sorted_positions,
            neighbours.rows,
            neighbours.row_counts,
        )
