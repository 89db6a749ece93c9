"""The neighbour list of one rank: its atoms, ghosts from other ranks, and periodic images of its own."""

from __future__ import annotations

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.neighbours.grid import Grid
from fastdp.neighbours.positions import checked_positions
from fastdp.neighbours.rows import find_rows
from fastdp.neighbours.verlet_list import VerletList, box_of, starts
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.ghosts import GhostExchange
from fastdp.parallel.space import Space
from fastdp.potential.base import Evaluation


class DecomposedList(VerletList):
    """A `VerletList` for the atoms of one rank.

    In the extended arrays stand the sorted atoms, then ghosts that other ranks own (by rank), then periodic
    images of the atoms themselves. Atoms of a type that others have as ghosts come last: no other atom can
    see a ghost, for whoever is within reach of a ghost is itself within reach of the ghost's rank. So the
    rest, the interior, can be evaluated while positions are on their way.

    `build` and what it calls must be called on all ranks together.

    Parameters
    ----------
    cutoff, skin, cell, periodic
        See `VerletList`.
    types : (n_atoms,) int32
        Of the atoms of this rank.
    identifiers : (n_atoms,) int64
        Number in the input of each atom of this rank.
    communicator : Communicator

    Attributes
    ----------
    ghosts : GhostExchange
    ghost_forces : (n_ghosts, 3) float64
        eV/Å, what is sent home.
    space : Space
    """

    def __init__(
        self,
        cutoff: float,
        skin: float,
        cell: ArrayLike,
        periodic: ArrayLike,
        types: ArrayLike,
        identifiers: NDArray[np.int64],
        communicator: Communicator,
    ) -> None:
        super().__init__(cutoff, skin, cell, periodic, types)
        self.communicator = communicator
        self.identifiers = identifiers
        self.space = Space.of(cell, periodic)
        self._kind_start = starts(2 * self.types)
        self.ghosts = GhostExchange(communicator)
        self._room = np.zeros((0, 3))
        self.ghost_forces = self._room

    @property
    def n_rows(self) -> int:
        """Number of rows that forces are added to."""
        return self.n_atoms + self.ghosts.n_ghosts

    @property
    def segments(self) -> NDArray[np.int64]:
        """Return runs of atoms of one type and stage, (n, 4): first, one past the last, type, and stage.

        Stage 1: atoms that others have as ghosts, and that may see ghosts themselves.
        """
        kinds = np.arange(len(self._kind_start) - 1)
        return np.column_stack([self._kind_start[:-1], self._kind_start[1:], kinds // 2, kinds % 2])

    @property
    def row_identifiers(self) -> NDArray[np.int64]:
        """Number in the input of the atom that each row belongs to, (n_rows,)."""
        return np.concatenate([self.identifiers[self.order], self.ghosts.ghost_identifiers])

    def adopt(self, types: NDArray[np.int32], identifiers: NDArray[np.int64]) -> None:
        """Take other atoms in place of the present ones; to be built next."""
        self.types = types
        self.identifiers = identifiers
        self.n_atoms = len(types)
        self.order = np.zeros(self.n_atoms, dtype=np.int32)
        self.type_start = starts(types)

    def build(self, positions: ArrayLike) -> None:
        """Find all neighbours at `positions`, and the ghosts that are needed for that.

        Parameters
        ----------
        positions : (n_atoms, 3) float64
            Å, anywhere along periodic directions.

        Raises
        ------
        StructureError
            If a position is not finite, or there would be more than 2³¹ images.
        """
        points = self.communicator.together(lambda: checked_positions(positions, self.n_atoms))
        self.positions_at_build = points.copy()
        images, wrapped = self.space.wrapped(points)
        reach = self.cutoff + self.skin
        ghosts = self.ghosts
        ghosts.plan(self.space, reach, images, wrapped, self.types, self.identifiers)
        stages = np.zeros(self.n_atoms, dtype=np.int32)
        stages[ghosts.sent_atoms] = 1
        kinds = 2 * self.types + stages
        kind_start = starts(kinds)
        self._kind_start = kind_start
        low, high = box_of(wrapped)
        grid = Grid.around(low, high, reach)
        cell_list.sort_atoms(wrapped, grid.origin, grid.inverse_width, kinds, kind_start, self.order)
        if self.n_rows > len(self.owner):
            self._reserve_extended(self.n_rows + self.n_rows // 2)
        cell_list.place_locals(
            wrapped,
            self.types,
            images,
            self.order,
            self.extended_positions,
            self.extended_types,
            self.images,
            self.owner,
        )
        remote = slice(self.n_atoms, self.n_rows)
        self.extended_types[remote] = ghosts.ghost_types
        self.images[remote] = 0
        self.owner[remote] = np.arange(self.n_atoms, self.n_rows)
        # Images of own atoms may make the arrays grow, so ghosts come after.
        self.communicator.together(lambda: self._place_ghosts(wrapped, grid))
        self.ghost_forces = self._room_for_ghost_forces()
        ghosts.connect(self.extended_positions[remote], self.ghost_forces)
        ghosts.send_positions(points, self._vectors)
        ghosts.receive_positions()
        self.first, self.neighbours = find_rows(
            self.extended_positions, self.n_atoms, self.n_extended, grid, self.neighbours
        )
        self.number_of_builds += 1

    def send_positions(self, positions: NDArray[np.float64]) -> None:
        """Begin to send the positions that other ranks need, (n_atoms, 3) Å in the order of the state."""
        self.ghosts.send_positions(positions, self._vectors)

    def return_forces(self, result: Evaluation) -> None:
        """Send the forces on ghosts home, and add those that others found to `result.forces`."""
        if len(result.ghost_forces) == self.ghosts.n_ghosts:
            self.ghost_forces[:] = result.ghost_forces
        self.ghosts.send_forces()
        self.ghosts.receive_forces()
        self.ghosts.add_forces(result.forces)

    def _room_for_ghost_forces(self) -> NDArray[np.float64]:
        """Return the array, (n_ghosts, 3), that forces on ghosts go to, made anew if it is too small."""
        n = self.ghosts.n_ghosts
        if len(self._room) < n:
            self._room = np.zeros((n + n // 8, 3))
        return self._room[:n]
