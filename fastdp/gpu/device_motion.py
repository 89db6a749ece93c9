"""The motion of the atoms on a device: velocities, the thermostat, and the launches of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.state import State
from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.kernels import motion as kernels
from fastdp.gpu.kernels.reductions import SUM_COLUMNS
from fastdp.gpu.kernels.status import end_evaluation
from fastdp.gpu.motions import MOTIONS, Motion
from fastdp.gpu.system import DeviceSystem
from fastdp.units import A_PER_PS2_FROM_EV_PER_A_U, EV_PER_U_A2_PER_PS2


class DeviceMotion:
    """Moves the atoms of a system.

    Parameters
    ----------
    device : Device
    system : DeviceSystem
    state : State
        Of which masses are taken.
    longest_chunk : int
        Rows of the log.

    Attributes
    ----------
    velocities : (n_atoms, 3) float64
        Å/ps.
    log : (longest_chunk, LOG_COLUMNS) float64
        Energies of each step of a chunk, eV.
    """

    def __init__(self, device: Device, system: DeviceSystem, state: State, longest_chunk: int) -> None:
        self._device = device
        self._system = system
        self.velocities = device.empty((state.n_atoms, 3), np.float64)
        self.log = device.zeros((longest_chunk, kernels.LOG_COLUMNS), np.float64)
        self._inverse_masses = device.upload(A_PER_PS2_FROM_EV_PER_A_U / state.masses)
        self._energy_masses = device.upload(EV_PER_U_A2_PER_PS2 * state.masses)
        self._scalars = device.zeros(kernels.SCALARS, np.float64)
        self._partial = device.zeros((device.sums()[0], SUM_COLUMNS), np.float64)
        self._trouble = device.zeros(1, np.int32)
        self._timestep = 0.0
        self._largest_kinetic = 0.0
        self._take(Motion(0, np.ones(1), np.ones(1), 1.0, 1.0))

    @property
    def changing(self) -> tuple[DeviceArray, ...]:
        """What a step changes."""
        return self.velocities, self._scalars, self._chain_positions, self._chain_velocities

    @property
    def bytes(self) -> int:
        """Memory on the device."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, DeviceArray))

    def adopt(self, integrator: Integrator[Any], largest_kinetic: float) -> None:
        """Move by another integrator from now on.

        Parameters
        ----------
        integrator : Integrator
            One of `MOTIONS`.
        largest_kinetic : float
            Twice the kinetic energy above which the run is halted, eV.
        """
        self._timestep = integrator.timestep_ps
        self._largest_kinetic = largest_kinetic
        self._take(MOTIONS[type(integrator)](integrator))

    def load(self, state: State, integrator: Integrator[Any]) -> None:
        """Take over velocities and the thermostat's state, and measure the kinetic energy."""
        device = self._device
        if self._motion.chain_length > 0:
            chain = integrator.state_dict()
            device.write(self._chain_positions, chain["positions"])
            device.write(self._chain_velocities, chain["velocities"])
        device.write(self.velocities, state.velocities)
        device.fill(self._trouble, 0)
        status, sums = self._system.neighbours.status, device.sums()
        arguments = (status, self._system.n_atoms, self._energy_masses, self.velocities, self._partial)
        device.launch(kernels.measure_kinetic, *sums, arguments)()
        device.launch(kernels.store_kinetic, 1, sums[1], (sums[0], self._partial, self._scalars))()

    def fetch(self, state: State, integrator: Integrator[Any]) -> None:
        """Bring velocities and the thermostat's state to the host."""
        device = self._device
        state.velocities[:] = device.read(self.velocities)
        if self._motion.chain_length > 0:
            integrator.load_state_dict(
                {
                    "positions": device.read(self._chain_positions),
                    "velocities": device.read(self._chain_velocities),
                }
            )

    def step_actions(self, virial: bool) -> list[Action]:
        """Return the launches of a whole step.

        Parameters
        ----------
        virial : bool
            Whether it is wanted too.
        """
        device, system, motion = self._device, self._system, self._motion
        status, positions = system.neighbours.status, system.neighbours.positions
        n, half = system.n_atoms, 0.5 * self._timestep
        elements, sums = device.elements(n), device.sums()
        chain = (
            motion.chain_length,
            self._chain_positions,
            self._chain_velocities,
            self._chain_masses,
            self._durations,
            motion.degrees_of_freedom,
            motion.thermal_energy,
        )
        actions = [
            device.launch(kernels.begin_step, 1, 1, (status, self._scalars, *chain)),
            device.launch(
                kernels.kick_and_drift,
                *elements,
                (
                    status,
                    n,
                    half,
                    self._timestep,
                    self._scalars,
                    self._inverse_masses,
                    system.forces,
                    positions,
                    self.velocities,
                ),
            ),
            *system.actions(virial=virial),
            device.launch(
                kernels.kick_and_measure,
                *sums,
                (
                    status,
                    n,
                    half,
                    self._energy_masses,
                    self._inverse_masses,
                    system.forces,
                    system.energies,
                    self.velocities,
                    self._partial,
                    self._trouble,
                ),
            ),
            device.launch(
                kernels.end_step,
                1,
                sums[1],
                (
                    status,
                    sums[0],
                    self._partial,
                    self._trouble,
                    self._largest_kinetic,
                    self._scalars,
                    *chain,
                    self.log,
                ),
            ),
        ]
        if motion.chain_length > 0:
            actions.append(
                device.launch(
                    kernels.scale_velocities, *elements, (status, n, self._scalars, self.velocities)
                )
            )
        return [*actions, device.launch(end_evaluation, 1, 1, (status,))]

    def _take(self, motion: Motion) -> None:
        device = self._device
        self._motion = motion
        self._chain_masses = device.upload(motion.masses)
        self._durations = device.upload(motion.durations)
        self._chain_positions = device.zeros(len(motion.masses), np.float64)
        self._chain_velocities = device.zeros(len(motion.masses), np.float64)
