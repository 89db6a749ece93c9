"""Which periodic images of the atoms of one rank may be ghosts of which other rank, from the boxes of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.space import Space

SLACK = 1.0 + 1e-9
"""A pair at the very reach must not be lost to rounding."""


@dataclass(frozen=True)
class Candidate:
    """Atoms of this rank, moved by a vector of the reduced lattice, that `rank` needs if they are in a box.

    Attributes
    ----------
    rank : int
    steps : (3,) int64
        Vectors of the reduced cell.
    translation : (3,) float64
        The same, Å.
    coordinate_low, coordinate_high : (3,) float64
        The box, in coordinates of the reduced cell; zero along open directions.
    low, high : (3,) float64
        The box in space, Å; an atom must be within both.
    """

    rank: int
    steps: NDArray[np.int64]
    translation: NDArray[np.float64]
    coordinate_low: NDArray[np.float64]
    coordinate_high: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def box_of_atoms(coordinates: NDArray[np.float64], wrapped: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the box of atoms, in both kinds of coordinates, (12,); inside out where there are none.

    Parameters
    ----------
    coordinates, wrapped : (n_atoms, 3) float64
        In the reduced cell, and in Å.
    """
    if len(wrapped) == 0:
        return np.repeat([np.inf, -np.inf, np.inf, -np.inf], 3)
    return np.concatenate(
        [coordinates.min(axis=0), coordinates.max(axis=0), wrapped.min(axis=0), wrapped.max(axis=0)]
    )


def candidates(
    space: Space, reach: float, boxes: NDArray[np.float64], rank: int, *, itself: bool = False
) -> Iterator[Candidate]:
    """Return what atoms of `rank` others may need, by the others' numbers.

    Parameters
    ----------
    space : Space
    reach : float
        Å, up to which atoms must see each other.
    boxes : (n_ranks, 12) float64
        Of the atoms of each rank, as `box_of_atoms`.
    rank : int
        This one.
    itself : bool
        Whether it needs images of its own atoms too; these come last.
    """
    mine = boxes[rank].reshape(4, 3)
    margin = reach * space.reduced.inverse_heights * SLACK
    coordinate_low, coordinate_high = boxes[:, 0:3] - margin, boxes[:, 3:6] + margin
    low, high = boxes[:, 6:9] - reach * SLACK, boxes[:, 9:12] + reach * SLACK
    if not np.isfinite(mine).all():
        return
    # Boxes without atoms are inside out, and never within reach.
    first = np.ceil(coordinate_low - mine[1])
    last = np.floor(coordinate_high - mine[0])
    others = [other for other in np.flatnonzero((first <= last).all(axis=1)).tolist() if other != rank]
    for other in (*others, rank) if itself else others:
        ranges = [
            range(int(begin), int(end) + 1) for begin, end in zip(first[other], last[other], strict=True)
        ]
        for shift in product(*ranges):
            if other == rank and not any(shift):
                continue
            steps = np.array(shift, dtype=np.int64)
            translation = steps @ space.reduced.vectors
            if (mine[2] + translation > high[other]).any() or (mine[3] + translation < low[other]).any():
                continue
            yield Candidate(
                other,
                steps,
                translation,
                coordinate_low[other],
                coordinate_high[other],
                low[other],
                high[other],
            )
