"""Finding the neighbours of atoms among extended atoms, wherever those come from."""

from __future__ import annotations

from typing import NamedTuple

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.grid import Grid


class Rows(NamedTuple):
    """Neighbours of each atom: row i is neighbours[first[i]:first[i + 1]]."""

    first: NDArray[np.int64]
    """(n_atoms + 1,)"""
    neighbours: NDArray[np.int32]
    """(capacity,) indices of extended atoms."""


def find_rows(
    extended_positions: NDArray[np.float64],
    n_atoms: int,
    n_extended: int,
    grid: Grid,
    neighbours: NDArray[np.int32],
) -> Rows:
    """Return all extended atoms closer than the grid's reach to each of the first `n_atoms`.

    Work and memory are proportional to the number of extended atoms times the neighbours of one.

    Parameters
    ----------
    extended_positions : (capacity, 3) float64
        Å. Atoms that get a row come first, next to each other in space as far as possible.
    n_atoms, n_extended : int
    grid : Grid
        Around the first `n_atoms`, whose margin holds all others.
    neighbours : (capacity,) int32
        Overwritten, and replaced by a larger array where it is too small.

    Returns
    -------
    Rows
    """
    index, bin_key, bin_start, bin_of = cell_list.bin_atoms(
        extended_positions, n_extended, grid.origin, grid.inverse_width, grid.shape
    )
    is_home = np.zeros(len(bin_key), dtype=bool)
    is_home[bin_of[:n_atoms]] = True
    homes = np.flatnonzero(is_home).astype(np.int32)
    home_of = (np.cumsum(is_home, dtype=np.int32) - 1)[bin_of[:n_atoms]]

    line_offset, line_reach = grid.stencil()
    ranges = np.empty((len(homes), len(line_offset), 2), dtype=np.int32)
    candidates = np.empty(len(homes), dtype=np.int32)
    cell_list.candidate_ranges(bin_key, bin_start, homes, line_offset, line_reach, ranges, candidates)

    first = np.zeros(n_atoms + 1, dtype=np.int64)
    most = int(candidates.max(initial=0))
    done = 0
    while True:
        done = cell_list.fill_rows(
            done, extended_positions, grid.reach, index, home_of, ranges, candidates, first, neighbours
        )
        if done == n_atoms:
            return Rows(first, neighbours)
        # Enough for the rows that are left if they are like those before, and some more.
        expected = int(1.05 * first[done] / max(done, 1) * n_atoms)
        larger = np.empty(max(expected, int(1.25 * len(neighbours))) + most, dtype=np.int32)
        larger[: first[done]] = neighbours[: first[done]]
        neighbours = larger
