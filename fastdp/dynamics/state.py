"""The state that the equations of motion act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import NonFiniteError
from fastdp.neighbours.wrap import wrap_positions

if TYPE_CHECKING:
    from fastdp.structure.structure import Structure

FARTHEST_POSITION = 1.0e8
"""Å; an atom beyond has been thrown out by a run that went wrong."""


@dataclass
class State:
    """Atoms in motion, in the order of the input.

    Attributes
    ----------
    positions : (n_atoms, 3) float64
        Å. Continuous between two builds of the neighbour list: atoms are put back into the cell
        only then, see `wrap`. `positions + images @ cell` is the unwrapped path.
    velocities : (n_atoms, 3) float64
        Å/ps.
    images : (n_atoms, 3) int32
        How many cells away from the unwrapped path the positions are.
    masses : (n_atoms,) float64
        u.
    cell : (3, 3) float64
        Rows are the cell vectors, Å; may be zero in open directions.
    periodic : (3,) bool
        Which directions are periodic.
    symbols : tuple of str
        Name of each atom's element (or type).
    types : (n_atoms,) int32
        Number of each atom's type in the model.
    step : int
        Steps since the start of the run.
    time_ps : float
        Time since the start of the run, ps.
    degrees_of_freedom : int
        That share the kinetic energy; 3N − 3 if not given, since a run conserves momentum.
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    images: NDArray[np.int32]
    masses: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    symbols: tuple[str, ...]
    types: NDArray[np.int32]
    step: int = 0
    time_ps: float = 0.0
    degrees_of_freedom: int = -1

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS.items():
            # A copy, since the run changes the arrays in place.
            setattr(self, name, np.array(getattr(self, name), dtype=dtype, order="C"))
        self.symbols = tuple(self.symbols)
        if self.degrees_of_freedom < 0:
            self.degrees_of_freedom = 3 * self.n_atoms - 3

    @classmethod
    def from_structure(cls, structure: Structure, types: NDArray[np.int32]) -> State:
        """Return the state at the start of a run; at rest where `structure` has no velocities."""
        velocities = structure.velocities
        return cls(
            positions=structure.positions,
            velocities=np.zeros_like(structure.positions) if velocities is None else velocities,
            images=structure.images,
            masses=structure.masses,
            cell=structure.cell,
            periodic=structure.periodic,
            symbols=tuple(structure.symbols),
            types=types,
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.positions)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³; NaN unless all directions are periodic."""
        return float(abs(np.linalg.det(self.cell))) if self.periodic.all() else float("nan")

    def wrap(self) -> None:
        """Put every atom into the cell, in the periodic directions, and count the images.

        Atoms that are inside keep their coordinates bit for bit.

        Raises
        ------
        NonFiniteError
            If a position is not a number, or is farther away than images can be counted.
        """
        # Written so that NaN is lost too.
        lost = np.flatnonzero(~(np.abs(self.positions) < FARTHEST_POSITION).all(axis=1))
        if len(lost):
            atom = lost[0]
            raise NonFiniteError(
                f"position of atom {atom} ({self.symbols[atom]}) is {self.positions[atom].tolist()} Å;"
                " use a shorter time step or a better relaxed structure",
                atoms=lost[:16].tolist(),
            )
        wrap_positions(self.positions, self.images, self.cell, self.periodic)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays, exactly; see `from_arrays`."""
        arrays = {name: np.array(getattr(self, name)) for name in _ARRAYS}
        arrays["symbols"] = np.array([symbol.encode() for symbol in self.symbols])
        arrays["step"] = np.array(self.step, dtype=np.int64)
        arrays["time_ps"] = np.array(self.time_ps, dtype=np.float64)
        arrays["degrees_of_freedom"] = np.array(self.degrees_of_freedom, dtype=np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> State:
        """Return the state that `to_arrays` took apart."""
        return cls(
            **{name: arrays[name] for name in _ARRAYS},
            symbols=tuple(symbol.decode() for symbol in arrays["symbols"]),
            step=int(arrays["step"]),
            time_ps=float(arrays["time_ps"]),
            degrees_of_freedom=int(arrays["degrees_of_freedom"]),
        )


_ARRAYS: dict[str, type] = {
    "positions": np.float64,
    "velocities": np.float64,
    "images": np.int32,
    "masses": np.float64,
    "cell": np.float64,
    "periodic": np.bool_,
    "types": np.int32,
}
