"""Kinetic energy, temperature and pressure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.kernels import sum_mass_speed_squared, sum_mass_velocity_products
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.units import BAR_PER_EV_PER_A3, BOLTZMANN_EV_PER_K, EV_PER_U_A2_PER_PS2


class Kinetics:
    """Sums over all atoms of m v² and m v vᵀ.

    The one place where motion needs a sum over atoms, and hence over ranks.

    Parameters
    ----------
    masses : (n_atoms,) float64
        u.
    communicator : Communicator
        Ranks that have other atoms.
    """

    def __init__(self, masses: NDArray[np.float64], communicator: Communicator = SERIAL) -> None:
        self._masses = masses
        self._communicator = communicator
        self._sums = np.empty(2)
        self._tensor = np.empty((3, 3))

    def energy(self, velocities: NDArray[np.float64]) -> float:
        """Return the kinetic energy ½ Σ m v², eV, of velocities in Å/ps."""
        return self.energy_and_count(velocities, 0)[0]

    def energy_and_count(self, velocities: NDArray[np.float64], count: int) -> tuple[float, int]:
        """Return the kinetic energy, eV, and the sum over ranks of a number, in one message."""
        self._sums[:] = sum_mass_speed_squared(velocities, self._masses), count
        total, counted = self._communicator.sum(self._sums)
        return 0.5 * EV_PER_U_A2_PER_PS2 * float(total), int(counted)

    def tensor(self, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Σ m v vᵀ, (3, 3), eV: twice the kinetic energy, by components."""
        sum_mass_velocity_products(velocities, self._masses, self._tensor)
        return EV_PER_U_A2_PER_PS2 * self._communicator.sum(self._tensor)


def temperature(kinetic_energy: float, degrees_of_freedom: int) -> float:
    """Return T = 2K / (N_f k_B), K, for K in eV; 0 where nothing can move."""
    if degrees_of_freedom == 0:
        return 0.0
    return 2.0 * kinetic_energy / (degrees_of_freedom * BOLTZMANN_EV_PER_K)


def pressure_tensor(
    kinetic_tensor: NDArray[np.float64], virial: NDArray[np.float64], volume: float
) -> NDArray[np.float64]:
    """Return the pressure tensor P = (Σ m v vᵀ + Ξ) / V, symmetrised.

    Parameters
    ----------
    kinetic_tensor : (3, 3) float64
        Σ m v vᵀ, eV.
    virial : (3, 3) float64
        Ξ = −∂E/∂strain, eV.
    volume : float
        Å³; NaN, without full periodicity, gives NaN.

    Returns
    -------
    (3, 3) float64
        bar; compression positive.
    """
    return (kinetic_tensor + 0.5 * (virial + virial.T)) * (BAR_PER_EV_PER_A3 / volume)
