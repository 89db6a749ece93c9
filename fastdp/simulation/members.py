"""The models of a committee, evaluated on the list of the run; where there are several ranks, together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import InputError, SimulationError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.potential.base import Evaluation, Potential

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What K models say of one frame.

    Attributes
    ----------
    energies : (K,) float64
        Of all atoms, eV.
    forces : (K, n_atoms, 3) float64
        On the atoms of this rank, in their order, eV/Å.
    virials : (K, 3, 3) float64
        Of all atoms, eV.
    """

    energies: Array
    forces: Array
    virials: Array


class Members:
    """Potentials besides that which drives, on the list of the run.

    Parameters
    ----------
    names : sequence of str
        Of the models, for messages.
    potentials : sequence of Potential
        All but the one that drives.
    neighbours : VerletList
        Of the run, wide enough for all.
    communicator : Communicator
        Ranks that have other atoms; all call `evaluate` together.

    Raises
    ------
    InputError
        If the list is not wide enough.
    """

    def __init__(
        self,
        names: Sequence[str],
        potentials: Sequence[Potential],
        neighbours: VerletList,
        communicator: Communicator,
    ) -> None:
        widest = max(potential.cutoff for potential in potentials)
        if widest > neighbours.cutoff:
            raise InputError(
                f"the neighbour list ends at {neighbours.cutoff} Å, and a model needs {widest} Å"
            )
        self._names = names
        self._potentials = potentials
        self._neighbours = neighbours
        self._communicator = communicator
        self._result = Evaluation.empty(0)

    def evaluate(self, snapshot: Snapshot) -> Answers:
        """Return what all models say of the present step, that which drives first; its virial is current.

        Raises
        ------
        SimulationError
            On all ranks, if a model cannot be evaluated.
        """
        n_models, n_atoms = 1 + len(self._potentials), self._neighbours.n_atoms
        energies, virials = np.zeros(n_models), np.zeros((n_models, 3, 3))
        forces = np.zeros((n_models, n_atoms, 3))
        driving = snapshot.evaluation
        energies[0], virials[0], forces[0] = driving.energy, driving.virial, driving.forces
        for number, (name, potential) in enumerate(zip(self._names, self._potentials, strict=True), start=1):
            found = self._evaluate(name, potential)
            energies[number], virials[number], forces[number] = found.energy, found.virial, found.forces
        # Those of the driving model are of all ranks already.
        own = self._communicator.sum(np.concatenate([energies[1:], virials[1:].ravel()]))
        energies[1:] = own[: n_models - 1]
        virials[1:] = own[n_models - 1 :].reshape(-1, 3, 3)
        return Answers(energies, forces, virials)

    def _evaluate(self, name: str, potential: Potential) -> Evaluation:
        if len(self._result.forces) != self._neighbours.n_atoms:
            self._result = Evaluation.empty(self._neighbours.n_atoms)
        failure: SimulationError | None = None
        try:
            potential.evaluate(self._neighbours, self._result, virial=True)
        except SimulationError as error:
            reason = f"the model {name} of the committee: {error.reason}"
            failure = type(error)(reason, atoms=error.atoms)
        self._communicator.raise_any(failure)
        if isinstance(self._neighbours, DecomposedList):
            self._neighbours.return_forces(self._result)
        return self._result
