"""All pairs of atoms and images within a cutoff, from the definition: the specification of the cell list."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.neighbours.lattice import Lattice
from fastdp.neighbours.positions import checked_positions


class Pairs(NamedTuple):
    """Directed pairs (both i→j and j→i), atoms in the input's order."""

    centre: NDArray[np.int64]
    """(p,) index of i."""
    neighbour: NDArray[np.int64]
    """(p,) index of the atom that j is an image of."""
    vector: NDArray[np.float64]
    """(p, 3) r_j − r_i, Å."""


def all_pairs(positions: ArrayLike, cell: ArrayLike, periodic: ArrayLike, cutoff: float) -> Pairs:
    """Return every pair closer than `cutoff`, periodic images included, in O(n_atoms²).

    Parameters
    ----------
    positions : (n_atoms, 3) float64
        Å, anywhere.
    cell : (3, 3) float64
        Å, rows are vectors; those along open directions are ignored.
    periodic : (3,) bool
    cutoff : float
        Å.

    Returns
    -------
    Pairs
        Sorted by centre, then neighbour.

    Raises
    ------
    StructureError
        If a position is not finite or the cell is degenerate.
    """
    lattice = Lattice.from_cell(cell, periodic)
    points = checked_positions(positions, len(np.asarray(positions)))
    difference = points[None, :, :] - points[:, None, :]
    nearest = difference - np.round(difference @ lattice.reciprocal) @ lattice.vectors
    # `nearest` has fractional coordinates within ±½; a vector shorter than the cutoff, within cutoff/height.
    reach = cutoff * lattice.inverse_heights
    layers = np.where(reach > 0.0, np.ceil(reach + 0.5), 0.0).astype(int)
    found = []
    for shift in product(*(range(-layer, layer + 1) for layer in layers)):
        vectors = nearest + np.array(shift) @ lattice.vectors
        close = np.einsum("ijc,ijc->ij", vectors, vectors) < cutoff**2
        if shift == (0, 0, 0):
            np.fill_diagonal(close, False)
        centre, neighbour = np.nonzero(close)
        found.append((centre, neighbour, vectors[close]))
    centres, neighbours, vectors_found = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((neighbours, centres))
    return Pairs(centres[order], neighbours[order], vectors_found[order])
