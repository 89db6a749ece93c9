"""The neighbour list that potentials read: sorted atoms, their ghosts, a row of neighbours for each atom."""

from __future__ import annotations

from typing import TypeVar

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import InputError, StructureError
from fastdp.neighbours.grid import Grid
from fastdp.neighbours.lattice import Lattice, reduction
from fastdp.neighbours.positions import checked_positions
from fastdp.neighbours.rows import find_rows

LARGEST_INDEX = 2**31 - 1

Scalar = TypeVar("Scalar", bound=np.generic)


class VerletList:
    """All neighbours within cutoff + skin, over atoms sorted in space and ghost atoms (periodic images).

    Atoms are renumbered: sorted by type, then along a Morton curve, so that neighbours are close in memory.
    Behind them, in the *extended* arrays, stand the images that they see. The list is a function of the
    positions at build alone, bit for bit.

    Parameters
    ----------
    cutoff : float
        Å.
    skin : float
        Å. The list stays complete until an atom has moved by half of it.
    cell : (3, 3) float64
        Å, rows are vectors. Any shape, shorter than the cutoff if need be; ignored along open directions.
    periodic : (3,) bool
    types : (n_atoms,) int32
        From 0.

    Attributes
    ----------
    order : (n_atoms,) int32
        Index in the input of each sorted atom.
    type_start : (largest type + 2,) int64
        Sorted atoms of type t are type_start[t]:type_start[t + 1].
    n_extended : int
        Number of atoms and ghosts.
    extended_positions : (capacity, 3) float64
        Å. Sorted atoms (an image near the cell), then ghosts.
    extended_types : (capacity,) int32
    owner : (capacity,) int32
        Row that a force on this is added to: of the sorted atom of which it is an image, or of the ghost.
    images : (capacity, 3) int32
        extended_positions[e] is that of its owner (for atoms: that in the input) + images[e] @ cell.
    first : (n_atoms + 1,) int64
        The neighbours of sorted atom i are neighbours[first[i]:first[i + 1]].
    neighbours : (capacity,) int32
        Indices of extended atoms. Both directions of each pair; images of the atom itself, but never itself.
    positions_at_build : (n_atoms, 3) float64
        Å, in the input's order.
    number_of_builds : int

    Raises
    ------
    InputError
        If the cutoff is not positive or the skin is negative.
    StructureError
        If the cell is degenerate, or a type is negative.
    """

    def __init__(
        self, cutoff: float, skin: float, cell: ArrayLike, periodic: ArrayLike, types: ArrayLike
    ) -> None:
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        if not (0.0 < self.cutoff < np.inf and 0.0 <= self.skin < np.inf):
            raise InputError(f"cutoff {cutoff} Å must be positive, and skin {skin} Å not negative")
        self.cell = np.array(cell, dtype=np.float64)
        self.periodic = np.array(periodic, dtype=bool)
        self.types = np.array(types, dtype=np.int32)
        self.n_atoms = len(self.types)
        if self.n_atoms and self.types.min() < 0:
            atom = int(np.argmin(self.types))
            raise StructureError(f"atom {atom} has type {self.types[atom]}; types count from 0")

        lattice = Lattice.from_cell(self.cell, self.periodic)
        self._vectors = lattice.vectors
        self._transform = reduction(lattice.vectors)
        self._reduced = Lattice.from_cell(self._transform @ lattice.vectors, self.periodic)

        self.type_start = starts(self.types)
        self.order = np.zeros(self.n_atoms, dtype=np.int32)
        self.positions_at_build = np.zeros((self.n_atoms, 3))
        self.number_of_builds = 0
        self.n_extended = 0
        self.first = np.zeros(self.n_atoms + 1, dtype=np.int64)
        self.neighbours = np.empty(0, dtype=np.int32)
        self.extended_positions = np.zeros((self.n_atoms, 3))
        self.extended_types = np.zeros(self.n_atoms, dtype=np.int32)
        self.images = np.zeros((self.n_atoms, 3), dtype=np.int32)
        self.owner = np.zeros(self.n_atoms, dtype=np.int32)

    @property
    def n_rows(self) -> int:
        """Number of atoms that forces act on: here all are owned, and every ghost is an image of one."""
        return self.n_atoms

    @property
    def segments(self) -> NDArray[np.int64]:
        """Return runs of atoms of one type, (n_types, 4): first, one past the last, type, and stage.

        Stage 0: atoms that see only atoms of this process. Stage 1, atoms that see ghosts of other ranks,
        does not occur here.
        """
        types = np.arange(len(self.type_start) - 1)
        return np.column_stack([self.type_start[:-1], self.type_start[1:], types, np.zeros_like(types)])

    @property
    def row_identifiers(self) -> NDArray[np.int64]:
        """Number in the input of the atom that each row of forces belongs to, (n_rows,)."""
        return self.order.astype(np.int64)

    @property
    def bytes(self) -> int:
        """Memory held between builds, in bytes. A build needs up to 300 bytes per atom for its own use."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    def build(self, positions: ArrayLike) -> None:
        """Find all neighbours at `positions`.

        Parameters
        ----------
        positions : (n_atoms, 3) float64
            Å, anywhere along periodic directions.

        Raises
        ------
        StructureError
            If a position is not finite, or there would be more than 2³¹ images.
        """
        points = checked_positions(positions, self.n_atoms)
        self.positions_at_build[:] = points
        images = np.empty((self.n_atoms, 3), dtype=np.int32)
        wrapped = np.empty((self.n_atoms, 3))
        cell_list.choose_images(
            points, self._vectors, self._reduced.reciprocal, self._transform, images, wrapped
        )
        low, high = box_of(wrapped)
        grid = Grid.around(low, high, self.cutoff + self.skin)
        cell_list.sort_atoms(
            wrapped, grid.origin, grid.inverse_width, self.types, self.type_start, self.order
        )
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
        self._place_ghosts(wrapped, grid)
        self.first, self.neighbours = find_rows(
            self.extended_positions, self.n_atoms, self.n_extended, grid, self.neighbours
        )
        self.number_of_builds += 1

    def update(self, positions: NDArray[np.float64]) -> bool:
        """Move atoms and ghosts to `positions`, keeping the list.

        Parameters
        ----------
        positions : (n_atoms, 3) float64, C order
            Å. Continuous since the build: not wrapped in between.

        Returns
        -------
        bool
            Whether the list may be incomplete: an atom moved by more than skin/2 since the build (or to NaN).
        """
        if positions.shape != self.positions_at_build.shape:
            raise StructureError(
                f"positions have shape {positions.shape}, but the list is for {self.n_atoms} atoms"
            )
        return cell_list.update_positions(
            positions,
            self.positions_at_build,
            0.5 * self.skin,
            self._vectors,
            self.order,
            self.owner,
            self.images,
            self.n_rows,
            self.n_extended,
            self.extended_positions,
        )

    def ensure(self, positions: NDArray[np.float64]) -> bool:
        """Update, and build if that is needed.

        Parameters
        ----------
        positions : (n_atoms, 3) float64, C order
            Å.

        Returns
        -------
        bool
            Whether the list was built.

        Raises
        ------
        StructureError
            As `build`.
        """
        if self.number_of_builds and not self.update(positions):
            return False
        self.build(positions)
        return True

    def _place_ghosts(self, wrapped: NDArray[np.float64], grid: Grid) -> None:
        fractional_low, fractional_high = box_of(wrapped @ self._reduced.reciprocal)
        margin = (grid.reach * self._reduced.inverse_heights) * (1.0 + 1e-9)
        fractional_low, fractional_high = fractional_low - margin, fractional_high + margin
        # Along open directions all of these are zero, and so is the only image.
        most = self.n_atoms * float(np.prod(np.floor(fractional_high - fractional_low) + 1.0))
        if most > LARGEST_INDEX:
            raise StructureError(
                f"the cell {self.cell.tolist()} Å is too small for neighbours within {grid.reach:g} Å: "
                f"{most:.3g} periodic images are needed"
            )
        while True:
            self.n_extended = cell_list.place_ghosts(
                self.n_atoms,
                self.n_rows,
                self._vectors,
                self._reduced.reciprocal,
                self._transform,
                fractional_low,
                fractional_high,
                grid.low,
                grid.high,
                self.extended_positions,
                self.extended_types,
                self.images,
                self.owner,
            )
            if self.n_extended <= len(self.owner):
                return
            self._reserve_extended(self.n_extended + self.n_extended // 8)

    def _reserve_extended(self, capacity: int) -> None:
        """Make the extended arrays larger, keeping the atoms that they hold."""
        self.extended_positions = _longer(self.extended_positions, capacity, self.n_rows)
        self.extended_types = _longer(self.extended_types, capacity, self.n_rows)
        self.images = _longer(self.images, capacity, self.n_rows)
        self.owner = _longer(self.owner, capacity, self.n_rows)


def starts(kinds: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return where the atoms of each kind start when sorted by it, (largest kind + 2,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(kinds))]).astype(np.int64)


def _longer(array: NDArray[Scalar], length: int, n_kept: int) -> NDArray[Scalar]:
    """Return an array of another length that begins with the first `n_kept` elements of this one, or all."""
    n_kept = min(n_kept, len(array))
    result = np.zeros((length, *array.shape[1:]), dtype=array.dtype)
    result[:n_kept] = array[:n_kept]
    return result


def box_of(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest coordinates, zeros where there is no point."""
    if len(points) == 0:
        return np.zeros(3), np.zeros(3)
    return points.min(axis=0), points.max(axis=0)
