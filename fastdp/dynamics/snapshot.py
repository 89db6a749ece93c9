"""What is known about the atoms at one step: the numbers that guards, tables and summaries read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.kinetic import Kinetics, pressure_tensor, temperature
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
    """

    def __init__(self, state: State, evaluation: Evaluation) -> None:
        self.state = state
        self.evaluation = evaluation
        self.stage = 1
        self.bath_energy = 0.0
        self.kinetic_energy = 0.0
        self._kinetics = Kinetics(state.masses)

    def measure(self, stage: int, bath_energy: float) -> None:
        """Take in the step that was just made."""
        self.stage = stage
        self.bath_energy = bath_energy
        self.kinetic_energy = self._kinetics.energy(self.state.velocities)

    def take(self, stage: int, potential_energy: float, kinetic_energy: float, bath_energy: float) -> None:
        """Take in a step that was made elsewhere, where its energies were measured, eV."""
        self.stage = stage
        self.evaluation.energy = potential_energy
        self.evaluation.virial_is_current = False
        self.kinetic_energy = kinetic_energy
        self.bath_energy = bath_energy

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
        kinetic = self._kinetics.tensor(self.state.velocities)
        return pressure_tensor(kinetic, self.evaluation.virial, self.state.volume)
