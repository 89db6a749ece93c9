"""Which integrators run on the device, and what the kernels are told of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.nose_hoover import NoseHoover
from fastdp.dynamics.velocity_verlet import VelocityVerlet


@dataclass(frozen=True)
class Motion:
    """A velocity Verlet step, between two half steps of a thermostat chain where there is one.

    Attributes
    ----------
    chain_length : int
        0 without a thermostat.
    masses, durations : (n,) float64
        As `fastdp.dynamics.nose_hoover.Chain`; not empty.
    degrees_of_freedom, thermal_energy : float
        Likewise.
    """

    chain_length: int
    masses: NDArray[np.float64]
    durations: NDArray[np.float64]
    degrees_of_freedom: float
    thermal_energy: float


AnyIntegrator = TypeVar("AnyIntegrator", bound=Integrator[Any])
MOTIONS: dict[type[Integrator[Any]], Callable[[Any], Motion]] = {}
"""What makes a motion of an integrator, by its class."""


def motion_of(
    kind: type[AnyIntegrator],
) -> Callable[[Callable[[AnyIntegrator], Motion]], Callable[[AnyIntegrator], Motion]]:
    """Register how an integrator is described to the kernels."""

    def register(maker: Callable[[AnyIntegrator], Motion]) -> Callable[[AnyIntegrator], Motion]:
        MOTIONS[kind] = maker
        return maker

    return register


@motion_of(VelocityVerlet)
def _velocity_verlet(integrator: VelocityVerlet) -> Motion:
    return Motion(0, np.ones(1), np.ones(1), 1.0, 1.0)


@motion_of(NoseHoover)
def _nose_hoover(integrator: NoseHoover) -> Motion:
    chain = integrator.chain
    return Motion(
        len(chain.masses), chain.masses, chain.durations, chain.degrees_of_freedom, chain.thermal_energy
    )
