"""The Nosé–Hoover chain as plain functions of numbers and arrays.

Stated once; `nose_hoover.py` compiles them for the CPU and `fastdp/gpu/kernels/motion.py` for a GPU. The
equations are in `nose_hoover.py`.
"""

from __future__ import annotations

import math


def kick_thermostat(
    k, last, velocities, masses, quarter, eighth, twice_kinetic_energy, degrees_of_freedom, thermal_energy
):
    """Change v_ξ of thermostat `k` by its own force, damped by the next thermostat on both sides."""
    if k == 0:
        drive = twice_kinetic_energy - degrees_of_freedom * thermal_energy
    else:
        drive = masses[k - 1] * velocities[k - 1] * velocities[k - 1] - thermal_energy
    damping = 1.0 if k == last else math.exp(-eighth * velocities[k + 1])
    velocities[k] = (velocities[k] * damping + quarter * drive / masses[k]) * damping


def advance_chain(
    positions, velocities, masses, durations, twice_kinetic_energy, degrees_of_freedom, thermal_energy
):
    """Advance a chain, in place, through `durations` one after the other.

    Parameters
    ----------
    positions, velocities, masses : (chain_length,) float64
        ξ, v_ξ (1/ps) and Q (eV ps²).
    durations : (n,) float64
        ps.
    twice_kinetic_energy, degrees_of_freedom, thermal_energy : float
        2K (eV), N_f and k_B T (eV) of the atoms.

    Returns
    -------
    float
        What the velocities of the atoms are to be multiplied by.
    """
    last = positions.shape[0] - 1
    factor = 1.0
    for duration in durations:
        half, quarter, eighth = 0.5 * duration, 0.25 * duration, 0.125 * duration
        for k in range(last, -1, -1):
            kick_thermostat(
                k, last, velocities, masses, quarter, eighth, twice_kinetic_energy, degrees_of_freedom,
                thermal_energy,
            )  # fmt: skip
        friction = math.exp(-half * velocities[0])
        factor *= friction
        twice_kinetic_energy *= friction * friction
        for k in range(last + 1):
            positions[k] += half * velocities[k]
        for k in range(last + 1):
            kick_thermostat(
                k, last, velocities, masses, quarter, eighth, twice_kinetic_energy, degrees_of_freedom,
                thermal_energy,
            )  # fmt: skip
    return factor


def chain_energy(positions, velocities, masses, degrees_of_freedom, thermal_energy):
    """Return Σ ½ Q v_ξ² + N_f k_B T ξ₁ + k_B T Σ_{k>1} ξ_k, eV; arguments as `advance_chain`."""
    kinetic = 0.0
    lever = degrees_of_freedom * positions[0]
    for k in range(positions.shape[0]):
        kinetic += masses[k] * velocities[k] * velocities[k]
        if k > 0:
            lever += positions[k]
    return 0.5 * kinetic + thermal_energy * lever
