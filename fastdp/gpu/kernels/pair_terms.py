"""Further terms of pairs, added to what the model's kernels gave; one warp for each atom.

Every atom gathers from all its neighbours in the model's list, so that nothing is added atomically and ghosts
get nothing. The lanes take a neighbour each; few are within the reach of a short-ranged term, and those of
one pass are evaluated together.
"""

from __future__ import annotations

import math

from numba import cuda, types

from fastdp.gpu.kernels.compiling import device_function
from fastdp.gpu.kernels.entries import displacement_of
from fastdp.gpu.kernels.pairs import PADDED, WARP
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST, TOO_CLOSE
from fastdp.potential.terms import scalar

# Rows of what the lanes sum up: force, energy, and the upper triangle of the virial.
FORCE, ENERGY, VIRIAL, SUMMED = 0, 3, 4, 10

ADDED = VIRIAL + 9
"""Numbers of an atom that are added to: the virial is given in full."""

pair_energy_and_slope = device_function(
    scalar.pair_energy_and_slope,
    switched_zbl=device_function(scalar.switched_zbl),
    cubic_piece=device_function(scalar.cubic_piece),
)


@cuda.jit
def add_pair_terms(
    status,
    first,
    n_types,
    n_terms,
    with_virial,
    index_mask,
    index_bits,
    kinds,
    offsets,
    widths,
    numbers,
    reach,
    farthest_squared,
    shortest,
    translations,
    sorted_positions,
    rows,
    row_counts,
    kinds_of,
    atom_of,
    energies,
    forces,
    virials,
):
    """Add the pair terms of one atom for each block, from the sorted atom `first` on; not of ghosts.

    kinds … shortest
        As of `PackedTerms`, with `farthest_squared` in Å².
    kinds_of : (n,) int32
        As `fastdp.gpu.kinds.Kinds.of`.
    atom_of : (n,) int32
        Index in the input.
    energies : (n,) float64, added to
        Half of the atom's pairs, eV, in the input's order, as all that follow.
    forces : (n, 3) float64, added to
        eV/Å.
    virials : (grid, 9) float64, added to where wanted
        Half of −g ⊗ r of the atom's pairs, eV; in the sorted order.
    """
    part = cuda.shared.array((SUMMED, PADDED), types.float64)
    if status[HALTED] != 0 or status[FOUND] & NO_LIST:
        return
    i = first + cuda.blockIdx.x
    lane = cuda.threadIdx.x
    atom = atom_of[i]
    centre = kinds_of[atom] % n_types
    x = sorted_positions[i, 0]
    y = sorted_positions[i, 1]
    z = sorted_positions[i, 2]
    energy = 0.0
    fx = 0.0
    fy = 0.0
    fz = 0.0
    vxx = 0.0
    vxy = 0.0
    vxz = 0.0
    vyy = 0.0
    vyz = 0.0
    vzz = 0.0
    found = 0
    start = 0
    for b in range(n_types):
        stop = start + row_counts[i, b]
        limit = farthest_squared[centre, b]
        # Rows of types without a term are not read.
        begin = start + lane if limit > 0.0 else stop
        for place in range(begin, stop, WARP):
            _, dx, dy, dz, r_squared = displacement_of(
                rows[i, place], index_mask, index_bits, translations, sorted_positions, x, y, z
            )
            # The model's kernels find two atoms in one place.
            if 0.0 < r_squared < limit:
                r = math.sqrt(r_squared)
                slope = 0.0
                for term in range(n_terms):
                    if r < reach[term, centre, b]:
                        if r < shortest[term]:
                            cuda.atomic.or_(status, FOUND, TOO_CLOSE)
                        else:
                            at = offsets[term] + (centre * n_types + b) * widths[term]
                            e, s = pair_energy_and_slope(kinds[term], numbers, at, r)
                            energy += 0.5 * e
                            slope += s
                g = slope / r
                found = 1
                fx += g * dx
                fy += g * dy
                fz += g * dz
                if with_virial != 0:
                    h = 0.5 * g
                    vxx -= h * dx * dx
                    vxy -= h * dx * dy
                    vxz -= h * dx * dz
                    vyy -= h * dy * dy
                    vyz -= h * dy * dz
                    vzz -= h * dz * dz
        start = stop
    if cuda.syncthreads_or(found) == 0:
        # Where atoms do not collide, a repulsion acts on none.
        return
    part[FORCE, lane] = fx
    part[FORCE + 1, lane] = fy
    part[FORCE + 2, lane] = fz
    part[ENERGY, lane] = energy
    if with_virial != 0:
        part[VIRIAL, lane] = vxx
        part[VIRIAL + 1, lane] = vxy
        part[VIRIAL + 2, lane] = vxz
        part[VIRIAL + 3, lane] = vyy
        part[VIRIAL + 4, lane] = vyz
        part[VIRIAL + 5, lane] = vzz
    cuda.syncthreads()
    added = ADDED if with_virial != 0 else VIRIAL
    if lane < added:
        row = lane
        if lane >= VIRIAL:
            # Place of a component in the upper triangle.
            a = min((lane - VIRIAL) // 3, (lane - VIRIAL) % 3)
            row = VIRIAL + a * (5 - a) // 2 + max((lane - VIRIAL) // 3, (lane - VIRIAL) % 3)
        value = 0.0
        for other in range(WARP):
            value += part[row, other]
        if lane < ENERGY:
            forces[atom, lane] += value
        elif lane == ENERGY:
            energies[atom] += value
        else:
            virials[cuda.blockIdx.x, lane - VIRIAL] += value
