"""What a model is expected to give for a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Expectation:
    """Atoms, and what was stored of a model's answer for them.

    Attributes
    ----------
    name : str
        File and frame, for messages.
    symbols : tuple of str or None
        Name of each atom; None where the file has numbers only.
    types : (n_atoms,) int32 or None
        Numbers into the model's type map, where the file has no names.
    positions : (n_atoms, 3) float64
        Å.
    cell : (3, 3) float64
        Å, rows are the vectors.
    periodic : (3,) bool
    energy : float or None
        eV.
    forces : (n_atoms, 3) float64 or None
        eV/Å.
    virial : (3, 3) float64 or None
        eV, Ξ = −∂E/∂strain.
    atomic_energies : (n_atoms,) float64 or None
        eV.
    parameters : mapping of str to float64 array
        fparam and aparam that the answer was given for, where the file has them.
    spins : (n_atoms, 3) float64 or None
        That the answer is for, where the file has them.
    made_by : str
        Program that gave the answer; empty if unknown.
    rounded : bool
        Whether the file keeps fewer digits than float64.
    """

    name: str
    symbols: tuple[str, ...] | None
    types: NDArray[np.int32] | None
    positions: Array
    cell: Array
    periodic: NDArray[np.bool_]
    energy: float | None = None
    forces: Array | None = None
    virial: Array | None = None
    atomic_energies: Array | None = None
    parameters: Mapping[str, Array] = field(default_factory=dict)
    spins: Array | None = None
    made_by: str = ""
    rounded: bool = False

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.positions)
