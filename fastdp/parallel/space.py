"""Coordinates in which space is divided among ranks, for any cell and any boundaries."""

from __future__ import annotations

from dataclasses import dataclass

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.neighbours.lattice import Lattice, null_space, reduction


@dataclass(frozen=True)
class Space:
    """A reduced cell, completed by Cartesian axes along open directions.

    A skewed cell is replaced by the reduced one of the same lattice, as in the neighbour list: its faces are
    far apart, so that regions are compact and have few ghosts.

    Attributes
    ----------
    vectors : (3, 3) float64
        Å, rows; of the cell, zero along open directions.
    transform : (3, 3) int64
        transform @ vectors is the reduced cell.
    reduced : Lattice
        The reduced cell.
    axes : (3, 3) float64
        positions @ axes: fractional coordinates in the reduced cell along periodic directions, Å along
        open ones.
    periodic : (3,) bool
    """

    vectors: NDArray[np.float64]
    transform: NDArray[np.int64]
    reduced: Lattice
    axes: NDArray[np.float64]
    periodic: NDArray[np.bool_]

    @classmethod
    def of(cls, cell: ArrayLike, periodic: ArrayLike) -> Space:
        """Return the space of a cell.

        Parameters
        ----------
        cell : (3, 3) float64
            Å, rows are vectors; ignored along open directions.
        periodic : (3,) bool

        Raises
        ------
        StructureError
            If the cell is degenerate.
        """
        directions = np.array(periodic, dtype=bool)
        lattice = Lattice.from_cell(cell, directions)
        transform = reduction(lattice.vectors)
        reduced = Lattice.from_cell(transform @ lattice.vectors, directions)
        axes = reduced.reciprocal.copy()
        if not directions.all():
            axes[:, ~directions] = null_space(reduced.vectors[directions]).T
        return cls(lattice.vectors, transform, reduced, axes, directions)

    def wrapped(self, positions: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the images of `positions`, (n_atoms, 3) Å, in the reduced cell.

        Returns
        -------
        images : (n_atoms, 3) int32
            Vectors of the cell that are added.
        wrapped : (n_atoms, 3) float64
            Å.
        """
        images = np.empty(positions.shape, dtype=np.int32)
        wrapped = np.empty(positions.shape)
        cell_list.choose_images(
            positions, self.vectors, self.reduced.reciprocal, self.transform, images, wrapped
        )
        return images, wrapped

    def extents(
        self, coordinates_low: NDArray[np.float64], coordinates_high: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return how far space extends along each axis, (3,) Å: between faces of the cell, or of the atoms.

        Parameters
        ----------
        coordinates_low, coordinates_high : (3,) float64
            Smallest and largest coordinates of atoms.
        """
        heights = np.maximum(coordinates_high - coordinates_low, 1e-3)
        heights[self.periodic] = 1.0 / self.reduced.inverse_heights[self.periodic]
        return heights
