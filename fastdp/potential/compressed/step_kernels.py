"""One evaluation: all chunks forwards and backwards, then all forces, over threads."""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, njit, prange

from fastdp.parallel.symbols import by_symbol, publish
from fastdp.potential.compressed.network_kernels import chunk_energy_and_gradient
from fastdp.potential.compressed.pair_kernels import (
    SHORTEST_SQUARED,
    accumulate_moments,
    basis_slopes,
    basis_weights,
    contract_gradients,
    gather,
    pair_gradients,
    spline_coordinates,
    sum_forces,
    sum_virial,
)

# Columns of the table of chunks.
START, STOP, TYPE, CHUNK_COLUMNS = range(4)

NO_CHUNK = -1
"""In place of a chunk: do nothing."""


@njit(cache=True, error_model="numpy")
def _centres_of_chunk(
    chunk,
    thread,
    chunks,
    positions,
    types,
    first,
    neighbours,
    cutoff_squared,
    n_functions,
    polynomials,
    pair_tables,
    type_table,
    layers,
    parameters,
    bias,
    count_buffer,
    index_buffer,
    real_buffer,
    moment_buffer,
    work_buffer,
    q_by_type,
    energies,
    too_close,
):
    """Fill atomic energies and Q = ∂E_i/∂M for the atoms of one chunk; arguments as `evaluate_centres`."""
    n_types = type_table.shape[0]
    order = polynomials.shape[0]
    n_intervals = n_functions - order + 1
    if chunk == NO_CHUNK:
        return
    columns = n_types * n_functions
    start = chunks[chunk, START]
    n = chunks[chunk, STOP] - start
    alpha = chunks[chunk, TYPE]
    index = index_buffer[thread, 0]
    interval = index_buffer[thread, 1]
    real = real_buffer[thread]
    count = count_buffer[thread]
    per_atom = moment_buffer[thread, : columns * 4].reshape(n_types, n_functions, 4)
    moments = moment_buffer[thread, columns * 4 : columns * 4 * (n + 1)].reshape(4, n, columns)
    too_close[chunk] = -1
    for a in range(n):
        i = start + a
        gather(
            neighbours[first[i] : first[i + 1]],
            positions,
            types,
            i,
            cutoff_squared,
            count,
            index,
            real[0],
            real[1],
            real[2],
        )
        per_atom[:, :, :] = 0.0
        for b in range(n_types):
            table = pair_tables[alpha, b]
            nearest = spline_coordinates(
                count[b],
                n_intervals,
                table,
                real[0, b],
                real[1, b],
                real[2, b],
                interval[b],
                real[3, b],
                real[4, b],
            )
            if nearest < table[SHORTEST_SQUARED]:
                too_close[chunk] = i
            weight = real[5:, b]
            basis_weights(count[b], polynomials, real[3, b], weight)
            accumulate_moments(
                count[b], order, interval[b], weight, real[0, b], real[1, b], real[2, b], per_atom[b]
            )
        flat = per_atom.reshape(columns, 4)
        for p in range(columns):
            moments[0, a, p] = flat[p, 0]
            moments[1, a, p] = flat[p, 1]
            moments[2, a, p] = flat[p, 2]
            moments[3, a, p] = flat[p, 3]
    chunk_energy_and_gradient(
        n,
        alpha,
        type_table,
        layers,
        parameters,
        moments,
        work_buffer[thread],
        energies[start : start + n],
    )
    for a in range(n):
        energies[start + a] += bias[alpha]
        for b in range(n_types):
            q = q_by_type[b, start + a]
            for p in range(n_functions):
                q[p, 0] = moments[0, a, b * n_functions + p]
                q[p, 1] = moments[1, a, b * n_functions + p]
                q[p, 2] = moments[2, a, b * n_functions + p]
                q[p, 3] = moments[3, a, b * n_functions + p]


_call_centres = by_symbol(_centres_of_chunk)


@njit(parallel=True, cache=True, error_model="numpy")
def evaluate_centres(
    chunks,
    positions,
    types,
    first,
    neighbours,
    cutoff_squared,
    n_functions,
    polynomials,
    pair_tables,
    type_table,
    layers,
    parameters,
    bias,
    count_buffer,
    index_buffer,
    real_buffer,
    moment_buffer,
    work_buffer,
    q_by_type,
    energies,
    too_close,
):
    """Fill atomic energies and Q = ∂E_i/∂M for every atom.

    Parameters
    ----------
    chunks : (n_chunks, 3) int64
        First atom, one past the last, and their type.
    positions, types, first, neighbours
        As in `VerletList`, sorted order.
    polynomials : (order, order) float32 or float64
        Of the basis, see `segment_polynomials`.
    pair_tables : (n_types, n_types, 4) float64
    type_table, layers, parameters
        Of the compressed model.
    bias : (n_types,) float64
        eV.
    count_buffer : (n_threads, n_types) int64
    index_buffer : (n_threads, 2, n_types, capacity) int32
    real_buffer : (n_threads, 5 + order, n_types, capacity)
    moment_buffer : (n_threads, size)
    work_buffer : (n_threads, size)
    q_by_type : (n_types, n_atoms + 1, N, 4)
        Filled.
    energies : (n_atoms,) float64
        Filled, eV.
    too_close : (n_chunks,) int64
        Filled: an atom with a neighbour below the table, or −1.
    """
    for chunk in prange(chunks.shape[0]):
        _call_centres(
            (
                np.int64(chunk),
                np.int64(get_thread_id()),
                chunks,
                positions,
                types,
                first,
                neighbours,
                cutoff_squared,
                n_functions,
                polynomials,
                pair_tables,
                type_table,
                layers,
                parameters,
                bias,
                count_buffer,
                index_buffer,
                real_buffer,
                moment_buffer,
                work_buffer,
                q_by_type,
                energies,
                too_close,
            )
        )


@njit(cache=True, error_model="numpy")
def _forces_of_chunk(
    chunk,
    thread,
    chunks,
    positions,
    types,
    owner,
    first,
    neighbours,
    cutoff_squared,
    n_functions,
    polynomials,
    pair_tables,
    q_by_type,
    with_virial,
    count_buffer,
    index_buffer,
    real_buffer,
    row_buffer,
    forces,
    virials,
):
    """Gather the forces on the atoms of one chunk; arguments as `evaluate_forces`."""
    n_types = pair_tables.shape[0]
    order = polynomials.shape[0]
    n_intervals = n_functions - order + 1
    if chunk == NO_CHUNK:
        return
    alpha = chunks[chunk, TYPE]
    index = index_buffer[thread, 0]
    interval = index_buffer[thread, 1]
    real = real_buffer[thread]
    count = count_buffer[thread]
    value = row_buffer[thread, 0]
    change = row_buffer[thread, 1]
    virials[chunk, :] = 0.0
    for i in range(chunks[chunk, START], chunks[chunk, STOP]):
        gather(
            neighbours[first[i] : first[i + 1]],
            positions,
            types,
            i,
            cutoff_squared,
            count,
            index,
            real[0],
            real[1],
            real[2],
        )
        forces[i, :] = 0.0
        for b in range(n_types):
            n = count[b]
            table = pair_tables[alpha, b]
            weight = real[5 : 5 + order, b]
            slope = real[5 + order : 5 + 2 * order, b]
            spline_coordinates(
                n,
                n_intervals,
                table,
                real[0, b],
                real[1, b],
                real[2, b],
                interval[b],
                real[3, b],
                real[4, b],
            )
            basis_weights(n, polynomials, real[3, b], weight)
            basis_slopes(n, polynomials, table, real[3, b], real[4, b], real[5 + 2 * order, b], slope)
            contract_gradients(
                n,
                order,
                n_functions,
                interval[b],
                index[b],
                owner,
                weight,
                slope,
                q_by_type[b, i],
                q_by_type[alpha].reshape(-1, 4),
                value,
                change,
            )
            pair_gradients(n, real[0, b], real[1, b], real[2, b], real[4, b], value, change)
            sum_forces(n, value, forces[i])
            if with_virial:
                sum_virial(n, real[0, b], real[1, b], real[2, b], real[4, b], value, virials[chunk])


_call_forces = by_symbol(_forces_of_chunk)


@njit(parallel=True, cache=True, error_model="numpy")
def evaluate_forces(
    chunks,
    positions,
    types,
    owner,
    first,
    neighbours,
    cutoff_squared,
    n_functions,
    polynomials,
    pair_tables,
    q_by_type,
    with_virial,
    count_buffer,
    index_buffer,
    real_buffer,
    row_buffer,
    forces,
    virials,
):
    """Gather the force on every atom from Q of itself and of its neighbours.

    One pass over the full list, no two threads write the same number: deterministic, and momentum is
    conserved to rounding.

    Parameters
    ----------
    owner : (n_extended,) int32
        Atom that each position is an image of.
    q_by_type : (n_types, n_atoms + 1, N, 4)
        Q[a, i]: of atom i for neighbours of type a.
    real_buffer : (n_threads, 6 + 2·order, n_types, capacity)
    row_buffer : (n_threads, 2, capacity, 4)
    forces : (n_atoms, 3) float64
        Filled, eV/Å.
    virials : (n_chunks, 9) float64
        Filled, eV.
    """
    for chunk in prange(chunks.shape[0]):
        _call_forces(
            (
                np.int64(chunk),
                np.int64(get_thread_id()),
                chunks,
                positions,
                types,
                owner,
                first,
                neighbours,
                cutoff_squared,
                n_functions,
                polynomials,
                pair_tables,
                q_by_type,
                with_virial,
                count_buffer,
                index_buffer,
                real_buffer,
                row_buffer,
                forces,
                virials,
            )
        )


def load_centres(*arguments) -> None:
    """Compile the kernel that `evaluate_centres` calls, or load it from its cache; same arguments.

    Must come before `evaluate_centres` is first called with arguments of these types.
    """
    _centres_of_chunk(NO_CHUNK, 0, *arguments)
    publish(_centres_of_chunk)


def load_forces(*arguments) -> None:
    """Do for `evaluate_forces` what `load_centres` does."""
    _forces_of_chunk(NO_CHUNK, 0, *arguments)
    publish(_forces_of_chunk)
