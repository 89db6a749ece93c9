"""The regions of space that ranks own, and moving their planes until all have the same work.

Space is divided by planes along the first axis into slabs, each slab by planes of its own along the second
into columns, and each column by planes of its own along the third. With one set of planes for all (a grid of
bricks) a sphere or a droplet cannot be balanced; with planes of their own, slabs, columns and regions each
get exactly their share whatever the atoms are like, as with recursive bisection, but with any number of
ranks along an axis and a layout that is a grid where the atoms are uniform.

Planes are found by dividing the intervals that hold them again and again, from sums over ranks of the work
below each candidate: nobody needs to know about more than the own atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import fastdp_ext.exchange as exchange
import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.communicator import Communicator
from fastdp.parallel.grid import Shape

PARTS = 32
"""Into which an interval that holds a plane is divided in one round."""

ROUNDS = 9
"""32⁹ is 2⁴⁵: an atom far outside does not spoil the resolution where the others are."""


@dataclass(frozen=True)
class Regions:
    """Planes between ranks, in the coordinates of `Space`.

    Attributes
    ----------
    first : (nx - 1,) float64
        Planes across the first axis.
    second : (nx, ny - 1) float64
        Planes across the second axis in each slab.
    third : (nx, ny, nz - 1) float64
        Planes across the third axis in each column.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    third: NDArray[np.float64]

    @property
    def shape(self) -> Shape:
        """Ranks along each axis."""
        nx, ny, last = self.third.shape
        return nx, ny, last + 1

    def ranks_of(self, coordinates: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the rank that owns each point.

        Parameters
        ----------
        coordinates : (n, 3) float64
            In the coordinates of `Space`, wrapped along periodic directions.

        Returns
        -------
        (n,) int32
        """
        ranks = np.empty(len(coordinates), dtype=np.int32)
        exchange.find_regions(np.ascontiguousarray(coordinates), self.first, self.second, self.third, ranks)
        return ranks

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the planes for a checkpoint."""
        return {"first": self.first, "second": self.second, "third": self.third}


def divide(
    coordinates: NDArray[np.float64], work: float, shape: Shape, communicator: Communicator
) -> Regions:
    """Return regions that all have the same work.

    Parameters
    ----------
    coordinates : (n_atoms, 3) float64
        Of the atoms of this rank, in the coordinates of `Space`.
    work : float
        Of each atom of this rank, in any unit.
    shape : (3,) tuple of int
        Ranks along each axis.
    communicator : Communicator

    Returns
    -------
    Regions
        The same on all ranks.
    """
    n = len(coordinates)
    low = coordinates.min(axis=0) if n else np.full(3, np.inf)
    high = coordinates.max(axis=0) if n else np.full(3, -np.inf)
    bounds = communicator.maximum(np.concatenate([-low, high]))
    low, high = -bounds[:3], bounds[3:]
    total, n_total = communicator.sum(np.array([work * n, n]))
    # A plane goes to the middle of the gap in which it divides the work, so that atoms on one lattice plane
    # do not change ranks back and forth; half an atom decides what counts as the same work.
    tolerance = 0.5 * total / max(n_total, 1.0)
    groups = np.zeros(n, dtype=np.int64)
    planes = []
    n_groups = 1
    for axis, parts in enumerate(shape):
        found = _planes(
            coordinates[:, axis],
            groups,
            n_groups,
            parts,
            work,
            tolerance,
            (low[axis], high[axis]),
            communicator,
        )
        planes.append(found)
        groups = groups * parts + _below(coordinates[:, axis], groups, found)
        n_groups *= parts
    nx, ny, nz = shape
    # From one rank, so that rounding in sums cannot make ranks disagree.
    first, second, third = communicator.broadcast(planes)
    return Regions(
        np.ascontiguousarray(first.reshape(nx - 1)),
        np.ascontiguousarray(second.reshape(nx, ny - 1)),
        np.ascontiguousarray(third.reshape(nx, ny, nz - 1)),
    )


def _planes(
    x: NDArray[np.float64],
    groups: NDArray[np.int64],
    n_groups: int,
    parts: int,
    work: float,
    tolerance: float,
    bounds: tuple[float, float],
    communicator: Communicator,
) -> NDArray[np.float64]:
    """Return the planes that divide each group of atoms into parts of equal work, (n_groups, parts - 1)."""
    if parts == 1:
        return np.zeros((n_groups, 0))
    order = np.lexsort((x, groups))
    sorted_x = x[order]
    start = np.searchsorted(groups[order], np.arange(n_groups + 1))
    mine = np.flatnonzero(np.diff(start))
    total = communicator.sum(np.diff(start) * work)
    target = total[:, None] * np.arange(1, parts) / parts
    edges = []
    for side in (-tolerance, tolerance):
        width = max(bounds[1] - bounds[0], 1e-9)
        low = np.full((n_groups, parts - 1), bounds[0] - 1e-3 * width)
        high = np.full((n_groups, parts - 1), bounds[1] + 1e-3 * width)
        for _ in range(ROUNDS):
            candidates = low[..., None] + (high - low)[..., None] * (np.arange(1, PARTS) / PARTS)
            below = np.zeros(candidates.shape)
            for group in mine:
                members = sorted_x[start[group] : start[group + 1]]
                below[group] = work * np.searchsorted(members, candidates[group])
            below = communicator.sum(below)
            # Below the last candidate with less than the target; the sums ascend.
            place = (below <= target[..., None] + side).sum(axis=-1)
            step = (high - low) / PARTS
            low, high = low + place * step, low + (place + 1) * step
        edges.append(0.5 * (low + high))
    return 0.5 * (edges[0] + edges[1])


def _below(
    x: NDArray[np.float64], groups: NDArray[np.int64], planes: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how many planes of its group are not above each point."""
    return (planes[groups] <= x[:, None]).sum(axis=1)
