"""Velocity Verlet and Nosé–Hoover chains with all their state on the device.

The equations are those of `fastdp.dynamics`; the chain is advanced by the very same function.
"""

from __future__ import annotations

import math

from numba import cuda, types

from fastdp.dynamics import chain
from fastdp.gpu.kernels.compiling import block_function, device_function
from fastdp.gpu.kernels.reductions import ENERGY, THREADS, TWICE_KINETIC, add_up_block, add_up_partial
from fastdp.gpu.kernels.status import FOUND, HALTED, NOT_FINITE, REBUILD, STEP, TOO_HOT

# Places in the array of scalars, float64.
KINETIC, FACTOR, SCALARS = range(3)

# Columns of the log, one row for each step of a chunk: eV.
LOG_ENERGY, LOG_TWICE_KINETIC, LOG_BATH, LOG_COLUMNS = range(4)

_kick_thermostat = device_function(chain.kick_thermostat)
_advance_chain = device_function(chain.advance_chain, kick_thermostat=_kick_thermostat)
_chain_energy = device_function(chain.chain_energy)
sum_block = block_function(add_up_block, globals())
sum_partial = block_function(add_up_partial, globals())


@cuda.jit
def begin_chunk(status):
    """Count steps from zero; one thread."""
    status[HALTED] = 0
    status[STEP] = 0


@cuda.jit
def ask_for_list(status):
    """Have the list built where it was built last; one thread."""
    status[FOUND] = 0
    status[REBUILD] = 1


@cuda.jit
def begin_step(
    status,
    scalars,
    chain_length,
    positions,
    velocities,
    masses,
    durations,
    degrees_of_freedom,
    thermal_energy,
):
    """Count the step, forget what the last one found, advance the chain by half a step; one thread."""
    if status[HALTED] != 0:
        return
    status[STEP] += 1
    status[FOUND] = 0
    status[REBUILD] = 0
    if chain_length > 0:
        scalars[FACTOR] = _advance_chain(
            positions,
            velocities,
            masses,
            durations,
            scalars[KINETIC],
            degrees_of_freedom,
            thermal_energy,
        )


@cuda.jit
def kick_and_drift(status, n, half, step, scalars, inverse_masses, forces, positions, velocities):
    """Set v ← factor·v + ½ Δt F/m, x ← x + Δt v."""
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0:
        return
    factor = scalars[FACTOR]
    kick = half * inverse_masses[i]
    for c in range(3):
        v = velocities[i, c] * factor + kick * forces[i, c]
        velocities[i, c] = v
        positions[i, c] += step * v


@cuda.jit
def kick_and_measure(status, n, half, masses, inverse_masses, forces, energies, velocities, partial, trouble):
    """Set v ← v + ½ Δt F/m, and partial sums of energy and m v²; grid and block as `partial_sums`.

    masses : (n,) float64
        Times what makes m v² an energy in eV.
    trouble : (1,) int32
        Set where a force is not finite, and never taken back: it ends the run.
    """
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0 or status[FOUND] != 0:
        return
    energy = 0.0
    kinetic = 0.0
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        kick = half * inverse_masses[i]
        squared = 0.0
        for c in range(3):
            f = forces[i, c]
            if not math.isfinite(f):
                trouble[0] = 1
            v = velocities[i, c] + kick * f
            velocities[i, c] = v
            squared += v * v
        kinetic += masses[i] * squared
        energy += energies[i]
    energy = sum_block(part, energy)
    kinetic = sum_block(part, kinetic)
    if cuda.threadIdx.x == 0:
        partial[cuda.blockIdx.x, ENERGY] = energy
        partial[cuda.blockIdx.x, TWICE_KINETIC] = kinetic


@cuda.jit
def end_step(
    status,
    n_partial,
    partial,
    trouble,
    largest_kinetic,
    scalars,
    chain_length,
    positions,
    velocities,
    masses,
    durations,
    degrees_of_freedom,
    thermal_energy,
    log,
):
    """Finish the sums, advance the chain by half a step, judge and log the step; one block.

    largest_kinetic : float
        Largest 2K, eV, of the temperature allowed.
    log : (steps, LOG_COLUMNS) float64
        Row status[STEP] − 1 is filled.
    """
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0:
        return
    energy, kinetic = sum_partial(part, n_partial, partial)
    if cuda.threadIdx.x != 0:
        return
    found = status[FOUND]
    if found != 0:
        scalars[FACTOR] = 1.0
    else:
        bath = 0.0
        factor = 1.0
        if chain_length > 0:
            factor = _advance_chain(
                positions, velocities, masses, durations, kinetic, degrees_of_freedom, thermal_energy
            )
            kinetic *= factor * factor
            bath = _chain_energy(positions, velocities, masses, degrees_of_freedom, thermal_energy)
        scalars[FACTOR] = factor
        scalars[KINETIC] = kinetic
        row = status[STEP] - 1
        log[row, LOG_ENERGY] = energy
        log[row, LOG_TWICE_KINETIC] = kinetic
        log[row, LOG_BATH] = bath
        if trouble[0] != 0 or not math.isfinite(energy):
            found = NOT_FINITE
        elif not (kinetic <= largest_kinetic):
            found = TOO_HOT
        status[FOUND] = found


@cuda.jit
def scale_velocities(status, n, scalars, velocities):
    """Set v ← factor·v, by the chain's second half step."""
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0:
        return
    factor = scalars[FACTOR]
    for c in range(3):
        velocities[i, c] *= factor


@cuda.jit
def measure_kinetic(status, n, masses, velocities, partial):
    """Partial sums of m v² alone, as at the start of a run."""
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0:
        return
    kinetic = 0.0
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        squared = 0.0
        for c in range(3):
            squared += velocities[i, c] * velocities[i, c]
        kinetic += masses[i] * squared
    kinetic = sum_block(part, kinetic)
    if cuda.threadIdx.x == 0:
        partial[cuda.blockIdx.x, ENERGY] = 0.0
        partial[cuda.blockIdx.x, TWICE_KINETIC] = kinetic


@cuda.jit
def store_kinetic(n_partial, partial, scalars):
    """Finish the sum of `measure_kinetic`; one block."""
    part = cuda.shared.array(THREADS, types.float64)
    kinetic = 0.0
    for i in range(cuda.threadIdx.x, n_partial, cuda.blockDim.x):
        kinetic += partial[i, TWICE_KINETIC]
    kinetic = sum_block(part, kinetic)
    if cuda.threadIdx.x == 0:
        scalars[KINETIC] = kinetic
        scalars[FACTOR] = 1.0
