"""ASE's `Atoms` from fastdp's arrays: the one place where units change into ASE's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers
from numpy.typing import NDArray

from fastdp.units import PS_PER_FS

ASE_TIME_PER_PS = units.fs / PS_PER_FS
"""Value of 1 ps in ASE's unit of time, Å √(u/eV)."""


def to_atoms(
    symbols: Sequence[str],
    positions: NDArray[np.float64],
    *,
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    masses: NDArray[np.float64],
    velocities: NDArray[np.float64] | None = None,
) -> Atoms:
    """Return atoms in ASE's units.

    Parameters
    ----------
    symbols : sequence of str
        Names that are not chemical elements become X, and are kept in the array `type_name`.
    positions : (n_atoms, 3) float64
        Å.
    cell : (3, 3) float64
        Rows are the cell vectors, Å.
    periodic : (3,) bool
        Which directions are periodic.
    masses : (n_atoms,) float64
        u.
    velocities : (n_atoms, 3) float64 or None
        Å/ps.

    Returns
    -------
    ase.Atoms
        With momenta if there are velocities.
    """
    elements = [symbol if symbol in atomic_numbers else "X" for symbol in symbols]
    atoms = Atoms(elements, positions=positions, cell=cell, pbc=periodic, masses=masses)
    if "X" in elements:
        atoms.new_array("type_name", np.array(symbols, dtype=str))
    if velocities is not None:
        atoms.set_velocities(velocities / ASE_TIME_PER_PS)
    return atoms
