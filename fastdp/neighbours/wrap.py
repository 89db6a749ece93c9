"""Moving atoms into the periodic cell without losing where they came from."""

from __future__ import annotations

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.neighbours.lattice import Lattice
from fastdp.neighbours.positions import checked_positions


def wrap_positions(
    positions: NDArray[np.float64], images: NDArray[np.int32], cell: ArrayLike, periodic: ArrayLike
) -> None:
    """Move atoms into the cell, in place, and count the cells they crossed.

    positions + images @ cell keeps its value (to rounding). Fractional coordinates along periodic directions
    are in [0, 1) afterwards, except for atoms that were below a face by less than 1e-10, which stay there.
    A second call changes nothing. Open directions are left alone.

    Parameters
    ----------
    positions : (n_atoms, 3) float64, C order
        Å, changed in place.
    images : (n_atoms, 3) int32, C order
        Cells crossed so far, changed in place.
    cell : (3, 3) float64
        Å, rows are vectors.
    periodic : (3,) bool

    Raises
    ------
    StructureError
        If a position is not finite or the cell is degenerate; nothing is changed then.
    """
    lattice = Lattice.from_cell(cell, periodic)
    checked_positions(positions, len(images))
    cell_list.wrap_into_cell(positions, images, lattice.vectors, lattice.reciprocal)
