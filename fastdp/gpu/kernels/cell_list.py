"""Sorting atoms by type and cell: a counting sort, made deterministic by sorting within each cell.

All of it runs only where the list has to be built (`status[REBUILD]`); otherwise every thread returns at
once, so that the host need not know.

Cells divide the reduced lattice along periodic directions, and the box that the atoms were in at first along
open ones; atoms that have left that box are counted to the cell at its edge, which keeps neighbours in
adjacent cells.
"""

from __future__ import annotations

import math

from numba import cuda, types

from fastdp.gpu.kernels.compiling import block_function
from fastdp.gpu.kernels.status import FOUND, HALTED, LOST, REBUILD

FARTHEST_POSITION = 1.0e8
"""Å, as in `fastdp.dynamics.state`."""

WRAP_TOLERANCE = 1e-10
"""As on the CPU: atoms so little below a face stay there."""

MOST_THREADS = 256
"""Largest block of the scans."""

# Rows of the table of geometry, (ROWS, 3) float64. Columns of RECIPROCAL belong to directions.
VECTORS, RECIPROCAL, CELL, CELL_RECIPROCAL, LOW, SCALE, GEOMETRY_ROWS = 0, 3, 6, 9, 12, 13, 14
# Rows of the table of counts, (3, 3) int32.
CELLS, PERIODIC, REACH = range(3)


@cuda.jit
def check_displacement(status, n, positions, positions_at_build, largest_squared):
    """Ask for a new list where an atom has moved too far since the last; find lost atoms."""
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0:
        return
    x = positions[i, 0]
    y = positions[i, 1]
    z = positions[i, 2]
    dx = x - positions_at_build[i, 0]
    dy = y - positions_at_build[i, 1]
    dz = z - positions_at_build[i, 2]
    # Written so that NaN is lost, and asks for a list.
    if not (abs(x) < FARTHEST_POSITION and abs(y) < FARTHEST_POSITION and abs(z) < FARTHEST_POSITION):
        cuda.atomic.or_(status, FOUND, LOST)
    elif not (dx * dx + dy * dy + dz * dz <= largest_squared):
        # Every thread that writes here writes the same.
        status[REBUILD] = 1


@cuda.jit
def wrap(status, n, geometry, positions, images, positions_at_build):
    """Put atoms back into the cell, count the images, and remember where the list was built."""
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    x = positions[i, 0]
    y = positions[i, 1]
    z = positions[i, 2]
    # An atom many cells away is only brought near by the first pass, for its coordinates are rounded.
    for _ in range(8):
        moved = 0
        sx = x
        sy = y
        sz = z
        for d in range(3):
            s = (
                sx * geometry[CELL_RECIPROCAL, d]
                + sy * geometry[CELL_RECIPROCAL + 1, d]
                + sz * geometry[CELL_RECIPROCAL + 2, d]
            )
            if s < -WRAP_TOLERANCE or s >= 1.0:
                crossed = math.floor(s)
                images[i, d] += types.int32(crossed)
                x -= crossed * geometry[CELL + d, 0]
                y -= crossed * geometry[CELL + d, 1]
                z -= crossed * geometry[CELL + d, 2]
                moved = 1
        if moved == 0:
            break
    positions[i, 0] = x
    positions[i, 1] = y
    positions[i, 2] = z
    positions_at_build[i, 0] = x
    positions_at_build[i, 1] = y
    positions_at_build[i, 2] = z


@cuda.jit
def clear(status, n, values):
    """Set `values` to zero."""
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[REBUILD] == 0:
        return
    values[i] = 0


def _assign_cell(i, geometry, counts, types_of, positions, key, moved, population):
    """Find the cell of atom i; arrays as in `assign_cells`."""
    cell = 0
    total = 1
    for d in range(3):
        s = (
            positions[i, 0] * geometry[RECIPROCAL, d]
            + positions[i, 1] * geometry[RECIPROCAL + 1, d]
            + positions[i, 2] * geometry[RECIPROCAL + 2, d]
        )
        image = 0
        if counts[PERIODIC, d] != 0:
            image = math.floor(s)
            s -= image
        moved[i, d] = types.int32(image)
        place = (s - geometry[LOW, d]) * geometry[SCALE, d]
        place = max(0.0, min(place, counts[CELLS, d] - 1.0))
        cell += types.int32(place) * total
        total *= counts[CELLS, d]
    key[i] = types_of[i] * total + cell
    cuda.atomic.add(population, key[i], 1)


assign_cell = block_function(_assign_cell, globals())


@cuda.jit
def assign_cells(status, n, geometry, counts, types_of, positions, key, moved, population):
    """Find the cell of every atom, and the lattice vector that brings it into the reduced cell.

    key : (n,) int32, filled; type-major.
    moved : (n, 3) int32, filled; how many lattice vectors the atom is away, in the input's order.
    population : (n_keys,) int32, counted up from zero.
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    assign_cell(i, geometry, counts, types_of, positions, key, moved, population)


@cuda.jit
def sum_tiles(status, n, values, totals):
    """Sum the elements of each tile; a tile is as long as the block, a power of two."""
    part = cuda.shared.array(MOST_THREADS, types.int32)
    if status[HALTED] != 0 or status[REBUILD] == 0:
        return
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    part[t] = values[i] if i < n else 0
    cuda.syncthreads()
    step = cuda.blockDim.x // 2
    while step > 0:
        if t < step:
            part[t] += part[t + step]
        cuda.syncthreads()
        step //= 2
    if t == 0:
        totals[cuda.blockIdx.x] = part[0]


def _sum_before(values, first, last, t, part):
    """Return the sum of all values before `first`, where thread t has those from `first` to `last`.

    part : (MOST_THREADS,) int32, shared
        Overwritten.
    """
    total = 0
    for i in range(first, last):
        total += values[i]
    part[t] = total
    cuda.syncthreads()
    before = 0
    for other in range(t):
        before += part[other]
    return before


sum_before = block_function(_sum_before, globals())


@cuda.jit
def scan_totals(status, n, totals):
    """Replace totals by the sums of those before, (n + 1,); one block, each thread a contiguous part."""
    part = cuda.shared.array(MOST_THREADS, types.int32)
    if status[HALTED] != 0 or status[REBUILD] == 0:
        return
    t = cuda.threadIdx.x
    width = (n + cuda.blockDim.x - 1) // cuda.blockDim.x
    start = min(t * width, n)
    stop = min(start + width, n)
    before = sum_before(totals, start, stop, t, part)
    for i in range(start, stop):
        value = totals[i]
        totals[i] = before
        before += value
    if stop == n and (start < stop or t == 0):
        totals[n] = before


@cuda.jit
def scan_tiles(status, n, values, totals, starts):
    """Fill `starts`, (n + 1,), with the sums of all values before each; grid and block as `sum_tiles`."""
    part = cuda.shared.array(MOST_THREADS, types.int32)
    if status[HALTED] != 0 or status[REBUILD] == 0:
        return
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    value = values[i] if i < n else 0
    part[t] = value
    cuda.syncthreads()
    step = 1
    while step < cuda.blockDim.x:
        before = part[t - step] if t >= step else 0
        cuda.syncthreads()
        part[t] += before
        cuda.syncthreads()
        step *= 2
    if i < n:
        starts[i + 1] = totals[cuda.blockIdx.x] + part[t]
        if i == 0:
            starts[0] = 0


def _put_atom(i, key, starts, population, order):
    """Put atom i somewhere into its cell's part of `order`."""
    k = key[i]
    left = cuda.atomic.add(population, k, -1)
    order[starts[k] + left - 1] = i


put_atom = block_function(_put_atom, globals())


@cuda.jit
def scatter(status, n, key, starts, population, order):
    """Put every atom somewhere into the part of `order` that belongs to its cell; empties `population`."""
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    put_atom(i, key, starts, population, order)


def _sort_cell(k, starts, order):
    """Sort the atoms of cell k by their index: few, so by insertion."""
    start = starts[k]
    for i in range(start + 1, starts[k + 1]):
        atom = order[i]
        j = i
        while j > start and order[j - 1] > atom:
            order[j] = order[j - 1]
            j -= 1
        order[j] = atom


sort_cell = block_function(_sort_cell, globals())


@cuda.jit
def sort_within_cells(status, n_keys, starts, order):
    """Sort the few atoms of each cell by their index, so that the order does not depend on chance."""
    k = cuda.grid(1)
    if k >= n_keys or status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    sort_cell(k, starts, order)


def _place_atom(i, geometry, order, moved, positions, sorted_positions):
    """Fill the position of sorted atom i, moved into the reduced cell."""
    atom = order[i]
    for c in range(3):
        shift = 0.0
        for d in range(3):
            shift -= moved[atom, d] * geometry[VECTORS + d, c]
        sorted_positions[i, c] = positions[atom, c] + shift


place_atom = block_function(_place_atom, globals())


@cuda.jit
def place(status, only_at_build, start, stop, geometry, order, moved, positions, sorted_positions):
    """Fill the positions of sorted atoms `start` to `stop`, each moved into the reduced cell."""
    i = start + cuda.grid(1)
    if i >= stop or status[HALTED] != 0 or status[FOUND] != 0:
        return
    if only_at_build != 0 and status[REBUILD] == 0:
        return
    place_atom(i, geometry, order, moved, positions, sorted_positions)


@cuda.jit
def sort_few(
    status,
    n,
    n_keys,
    geometry,
    counts,
    types_of,
    positions,
    key,
    moved,
    population,
    starts,
    order,
    sorted_positions,
):
    """Do what the kernels from `clear` to `place` do, in one block: for few atoms a launch costs more."""
    part = cuda.shared.array(MOST_THREADS, types.int32)
    if status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    t = cuda.threadIdx.x
    threads = cuda.blockDim.x
    for k in range(t, n_keys, threads):
        population[k] = 0
    cuda.syncthreads()
    for i in range(t, n, threads):
        assign_cell(i, geometry, counts, types_of, positions, key, moved, population)
    cuda.syncthreads()
    # Each thread takes a contiguous part of the keys.
    width = (n_keys + threads - 1) // threads
    first = min(t * width, n_keys)
    last = min(first + width, n_keys)
    before = sum_before(population, first, last, t, part)
    for k in range(first, last):
        starts[k] = before
        before += population[k]
    if last == n_keys and first < last:
        starts[n_keys] = before
    cuda.syncthreads()
    for i in range(t, n, threads):
        put_atom(i, key, starts, population, order)
    cuda.syncthreads()
    for k in range(t, n_keys, threads):
        sort_cell(k, starts, order)
    cuda.syncthreads()
    for i in range(t, n, threads):
        place_atom(i, geometry, order, moved, positions, sorted_positions)
