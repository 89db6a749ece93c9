"""Deep Potentials as an ASE calculator.

>>> from fastdp.ase import FastDP
>>> atoms.calc = FastDP("model.pb")  # doctest: +SKIP
>>> atoms.get_potential_energy()  # doctest: +SKIP
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from fastdp.errors import InputError, NonFiniteError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Evaluation, Potential, Precision
from fastdp.potential.factory import make_potential
from fastdp.potential.options import check_options
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import TermSettings
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.checks import check_structure
from fastdp.structure.types import match_types

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""ASE's order of the six components of the stress: xx, yy, zz, yz, xz, xy."""


_ONE_AT_A_TIME = threading.Lock()
"""Numba's simplest threading layer ends the process where two threads call kernels, and BLAS has one number
of threads for all of them."""


class FastDP(Calculator):
    """A Deep Potential for ASE: energy, free_energy, energies, forces and stress, in ASE's units.

    Elements are matched to the model's types by name. Boundaries may be periodic, open or mixed. The
    neighbour list is kept between calls while cell, boundaries and elements stay and atoms move less
    than half the skin.

    Parameters
    ----------
    model : str or Path
        Model file.
    backend : {"auto", "cpu", "cuda", "reference"}
        As `backend` in the input file: compressed on threads or on a GPU, or exactly as trained in plain
        NumPy.
    precision : {"double", "mixed"}
        As `precision` in the input file.
    tolerance : float
        Rms force error allowed to the compressed potential, eV/Å. It is measured on the first structure; a
        structure with other elements is measured anew.
    shortest_A : float, optional
        As `shortest_A` in the input file: how far down the compressed potential reaches, Å.
    skin_A : float
        Margin of the neighbour list, Å.
    threads : int, optional
        By default every core that this process may run on.
    terms : sequence of settings
        Terms that are added to the model, `ZBL`, `PairTable`, `D3` of `fastdp.potential.terms.settings`.
    report : callable, optional
        Receives lines on how the model was compressed and with what error.

    Raises
    ------
    ModelError
        If the file is no model that fastdp reads.
    InputError
        If an option has no such value, or a term cannot be made.

    Notes
    -----
    Calculators may be copied and pickled, and used in several threads of a program, where they take turns:
    an evaluation uses all cores that it may.
    """

    implemented_properties: list[str] = [  # noqa: RUF012 - so declared by ASE
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self,
        model: str | Path,
        *,
        backend: str = "auto",
        precision: Precision = "double",
        tolerance: float = 1e-5,
        shortest_A: float | None = None,
        skin_A: float = 1.0,
        threads: int | None = None,
        terms: Sequence[TermSettings] = (),
        report: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        check_options(precision=precision, tolerance=tolerance, shortest=shortest_A, skin=skin_A)
        self.description = read_model(model)
        if self.description.spin is not None:
            raise InputError(
                f"{model}: is a model with spins, which this calculator would not follow; see "
                "fastdp.potential.spins"
            )
        self._terms = make_terms(terms, self.description.type_names)
        self._backend = backend
        self._precision = precision
        self._tolerance = tolerance
        self._shortest = shortest_A
        self._skin = skin_A
        self._threads = threads
        self._report = report or _silent
        self._potential: Potential | None = None
        self._elements: frozenset[str] = frozenset()
        self._neighbours: VerletList | None = None
        self._evaluation = Evaluation.empty(0)

    def set(self, **options: Any) -> dict[str, Any]:
        """Refuse to change options: the potential is made for those it has.

        Raises
        ------
        InputError
            If any are given.
        """
        if options:
            raise InputError(
                f"{', '.join(options)}: the options of a FastDP calculator are fixed; make a new one"
            )
        return {}

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results`; see ASE's `Calculator.calculate`.

        Parameters
        ----------
        atoms : ase.Atoms
        properties : sequence of str
            What is wanted; all that the model gives is computed.
        system_changes : sequence of str
            Ignored: what has changed is told from the atoms themselves.

        Raises
        ------
        StructureError
            If the model does not know an element, or the structure is unsound.
        PropertyNotImplementedError
            If stress is wanted without a cell of three vectors and a periodic direction.
        PairTooCloseError
            If two atoms are closer than the compressed potential covers.
        NonFiniteError
            If the energy or a force is not finite.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        atoms = self.atoms
        if atoms is None:
            raise InputError("no atoms: set atoms.calc, or give them to calculate()")
        has_stress = atoms.cell.rank == 3 and bool(atoms.pbc.any())
        if "stress" in properties and not has_stress:
            raise PropertyNotImplementedError(
                "stress needs a cell of three vectors and at least one periodic direction"
            )
        with _ONE_AT_A_TIME, thread_limits(self._threads):
            potential, neighbours = self._prepare(atoms)
            evaluation = self._evaluation
            potential.evaluate(neighbours, evaluation, virial=has_stress)
        if not (np.isfinite(evaluation.energy) and np.isfinite(evaluation.forces).all()):
            bad = np.flatnonzero(~np.isfinite(evaluation.forces).all(axis=1))
            raise NonFiniteError(
                f"the energy is {evaluation.energy} eV, and {len(bad)} atoms have forces that are not finite",
                atoms=bad.tolist(),
            )
        self.results = {
            "energy": evaluation.energy,
            "free_energy": evaluation.energy,
            "energies": evaluation.atomic_energies.copy(),
            "forces": evaluation.forces.copy(),
        }
        if has_stress:
            stress = -0.5 * (evaluation.virial + evaluation.virial.T) / atoms.cell.volume
            self.results["stress"] = np.array([stress[row, column] for row, column in VOIGT])

    def _prepare(self, atoms: ase.Atoms) -> tuple[Potential, VerletList]:
        symbols = atoms.get_chemical_symbols()
        types = match_types(symbols, self.description.type_names)
        neighbours = self._neighbours
        if self._potential is None or not self._elements.issuperset(symbols):
            structure = structure_from_atoms(atoms)
            check_structure(structure)
            self._elements = frozenset(symbols)
            self._potential = make_potential(
                self.description,
                structure,
                backend=self._backend,
                precision=self._precision,
                tolerance=self._tolerance,
                shortest=self._shortest,
                terms=self._terms,
                report=self._report,
            )
        if neighbours is None or not _fits(neighbours, atoms, types):
            neighbours = VerletList(self._potential.cutoff, self._skin, atoms.cell[:], atoms.pbc, types)
            self._evaluation = Evaluation.empty(len(atoms))
        neighbours.ensure(np.ascontiguousarray(atoms.positions, dtype=np.float64))
        self._neighbours = neighbours
        return self._potential, neighbours


def _silent(line: str) -> None:
    """Report nothing; a named function, so that calculators can be pickled."""


def _fits(neighbours: VerletList, atoms: ase.Atoms, types: Any) -> bool:
    return (
        np.array_equal(neighbours.types, types)
        and np.array_equal(neighbours.cell, atoms.cell[:])
        and np.array_equal(neighbours.periodic, atoms.pbc)
    )
