"""What the integrators are told: one frozen dataclass for each, in the users' units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class IntegratorSettings:
    """What every integrator needs.

    Attributes
    ----------
    timestep_fs : float
        Time step, fs; above zero.
    """

    name: ClassVar[str]
    """Name in the registry of integrators."""

    timestep_fs: float


@dataclass(frozen=True)
class VelocityVerletSettings(IntegratorSettings):
    """Constant energy (NVE): velocity Verlet."""

    name: ClassVar[str] = "velocity_verlet"


@dataclass(frozen=True)
class NoseHooverSettings(IntegratorSettings):
    """Constant temperature (NVT): Nosé–Hoover chain.

    Attributes
    ----------
    temperature_K : float
        Temperature of the bath, K; above zero.
    thermostat_time_fs : float
        Period τ that sets the thermostat masses (Q₁ = N_f k_B T τ², Q_k = k_B T τ²), fs; above zero.
    chain_length : int
        Number of thermostats in the chain, at least 1.
    sub_steps : int
        Number of parts that each half step of the chain is divided into, at least 1.
    suzuki_yoshida_order : int
        Number of weights of the Suzuki–Yoshida factorisation of each part: 1, 3, 5 or 7.
    """

    name: ClassVar[str] = "nose_hoover"

    temperature_K: float  # noqa: N815 - a unit in the name
    thermostat_time_fs: float = 100.0
    chain_length: int = 3
    sub_steps: int = 1
    suzuki_yoshida_order: int = 3


@dataclass(frozen=True)
class VelocitySettings:
    """What happens to the velocities before the first step.

    Attributes
    ----------
    temperature_K : float or None
        Draw velocities from the Maxwell–Boltzmann distribution at this temperature, K;
        None keeps those of the structure.
    seed : int
        Seed of the random numbers; only used where velocities are drawn.
    exact_temperature : bool
        Whether drawn velocities are scaled to have exactly `temperature_K`.
    remove_net_momentum : bool
        Whether the velocity of the centre of mass is taken out, of drawn and of given velocities.
    """

    temperature_K: float | None = None  # noqa: N815 - a unit in the name
    seed: int = 0
    exact_temperature: bool = True
    remove_net_momentum: bool = True
