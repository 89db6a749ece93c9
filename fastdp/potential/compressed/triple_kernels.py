"""Loops over pairs of neighbours of one atom: three-body moments forwards, forces backwards.

M_n = Σ_jk E_jk B_n(u(E_jk)) over neighbours j of one type and k of another, and every two of one type once,
with weight 2. Scalar products are taken in tiles that stay in the first cache: (1) E of the rows j of the
tile; (2) branch-free loops over them; (3) the degree + 1 moments, or numbers of Q, that each touches. They
are formed again on the way back: that is cheaper than keeping them for a chunk of atoms.
"""

from __future__ import annotations

import math

import numpy as np

from fastdp.parallel.symbols import inner
from fastdp.potential.compressed.pair_kernels import (
    DEGREE,
    ORDER,
    basis_weights,
    basis_weights_with_factor,
)
from fastdp.potential.compressed.simd import add, load_row, make_vector, multiply_add, store_row
from fastdp.potential.compressed.triple_neighbours import RHO_X, RHO_Y, RHO_Z

_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}

TILE = 256
"""Scalar products at once."""

COPIES = 4
"""Of the moments of one pair of types: products in a row often add to the same ones, and must not wait."""

# Numbers of the table of a pair of neighbours' types.
SOFTNESS_SQUARED, TRIPLE_ORIGIN, TRIPLE_INVERSE_SPACING, TRIPLE_COLUMNS = range(4)
# First index of the buffers of a tile.
PRODUCT, FRACTION, FACTOR, MULTIPLICITY, RESULT, TILE_REALS = range(6)


@inner(fastmath=_FAST, error_model="numpy")
def _row(n, x, y, z, rho_x, rho_y, rho_z, product):
    """Fill ρ_j·ρ_k for `n` neighbours k."""
    for i in range(n):
        product[i] = x * rho_x[i] + y * rho_y[i] + z * rho_z[i]


@inner(fastmath=_FAST, error_model="numpy")
def _fill(j, k, stop_j, start_k, stop_k, same, kept, product, multiplicity, rows):
    """Fill a tile with rows from (j, k) on; return number of products and of rows, and where to go on.

    `rows[i]` is (j, first k, number) of each row, or part of one.
    """
    one, two = product.dtype.type(1.0), product.dtype.type(2.0)
    n = 0
    n_rows = 0
    while j < stop_j and n < TILE:
        take = min(stop_k - k, TILE - n)
        _row(
            take,
            kept[RHO_X, j],
            kept[RHO_Y, j],
            kept[RHO_Z, j],
            kept[RHO_X, k : k + take],
            kept[RHO_Y, k : k + take],
            kept[RHO_Z, k : k + take],
            product[n : n + take],
        )
        multiplicity[n : n + take] = two if same else one
        if same and k == j:
            multiplicity[n] = one
        rows[n_rows, 0] = j
        rows[n_rows, 1] = k
        rows[n_rows, 2] = take
        n_rows += 1
        n += take
        k += take
        if k == stop_k:
            j += 1
            k = j if same else start_k
    return n, n_rows, j, k


@inner(fastmath=_FAST, error_model="numpy")
def _coordinates(n, n_intervals, table, product, fraction, factor, interval):
    """Find interval and fraction of each product, and d(fraction)/dE."""
    softness = product.dtype.type(table[SOFTNESS_SQUARED])
    origin = product.dtype.type(table[TRIPLE_ORIGIN])
    inverse_spacing = product.dtype.type(table[TRIPLE_INVERSE_SPACING])
    one, half = product.dtype.type(1.0), product.dtype.type(0.5)
    top = np.int32(n_intervals - 1)
    for i in range(n):
        square = product[i] * product[i]
        inverse = one / math.sqrt(square + softness)
        root = math.sqrt(inverse)
        fraction[i] = (product[i] * root - origin) * inverse_spacing
        factor[i] = (one - half * square * inverse * inverse) * root * inverse_spacing
    for i in range(n):
        place = np.int32(fraction[i])
        place = place if place > 0 else np.int32(0)
        place = place if place < top else top
        interval[i] = place
        fraction[i] -= product.dtype.type(place)


@inner(fastmath=_FAST, error_model="numpy")
def _next_tile(j, k, a, b, starts, n_functions, table, kept, tile, interval, rows):
    """Fill a tile with products of neighbours of types a and b from (j, k) on; return as `_fill`."""
    n, n_rows, j, k = _fill(
        j,
        k,
        starts[a + 1],
        starts[b],
        starts[b + 1],
        a == b,
        kept,
        tile[PRODUCT],
        tile[MULTIPLICITY],
        rows,
    )
    _coordinates(n, n_functions - DEGREE, table, tile[PRODUCT], tile[FRACTION], tile[FACTOR], interval)
    return n, n_rows, j, k


@inner(fastmath=_FAST, error_model="numpy")
def _accumulate(n, n_functions, interval, weight, product, multiplicity, moments):
    for i in range(n):
        place = (i % COPIES) * n_functions + np.intp(interval[i])
        value = product[i] * multiplicity[i]
        for m in range(ORDER):
            moments[place + m] += value * weight[m, i]


@inner(fastmath=_FAST, error_model="numpy")
def _contract(n, interval, weight, slope, product, multiplicity, q, result):
    for i in range(n):
        place = np.intp(interval[i])
        v = q.dtype.type(0.0)
        s = q.dtype.type(0.0)
        for m in range(ORDER):
            v += q[place + m] * weight[m, i]
            s += q[place + m] * slope[m, i]
        result[i] = multiplicity[i] * (v + product[i] * s)


@inner(fastmath=_FAST, error_model="numpy")
def accumulate_triples(
    starts, n_functions, polynomials, tables, kept, tile, interval, weights, rows, copies, moments
):
    """Fill the three-body moments of one atom.

    Parameters
    ----------
    starts : (n_types + 1,) int64
        Neighbours of each type in `kept`.
    n_functions : int
    polynomials : (order, order)
    tables : (n_pairs, TRIPLE_COLUMNS) float64
        Of the centre's type.
    kept : (TRIPLE_REALS, capacity)
    tile, interval, weights, rows, copies
        Scratch.
    moments : (n_pairs·N, 4)
        Component 0 is filled; nothing reads the others.
    """
    n_types = starts.shape[0] - 1
    pair = 0
    for a in range(n_types):
        for b in range(a, n_types):
            j = starts[a]
            k = starts[b]
            copies[:] = 0.0
            while j < starts[a + 1] and starts[b] < starts[b + 1]:
                n, _, j, k = _next_tile(
                    j, k, a, b, starts, n_functions, tables[pair], kept, tile, interval, rows
                )
                basis_weights(n, polynomials, tile[FRACTION], weights)
                _accumulate(n, n_functions, interval, weights, tile[PRODUCT], tile[MULTIPLICITY], copies)
            for m in range(n_functions):
                total = copies[m]
                for copy in range(1, COPIES):
                    total += copies[copy * n_functions + m]
                moments[pair * n_functions + m, 0] = total
            pair += 1


@inner(fastmath=_FAST, error_model="numpy")
def _both_ways(n, j, k, d, rho, by_rho):
    """Add d_k ρ_k to the gradient by ρ_j, and d_k ρ_j to that by ρ_k, for n neighbours from k on."""
    mine = load_row(rho, j)
    nothing = rho.dtype.type(0.0)
    total = make_vector(nothing, nothing, nothing, nothing)
    for i in range(n):
        total = multiply_add(d[i], load_row(rho, k + i), total)
        store_row(by_rho, k + i, multiply_add(d[i], mine, load_row(by_rho, k + i)))
    store_row(by_rho, j, add(load_row(by_rho, j), total))


@inner(fastmath=_FAST, error_model="numpy")
def triple_gradients(
    starts, n_functions, polynomials, tables, kept, tile, interval, weights, slopes, rows, q, rho, by_rho
):
    """Fill ∂E_i/∂ρ of the neighbours of one atom.

    Parameters
    ----------
    starts, n_functions, polynomials, tables, kept
        As `accumulate_triples`.
    tile, interval, weights, slopes, rows
        Scratch.
    q : (n_pairs·N,)
        ∂E_i/∂M.
    rho : (capacity, 4)
        Scratch.
    by_rho : (capacity, 4)
        Filled, components 1…3.
    """
    n_types = starts.shape[0] - 1
    nothing = q.dtype.type(0.0)
    for p in range(starts[n_types]):
        store_row(rho, p, make_vector(nothing, kept[RHO_X, p], kept[RHO_Y, p], kept[RHO_Z, p]))
        store_row(by_rho, p, make_vector(nothing, nothing, nothing, nothing))
    pair = 0
    for a in range(n_types):
        for b in range(a, n_types):
            j = starts[a]
            k = starts[b]
            mine = q[pair * n_functions : (pair + 1) * n_functions]
            while j < starts[a + 1] and starts[b] < starts[b + 1]:
                n, n_rows, j, k = _next_tile(
                    j, k, a, b, starts, n_functions, tables[pair], kept, tile, interval, rows
                )
                basis_weights_with_factor(n, polynomials, tile[FRACTION], tile[FACTOR], weights, slopes)
                _contract(n, interval, weights, slopes, tile[PRODUCT], tile[MULTIPLICITY], mine, tile[RESULT])
                at = 0
                for row in range(n_rows):
                    take = rows[row, 2]
                    _both_ways(take, rows[row, 0], rows[row, 1], tile[RESULT, at : at + take], rho, by_rho)
                    at += take
            pair += 1
