"""The two loops over neighbours: moments forwards, forces backwards.

Each is done in passes over the neighbours of one atom, with small buffers that stay in the first
cache: (1) gather differences, keep what lies inside the cutoff, sorted by type; (2) a branch-free loop
over the kept ones, which the compiler turns into vector code; (3) 4 × (degree + 1) adjacent numbers of
the moments, or of Q, for each neighbour.

Layout of M and Q for one atom: [neighbour type, basis function, component], components being
(1, x/r, y/r, z/r), so that what one neighbour touches is contiguous.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fastdp.potential.compressed import scalar
from fastdp.potential.compressed.simd import add_mirrored, load_row, make_vector, multiply_add, store_row

_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
_coordinate = njit(fastmath=_FAST, inline="always")(scalar.radial_coordinate)
_coordinate_slope = njit(fastmath=_FAST, inline="always")(scalar.radial_coordinate_slope)

# Rows of the table of a pair of types.
SHORTEST_SQUARED, SOFTNESS, ORIGIN, INVERSE_SPACING, PAIR_COLUMNS = range(5)


@njit(fastmath=_FAST, error_model="numpy")
def gather(row, positions, types, centre, cutoff_squared, count, index, dx, dy, dz):
    """Collect the neighbours of one atom that lie inside the cutoff, one segment for each type.

    Parameters
    ----------
    row : (n_listed,) int32
        Neighbours as the list has them, indices into `positions`.
    positions : (n_extended, 3) float64
        Å.
    types : (n_extended,) int32
    centre : int
    cutoff_squared : float
        Å².
    count : (n_types,) int64
        Filled: how many of each type.
    index : (n_types, capacity) int32
        Filled: which.
    dx, dy, dz : (n_types, capacity) float32 or float64
        Filled: components of r_j − r_i, formed in float64, Å.
    """
    count[:] = 0
    x = positions[centre, 0]
    y = positions[centre, 1]
    z = positions[centre, 2]
    for p in range(row.shape[0]):
        j = np.uint32(row[p])
        b = np.uint32(types[j])
        ex = positions[j, 0] - x
        ey = positions[j, 1] - y
        ez = positions[j, 2] - z
        k = np.uint64(count[b])
        dx[b, k] = ex
        dy[b, k] = ey
        dz[b, k] = ez
        index[b, k] = j
        # Written always, kept only if inside: a branch would be mispredicted at every fourth pair.
        count[b] = k + np.uint64(ex * ex + ey * ey + ez * ez < cutoff_squared)


@njit(fastmath=True)
def _smallest(n, values):
    """Return the smallest of the first n values, or infinity."""
    smallest = np.inf
    for j in range(n):
        smallest = min(smallest, values[j])
    return smallest


@njit(fastmath=_FAST, error_model="numpy")
def spline_coordinates(n, n_intervals, table, dx, dy, dz, interval, fraction, inverse_r):
    """Replace the differences of one segment by unit vectors; find interval and fraction of each.

    Short loops over few arrays: with more, the compiler gives up proving that they do not overlap, and
    emits scalar code.

    Returns the smallest squared distance, Å².
    """
    one = dx.dtype.type(1.0)
    softness = dx.dtype.type(table[SOFTNESS])
    origin = dx.dtype.type(table[ORIGIN])
    inverse_spacing = dx.dtype.type(table[INVERSE_SPACING])
    top = np.int32(n_intervals - 1)
    for j in range(n):
        fraction[j] = dx[j] * dx[j] + dy[j] * dy[j] + dz[j] * dz[j]
    nearest = _smallest(n, fraction)
    for j in range(n):
        r = math.sqrt(fraction[j])
        inverse_r[j] = one / r
        fraction[j] = (_coordinate(r, softness) - origin) * inverse_spacing
    for j in range(n):
        k = np.int32(fraction[j])
        k = k if k > 0 else np.int32(0)
        k = k if k < top else top
        interval[j] = k
        fraction[j] -= dx.dtype.type(k)
    for j in range(n):
        dx[j] *= inverse_r[j]
    for j in range(n):
        dy[j] *= inverse_r[j]
    for j in range(n):
        dz[j] *= inverse_r[j]
    return nearest


@njit(fastmath=_FAST, error_model="numpy")
def basis_weights(n, polynomials, fraction, weight):
    """Fill `weight[m, j]` with basis function k_j + m at the fraction of neighbour j."""
    order = polynomials.shape[0]
    for m in range(order):
        for j in range(n):
            weight[m, j] = polynomials[m, order - 1]
        for p in range(1, order):
            c = polynomials[m, order - 1 - p]
            for j in range(n):
                weight[m, j] = weight[m, j] * fraction[j] + c


@njit(fastmath=_FAST, error_model="numpy")
def basis_slopes(n, polynomials, table, fraction, inverse_r, factor, slope):
    """Fill `slope[m, j]` with d/dr of basis function k_j + m, 1/Å."""
    order = polynomials.shape[0]
    one = fraction.dtype.type(1.0)
    softness = fraction.dtype.type(table[SOFTNESS])
    inverse_spacing = fraction.dtype.type(table[INVERSE_SPACING])
    for j in range(n):
        factor[j] = inverse_spacing * _coordinate_slope(one / inverse_r[j], softness)
    for m in range(order):
        for j in range(n):
            slope[m, j] = (order - 1) * polynomials[m, order - 1]
        for p in range(1, order - 1):
            c = (order - 1 - p) * polynomials[m, order - 1 - p]
            for j in range(n):
                slope[m, j] = slope[m, j] * fraction[j] + c
        for j in range(n):
            slope[m, j] *= factor[j]


@njit(fastmath=_FAST, error_model="numpy")
def accumulate_moments(n, order, interval, weight, ex, ey, ez, moments):
    """Add Σ_j B_n(u_j) (1, r̂_j) to `moments`, (N, 4)."""
    one = ex.dtype.type(1.0)
    for j in range(n):
        unit = make_vector(one, ex[j], ey[j], ez[j])
        k = np.intp(interval[j])
        for m in range(order):
            store_row(moments, k + m, multiply_add(weight[m, j], unit, load_row(moments, k + m)))


@njit(fastmath=_FAST, error_model="numpy")
def contract_gradients(
    n, order, n_functions, interval, index, owner, weight, slope, own, others, value, change
):
    """Contract basis and slopes with Q of both atoms of each pair of one segment.

    Parameters
    ----------
    own : (N, 4)
        Q of the centre for the neighbours' type.
    others : ((n_atoms + 1)·N, 4)
        Q of every atom for the centre's type; the last N rows are zero.
    value, change : (capacity, 4)
        Filled: Σ_m B_m X_m and Σ_m B'_m X_m with X = Q^i + Q^j for component 0, Q^i − Q^j for 1…3.
    """
    nothing = own.dtype.type(0.0)
    zero = make_vector(nothing, nothing, nothing, nothing)
    for j in range(n):
        k = np.intp(interval[j])
        start = np.intp(owner[np.uint32(index[j])]) * n_functions + k
        v = zero
        s = zero
        for m in range(order):
            x = add_mirrored(load_row(own, k + m), load_row(others, start + m))
            v = multiply_add(weight[m, j], x, v)
            s = multiply_add(slope[m, j], x, s)
        store_row(value, j, v)
        store_row(change, j, s)


@njit(fastmath=_FAST, error_model="numpy")
def pair_gradients(n, ex, ey, ez, inverse_r, value, change):
    """Replace components 1…3 of `value` by g of each pair, eV/Å.

    g = [change_0 + Σ_c change_c r̂_c] r̂ + (P − (P·r̂) r̂)/r with P = value_1…3.
    """
    for j in range(n):
        x = ex[j]
        y = ey[j]
        z = ez[j]
        inverse = inverse_r[j]
        p1 = value[j, 1]
        p2 = value[j, 2]
        p3 = value[j, 3]
        radial = change[j, 0] + (change[j, 1] - p1 * inverse) * x
        radial += (change[j, 2] - p2 * inverse) * y + (change[j, 3] - p3 * inverse) * z
        value[j, 1] = radial * x + p1 * inverse
        value[j, 2] = radial * y + p2 * inverse
        value[j, 3] = radial * z + p3 * inverse


@njit(fastmath=_FAST, error_model="numpy")
def sum_forces(n, gradient, force):
    """Add g of every pair of one segment to the force on the centre, in float64."""
    fx = 0.0
    fy = 0.0
    fz = 0.0
    for j in range(n):
        fx += np.float64(gradient[j, 1])
        fy += np.float64(gradient[j, 2])
        fz += np.float64(gradient[j, 3])
    force[0] += fx
    force[1] += fy
    force[2] += fz


@njit(fastmath=_FAST, error_model="numpy")
def sum_virial(n, ex, ey, ez, inverse_r, gradient, virial):
    """Add the centre's half of the virial of one segment, Ξ −= ½ g ⊗ r, in float64."""
    for a in range(3):
        vx = 0.0
        vy = 0.0
        vz = 0.0
        for j in range(n):
            g = 0.5 * np.float64(gradient[j, 1 + a]) / np.float64(inverse_r[j])
            vx += g * np.float64(ex[j])
            vy += g * np.float64(ey[j])
            vz += g * np.float64(ez[j])
        virial[3 * a] -= vx
        virial[3 * a + 1] -= vy
        virial[3 * a + 2] -= vz
