"""The state that the equations of motion act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.kinetic import Kinetics
from fastdp.errors import NonFiniteError
from fastdp.neighbours.wrap import wrap_positions
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.units import A_PER_PS2_FROM_EV_PER_A_U

if TYPE_CHECKING:
    from fastdp.structure.structure import Structure

FARTHEST_POSITION = 1.0e8
"""Å; an atom beyond has been thrown out by a run that went wrong."""


class SymbolTable(Sequence[str]):
    """Names of many atoms that are few different ones.

    Parameters
    ----------
    names : tuple of str
        That occur.
    numbers : (n_atoms,) int32
        Which of them each atom has.
    """

    def __init__(self, names: tuple[str, ...], numbers: NDArray[np.int32]) -> None:
        self.names = names
        self.numbers = numbers

    @classmethod
    def of(cls, symbols: Sequence[str]) -> SymbolTable:
        """Return the table of `symbols`."""
        names = tuple(dict.fromkeys(symbols))
        number = {name: index for index, name in enumerate(names)}
        return cls(names, np.array([number[symbol] for symbol in symbols], dtype=np.int32))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, atom: int) -> str: ...
    @overload
    def __getitem__(self, atom: slice) -> tuple[str, ...]: ...
    def __getitem__(self, atom: int | slice) -> str | tuple[str, ...]:
        if isinstance(atom, slice):
            return tuple(self.names[i] for i in self.numbers[atom])
        return self.names[self.numbers[atom]]


@dataclass
class State:
    """Atoms in motion, in the order of the input: all of them, or those of one rank.

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
    symbols : sequence of str
        Name of each atom's element (or type).
    types : (n_atoms,) int32
        Number of each atom's type in the model.
    step : int
        Steps since the start of the run.
    time_ps : float
        Time since the start of the run, ps.
    degrees_of_freedom : int
        That share the kinetic energy; 3N − 3 if not given, since a run conserves momentum.
    identifiers : (n_atoms,) int64
        Number of each atom in the input, ascending; by default these are all atoms.
    n_total : int
        Atoms on all ranks.
    communicator : Communicator
        The ranks that have the other atoms.
    owned : dict of str to (n_atoms, ...) array
        What else goes with the atoms when they change to another rank, such as data of a thermostat.
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    images: NDArray[np.int32]
    masses: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    symbols: Sequence[str]
    types: NDArray[np.int32]
    step: int = 0
    time_ps: float = 0.0
    degrees_of_freedom: int = -1
    identifiers: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    n_total: int = -1
    communicator: Communicator = SERIAL
    owned: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS.items():
            # A copy, since the run changes the arrays in place.
            setattr(self, name, np.array(getattr(self, name), dtype=dtype, order="C"))
        if not isinstance(self.symbols, SymbolTable):
            self.symbols = tuple(self.symbols)
        if self.n_total < 0:
            self.n_total = self.n_atoms
            self.identifiers = np.arange(self.n_atoms, dtype=np.int64)
        if self.degrees_of_freedom < 0:
            self.degrees_of_freedom = 3 * self.n_total - 3
        self._follow_masses()

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

    @property
    def kinetics(self) -> Kinetics:
        """Sums over the atoms of all ranks."""
        return self._kinetics

    @property
    def inverse_masses(self) -> NDArray[np.float64]:
        """Å/ps² of acceleration for each eV/Å of force, (n_atoms,) float64."""
        return self._inverse_masses

    def atom_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that belongs to single atoms, by name; see `adopt`."""
        if not isinstance(self.symbols, SymbolTable):
            self.symbols = SymbolTable.of(self.symbols)
        arrays = {name: getattr(self, name) for name in _ATOM_ARRAYS}
        return {**arrays, "species": self.symbols.numbers, **self.owned}

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take other atoms in place of the present ones: `arrays` has what `atom_arrays` has."""
        assert isinstance(self.symbols, SymbolTable)
        for name in _ATOM_ARRAYS:
            setattr(self, name, arrays[name])
        self.symbols = SymbolTable(self.symbols.names, arrays["species"])
        self.owned = {name: arrays[name] for name in self.owned}
        self._follow_masses()

    def _follow_masses(self) -> None:
        self._kinetics = Kinetics(self.masses, self.communicator)
        self._inverse_masses = A_PER_PS2_FROM_EV_PER_A_U / self.masses

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
            atom = int(lost[0])
            raise NonFiniteError(
                f"position of atom {self.identifiers[atom]} ({self.symbols[atom]}) is"
                f" {self.positions[atom].tolist()} Å; use a shorter time step or a better relaxed structure",
                atoms=self.identifiers[lost[:16]].tolist(),
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
        own: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        return cls(
            **own,
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

_ATOM_ARRAYS = ("identifiers", "positions", "velocities", "images", "masses", "types")
"""The fields that have a row for each atom."""
