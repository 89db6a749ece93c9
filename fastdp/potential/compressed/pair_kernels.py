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
from fastdp.potential.compressed.simd import (
    add,
    load_row,
    make_vector,
    multiply,
    multiply_add,
    store_row,
    subtract,
    sum_lanes,
    widen,
)

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
def scatter_gradients(
    n, order, interval, index, owner, weight, slope, ex, ey, ez, inverse_r, q, centre, forces, gradient
):
    """Add the forces that the energy of one atom makes, over the pairs of one segment.

    With v = Σ_m B_m Q_m and s = Σ_m B'_m Q_m, the gradient ∂E_i/∂r_j of a pair is
    g = [s_0 + Σ_c (s_c − v_c/r) r̂_c] r̂ + v_c/r, c = 1…3: added to the force on the centre, taken from
    that on the neighbour.

    Parameters
    ----------
    q : (N, 4)
        ∂E_i/∂M of the centre for the neighbours' type.
    centre : int
    forces : (n_rows, 4) float64
        The sums of one thread, components 1…3, eV/Å. Component 0 is not used.
    gradient : (capacity, 4)
        Filled: g in components 1…3.
    """
    one = q.dtype.type(1.0)
    nothing = q.dtype.type(0.0)
    zero = make_vector(nothing, nothing, nothing, nothing)
    total = widen(zero)
    for j in range(n):
        k = np.intp(interval[j])
        v = zero
        s = zero
        for m in range(order):
            x = load_row(q, k + m)
            v = multiply_add(weight[m, j], x, v)
            s = multiply_add(slope[m, j], x, s)
        # Component 0 of the first factor is set to 1, so that of v must not count.
        unit = make_vector(one, ex[j], ey[j], ez[j])
        transverse = multiply(make_vector(nothing, inverse_r[j], inverse_r[j], inverse_r[j]), v)
        radial = sum_lanes(multiply(subtract(s, transverse), unit))
        g = multiply_add(radial, unit, transverse)
        store_row(gradient, j, g)
        g = widen(g)
        row = np.intp(owner[np.uint32(index[j])])
        store_row(forces, row, subtract(load_row(forces, row), g))
        total = add(total, g)
    store_row(forces, centre, add(load_row(forces, centre), total))


@njit(fastmath=_FAST, error_model="numpy")
def sum_virial(n, ex, ey, ez, inverse_r, gradient, virial):
    """Add the virial of the pairs of one segment, Ξ −= g ⊗ r, in float64."""
    for a in range(3):
        vx = 0.0
        vy = 0.0
        vz = 0.0
        for j in range(n):
            g = np.float64(gradient[j, 1 + a]) / np.float64(inverse_r[j])
            vx += g * np.float64(ex[j])
            vy += g * np.float64(ey[j])
            vz += g * np.float64(ez[j])
        virial[3 * a] -= vx
        virial[3 * a + 1] -= vy
        virial[3 * a + 2] -= vz
