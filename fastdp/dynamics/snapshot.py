"""What is known about the atoms at one step: the numbers that guards, tables and summaries read."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.kernels import count_non_finite
from fastdp.dynamics.kinetic import pressure_tensor, temperature
from fastdp.dynamics.state import State
from fastdp.potential.base import Evaluation


class Snapshot:
    """A view of the state and the evaluation of its forces, with what follows from both.

    Parameters
    ----------
    state : State
        The atoms; the snapshot follows them.
    evaluation : Evaluation
        Energy, forces and virial at `state`.

    Attributes
    ----------
    stage : int
        Number of the stage, from 1.
    bath_energy : float
        What the integrator adds to the total energy to make it the conserved quantity, eV.
    kinetic_energy : float
        eV, at the last `measure`.
    non_finite_forces : int
        Components of forces, on all ranks, that are NaN or infinite.
    """

    def __init__(self, state: State, evaluation: Evaluation) -> None:
        self.state = state
        self.evaluation = evaluation
        self.stage = 1
        self.bath_energy = 0.0
        self.kinetic_energy = 0.0
        self.non_finite_forces = 0
        self._kinetic_tensor = np.zeros((3, 3))

    def measure(self, stage: int, bath_energy: float) -> None:
        """Take in the step that was just made."""
        self.stage = stage
        self.bath_energy = bath_energy
        state = self.state
        self.kinetic_energy, self.non_finite_forces = state.kinetics.energy_and_count(
            state.velocities, count_non_finite(self.evaluation.forces)
        )
        self._measure_tensor()

    def take(self, stage: int, potential_energy: float, kinetic_energy: float, bath_energy: float) -> None:
        """Take in a step that was made elsewhere, where its energies were measured, eV."""
        self.stage = stage
        self.evaluation.energy = potential_energy
        self.evaluation.virial_is_current = False
        self.kinetic_energy = kinetic_energy
        self.bath_energy = bath_energy

    def take_arrays(self) -> None:
        """Take in velocities and forces of such a step, when they have come here; all ranks together."""
        own = np.array([count_non_finite(self.evaluation.forces)], dtype=np.int64)
        self.non_finite_forces = int(self.state.communicator.sum(own)[0])
        self._measure_tensor()

    def _measure_tensor(self) -> None:
        if self.evaluation.virial_is_current:
            self._kinetic_tensor = self.state.kinetics.tensor(self.state.velocities)

    @property
    def temperature(self) -> float:
        """Instantaneous temperature, K."""
        return temperature(self.kinetic_energy, self.state.degrees_of_freedom)

    @property
    def potential_energy(self) -> float:
        """Potential energy, eV."""
        return self.evaluation.energy

    @property
    def total_energy(self) -> float:
        """Kinetic and potential energy, eV."""
        return self.kinetic_energy + self.evaluation.energy

    @property
    def conserved_quantity(self) -> float:
        """What the integrator conserves, eV."""
        return self.total_energy + self.bath_energy

    def pressure_tensor(self) -> NDArray[np.float64]:
        """Return the pressure tensor, (3, 3) bar; NaN unless all directions are periodic.

        Only where the virial was evaluated (`evaluation.virial_is_current`).
        """
        return pressure_tensor(self._kinetic_tensor, self.evaluation.virial, self.state.volume)

    def seen_with(self, state: State, evaluation: Evaluation) -> Snapshot:
        """Return this snapshot with other atoms, such as those of all ranks, and the same measurements."""
        other = copy.copy(self)
        other.state, other.evaluation = state, evaluation
        return other
