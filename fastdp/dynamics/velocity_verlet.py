"""Constant energy: velocity Verlet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fastdp.dynamics.integrator import ForceField, Integrator, register
from fastdp.dynamics.kernels import kick, kick_and_drift
from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.dynamics.state import State


class VelocityVerletStep:
    """The step that other integrators wrap theirs around.

    v ← v + ½ Δt F/m, x ← x + Δt v, F ← F(x), v ← v + ½ Δt F/m: of second order, time-reversible and
    symplectic (W. C. Swope et al., J. Chem. Phys. 76, 637 (1982), doi:10.1063/1.442716).

    Parameters
    ----------
    timestep_ps : float
        Δt, ps.
    """

    def __init__(self, timestep_ps: float) -> None:
        self._timestep = timestep_ps

    def __call__(self, state: State, force_field: ForceField) -> None:
        """Advance `state` by one step."""
        half = 0.5 * self._timestep
        forces = force_field.evaluation.forces
        kick_and_drift(state.positions, state.velocities, forces, state.inverse_masses, half, self._timestep)
        # Atoms may change to other ranks here; everything that belongs to them is asked for again.
        force_field.compute(state)
        kick(state.velocities, force_field.evaluation.forces, state.inverse_masses, half)


@register(VelocityVerletSettings)
class VelocityVerlet(Integrator[VelocityVerletSettings]):
    """Constant number, volume and energy (NVE); conserves the total energy."""

    def initialise(self, state: State) -> None:
        """Get ready for the atoms of `state`."""
        self._advance = VelocityVerletStep(self.timestep_ps)

    def step(self, state: State, force_field: ForceField) -> None:
        """Advance positions and velocities by one time step."""
        self._advance(state, force_field)

    def bath_energy(self, state: State) -> float:
        """Return 0: there is no bath."""
        return 0.0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return nothing: the state is all there is."""
        return {}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing over."""
