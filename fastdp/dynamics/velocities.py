"""Velocities at the start of a run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.kinetic import temperature
from fastdp.dynamics.settings import VelocitySettings
from fastdp.dynamics.state import State
from fastdp.units import BOLTZMANN_EV_PER_K, EV_PER_U_A2_PER_PS2


def maxwell_boltzmann(
    masses: NDArray[np.float64], temperature_K: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw velocities from the Maxwell–Boltzmann distribution.

    Each component is normal with variance k_B T / m.

    Parameters
    ----------
    masses : (n_atoms,) float64
        u.
    temperature_K : float
        K.
    generator : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    (n_atoms, 3) float64
        Å/ps.
    """
    width = np.sqrt(BOLTZMANN_EV_PER_K * temperature_K / (masses * EV_PER_U_A2_PER_PS2))
    return generator.standard_normal((len(masses), 3)) * width[:, None]


def remove_net_momentum(velocities: NDArray[np.float64], masses: NDArray[np.float64]) -> None:
    """Subtract the velocity of the centre of mass, in place."""
    velocities -= masses @ velocities / masses.sum()


def scale_to_temperature(state: State, temperature_K: float) -> None:
    """Multiply all velocities so that the instantaneous temperature is `temperature_K`.

    Velocities that are all zero stay so.
    """
    kinetic_energy = state.kinetics.energy(state.velocities)
    present = temperature(kinetic_energy, state.degrees_of_freedom)
    if present > 0.0:
        state.velocities *= np.sqrt(temperature_K / present)


def prepare_velocities(state: State, settings: VelocitySettings) -> None:
    """Draw, or keep, the velocities of `state` as `settings` say; see `VelocitySettings`."""
    if settings.temperature_K is not None:
        generator = np.random.default_rng(settings.seed)
        state.velocities[:] = maxwell_boltzmann(state.masses, settings.temperature_K, generator)
    if settings.remove_net_momentum:
        remove_net_momentum(state.velocities, state.masses)
    if settings.temperature_K is not None and settings.exact_temperature:
        scale_to_temperature(state, settings.temperature_K)
