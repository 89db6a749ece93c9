"""One evaluation over threads: each takes its chunks forwards and backwards, and sums forces of its own."""

from __future__ import annotations

from numba import prange

from fastdp.parallel.symbols import call_at, call_held_at, hold, inner, load, outer
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
    basis_weights_and_slopes,
    columns_to_rows,
    gather,
    scatter_gradients,
    spline_coordinates,
    sum_virial,
)

# Columns of the table of chunks.
START, STOP, TYPE, CHUNK_COLUMNS = range(4)
# Tasks of `run_parts`: begin with forces of zero and evaluate, evaluate more, add the forces of all parts.
EVALUATE_FIRST, EVALUATE, ADD = range(3)
# First index of the real numbers kept for each pair.
X, Y, Z, FRACTION, INVERSE_R, PAIR_REALS = range(6)
# First index of the integers kept for each pair.
INDEX, INTERVAL, PAIR_INTEGERS = range(3)


@inner(error_model="numpy")
def add_part(part, part_forces, forces):
    """Add the sums of all parts for a share of the atoms, always in the same order."""
    n_parts = part_forces.shape[0]
    n_rows = part_forces.shape[1]
    for i in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        x = part_forces[0, i, 1]
        y = part_forces[0, i, 2]
        z = part_forces[0, i, 3]
        for other in range(1, n_parts):
            x += part_forces[other, i, 1]
            y += part_forces[other, i, 2]
            z += part_forces[other, i, 3]
        forces[i, 0] = x
        forces[i, 1] = y
        forces[i, 2] = z


@inner(error_model="numpy")
def add_pair_forces(
    i,
    counts,
    integers,
    real,
    owner,
    polynomials,
    tables,
    n_functions,
    q,
    weights,
    forces,
    gradient,
    with_virial,
    virial,
    clock,
):
    """Add the forces and the virial that the energy of atom i makes through the moments of pairs.

    Parameters
    ----------
    counts : (n_types,) int64
        Neighbours inside the cutoff, kept with `integers` and `real` on the way forwards.
    integers : (2, n_types, capacity) int32
    real : (5, n_types, capacity)
    owner, polynomials, forces, gradient
        As `scatter_gradients`.
    tables : (n_types, 4) float64
        Of the pairs with the type of atom i.
    q : (n_types·N, 4)
        ∂E_i/∂M.
    weights : (2·order + 1, capacity)
        Scratch.
    virial : (9,) float64
        eV.
    clock : (n_sections or 0,) int64
    """
    weight = weights[:ORDER]
    slope = weights[ORDER : 2 * ORDER]
    factor = weights[2 * ORDER]
    now = begin(clock)
    for b in range(counts.shape[0]):
        m = counts[b]
        basis_weights_and_slopes(
            m, polynomials, tables[b], real[FRACTION, b], real[INVERSE_R, b], factor, weight, slope
        )
        now = lap(clock, SLOPES, now)
        scatter_gradients(
            m,
            integers[INTERVAL, b],
            integers[INDEX, b],
            owner,
            weight,
            slope,
            real[X, b],
            real[Y, b],
            real[Z, b],
            real[INVERSE_R, b],
            q[b * n_functions : (b + 1) * n_functions],
            i,
            forces,
            gradient,
        )
        if with_virial:
            sum_virial(m, real[X, b], real[Y, b], real[Z, b], real[INVERSE_R, b], gradient, virial)
        now = lap(clock, FORCES, now)


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
):
    """Fill atomic energies and sum forces on every atom, each part sums of its own; or add these sums.

    Which part takes a chunk is fixed by `bounds`, whatever thread runs it, so that the same number of parts
    gives the same bits.

    Parameters
    ----------
    task : int
        `EVALUATE_FIRST`, `EVALUATE` or `ADD`.
    part : int
        What is to be done, in 0 … n_parts − 1.
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
    shares : (n_atoms,) float64, or (0,)
        What each atom's energy is multiplied by in forces and virial, not in `energies`; by default 1. Where
        it is 0, the atom's neighbours are not looked at.
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
    part_forces : (n_parts, n_rows, 4) float64
        Sums of each part; components 1…3, eV/Å.
    forces : (n_rows, 3) float64
        Filled by `ADD`, eV/Å.
    virials : (n_chunks, 9) float64
        Filled, eV.
    too_close : (n_chunks,) int64
        Filled: an atom with a neighbour below the table, or −1.
    clocks : (n_parts, n_sections or 0) int64
        Cycles of each section are added, if there are columns.
    """
    if task == ADD:
        add_part(part, part_forces, forces)
        return
    if task == EVALUATE_FIRST:
        part_forces[part, :, :] = 0.0
    shared = shares.shape[0] > 0
    n_types = type_table.shape[0]
    n_intervals = n_functions - DEGREE
    columns = n_types * n_functions
    stride = q_buffer.shape[1]
    q_of_atom = q_buffer[part]
    weight = weights[part, :ORDER]
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
            for b in range(n_types):
                if shared and shares[i] == 0.0:
                    count[b] = 0
                    continue
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
                    count[b], interval[b], weight, real[X, b], real[Y, b], real[Z, b], per_atom[b]
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
            columns_to_rows(columns, moments, a * 4 * stride, stride, q_of_atom)
            if shared and shares[i] != 1.0:
                # Gradients are linear in Q.
                share = q_of_atom.dtype.type(shares[i])
                for p in range(columns):
                    for c in range(4):
                        q_of_atom[p, c] *= share
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


@outer(parallel=True, cache=True, error_model="numpy")
def run_parts(kernel, task, n_parts, arguments):
    """Let every thread do its part of a task.

    One function for all tasks and kernels, and one argument instead of thirty: compiling what runs in
    parallel takes long.

    Parameters
    ----------
    kernel : int
        Address of a function of task, part and `arguments`, from `load_step_kernel`.
    task : int
        `EVALUATE_FIRST`, `EVALUATE` or `ADD`.
    n_parts : int
    arguments : tuple
    """
    held = hold(arguments)
    for part in prange(n_parts):
        call_held_at(kernel, task, part, held)


def load_step_kernel(*arguments) -> int:
    """Compile the kernel for `run_parts`, or load it from its cache, and return its address.

    Arguments as `_part` from `bounds` on. `load_network` has to come before.
    """
    return load(_part, 0, 0, *arguments)
