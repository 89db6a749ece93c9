"""Numba kernels of pair terms: a short list drawn from the model's, and sums over it.

Every atom sums over its own row, in blocks of a fixed number of atoms: the same bits for any number of
threads.
"""

from __future__ import annotations

import math

from numba import njit, prange

from fastdp.potential.terms import scalar

BLOCK_ATOMS = 128
"""Atoms of a block: enough for a thread to be worth waking, few enough to balance."""

TABLE_HEAD = 3
"""Numbers of a table before its coefficients."""

_switched_zbl = njit(cache=True, error_model="numpy")(scalar.switched_zbl)
_cubic_piece = njit(cache=True, error_model="numpy")(scalar.cubic_piece)
ZBL = scalar.ZBL


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
def pair_energy_and_slope(kind, numbers, at, r):
    """Return φ and dφ/dr of a term, whose numbers for this pair of types begin at `at`."""
    if kind == ZBL:
        return _switched_zbl(
            r,
            numbers[at],
            numbers[at + 1],
            numbers[at + 2],
            numbers[at + 3],
            numbers[at + 4],
            numbers[at + 5],
        )
    u = (r - numbers[at]) * numbers[at + 1]
    k = min(int(u), int(numbers[at + 2]) - 1)
    c = at + TABLE_HEAD + 4 * k
    return _cubic_piece(u - k, numbers[at + 1], numbers[c], numbers[c + 1], numbers[c + 2], numbers[c + 3])


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
    for block in prange(virials.shape[0]):
        for i in range(block * BLOCK_ATOMS, min((block + 1) * BLOCK_ATOMS, n_atoms)):
            alpha = types[i]
            e = 0.0
            fx = 0.0
            fy = 0.0
            fz = 0.0
            for p in range(first[i], first[i + 1]):
                j = near[p]
                beta = types[j]
                dx = positions[j, 0] - positions[i, 0]
                dy = positions[j, 1] - positions[i, 1]
                dz = positions[j, 2] - positions[i, 2]
                r = math.sqrt(dx * dx + dy * dy + dz * dz)
                total = 0.0
                for term in range(kinds.shape[0]):
                    if r < reach[term, alpha, beta]:
                        if r < shortest[term]:
                            closest[block, 0] = i
                            closest[block, 1] = j
                        else:
                            at = offsets[term] + (alpha * n_types + beta) * widths[term]
                            energy, slope = pair_energy_and_slope(kinds[term], numbers, at, r)
                            e += 0.5 * energy
                            total += slope
                if total != 0.0:
                    g = total / r
                    fx += g * dx
                    fy += g * dy
                    fz += g * dz
                    if with_virial:
                        virials[block, 0] -= 0.5 * g * dx * dx
                        virials[block, 1] -= 0.5 * g * dx * dy
                        virials[block, 2] -= 0.5 * g * dx * dz
                        virials[block, 3] -= 0.5 * g * dy * dx
                        virials[block, 4] -= 0.5 * g * dy * dy
                        virials[block, 5] -= 0.5 * g * dy * dz
                        virials[block, 6] -= 0.5 * g * dz * dx
                        virials[block, 7] -= 0.5 * g * dz * dy
                        virials[block, 8] -= 0.5 * g * dz * dz
            energies[i] = e
            forces[i, 0] = fx
            forces[i, 1] = fy
            forces[i, 2] = fz
