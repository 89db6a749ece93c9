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

from fastdp.parallel.symbols import inner, outer
from fastdp.potential.compressed import scalar
from fastdp.potential.compressed.simd import (
    BLOCK,
    ROW,
    add,
    load_block,
    load_four,
    load_row,
    make_block,
    make_vector,
    multiply,
    multiply_add,
    multiply_add_lanes,
    store_block,
    store_row,
    store_transposed,
    subtract,
    sum_lanes,
    widen,
)

_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
_coordinate = njit(fastmath=_FAST, inline="always")(scalar.radial_coordinate)
_coordinate_slope = njit(fastmath=_FAST, inline="always")(scalar.radial_coordinate_slope)

DEGREE = 5
"""Of the splines: cubic ones need twice as many functions at 1e-5 eV/Å, see benchmarks/NOTES.md."""

ORDER = DEGREE + 1
"""Basis functions that a neighbour touches. A constant: sums stay in registers, which halves the time."""

# Rows of the table of a pair of types.
SHORTEST_SQUARED, SOFTNESS, ORIGIN, INVERSE_SPACING, PAIR_COLUMNS = range(5)


@outer(cache=True, error_model="numpy")
def group_rows(first, neighbours, types, starts, spare):
    """Sort every row of a neighbour list by type, keeping the order within a type.

    Parameters
    ----------
    first : (n_atoms + 1,) int64
    neighbours : (capacity,) int32
        Sorted in place.
    types : (n_extended,) int32
    starts : (n_atoms, n_types + 1) int64
        Filled: the neighbours of type b of atom i are neighbours[starts[i, b]:starts[i, b + 1]].
    spare : (longest row,) int32
        Scratch.
    """
    n_types = starts.shape[1] - 1
    for i in range(first.shape[0] - 1):
        row = neighbours[first[i] : first[i + 1]]
        n = row.shape[0]
        place = 0
        for b in range(n_types):
            starts[i, b] = first[i] + place
            for p in range(n):
                # Written always, kept if of this type: no branch to mispredict.
                spare[place] = row[p]
                place += types[row[p]] == b
        starts[i, n_types] = first[i] + place
        for p in range(n):
            row[p] = spare[p]


@inner(fastmath=_FAST, error_model="numpy")
def gather(row, positions, centre, cutoff_squared, index, dx, dy, dz):
    """Collect the neighbours of one atom and one type that lie inside the cutoff.

    Parameters
    ----------
    row : (n_listed,) int32
        Neighbours as the list has them, indices into `positions`.
    positions : (n_extended, 3) float64
        Å.
    centre : int
    cutoff_squared : float
        Å².
    index : (capacity,) int32
        Filled: which.
    dx, dy, dz : (capacity,) float32 or float64
        Filled: components of r_j − r_i, formed in float64, Å.

    Returns
    -------
    int
        How many.
    """
    x = positions[centre, 0]
    y = positions[centre, 1]
    z = positions[centre, 2]
    k = np.uint64(0)
    for p in range(row.shape[0]):
        j = np.uint32(row[p])
        ex = positions[j, 0] - x
        ey = positions[j, 1] - y
        ez = positions[j, 2] - z
        dx[k] = ex
        dy[k] = ey
        dz[k] = ez
        index[k] = j
        # Written always, kept only if inside: a branch would be mispredicted at every fourth pair.
        k += np.uint64(ex * ex + ey * ey + ez * ez < cutoff_squared)
    return np.int64(k)


@inner(fastmath=True)
def _smallest(n, values):
    """Return the smallest of the first n values, or infinity."""
    smallest = np.inf
    for j in range(n):
        smallest = min(smallest, values[j])
    return smallest


@inner(fastmath=_FAST, error_model="numpy")
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


@inner(fastmath=_FAST, error_model="numpy")
def basis_weights(n, polynomials, fraction, weight):
    """Fill `weight[m, j]` with basis function k_j + m at the fraction of neighbour j."""
    for j in range(0, n, BLOCK):
        t = load_block(fraction, j)
        for m in range(ORDER):
            value = make_block(polynomials[m, ORDER - 1])
            for p in range(1, ORDER):
                value = multiply_add_lanes(value, t, make_block(polynomials[m, ORDER - 1 - p]))
            store_block(weight[m], j, value)


@inner(fastmath=_FAST, error_model="numpy")
def basis_weights_and_slopes(n, polynomials, table, fraction, inverse_r, factor, weight, slope):
    """Fill `weight[m, j]` as `basis_weights` and `slope[m, j]` with its d/dr, 1/Å; `factor` is scratch."""
    one = fraction.dtype.type(1.0)
    softness = fraction.dtype.type(table[SOFTNESS])
    inverse_spacing = fraction.dtype.type(table[INVERSE_SPACING])
    for j in range(n):
        factor[j] = inverse_spacing * _coordinate_slope(one / inverse_r[j], softness)
    basis_weights_with_factor(n, polynomials, fraction, factor, weight, slope)


@inner(fastmath=_FAST, error_model="numpy")
def basis_weights_with_factor(n, polynomials, fraction, factor, weight, slope):
    """Fill `weight[m, j]` as `basis_weights` and `slope[m, j]` with its derivative times `factor[j]`."""
    for j in range(0, n, BLOCK):
        t = load_block(fraction, j)
        scale = load_block(factor, j)
        for m in range(ORDER):
            value = make_block(polynomials[m, ORDER - 1])
            change = value
            for p in range(1, ORDER):
                value = multiply_add_lanes(value, t, make_block(polynomials[m, ORDER - 1 - p]))
                if p < ORDER - 1:
                    # Horner's rule for the derivative alongside: p' ← p' t + p.
                    change = multiply_add_lanes(change, t, value)
            store_block(weight[m], j, value)
            store_block(slope[m], j, multiply(change, scale))


@inner(fastmath=_FAST, error_model="numpy")
def accumulate_moments(n, interval, weight, ex, ey, ez, moments):
    """Add Σ_j B_n(u_j) (1, r̂_j) to `moments`, (N, 4)."""
    one = ex.dtype.type(1.0)
    for j in range(n):
        unit = make_vector(one, ex[j], ey[j], ez[j])
        k = np.intp(interval[j])
        for m in range(ORDER):
            store_row(moments, k + m, multiply_add(weight[m, j], unit, load_row(moments, k + m)))


@inner(fastmath=_FAST, error_model="numpy")
def columns_to_rows(n, columns, at, stride, rows):
    """Write the transpose of the (4, n) matrix that begins at `at` in a flat array into `rows`, (≥ n, 4)."""
    for p in range(0, n, ROW):
        store_transposed(
            rows,
            p,
            load_four(columns, at + p),
            load_four(columns, at + stride + p),
            load_four(columns, at + 2 * stride + p),
            load_four(columns, at + 3 * stride + p),
        )


@inner(fastmath=_FAST, error_model="numpy")
def scatter_gradients(
    n, interval, index, owner, weight, slope, ex, ey, ez, inverse_r, q, centre, forces, gradient
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
        for m in range(ORDER):
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


@inner(fastmath=_FAST, error_model="numpy")
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
