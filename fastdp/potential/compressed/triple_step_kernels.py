"""One evaluation over threads, as `step_kernels`, where the descriptor has a three-body part.

The moments of pairs come first, if there are any, those of triples behind them; the network takes both alike.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from fastdp.parallel.symbols import by_symbol, publish
from fastdp.potential.compressed.clock import (
    FORCES,
    MOMENTS,
    NEIGHBOURS,
    SLOPES,
    SPLINES,
    TRANSPOSITION,
    begin,
    lap,
)
from fastdp.potential.compressed.network_kernels import (
    NO_PRODUCT,
    PRODUCT,
    call_chunk_energy_and_gradient,
    padded_rows,
)
from fastdp.potential.compressed.pair_kernels import (
    SHORTEST_SQUARED,
    accumulate_moments,
    basis_weights,
    basis_weights_and_slopes,
    columns_to_rows,
    gather,
    scatter_gradients,
    spline_coordinates,
    sum_virial,
)
from fastdp.potential.compressed.step_kernels import (
    FRACTION,
    INDEX,
    INTERVAL,
    INVERSE_R,
    NO_CHUNK,
    START,
    STOP,
    TYPE,
    X,
    Y,
    Z,
)
from fastdp.potential.compressed.sum_kernels import call_chunk_of_sums
from fastdp.potential.compressed.triple_kernels import accumulate_triples, triple_gradients
from fastdp.potential.compressed.triple_neighbours import prepare_neighbours, scatter_triples


@njit(cache=True, error_model="numpy")
def _chunk(
    chunk,
    part,
    chunks,
    positions,
    owner,
    starts,
    neighbours,
    cutoff_squared,
    n_functions,
    polynomials,
    pair_tables,
    type_table,
    layers,
    parameters,
    bias,
    with_virial,
    counts,
    integers,
    reals,
    weights,
    gradients,
    moment_buffer,
    q_buffer,
    work_buffer,
    energies,
    forces,
    virials,
    too_close,
    clocks,
    switch,
    scales,
    triple_functions,
    triple_tables,
    kept_starts,
    kept_index,
    kept,
    by_rho,
    tiles,
    tile_integers,
    rows,
    copies,
):
    """Evaluate the atoms of one chunk; arguments as `evaluate_chunks`."""
    if chunk == NO_CHUNK:
        return
    n_types = type_table.shape[0]
    order = polynomials.shape[0]
    n_intervals = n_functions - order + 1
    of_pairs = n_types * n_functions
    columns = of_pairs + triple_tables.shape[1] * triple_functions
    lowest = chunks[chunk, START]
    n = chunks[chunk, STOP] - lowest
    alpha = chunks[chunk, TYPE]
    stride = q_buffer.shape[1]
    q_of_atom = q_buffer[part]
    moments = moment_buffer[part, : padded_rows(n) * 4 * stride]
    weight = weights[part, :order]
    slope = weights[part, order : 2 * order]
    factor = weights[part, 2 * order]
    gradient = gradients[part]
    tile = tiles[part]
    interval_of = tile_integers[part]
    too_close[chunk] = -1
    clock = clocks[part]
    now = begin(clock)
    for a in range(n):
        i = lowest + a
        count = counts[part, a]
        index = integers[part, a, INDEX]
        interval = integers[part, a, INTERVAL]
        real = reals[part, a]
        mine = kept[part, a]
        mine_starts = kept_starts[part, a]
        now = lap(clock, NEIGHBOURS, now)
        per_atom = moments[a * 4 * stride : a * 4 * stride + columns * 4].reshape(columns, 4)
        per_atom[:of_pairs, :] = 0.0
        at = 0
        for b in range(n_types):
            count[b] = gather(
                neighbours[starts[i, b] : starts[i, b + 1]],
                positions,
                i,
                cutoff_squared,
                index[b],
                real[X, b],
                real[Y, b],
                real[Z, b],
            )
            table = pair_tables[alpha, b]
            nearest = spline_coordinates(
                count[b],
                n_intervals,
                table,
                real[X, b],
                real[Y, b],
                real[Z, b],
                interval[b],
                real[FRACTION, b],
                real[INVERSE_R, b],
            )
            if nearest < table[SHORTEST_SQUARED]:
                too_close[chunk] = i
            mine_starts[b] = at
            at = prepare_neighbours(
                at,
                count[b],
                index[b],
                real[X, b],
                real[Y, b],
                real[Z, b],
                real[INVERSE_R, b],
                switch,
                scales[alpha, b],
                mine,
                kept_index[part, a],
            )
            now = lap(clock, SPLINES, now)
            if n_functions > 0:
                basis_weights(count[b], polynomials, real[FRACTION, b], weight)
                accumulate_moments(
                    count[b],
                    order,
                    interval[b],
                    weight,
                    real[X, b],
                    real[Y, b],
                    real[Z, b],
                    per_atom[b * n_functions : (b + 1) * n_functions],
                )
            now = lap(clock, MOMENTS, now)
        mine_starts[n_types] = at
        accumulate_triples(
            mine_starts,
            triple_functions,
            polynomials,
            triple_tables[alpha],
            mine,
            tile,
            interval_of,
            weight,
            rows[part],
            copies[part],
            per_atom[of_pairs:],
        )
        now = lap(clock, MOMENTS, now)
    network_arguments = (
        n,
        alpha,
        type_table,
        layers,
        parameters,
        columns,
        moments,
        work_buffer[part],
        energies[lowest : lowest + n],
        clock,
    )
    if type_table[alpha, PRODUCT] == NO_PRODUCT:
        call_chunk_of_sums(network_arguments)
    else:
        call_chunk_energy_and_gradient(network_arguments)
    virials[chunk, :] = 0.0
    now = begin(clock)
    for a in range(n):
        i = lowest + a
        energies[i] += bias[alpha]
        first = a * 4 * stride
        if n_functions > 0:
            columns_to_rows(of_pairs, moments, first, stride, q_of_atom)
            now = lap(clock, TRANSPOSITION, now)
            real = reals[part, a]
            for b in range(n_types):
                m = counts[part, a, b]
                basis_weights_and_slopes(
                    m,
                    polynomials,
                    pair_tables[alpha, b],
                    real[FRACTION, b],
                    real[INVERSE_R, b],
                    factor,
                    weight,
                    slope,
                )
                now = lap(clock, SLOPES, now)
                scatter_gradients(
                    m,
                    order,
                    integers[part, a, INTERVAL, b],
                    integers[part, a, INDEX, b],
                    owner,
                    weight,
                    slope,
                    real[X, b],
                    real[Y, b],
                    real[Z, b],
                    real[INVERSE_R, b],
                    q_of_atom[b * n_functions : (b + 1) * n_functions],
                    i,
                    forces[part],
                    gradient,
                )
                if with_virial:
                    sum_virial(
                        m, real[X, b], real[Y, b], real[Z, b], real[INVERSE_R, b], gradient, virials[chunk]
                    )
                now = lap(clock, FORCES, now)
        triple_gradients(
            kept_starts[part, a],
            triple_functions,
            polynomials,
            triple_tables[alpha],
            kept[part, a],
            tile,
            interval_of,
            weight,
            slope,
            rows[part],
            moments[first + of_pairs : first + columns],
            by_rho[part],
        )
        now = lap(clock, SLOPES, now)
        scatter_triples(
            kept_starts[part, a, n_types],
            kept[part, a],
            kept_index[part, a],
            by_rho[part],
            owner,
            i,
            forces[part],
            with_virial,
            virials[chunk],
        )
        now = lap(clock, FORCES, now)


_call_chunk = by_symbol(_chunk)


@njit(parallel=True, cache=True, error_model="numpy")
def evaluate_chunks(
    bounds,
    chunks,
    positions,
    owner,
    starts,
    neighbours,
    cutoff_squared,
    n_functions,
    polynomials,
    pair_tables,
    type_table,
    layers,
    parameters,
    bias,
    with_virial,
    counts,
    integers,
    reals,
    weights,
    gradients,
    moment_buffer,
    q_buffer,
    work_buffer,
    energies,
    forces,
    virials,
    too_close,
    clocks,
    switch,
    scales,
    triple_functions,
    triple_tables,
    kept_starts,
    kept_index,
    kept,
    by_rho,
    tiles,
    tile_integers,
    rows,
    copies,
):
    """Fill atomic energies, and add to the forces on every atom, each part with sums of its own.

    Parameters
    ----------
    bounds … clocks
        As `step_kernels.evaluate_chunks`; `n_functions` may be 0, where there are triples only.
    switch : (SWITCH_COLUMNS,) float64
    scales : (n_types, n_types) float64
        1/σ, 0 for a neighbour that does not count.
    triple_functions : int
        N of each pair of neighbours' types.
    triple_tables : (n_types, n_pairs, TRIPLE_COLUMNS) float64
    kept_starts : (n_parts, n_chunk, n_types + 1) int64
        Scratch, as are the following.
    kept_index : (n_parts, n_chunk, capacity) int32
    kept : (n_parts, n_chunk, TRIPLE_REALS, capacity)
    by_rho : (n_parts, 3, capacity)
    tiles : (n_parts, TILE_REALS, TILE)
    tile_integers : (n_parts, TILE) int32
    rows : (n_parts, TILE, 3) int64
    copies : (n_parts, COPIES·N)
    """
    for part in prange(bounds.shape[0] - 1):
        for chunk in range(bounds[part], bounds[part + 1]):
            _call_chunk(
                (
                    np.int64(chunk),
                    np.int64(part),
                    chunks,
                    positions,
                    owner,
                    starts,
                    neighbours,
                    cutoff_squared,
                    n_functions,
                    polynomials,
                    pair_tables,
                    type_table,
                    layers,
                    parameters,
                    bias,
                    with_virial,
                    counts,
                    integers,
                    reals,
                    weights,
                    gradients,
                    moment_buffer,
                    q_buffer,
                    work_buffer,
                    energies,
                    forces,
                    virials,
                    too_close,
                    clocks,
                    switch,
                    scales,
                    triple_functions,
                    triple_tables,
                    kept_starts,
                    kept_index,
                    kept,
                    by_rho,
                    tiles,
                    tile_integers,
                    rows,
                    copies,
                )
            )


def load_chunk_kernel(*arguments) -> None:
    """Compile the kernel that `evaluate_chunks` calls, as `step_kernels.load_chunk_kernel`."""
    _chunk(NO_CHUNK, 0, *arguments)
    publish(_chunk)
