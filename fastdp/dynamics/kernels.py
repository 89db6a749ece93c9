"""Compiled loops over atoms that the integrators are made of.

Each atom, or each block of atoms, is computed by itself and blocks are summed in their order, so
that no result depends on the number of threads.
"""

from __future__ import annotations

import math

from numba import njit, prange

BLOCK = 1024
"""Atoms summed by one thread at a time; part of the definition of every sum."""


def n_blocks(n_atoms: int) -> int:
    """Return the number of blocks that sums over `n_atoms` atoms are made of."""
    return -(-n_atoms // BLOCK)


@njit("void(f8[:,::1], f8[:,::1], f8[::1], f8)", parallel=True, cache=True)
def kick(velocities, forces, inverse_masses, duration):
    """Change velocities by `duration` × force × `inverse_masses`."""
    for i in prange(velocities.shape[0]):
        factor = duration * inverse_masses[i]
        for c in range(3):
            velocities[i, c] += factor * forces[i, c]


@njit("void(f8[:,::1], f8[:,::1], f8[:,::1], f8[::1], f8, f8)", parallel=True, cache=True)
def kick_and_drift(positions, velocities, forces, inverse_masses, kick_duration, drift_duration):
    """`kick`, then move each atom with its new velocity: one pass over memory for both."""
    for i in prange(velocities.shape[0]):
        factor = kick_duration * inverse_masses[i]
        for c in range(3):
            velocities[i, c] += factor * forces[i, c]
            positions[i, c] += drift_duration * velocities[i, c]


@njit("void(f8[:,::1], f8)", parallel=True, cache=True)
def scale(array, factor):
    """Multiply all rows of `array` by `factor`."""
    for i in prange(array.shape[0]):
        for c in range(3):
            array[i, c] *= factor


@njit("f8(f8[:,::1], f8[::1], f8[::1])", parallel=True, cache=True)
def sum_mass_speed_squared(velocities, masses, partial):
    """Return Σ m v²; `partial` has room for one number for each block."""
    n_atoms = velocities.shape[0]
    for block in prange(partial.shape[0]):
        total = 0.0
        for i in range(block * BLOCK, min(n_atoms, (block + 1) * BLOCK)):
            total += masses[i] * (
                velocities[i, 0] * velocities[i, 0]
                + velocities[i, 1] * velocities[i, 1]
                + velocities[i, 2] * velocities[i, 2]
            )
        partial[block] = total
    total = 0.0
    for block in range(partial.shape[0]):
        total += partial[block]
    return total


@njit("void(f8[:,::1], f8[::1], f8[:,:,::1], f8[:,::1])", parallel=True, cache=True)
def sum_mass_velocity_products(velocities, masses, partial, result):
    """Set `result` to Σ m v vᵀ; `partial` has room for one matrix for each block."""
    n_atoms = velocities.shape[0]
    for block in prange(partial.shape[0]):
        partial[block] = 0.0
        for i in range(block * BLOCK, min(n_atoms, (block + 1) * BLOCK)):
            for a in range(3):
                for b in range(3):
                    partial[block, a, b] += masses[i] * velocities[i, a] * velocities[i, b]
    result[:] = 0.0
    for block in range(partial.shape[0]):
        for a in range(3):
            for b in range(3):
                result[a, b] += partial[block, a, b]


@njit("i8(f8[:,::1])", parallel=True, cache=True)
def count_non_finite(array):
    """Return how many entries of `array` are NaN or infinite."""
    count = 0
    for i in prange(array.shape[0]):
        for c in range(3):
            if not math.isfinite(array[i, c]):
                count += 1
    return count
