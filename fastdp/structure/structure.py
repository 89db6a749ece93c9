"""A structure: atoms, cell and what moves with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Structure:
    """Atoms in a cell, in the order of the input.

    Attributes
    ----------
    symbols : tuple of str
        Element (or type) name of each atom.
    positions : (n_atoms, 3) float64
        Å, anywhere: they need not lie inside the cell.
    cell : (3, 3) float64
        Å, rows are the vectors; a vector in an open direction may be zero.
    periodic : (3,) bool
        Which directions repeat.
    masses : (n_atoms,) float64
        u.
    velocities : (n_atoms, 3) float64 or None
        Å/ps; None if the source has none.
    images : (n_atoms, 3) int32
        Periodic images that each atom has crossed so far.
    spins : (n_atoms, 3) float64 or None
        Of magnetic atoms, in the unit of the model (μ_B); None if the source has none.
    notes : tuple of str
        What the reader had to leave out or decide, for the user to read.
    """

    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    masses: NDArray[np.float64]
    velocities: NDArray[np.float64] | None = None
    images: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int32))
    notes: tuple[str, ...] = ()
    spins: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        self.positions = np.array(self.positions, dtype=np.float64, order="C")
        self.cell = np.array(self.cell, dtype=np.float64, order="C")
        self.periodic = np.array(self.periodic, dtype=bool)
        self.masses = np.array(self.masses, dtype=np.float64)
        if self.velocities is not None:
            self.velocities = np.array(self.velocities, dtype=np.float64, order="C")
        if len(self.images) == 0:
            self.images = np.zeros((self.n_atoms, 3), dtype=np.int32)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.symbols)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³; zero if a vector is missing."""
        return float(abs(np.linalg.det(self.cell)))

    def repeated(self, counts: Sequence[int]) -> Structure:
        """Return the supercell of `counts` copies along each cell vector.

        Copies follow one another in blocks of `n_atoms`; the last direction runs fastest. The
        copies carry the velocities of the original.

        Parameters
        ----------
        counts : (3,) sequence of int
            At least 1 each.

        Returns
        -------
        Structure
        """
        with np.errstate(invalid="ignore", over="ignore"):  # a cell that is not finite stays so
            shifts = np.array(list(np.ndindex(*counts)), dtype=np.float64) @ self.cell
        n_copies = len(shifts)
        return Structure(
            symbols=self.symbols * n_copies,
            positions=(shifts[:, None, :] + self.positions[None, :, :]).reshape(-1, 3),
            cell=self.cell * np.asarray(counts, dtype=np.float64)[:, None],
            periodic=self.periodic,
            masses=np.tile(self.masses, n_copies),
            velocities=None if self.velocities is None else np.tile(self.velocities, (n_copies, 1)),
            images=np.tile(self.images, (n_copies, 1)),
            notes=self.notes,
            spins=None if self.spins is None else np.tile(self.spins, (n_copies, 1)),
        )
