"""Comparing the neighbours that atoms have with the number that a model was trained to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import fastdp_ext.cell_list as cell_list
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import InputError
from fastdp.neighbours.verlet_list import VerletList


class Overflow(NamedTuple):
    """Neighbour counts by type of centre (row) and of neighbour (column)."""

    largest: NDArray[np.int64]
    """(n_types, n_types) most neighbours that a centre has."""
    overflowing: NDArray[np.int64]
    """(n_types, n_types) number of centres that have more than `selection`."""


@dataclass(frozen=True, eq=False)
class NeighbourLimit:
    """How many neighbours a part of a model was trained to see.

    Attributes
    ----------
    cutoff : float
        Å.
    selection : (n_types,) or (1,) int64
        Of each type, or of all types together.
    """

    cutoff: float
    selection: NDArray[np.int64]

    def is_of_all_types(self, n_types: int) -> bool:
        """Whether the limit is for the neighbours of all types together."""
        return len(self.selection) != n_types

    def by_type(self, n_types: int) -> NDArray[np.int64]:
        """Return the limit of each type, (n_types,); zeros where it is for all together."""
        return np.zeros(n_types, np.int64) if self.is_of_all_types(n_types) else self.selection


def count_overflow(neighbours: VerletList, cutoff: float, selection: ArrayLike) -> Overflow:
    """Count neighbours within `cutoff` at the positions that the list holds now.

    Parameters
    ----------
    neighbours : VerletList
        Built.
    cutoff : float
        Å, of the model.
    selection : (n_types,) int
        Neighbours of each type that the model was trained to see.

    Returns
    -------
    Overflow

    Raises
    ------
    InputError
        If there are atoms of a type that `selection` does not cover.
    """
    limits = np.ascontiguousarray(selection, dtype=np.int64)
    n_types = len(limits)
    if len(neighbours.type_start) > n_types + 1:
        raise InputError(
            f"atoms have types up to {len(neighbours.type_start) - 2}, selection covers {n_types}"
        )
    result = Overflow(np.zeros((n_types, n_types), np.int64), np.zeros((n_types, n_types), np.int64))
    cell_list.count_by_type(
        neighbours.extended_positions,
        neighbours.extended_types,
        neighbours.first,
        neighbours.neighbours,
        cutoff,
        limits,
        result.largest,
        result.overflowing,
    )
    return result
