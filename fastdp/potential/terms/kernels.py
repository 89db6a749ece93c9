"""Numba kernels of pair terms: a short list drawn from the model's, and sums over it.

Every atom sums over its own row, in blocks of a fixed number of atoms: the same bits for any number of
threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from fastdp.parallel.rebinding import rebound
from fastdp.potential.terms import scalar

BLOCK_ATOMS = 128
"""Atoms of a block: enough for a thread to be worth waking, few enough to balance."""

_compiled = njit(cache=True, error_model="numpy")
pair_energy_and_slope = _compiled(
    rebound(
        scalar.pair_energy_and_slope,
        switched_zbl=_compiled(scalar.switched_zbl),
        cubic_piece=_compiled(scalar.cubic_piece),
    )
)


@njit(cache=True, error_model="numpy")
def count_near(positions, types, first, neighbours, limit, counts):
    """Count the neighbours of each atom that are near enough for a term.

    Parameters
    ----------
    positions : (n_extended, 3) float64
        Å.
    types : (n_extended,) int32
    first : (n_atoms + 1,) int64
    neighbours : (capacity,) int32
    limit : (n_types, n_types) float64
        Å².
    counts : (n_atoms + 1,) int64
        Filled from 1 on.
    """
    for i in range(first.shape[0] - 1):
        found = 0
        for p in range(first[i], first[i + 1]):
            j = neighbours[p]
            dx = positions[j, 0] - positions[i, 0]
            dy = positions[j, 1] - positions[i, 1]
            dz = positions[j, 2] - positions[i, 2]
            found += dx * dx + dy * dy + dz * dz < limit[types[i], types[j]]
        counts[i + 1] = found


@njit(cache=True, error_model="numpy")
def collect_near(positions, types, first, neighbours, limit, first_near, near):
    """Fill `near` with the neighbours that `count_near` counted, row by row from `first_near` on."""
    for i in range(first.shape[0] - 1):
        place = first_near[i]
        for p in range(first[i], first[i + 1]):
            j = neighbours[p]
            dx = positions[j, 0] - positions[i, 0]
            dy = positions[j, 1] - positions[i, 1]
            dz = positions[j, 2] - positions[i, 2]
            if dx * dx + dy * dy + dz * dz < limit[types[i], types[j]]:
                near[place] = j
                place += 1


@njit(cache=True, error_model="numpy")
def nearest_squared(start, stop, positions, first, near, nearest):
    """Fill the squared distance of the nearest neighbour, Å², of atoms start:stop; infinity without one."""
    for i in range(start, stop):
        smallest = np.inf
        for p in range(first[i], first[i + 1]):
            j = near[p]
            dx = positions[j, 0] - positions[i, 0]
            dy = positions[j, 1] - positions[i, 1]
            dz = positions[j, 2] - positions[i, 2]
            smallest = min(smallest, dx * dx + dy * dy + dz * dz)
        nearest[i] = smallest


@njit(cache=True, error_model="numpy")
def _gather(positions, types, i, row, farthest, vectors, index):
    """Keep the neighbours of an atom that lie within the reach of a term; return how many.

    Parameters
    ----------
    row : (n,) int32
        Neighbours of atom i.
    farthest : (n_types,) float64
        Å², by the neighbour's type.
    vectors : (> n, 4) float64
        Filled: r_j − r_i in Å, and its square.
    index : (> n,) int32
        Filled: which.
    """
    x = positions[i, 0]
    y = positions[i, 1]
    z = positions[i, 2]
    n = 0
    for p in range(row.shape[0]):
        j = row[p]
        dx = positions[j, 0] - x
        dy = positions[j, 1] - y
        dz = positions[j, 2] - z
        squared = dx * dx + dy * dy + dz * dz
        vectors[n, 0] = dx
        vectors[n, 1] = dy
        vectors[n, 2] = dz
        vectors[n, 3] = squared
        index[n] = j
        # Written always, kept if near: a branch would be mispredicted at every third pair.
        n += squared < farthest[types[j]]
    return n


@njit(parallel=True, cache=True, error_model="numpy")
def pair_sums(
    positions,
    types,
    first,
    near,
    kinds,
    offsets,
    widths,
    numbers,
    reach,
    farthest,
    shortest,
    with_virial,
    energies,
    forces,
    virials,
    closest,
):
    """Fill energies and forces of all atoms, and the virial of each block.

    Parameters
    ----------
    positions : (n_extended, 3) float64
        Å.
    types : (n_extended,) int32
    first, near
        The short list.
    kinds, offsets, widths : (n_terms,) int64
        Function of each term, where its numbers begin, and how many a pair of types has.
    numbers : (n,) float64
    reach : (n_terms, n_types, n_types) float64
        Å.
    farthest : (n_types, n_types) float64
        Å², the largest reach of all terms.
    shortest : (n_terms,) float64
        Å.
    with_virial : bool
    energies : (n_atoms,) float64
        Filled, eV.
    forces : (n_atoms, 3) float64
        Filled, eV/Å.
    virials : (n_blocks, 9) float64
        Added to, eV.
    closest : (n_blocks, 2) int64
        Filled with an atom and a neighbour that is nearer than a table begins, if there are such.
    """
    n_atoms = first.shape[0] - 1
    n_types = reach.shape[1]
    longest = 0
    for i in range(n_atoms):
        longest = max(longest, first[i + 1] - first[i])
    for block in prange(virials.shape[0]):
        vectors = np.empty((longest + 1, 4))
        index = np.empty(longest + 1, np.int32)
        for i in range(block * BLOCK_ATOMS, min((block + 1) * BLOCK_ATOMS, n_atoms)):
            alpha = types[i]
            n = _gather(positions, types, i, near[first[i] : first[i + 1]], farthest[alpha], vectors, index)
            e = 0.0
            fx = 0.0
            fy = 0.0
            fz = 0.0
            for p in range(n):
                beta = types[index[p]]
                dx = vectors[p, 0]
                dy = vectors[p, 1]
                dz = vectors[p, 2]
                r = math.sqrt(vectors[p, 3])
                total = 0.0
                for term in range(kinds.shape[0]):
                    if r < reach[term, alpha, beta]:
                        if r < shortest[term]:
                            closest[block, 0] = i
                            closest[block, 1] = index[p]
                        else:
                            at = offsets[term] + (alpha * n_types + beta) * widths[term]
                            energy, slope = pair_energy_and_slope(kinds[term], numbers, at, r)
                            e += 0.5 * energy
                            total += slope
                g = total / r
                fx += g * dx
                fy += g * dy
                fz += g * dz
                if with_virial:
                    h = 0.5 * g
                    virials[block, 0] -= h * dx * dx
                    virials[block, 1] -= h * dx * dy
                    virials[block, 2] -= h * dx * dz
                    virials[block, 4] -= h * dy * dy
                    virials[block, 5] -= h * dy * dz
                    virials[block, 8] -= h * dz * dz
            energies[i] = e
            forces[i, 0] = fx
            forces[i, 1] = fy
            forces[i, 2] = fz
        virials[block, 3] = virials[block, 1]
        virials[block, 6] = virials[block, 2]
        virials[block, 7] = virials[block, 5]
