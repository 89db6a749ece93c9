"""Finding the pair of atoms that a potential does not cover, once it is known that there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.verlet_list import VerletList

Limits = Callable[[int, NDArray[np.integer], NDArray[np.float64]], NDArray[np.float64]]
"""From an atom's type, and types and distances of its neighbours, to how near these may come, Å."""


@dataclass(frozen=True)
class ClosePair:
    """A pair of atoms.

    Attributes
    ----------
    ratio : float
        Of distance and limit: below 1, the pair is too close.
    atom, extended : int
        Sorted atom, and extended atom that it sees.
    distance, limit : float
        Å.
    """

    ratio: float
    atom: int
    extended: int
    distance: float
    limit: float


def closest_pair(neighbours: VerletList, sorted_atoms: Iterable[int], limits: Limits) -> ClosePair:
    """Return the pair that lies deepest below its limit.

    Parameters
    ----------
    neighbours : VerletList
        Holds the positions.
    sorted_atoms : iterable of int
        Atoms to look at, as numbered by `neighbours`.
    limits : callable
        Distances that pairs of types must keep; 0 where there is nothing to keep.
    """
    worst = ClosePair(np.inf, 0, 0, np.inf, 0.0)
    for i in sorted_atoms:
        row = neighbours.neighbours[neighbours.first[i] : neighbours.first[i + 1]]
        difference = neighbours.extended_positions[row] - neighbours.extended_positions[i]
        distances = np.linalg.norm(difference, axis=1)
        types = neighbours.extended_types
        limit = limits(int(types[i]), types[row], distances)
        ratios = np.full(len(row), np.inf)
        np.divide(distances, limit, out=ratios, where=limit > 0.0)
        k = int(np.argmin(ratios)) if len(row) else 0
        if len(row) and ratios[k] < worst.ratio:
            worst = ClosePair(float(ratios[k]), int(i), int(row[k]), float(distances[k]), float(limit[k]))
    return worst
