"""The motion of the atoms on a device: velocities, the thermostat, and the launches of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.engine import StepLog
from fastdp.dynamics.integrator import Integrator
from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.kernels import motion as kernels
from fastdp.gpu.kernels.reductions import SUM_COLUMNS
from fastdp.gpu.kernels.status import HALTED, STEP, Reason
from fastdp.gpu.motions import MOTIONS, Motion
from fastdp.units import A_PER_PS2_FROM_EV_PER_A_U, EV_PER_U_A2_PER_PS2


@dataclass(frozen=True, eq=False)
class Bodies:
    """The atoms that are moved: rows 0 … n − 1 of arrays on the device, in the input's order.

    Attributes
    ----------
    n : int
    positions, velocities, forces : (≥ n, 3) float64
        Å, Å/ps, eV/Å.
    energies : (≥ n,) float64
        eV.
    inverse_masses, energy_masses : (≥ n,) float64
        See `inverse_masses` and `energy_masses`.
    """

    n: int
    positions: DeviceArray
    velocities: DeviceArray
    forces: DeviceArray
    energies: DeviceArray
    inverse_masses: DeviceArray
    energy_masses: DeviceArray


def inverse_masses(masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what makes an acceleration in Å/ps² of a force in eV/Å."""
    return A_PER_PS2_FROM_EV_PER_A_U / masses


def energy_masses(masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what makes m v² in eV of v² in Å²/ps²."""
    return EV_PER_U_A2_PER_PS2 * masses


class DeviceMotion:
    """Moves atoms.

    Parameters
    ----------
    device : Device
    longest_chunk : int
        Rows of the log.

    Attributes
    ----------
    partial : (n_blocks, SUM_COLUMNS) float64
        Sums of energy and m v² after the second kick, eV.
    trouble : (1,) int32
        Set where a force is not finite.
    log : (longest_chunk, LOG_COLUMNS) float64
        Energies of each step of a chunk, eV.
    """

    def __init__(self, device: Device, longest_chunk: int) -> None:
        self._device = device
        self.log = device.zeros((longest_chunk, kernels.LOG_COLUMNS), np.float64)
        self.partial = device.zeros((device.sums()[0], SUM_COLUMNS), np.float64)
        self.trouble = device.zeros(1, np.int32)
        self._scalars = device.zeros(kernels.SCALARS, np.float64)
        self._timestep = 0.0
        self._largest_kinetic = 0.0
        self._take(Motion(0, np.ones(1), np.ones(1), 1.0, 1.0))

    @property
    def changing(self) -> tuple[DeviceArray, ...]:
        """What a step changes, besides the atoms."""
        return self._scalars, self._chain_positions, self._chain_velocities

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

    def load(self, integrator: Integrator[Any]) -> None:
        """Take over the thermostat's state."""
        device = self._device
        if self._motion.chain_length > 0:
            chain = integrator.state_dict()
            device.write(self._chain_positions, chain["positions"])
            device.write(self._chain_velocities, chain["velocities"])
        device.fill(self.trouble, 0)

    def fetch(self, integrator: Integrator[Any]) -> None:
        """Bring the thermostat's state to the host."""
        if self._motion.chain_length > 0:
            integrator.load_state_dict(
                {
                    "positions": self._device.read(self._chain_positions),
                    "velocities": self._device.read(self._chain_velocities),
                }
            )

    def read_log(self, word: NDArray[np.int32]) -> tuple[StepLog, Reason]:
        """Return the log of a chunk, and why it is halted.

        Parameters
        ----------
        word : (SIZE,) int32
            The error word as read from the device.
        """
        reasons = Reason(int(word[HALTED]))
        # A step that cannot be evaluated is counted, but has no energies.
        unfinished = bool(reasons & (Reason.LOST | Reason.TOO_CLOSE))
        log = self._device.read(self.log)[: int(word[STEP]) - unfinished]
        energies = StepLog(
            potential_energy=log[:, kernels.LOG_ENERGY].copy(),
            kinetic_energy=0.5 * log[:, kernels.LOG_TWICE_KINETIC],
            bath_energy=log[:, kernels.LOG_BATH].copy(),
        )
        return energies, reasons

    def measure(self, status: DeviceArray, bodies: Bodies) -> Action:
        """Return what fills `partial` with m v² alone."""
        arguments = (status, bodies.n, bodies.energy_masses, bodies.velocities, self.partial)
        return self._device.launch(kernels.measure_kinetic, *self._device.sums(), arguments)

    def store(self, rows: int) -> Action:
        """Return what takes m v² of the first `rows` of `partial` for the present one."""
        block = self._device.sums()[1]
        return self._device.launch(kernels.store_kinetic, 1, block, (rows, self.partial, self._scalars))

    def begin(self, status: DeviceArray, bodies: Bodies) -> list[Action]:
        """Return the first half of a step: the chain, velocities, positions."""
        device = self._device
        return [
            device.launch(kernels.begin_step, 1, 1, (status, self._scalars, *self._chain())),
            device.launch(
                kernels.kick_and_drift,
                *device.elements(bodies.n),
                (
                    status,
                    bodies.n,
                    0.5 * self._timestep,
                    self._timestep,
                    self._scalars,
                    bodies.inverse_masses,
                    bodies.forces,
                    bodies.positions,
                    bodies.velocities,
                ),
            ),
        ]

    def kick(self, status: DeviceArray, bodies: Bodies) -> Action:
        """Return what kicks with the new forces, and fills `partial`."""
        return self._device.launch(
            kernels.kick_and_measure,
            *self._device.sums(),
            (
                status,
                bodies.n,
                0.5 * self._timestep,
                bodies.energy_masses,
                bodies.inverse_masses,
                bodies.forces,
                bodies.energies,
                bodies.velocities,
                self.partial,
                self.trouble,
            ),
        )

    def end(self, status: DeviceArray, bodies: Bodies, rows: int | None = None) -> list[Action]:
        """Return what judges and logs a step by the first `rows` of `partial`, and advances the chain."""
        device, sums = self._device, self._device.sums()
        actions = [
            device.launch(
                kernels.end_step,
                1,
                sums[1],
                (
                    status,
                    sums[0] if rows is None else rows,
                    self.partial,
                    self.trouble,
                    self._largest_kinetic,
                    self._scalars,
                    *self._chain(),
                    self.log,
                ),
            )
        ]
        if self._motion.chain_length > 0:
            arguments = (status, bodies.n, self._scalars, bodies.velocities)
            actions.append(device.launch(kernels.scale_velocities, *device.elements(bodies.n), arguments))
        return actions

    def _chain(self) -> tuple[object, ...]:
        return (
            self._motion.chain_length,
            self._chain_positions,
            self._chain_velocities,
            self._chain_masses,
            self._durations,
            self._motion.degrees_of_freedom,
            self._motion.thermal_energy,
        )

    def _take(self, motion: Motion) -> None:
        device = self._device
        self._motion = motion
        self._chain_masses = device.upload(motion.masses)
        self._durations = device.upload(motion.durations)
        self._chain_positions = device.zeros(len(motion.masses), np.float64)
        self._chain_velocities = device.zeros(len(motion.masses), np.float64)
