"""The bins that atoms are sorted into, and which bins around one can hold neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

BINS_PER_REACH = 2
"""More bins mean fewer candidates but shorter runs of them; benchmarks/NOTES.md has the measurement."""

LARGEST_SHAPE = 1 << 20
"""Bins along one axis; three such numbers still fit the 64 bits of a key. Wider extents get wider bins."""


@dataclass(frozen=True)
class Grid:
    """Cartesian bins over a box of atoms and a margin of `reach` around it.

    Only the geometry: bins that hold no atom take no memory.

    Attributes
    ----------
    reach : float
        Å. Distance up to which atoms are neighbours.
    low, high : (3,) float64
        Å. The box with its margin: atoms outside have no neighbours in the box.
    origin : (3,) float64
        Å. Lower corner of bin 0.
    width : (3,) float64
        Å.
    shape : (3,) int64
        Number of bins along each axis.
    """

    reach: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    origin: NDArray[np.float64]
    width: NDArray[np.float64]
    shape: NDArray[np.int64]

    @classmethod
    def around(cls, low: NDArray[np.float64], high: NDArray[np.float64], reach: float) -> Grid:
        """Return the grid for atoms in the box from `low` to `high`, (3,) float64 in Å."""
        # A little more than needed: a pair at the very reach must not be lost to rounding.
        margin = reach * (1.0 + 1e-9)
        narrowest = (high - low) / (LARGEST_SHAPE - 4 * BINS_PER_REACH)
        width = np.maximum(margin / BINS_PER_REACH, narrowest)
        around = np.ceil(margin / width).astype(np.int64)
        shape = np.floor((high - low) / width).astype(np.int64) + 2 * around + 2
        return cls(reach, low - margin, high + margin, low - (around + 0.5) * width, width, shape)

    @property
    def inverse_width(self) -> NDArray[np.float64]:
        """1/Å, (3,) float64."""
        return 1.0 / self.width

    def stencil(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the runs of bins along x that can hold neighbours of an atom in a bin.

        Returns
        -------
        offset : (n_lines,) int64
            Difference of the keys of the run's middle and of the bin.
        reach : (n_lines,) int64
            Bins on both sides of the middle.
        """
        around = np.ceil(self.reach / self.width).astype(int)
        lines = []
        for z, y in product(range(-around[2], around[2] + 1), range(-around[1], around[1] + 1)):
            gap = np.maximum(np.abs([y, z]) - 1, 0) * self.width[1:]
            rest = self.reach**2 - float(gap @ gap)
            if rest >= 0.0:
                lines.append(
                    ((z * self.shape[1] + y) * self.shape[0], int(np.sqrt(rest) / self.width[0]) + 1)
                )
        offset, reach = np.array(lines, dtype=np.int64).T.copy()
        return offset, reach
