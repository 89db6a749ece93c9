"""What every function of this package demands of positions."""

from __future__ import annotations

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import StructureError

LARGEST_COORDINATE = 1.0e8
"""Å. Farther from the origin, the spacing of float64 numbers (1.5e-8 Å) spoils the distances."""


def checked_positions(positions: ArrayLike, n_atoms: int) -> NDArray[np.float64]:
    """Return positions as a C-ordered float64 array after checking shape and values.

    Parameters
    ----------
    positions : (n_atoms, 3) float64
        Å.
    n_atoms : int

    Returns
    -------
    (n_atoms, 3) float64
        The same array where it had the right layout already.

    Raises
    ------
    StructureError
        If the shape is wrong, or a coordinate is not finite or larger than `LARGEST_COORDINATE`.
    """
    array = np.ascontiguousarray(positions, dtype=np.float64)
    if array.shape != (n_atoms, 3):
        raise StructureError(f"positions have shape {array.shape}, but {(n_atoms, 3)} is needed")
    atom = cell_list.first_unusable(array, LARGEST_COORDINATE)
    if atom >= 0:
        raise StructureError(
            f"atom {atom} is at {array[atom].tolist()} Å: coordinates must be finite and "
            f"within ±{LARGEST_COORDINATE:g} Å"
        )
    return array
