"""One evaluation over threads: each takes its chunks forwards and backwards, and sums forces of its own."""

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
from fastdp.potential.compressed.sum_kernels import call_chunk_of_sums

# Columns of the table of chunks.
START, STOP, TYPE, CHUNK_COLUMNS = range(4)
# First index of the real numbers kept for each pair.
X, Y, Z, FRACTION, INVERSE_R, PAIR_REALS = range(6)
# First index of the integers kept for each pair.
INDEX, INTERVAL, PAIR_INTEGERS = range(3)

NO_CHUNK = -1
"""In place of a chunk: do nothing."""


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
):
    """Evaluate the atoms of one chunk; arguments as `evaluate_chunks`."""
    if chunk == NO_CHUNK:
        return
    n_types = type_table.shape[0]
    order = polynomials.shape[0]
    n_intervals = n_functions - order + 1
    columns = n_types * n_functions
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
    too_close[chunk] = -1
    clock = clocks[part]
    now = begin(clock)
    for a in range(n):
        i = lowest + a
        count = counts[part, a]
        index = integers[part, a, INDEX]
        interval = integers[part, a, INTERVAL]
        real = reals[part, a]
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
        now = lap(clock, NEIGHBOURS, now)
        per_atom = moments[a * 4 * stride : a * 4 * stride + columns * 4].reshape(n_types, n_functions, 4)
        per_atom[:, :, :] = 0.0
        for b in range(n_types):
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
            basis_weights(count[b], polynomials, real[FRACTION, b], weight)
            now = lap(clock, SPLINES, now)
            accumulate_moments(
                count[b], order, interval[b], weight, real[X, b], real[Y, b], real[Z, b], per_atom[b]
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
        columns_to_rows(columns, moments, a * 4 * stride, stride, q_of_atom)
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
):
    """Fill atomic energies, and add to the forces on every atom, each part with sums of its own.

    Which part takes a chunk is fixed by `bounds`, whatever thread runs it, so that the same number of parts
    gives the same bits.

    Parameters
    ----------
    bounds : (n_parts + 1,) int64
        Part p takes chunks bounds[p]:bounds[p + 1].
    chunks : (n_chunks, 3) int64
        First atom, one past the last, and their type.
    positions, owner, neighbours
        As in `VerletList`, rows grouped by `group_rows`.
    starts : (n_atoms, n_types + 1) int64
        Of the neighbours of each type.
    polynomials : (order, order) float32 or float64
        Of the basis, see `segment_polynomials`.
    pair_tables : (n_types, n_types, 4) float64
    type_table, layers, parameters
        Of the compressed model.
    bias : (n_types,) float64
        eV.
    counts : (n_parts, n_chunk, n_types) int64
        Scratch, as are the following: neighbours inside the cutoff, for each atom of a chunk.
    integers : (n_parts, n_chunk, 2, n_types, capacity) int32
    reals : (n_parts, n_chunk, 5, n_types, capacity)
    weights : (n_parts, 2·order + 1, capacity)
    gradients : (n_parts, capacity, 4)
    moment_buffer : (n_parts, n_padded·4·stride)
        The stride is n_types·N with room for whole panels of the matrix products.
    q_buffer : (n_parts, stride, 4)
    work_buffer : (n_parts, size)
    energies : (n_atoms,) float64
        Filled, eV.
    forces : (n_parts, n_rows, 4) float64
        Added to; components 1…3, eV/Å.
    virials : (n_chunks, 9) float64
        Filled, eV.
    too_close : (n_chunks,) int64
        Filled: an atom with a neighbour below the table, or −1.
    clocks : (n_parts, n_sections or 0) int64
        Cycles of each section are added, if there are columns.
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
                )
            )


@njit(parallel=True, cache=True, error_model="numpy")
def clear_forces(forces):
    """Set the sums of every part to zero, (n_parts, n_rows, 4)."""
    for part in prange(forces.shape[0]):
        forces[part] = 0.0


@njit(parallel=True, cache=True, error_model="numpy")
def add_forces(forces, total):
    """Add the sums of all parts, always in the same order, into `total`, (n_rows, 3) float64."""
    n_parts = forces.shape[0]
    n_rows = forces.shape[1]
    for block in prange(n_parts):
        for i in range(block * n_rows // n_parts, (block + 1) * n_rows // n_parts):
            x = forces[0, i, 1]
            y = forces[0, i, 2]
            z = forces[0, i, 3]
            for part in range(1, n_parts):
                x += forces[part, i, 1]
                y += forces[part, i, 2]
                z += forces[part, i, 3]
            total[i, 0] = x
            total[i, 1] = y
            total[i, 2] = z


def load_chunk_kernel(*arguments) -> None:
    """Compile the kernel that `evaluate_chunks` calls, or load it from its cache.

    Arguments as `evaluate_chunks` from `chunks` on. `load_network` and `load_sums` have to come before, and
    this before `evaluate_chunks` is first called with arguments of these types.
    """
    _chunk(NO_CHUNK, 0, *arguments)
    publish(_chunk)
