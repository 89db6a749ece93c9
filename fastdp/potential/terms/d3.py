"""Grimme's D3 dispersion through the library s-dftd3, over the whole structure.

S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010), DOI 10.1063/1.3382344; rational
damping: S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011), DOI 10.1002/jcc.21759; the
library: S. Ehlert, J. Open Source Softw. 9, 7169 (2024), DOI 10.21105/joss.07169.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from fastdp.errors import BackendError, InputError, SimulationError
from fastdp.neighbours.lattice import Lattice
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.terms.base import Addend, Array, Term
from fastdp.potential.terms.registry import term_maker
from fastdp.potential.terms.settings import D3
from fastdp.units import BOHR_A, HARTREE_EV

HEAVIEST = 103
"""Lawrencium, the last element that D3 has parameters for; beyond it the library reads outside its tables."""

DAMPINGS = {
    "bj": "RationalDampingParam",
    "zero": "ZeroDampingParam",
    "bjm": "ModifiedRationalDampingParam",
    "zerom": "ModifiedZeroDampingParam",
}
"""Classes of the library."""

LARGEST_COORDINATION_CUTOFF_A = 40.0 * BOHR_A
"""Å, 40 bohr: where the library ends coordination numbers and three-body terms by itself."""


@dataclass(frozen=True, eq=False)
class D3Term(Term):
    """Dispersion for the types of a model.

    Attributes
    ----------
    functional : str
        Name that the library knows.
    damping : str
        A name in `DAMPINGS`.
    three_body : bool
        Whether the Axilrod–Teller–Muto term is included.
    reach : float or None
        Å, of pairs; None for the library's own (60 bohr).
    numbers : tuple of int
        Atomic number of each type.
    """

    functional: str
    damping: str
    three_body: bool
    reach: float | None
    numbers: tuple[int, ...]

    @property
    def cutoff(self) -> float:
        """The library finds neighbours by itself."""
        return 0.0

    def describe(self) -> str:
        """Return what the term is, in one line."""
        reach = "60 bohr" if self.reach is None else f"{self.reach:g} Å"
        three = ", with three-body terms" if self.three_body else ""
        return f"d3 of {self.functional}, damping {self.damping}, within {reach}{three} (dftd3 {_version()})"

    def addend(self, ranks: int) -> Addend:
        """Return what evaluates the term.

        Raises
        ------
        BackendError
            If there are several ranks.
        """
        if ranks > 1:
            raise BackendError(
                f"[potential.d3] is evaluated on the whole structure by one rank, and there are {ranks}: run "
                "without mpirun, or leave it out"
            )
        return D3Sum(self)


class D3Sum:
    """Evaluates dispersion on the whole structure at every call.

    The library gives no energies of atoms: each gets an equal share.

    Parameters
    ----------
    term : D3Term
    """

    def __init__(self, term: D3Term) -> None:
        self._term = term
        self._parameters = load_parameters(term.functional, term.damping, three_body=term.three_body)
        self._neighbours: VerletList | None = None
        self._model: Any = None

    @property
    def cutoff(self) -> float:
        """The library finds neighbours by itself."""
        return 0.0

    def add(self, neighbours: VerletList, result: Evaluation, *, virial: bool) -> None:
        """Add to energies, forces and, if wanted, the virial of `result`.

        Parameters
        ----------
        neighbours : VerletList
            Of all atoms, updated to the current positions.
        result : Evaluation
        virial : bool

        Raises
        ------
        SimulationError
            If the library cannot evaluate the structure: atoms on top of each other.
        """
        n = neighbours.n_atoms
        positions = np.empty((n, 3))
        positions[neighbours.order] = neighbours.extended_positions[:n]
        if not np.isfinite(positions).all():
            raise SimulationError("a position is not a number")
        try:
            found = self._updated(neighbours, positions / BOHR_A).get_dispersion(self._parameters, grad=True)
        except RuntimeError as error:
            raise SimulationError(f"the dispersion (dftd3) cannot be evaluated: {error}") from error
        energy = float(found["energy"]) * HARTREE_EV
        result.energy += energy
        result.atomic_energies += energy / n
        result.forces -= np.asarray(found["gradient"]) * (HARTREE_EV / BOHR_A)
        if virial:
            # The library's is the derivative by the strain, symmetric.
            result.virial -= np.asarray(found["virial"]) * HARTREE_EV

    def _updated(self, neighbours: VerletList, positions: Array) -> Any:
        """Return the library's model of the structure, positions in bohr."""
        if self._neighbours is neighbours:
            self._model.update(positions)
            return self._model
        term, lattice, periodic = self._term, None, None
        if neighbours.periodic.any():
            vectors = Lattice.from_cell(neighbours.cell, neighbours.periodic).vectors
            lattice, periodic = _completed(vectors) / BOHR_A, neighbours.periodic
        numbers = np.array(term.numbers)[neighbours.types]
        model = _library().DispersionModel(numbers, positions, lattice, periodic)
        if term.reach is not None:
            others = min(term.reach, LARGEST_COORDINATION_CUTOFF_A) / BOHR_A
            model.set_realspace_cutoff(term.reach / BOHR_A, others, others)
        self._neighbours, self._model = neighbours, model
        return model


def _completed(vectors: Array) -> Array:
    """Return lattice vectors with unit vectors across the others where directions are open."""
    result = vectors.copy()
    for row in np.flatnonzero(~vectors.any(axis=1)):
        _, _, across = np.linalg.svd(result[result.any(axis=1)])
        result[row] = across[-1]
    return result


def load_parameters(functional: str, damping: str, *, three_body: bool) -> Any:
    """Return the library's damping parameters.

    Raises
    ------
    InputError
        If the library is missing, or does not know the functional.
    """
    library = _library()
    if damping not in DAMPINGS:
        raise InputError(f"[potential.d3], damping: is {damping!r}, and there are {', '.join(DAMPINGS)}")
    try:
        return getattr(library, DAMPINGS[damping])(method=functional, atm=three_body)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"[potential.d3], functional: dftd3 has no parameters of {functional!r} with damping {damping!r} "
            f"({error})"
        ) from error


def _library() -> Any:
    try:
        import dftd3.interface
    except ImportError as error:
        raise InputError(
            f"[potential.d3] needs the package dftd3, which cannot be used here ({error}): "
            "pip install 'fastdp[d3]'"
        ) from error
    return dftd3.interface


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dftd3")
    except PackageNotFoundError:
        return "of unknown version"


@term_maker(D3)
def make_d3(settings: D3, type_names: tuple[str, ...]) -> D3Term:
    """Return dispersion for a model's types.

    Parameters
    ----------
    settings : D3
    type_names : tuple of str

    Raises
    ------
    InputError
        If the library is missing, or does not know the functional or an element.
    """
    load_parameters(settings.functional, settings.damping, three_body=settings.three_body)
    numbers = [atomic_numbers.get(name, 0) for name in type_names]
    unknown = [name for name, z in zip(type_names, numbers, strict=True) if not 0 < z <= HEAVIEST]
    if unknown:
        raise InputError(
            f"[potential.d3]: D3 has parameters of the elements up to Lr, and the model has the types "
            f"{', '.join(unknown)}"
        )
    if settings.cutoff_A is not None and not 0.0 < settings.cutoff_A < np.inf:
        raise InputError(f"[potential.d3], cutoff_A: is {settings.cutoff_A}, and must be above 0 Å")
    return D3Term(
        settings.functional, settings.damping, settings.three_body, settings.cutoff_A, tuple(numbers)
    )
