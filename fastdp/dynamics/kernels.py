"""Compiled loops over atoms that the integrators are made of.

They run on one thread, and so give the same bits on any number of them: all together take some 10 ns
for each atom and step, where a model takes some 10 µs on each core, while starting threads in every loop
costs more than small systems can win.
"""

from __future__ import annotations

import math

from fastdp.parallel.symbols import outer


@outer("void(f8[:,::1], f8[:,::1], f8[::1], f8)", cache=True)
def kick(velocities, forces, inverse_masses, duration):
    """Change velocities by `duration` × force × `inverse_masses`."""
    for i in range(velocities.shape[0]):
        factor = duration * inverse_masses[i]
        for c in range(3):
            velocities[i, c] += factor * forces[i, c]


@outer("void(f8[:,::1], f8[:,::1], f8[:,::1], f8[::1], f8, f8)", cache=True)
def kick_and_drift(positions, velocities, forces, inverse_masses, kick_duration, drift_duration):
    """`kick`, then move each atom with its new velocity: one pass over memory for both."""
    for i in range(velocities.shape[0]):
        factor = kick_duration * inverse_masses[i]
        for c in range(3):
            velocities[i, c] += factor * forces[i, c]
            positions[i, c] += drift_duration * velocities[i, c]


@outer("void(f8[:,::1], f8)", cache=True)
def scale(array, factor):
    """Multiply all rows of `array` by `factor`."""
    for i in range(array.shape[0]):
        for c in range(3):
            array[i, c] *= factor


@outer("f8(f8[:,::1], f8[::1])", cache=True)
def sum_mass_speed_squared(velocities, masses):
    """Return Σ m v²."""
    total = 0.0
    for i in range(velocities.shape[0]):
        x, y, z = velocities[i, 0], velocities[i, 1], velocities[i, 2]
        total += masses[i] * (x * x + y * y + z * z)
    return total


@outer("void(f8[:,::1], f8[::1], f8[:,::1])", cache=True)
def sum_mass_velocity_products(velocities, masses, result):
    """Set `result` to Σ m v vᵀ."""
    result[:] = 0.0
    for i in range(velocities.shape[0]):
        for a in range(3):
            for b in range(3):
                result[a, b] += masses[i] * velocities[i, a] * velocities[i, b]


@outer("i8(f8[:,::1])", cache=True)
def count_non_finite(array):
    """Return how many entries of `array` are NaN or infinite."""
    count = 0
    for i in range(array.shape[0]):
        for c in range(3):
            count += not math.isfinite(array[i, c])
    return count
