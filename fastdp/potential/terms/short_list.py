"""Pairs that are near enough for terms of short reach, drawn from the model's list when that was built."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.verlet_list import VerletList


class ShortList:
    """Rows like those of the neighbour list, of nearer neighbours only.

    Attributes
    ----------
    first : (n_atoms + 1,) int64
        The near neighbours of sorted atom i are near[first[i]:first[i + 1]].
    near : (n_pairs,) int32
        Extended atoms.
    """

    def __init__(self) -> None:
        self.first = np.zeros(1, np.int64)
        self.near = np.zeros(0, np.int32)
        self._source: VerletList | None = None
        self._build = -1

    def prepare(self, neighbours: VerletList, reach: NDArray[np.float64]) -> None:
        """Draw the list, if that of the model was built since.

        Parameters
        ----------
        neighbours : VerletList
        reach : (n_types, n_types) float64
            Å; 0 for pairs of types that are not wanted.
        """
        from fastdp.potential.terms import kernels

        if neighbours is self._source and neighbours.number_of_builds == self._build:
            return
        self._source, self._build = neighbours, neighbours.number_of_builds
        # Two atoms approach each other by twice the skin at most before the list is built again, wherever
        # within its validity this is done.
        limit = np.where(reach > 0.0, (reach + 2.0 * neighbours.skin) ** 2, 0.0)
        arguments = (
            neighbours.extended_positions,
            neighbours.extended_types,
            neighbours.first,
            neighbours.neighbours,
            limit,
        )
        counts = np.zeros(neighbours.n_atoms + 1, dtype=np.int64)
        kernels.count_near(*arguments, counts)
        self.first = np.cumsum(counts)
        self.near = np.empty(int(self.first[-1]), dtype=np.int32)
        kernels.collect_near(*arguments, self.first, self.near)

    def nearest_squared(
        self, neighbours: VerletList, start: int, stop: int, nearest: NDArray[np.float64]
    ) -> None:
        """Fill the squared distance of the nearest neighbour, Å², of sorted atoms start:stop."""
        from fastdp.potential.terms import kernels

        kernels.nearest_squared(start, stop, neighbours.extended_positions, self.first, self.near, nearest)
