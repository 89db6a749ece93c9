"""The cells that the device sorts atoms into, and the lattice vectors between them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import StructureError
from fastdp.gpu.kernels import cell_list as layout
from fastdp.neighbours.lattice import Lattice, reduction

CELLS_PER_REACH = 2
"""As on the CPU: smaller cells mean fewer candidates, but more cells to look into."""

MOST_CELLS_PER_ATOM = 4
"""Cells of open directions grow in a thin gas, so that the table of cells does not outgrow the atoms."""

MOST_IMAGES = 1 << 16
"""Of an atom; a cell of one atom, a tenth of the reach wide, has 9261."""

INDEX_BITS = 31
"""Of an entry of the neighbour list: the image above, the atom below."""


@dataclass(frozen=True)
class CellGeometry:
    """Cells over the reduced lattice along periodic directions, over a box along open ones.

    Attributes
    ----------
    table : (GEOMETRY_ROWS, 3) float64
    counts : (3, 3) int32
        Cells, whether periodic, and how many cells away neighbours can be, along each direction.
    translations : (n_images, 3) float64
        Å, lattice vectors by image.
    index_bits : int
        Of an entry of the neighbour list: the atom stands in the lower bits.
    """

    table: NDArray[np.float64]
    counts: NDArray[np.int32]
    translations: NDArray[np.float64]
    index_bits: int

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(np.prod(self.counts[layout.CELLS].astype(np.int64)))

    @property
    def height(self) -> float:
        """How thick the system is across the layers of the third direction, Å."""
        reciprocal = self.table[layout.RECIPROCAL : layout.RECIPROCAL + 3, 2]
        extent = self.counts[layout.CELLS, 2] / self.table[layout.SCALE, 2]
        return float(extent / np.linalg.norm(reciprocal))

    @property
    def index_mask(self) -> int:
        """Selects the atom of an entry of the neighbour list."""
        return (1 << self.index_bits) - 1


def cell_geometry(
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    positions: NDArray[np.float64],
    reach: float,
    n_atoms: int | None = None,
) -> CellGeometry:
    """Lay out cells about half as wide as the reach of the list.

    Parameters
    ----------
    cell : (3, 3) float64
        Å, rows are vectors; any shape, shorter than the reach if need be.
    periodic : (3,) bool
    positions : (n_atoms, 3) float64
        Å. Give the box along open directions; atoms that leave it later are still found.
    reach : float
        Å, cutoff and skin.
    n_atoms : int, optional
        By default as many as positions, of which those at the corners would do.

    Returns
    -------
    CellGeometry

    Raises
    ------
    StructureError
        If the cell is degenerate, or so small that images and atoms cannot be numbered.
    """
    n_atoms = len(positions) if n_atoms is None else n_atoms
    lattice = Lattice.from_cell(cell, periodic)
    vectors = reduction(lattice.vectors) @ lattice.vectors
    completed = _completed(vectors, periodic)
    reciprocal = np.linalg.inv(completed)
    heights = 1.0 / np.linalg.norm(reciprocal, axis=0)
    # What is not finite is found by the kernels; here it must only do no harm.
    along = positions[np.isfinite(positions).all(axis=1)] @ reciprocal
    if len(along) == 0:
        along = np.zeros((1, 3))
    low = np.where(periodic, 0.0, along.min(axis=0))
    extent = np.where(periodic, 1.0, np.maximum(along.max(axis=0) - low, 1e-3))

    widths = np.full(3, reach / CELLS_PER_REACH)
    most = max(64, MOST_CELLS_PER_ATOM * n_atoms)
    while True:
        cells = np.maximum(1, np.floor(extent * heights / widths)).astype(np.int64)
        if np.prod(cells.astype(float)) <= most:
            break
        widths *= 1.26
    # A little more than needed: a pair at the very reach must not be lost to rounding.
    width = extent * heights / cells
    around = np.ceil(reach * (1.0 + 1e-9) / width).astype(np.int64)
    around = np.where(periodic, around, np.minimum(around, cells))
    lattice_reach = np.where(periodic, -(-around // cells), 0)
    n_images = math.prod(int(2 * k + 1) for k in lattice_reach)
    index_bits = max(1, int(n_atoms).bit_length())
    if n_images > MOST_IMAGES or n_images << index_bits > 1 << INDEX_BITS:
        raise StructureError(
            f"the cell {np.asarray(cell).tolist()} Å is too small, or {n_atoms} atoms are too many, for the "
            f"GPU: {n_images} periodic images within {reach:g} Å cannot be numbered. Repeat the cell, or "
            'use backend = "cpu"'
        )
    images = np.array(list(itertools.product(*(range(-k, k + 1) for k in reversed(lattice_reach.tolist())))))[
        :, ::-1
    ]
    table = np.zeros((layout.GEOMETRY_ROWS, 3))
    table[layout.VECTORS : layout.VECTORS + 3] = vectors
    table[layout.RECIPROCAL : layout.RECIPROCAL + 3] = reciprocal
    table[layout.CELL : layout.CELL + 3] = lattice.vectors
    table[layout.CELL_RECIPROCAL : layout.CELL_RECIPROCAL + 3] = lattice.reciprocal
    table[layout.LOW] = low
    table[layout.SCALE] = cells / extent
    counts = np.zeros((3, 3), np.int32)
    counts[layout.CELLS] = cells
    counts[layout.PERIODIC] = periodic
    counts[layout.REACH] = around
    return CellGeometry(table, counts, images @ vectors, index_bits)


def _completed(vectors: NDArray[np.float64], periodic: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return vectors with unit vectors across all periodic ones in place of the open ones."""
    result = vectors.copy()
    spanning = vectors[periodic]
    if len(spanning) < 3:
        across = np.linalg.svd(spanning)[2][len(spanning) :] if len(spanning) else np.eye(3)
        result[~periodic] = across
    return result
