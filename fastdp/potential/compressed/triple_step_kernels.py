"""One evaluation over threads, as `step_kernels`, where the descriptor has a three-body part.

The moments of pairs come first, if there are any, those of triples behind them; the network takes both alike.
"""

from __future__ import annotations

from fastdp.parallel.symbols import call_at, inner, load
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
from fastdp.potential.compressed.network_kernels import NETWORK, padded_rows
from fastdp.potential.compressed.pair_kernels import (
    DEGREE,
    ORDER,
    SHORTEST_SQUARED,
    accumulate_moments,
    basis_weights,
    columns_to_rows,
    gather,
    spline_coordinates,
)
from fastdp.potential.compressed.step_kernels import (
    ADD,
    EVALUATE_FIRST,
    FRACTION,
    INDEX,
    INTERVAL,
    INVERSE_R,
    START,
    STOP,
    TYPE,
    X,
    Y,
    Z,
    add_pair_forces,
    add_part,
)
from fastdp.potential.compressed.triple_kernels import accumulate_triples, triple_gradients
from fastdp.potential.compressed.triple_neighbours import prepare_neighbours, scatter_triples


@inner(cache=True, error_model="numpy")
def _part(
    task,
    part,
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
    shares,
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
    part_forces,
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
    rho_rows,
    by_rho,
    tiles,
    tile_integers,
    rows,
    copies,
):
    """Do what one part has to do, as `step_kernels._part`.

    Parameters
    ----------
    task … clocks
        As `step_kernels._part`; `n_functions` may be 0, where there are triples only.
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
    rho_rows, by_rho : (n_parts, capacity, 4)
    tiles : (n_parts, TILE_REALS, TILE)
    tile_integers : (n_parts, TILE) int32
    rows : (n_parts, TILE, 3) int64
    copies : (n_parts, COPIES·N)
    """
    if task == ADD:
        add_part(part, part_forces, forces)
        return
    if task == EVALUATE_FIRST:
        part_forces[part, :, :] = 0.0
    shared = shares.shape[0] > 0
    n_types = type_table.shape[0]
    n_intervals = n_functions - DEGREE
    of_pairs = n_types * n_functions
    columns = of_pairs + triple_tables.shape[1] * triple_functions
    stride = q_buffer.shape[1]
    q_of_atom = q_buffer[part]
    weight = weights[part, :ORDER]
    slope = weights[part, ORDER : 2 * ORDER]
    tile = tiles[part]
    tile_interval = tile_integers[part]
    clock = clocks[part]
    for chunk in range(bounds[part], bounds[part + 1]):
        lowest = chunks[chunk, START]
        n = chunks[chunk, STOP] - lowest
        alpha = chunks[chunk, TYPE]
        moments = moment_buffer[part, : padded_rows(n) * 4 * stride]
        too_close[chunk] = -1
        now = begin(clock)
        for a in range(n):
            i = lowest + a
            count = counts[part, a]
            index = integers[part, a, INDEX]
            interval = integers[part, a, INTERVAL]
            real = reals[part, a]
            mine = kept[part, a]
            mine_starts = kept_starts[part, a]
            per_atom = moments[a * 4 * stride : a * 4 * stride + columns * 4].reshape(columns, 4)
            per_atom[:of_pairs, :] = 0.0
            at = 0
            for b in range(n_types):
                last = starts[i, b] if shared and shares[i] == 0.0 else starts[i, b + 1]
                count[b] = gather(
                    neighbours[starts[i, b] : last],
                    positions,
                    i,
                    cutoff_squared,
                    index[b],
                    real[X, b],
                    real[Y, b],
                    real[Z, b],
                )
                now = lap(clock, NEIGHBOURS, now)
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
                    now = lap(clock, SPLINES, now)
                    accumulate_moments(
                        count[b],
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
                tile_interval,
                weight,
                rows[part],
                copies[part],
                per_atom[of_pairs:],
            )
            now = lap(clock, MOMENTS, now)
        call_at(
            type_table[alpha, NETWORK],
            (
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
            ),
        )
        virials[chunk, :] = 0.0
        now = begin(clock)
        for a in range(n):
            i = lowest + a
            energies[i] += bias[alpha]
            first = a * 4 * stride
            if shared and shares[i] != 1.0:
                # Gradients are linear in ∂E_i/∂M.
                share = moments.dtype.type(shares[i])
                for p in range(first, first + 4 * stride):
                    moments[p] *= share
            if n_functions > 0:
                columns_to_rows(of_pairs, moments, first, stride, q_of_atom)
                now = lap(clock, TRANSPOSITION, now)
                add_pair_forces(
                    i,
                    counts[part, a],
                    integers[part, a],
                    reals[part, a],
                    owner,
                    polynomials,
                    pair_tables[alpha],
                    n_functions,
                    q_of_atom,
                    weights[part],
                    part_forces[part],
                    gradients[part],
                    with_virial,
                    virials[chunk],
                    clock,
                )
                now = begin(clock)
            triple_gradients(
                kept_starts[part, a],
                triple_functions,
                polynomials,
                triple_tables[alpha],
                kept[part, a],
                tile,
                tile_interval,
                weight,
                slope,
                rows[part],
                moments[first + of_pairs : first + columns],
                rho_rows[part],
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
                part_forces[part],
                with_virial,
                virials[chunk],
            )
            now = lap(clock, FORCES, now)


def load_step_kernel(*arguments) -> int:
    """Compile the kernel for `run_parts`, or load it, as `step_kernels.load_step_kernel`."""
    return load(_part, 0, 0, *arguments)
