"""The neighbour list of some atoms, all others being ghosts that no rank owns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.grid import Grid
from fastdp.neighbours.rows import find_rows
from fastdp.neighbours.verlet_list import VerletList


class PartialList:
    """Rows of the first atoms; the others are only seen. Has what potentials read of a `VerletList`.

    Parameters
    ----------
    positions : (n_rows, 3) float64
        Å. Atoms with a row come first, sorted by type.
    types : (n_rows,) int32
    n_atoms : int
        With a row.
    first : (n_atoms + 1,) int64
    neighbours : (capacity,) int32
        Row i is neighbours[first[i]:first[i + 1]], indices of `positions`.
    """

    def __init__(
        self,
        positions: NDArray[np.float64],
        types: NDArray[np.int32],
        n_atoms: int,
        first: NDArray[np.int64],
        neighbours: NDArray[np.int32],
    ) -> None:
        self.n_atoms = n_atoms
        self.n_rows = self.n_extended = len(positions)
        self.order = np.arange(n_atoms)
        self.owner = np.arange(self.n_rows, dtype=np.int32)
        self.extended_positions = positions
        self.extended_types = types
        self.first, self.neighbours = first, neighbours
        self.number_of_builds = 1
        counts = np.bincount(types[:n_atoms])
        stop = np.cumsum(counts)
        self.segments = np.column_stack([stop - counts, stop, np.arange(len(counts)), np.zeros_like(counts)])


def by_type(chosen: NDArray[np.integer], types: NDArray[np.int32]) -> NDArray[np.integer]:
    """Return indices of atoms sorted by the type of the atom."""
    return chosen[np.argsort(types[chosen], kind="stable")]


def rows_of(source: VerletList, chosen: NDArray[np.integer]) -> PartialList:
    """Return some rows of a list, each with neighbours of its own.

    Parameters
    ----------
    source : VerletList
        Built, and updated to the current positions.
    chosen : (k,) int
        Sorted atoms.
    """
    chosen = by_type(chosen, source.extended_types)
    rows = [source.neighbours[source.first[i] : source.first[i + 1]] for i in chosen]
    # Each neighbour of each centre stands by itself: gradients of different centres must not cancel.
    extended = np.concatenate([chosen, *rows])
    return PartialList(
        source.extended_positions[extended],
        source.extended_types[extended],
        len(chosen),
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        np.arange(len(chosen), len(extended), dtype=np.int32),
    )


def rows_in_cluster(
    positions: NDArray[np.float64], types: NDArray[np.int32], chosen: NDArray[np.integer], cutoff: float
) -> tuple[PartialList, NDArray[np.integer]]:
    """Return the list of some atoms of a cluster without periodic images.

    Parameters
    ----------
    positions : (n, 3) float64
        Å.
    types : (n,) int32
    chosen : (k,) int
        Atoms that get a row.
    cutoff : float
        Å.

    Returns
    -------
    PartialList
        Of the atoms chosen, and of all that they may see.
    (n_rows,) int
        Which atoms these are.
    """
    chosen = by_type(chosen, types)
    grid = Grid.around(positions[chosen].min(axis=0), positions[chosen].max(axis=0), cutoff)
    others = np.setdiff1d(np.arange(len(types)), chosen)
    near = np.all((positions[others] > grid.low) & (positions[others] < grid.high), axis=1)
    atoms = np.concatenate([chosen, others[near]])
    inside = np.ascontiguousarray(positions[atoms])
    first, neighbours = find_rows(inside, len(chosen), len(atoms), grid, np.empty(0, np.int32))
    own_types = np.ascontiguousarray(types[atoms], dtype=np.int32)
    return PartialList(inside, own_types, len(chosen), first, neighbours), atoms
