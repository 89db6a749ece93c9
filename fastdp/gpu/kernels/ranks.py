"""What atoms that are shared by several devices need: going to other ranks, ghosts, and sums over ranks.

Everything but the last part runs where the neighbour list is built. Lists of atoms are made by flags and the
running sums of `cell_list`, so that their order is that of the atoms.
"""

from __future__ import annotations

import math

from numba import cuda, types

from fastdp.gpu.kernels.cell_list import WRAP_TOLERANCE
from fastdp.gpu.kernels.compiling import block_function, device_function
from fastdp.gpu.kernels.reductions import ENERGY, THREADS, TWICE_KINETIC, add_up_block, add_up_partial
from fastdp.gpu.kernels.status import FOUND, HALTED, LOST, TOO_CLOSE

# Rows of the table of space, (SPACE_ROWS, 3) float64: vectors of the reduced cell; what makes coordinates in
# it of positions (columns belong to directions, zero along open ones); the coordinates that ranks divide.
SPACE_VECTORS, SPACE_RECIPROCAL, SPACE_AXES, SPACE_ROWS = 0, 3, 6, 9

# First columns of the table of candidates, see `fastdp.parallel.candidates`.
STEPS, TRANSLATION, COORDINATE_LOW, COORDINATE_HIGH, LOW, HIGH, CANDIDATE_COLUMNS = range(0, 21, 3)

# Columns of the box of all atoms: smallest coordinates, smallest of their negatives, likewise of positions.
BOUNDS_COLUMNS = 12

# What is summed over ranks at the end of a step.
(
    TOTAL_ENERGY,
    TOTAL_TWICE_KINETIC,
    TOTAL_TROUBLE,
    TOTAL_LOST,
    TOTAL_TOO_CLOSE,
    TOTAL_VIRIAL,
) = range(6)
TOTALS = TOTAL_VIRIAL + 9

WRAP_PASSES = 8
"""An atom many cells away is only brought near by the first pass, for its coordinates are rounded."""

sum_block = block_function(add_up_block, globals())
sum_partial = block_function(add_up_partial, globals())


def coordinate(table, row, d, positions, i):
    """Return one coordinate of atom i by columns of a table, which begin at `row`."""
    return (
        positions[i, 0] * table[row, d]
        + positions[i, 1] * table[row + 1, d]
        + positions[i, 2] * table[row + 2, d]
    )


def planes_below(planes, first, n, x):
    """Return how many of planes[first] … planes[first + n − 1], which ascend, are not above x."""
    low = 0
    high = n
    while low < high:
        middle = (low + high) // 2
        if planes[first + middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low


def least_of_block(part, value):
    """Return the smallest over the threads of a block, in all of them; `part` : (THREADS,), shared."""
    t = cuda.threadIdx.x
    part[t] = value
    cuda.syncthreads()
    step = cuda.blockDim.x // 2
    while step > 0:
        if t < step:
            part[t] = min(part[t], part[t + step])
        cuda.syncthreads()
        step //= 2
    least = part[0]
    cuda.syncthreads()
    return least


coordinate_of = device_function(coordinate)
count_planes = device_function(planes_below)
least = block_function(least_of_block, globals())


@cuda.jit
def bring_into_cell(status, n, space, transform, positions, images):
    """Put atoms into the reduced cell, and count the vectors of the cell that were taken away.

    transform : (3, 3) int32
        transform · cell is the reduced cell.
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[FOUND] != 0:
        return
    for _ in range(WRAP_PASSES):
        moved = 0
        for d in range(3):
            s = coordinate_of(space, SPACE_RECIPROCAL, d, positions, i)
            if s < -WRAP_TOLERANCE or s >= 1.0:
                crossed = math.floor(s)
                for c in range(3):
                    positions[i, c] -= crossed * space[SPACE_VECTORS + d, c]
                    images[i, c] += types.int32(crossed) * transform[d, c]
                moved = 1
        if moved == 0:
            break


@cuda.jit
def choose_ranks(status, n, own, nx, ny, nz, space, first, second, third, positions, rank_of, leaves):
    """Find the rank that owns each atom; `leaves` is set to 1 where that is another one.

    first : (nx − 1,), second : (nx·(ny − 1),), third : (nx·ny·(nz − 1),) float64
        As `fastdp.parallel.regions.Regions`, one row after the other; nowhere empty.
    rank_of, leaves : (n,) int32, filled
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[FOUND] != 0:
        return
    u = count_planes(first, 0, nx - 1, coordinate_of(space, SPACE_AXES, 0, positions, i))
    v = count_planes(second, u * (ny - 1), ny - 1, coordinate_of(space, SPACE_AXES, 1, positions, i))
    column = u * ny + v
    w = count_planes(third, column * (nz - 1), nz - 1, coordinate_of(space, SPACE_AXES, 2, positions, i))
    rank = column * nz + w
    rank_of[i] = rank
    leaves[i] = 1 if rank != own else 0


@cuda.jit
def collect(status, n, flags, starts, ends, candidate, capacity, chosen):
    """List the atoms whose flag is set, behind those of the candidates before, as far as there is room.

    starts : (n + 1,) int32
        Running sums of the flags.
    ends : (n_candidates + 1,) int32
        Where the list of each candidate begins; that of the next is filled by `end_list`.
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or flags[i] == 0:
        return
    place = ends[candidate] + starts[i]
    if place < capacity:
        chosen[place] = i


@cuda.jit
def end_list(status, n, starts, ends, candidate):
    """Note where the list of a candidate ends; one thread."""
    if status[HALTED] != 0:
        return
    ends[candidate + 1] = ends[candidate] + starts[n]


@cuda.jit
def mark_inside(status, n, space, table, candidate, positions, flags):
    """Set flags to 1 where an atom, moved by the candidate's vector, is in its box; otherwise to 0.

    table : (n_candidates, CANDIDATE_COLUMNS) float64
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0:
        return
    inside = 1
    for d in range(3):
        s = coordinate_of(space, SPACE_RECIPROCAL, d, positions, i) + table[candidate, STEPS + d]
        x = positions[i, d] + table[candidate, TRANSLATION + d]
        if not (table[candidate, COORDINATE_LOW + d] <= s and s <= table[candidate, COORDINATE_HIGH + d]):
            inside = 0
        if not (table[candidate, LOW + d] <= x and x <= table[candidate, HIGH + d]):
            inside = 0
    flags[i] = inside


@cuda.jit
def find_bounds(status, n, space, positions, partial):
    """Find the box of atoms: partial, (blocks, BOUNDS_COLUMNS), filled with the smallest of each block."""
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0:
        return
    for column in range(BOUNDS_COLUMNS):
        d = column % 3
        found = math.inf
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            x = positions[i, d] if column >= 6 else coordinate_of(space, SPACE_RECIPROCAL, d, positions, i)
            if (column // 3) % 2 != 0:
                x = -x
            found = min(found, x)
        found = least(part, found)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, column] = found


@cuda.jit
def name_candidates(status, n, first, candidate, named):
    """Set `named`, (n_sent,) int32, to the candidate of each place; `n` of them from `first` on."""
    k = cuda.grid(1)
    if k >= n or status[HALTED] != 0:
        return
    named[first + k] = candidate


@cuda.jit
def take_rows(status, n, width, chosen, values, result):
    """Set result[k] ← values[chosen[k]], rows of `width` numbers."""
    k = cuda.grid(1)
    if k >= n or status[HALTED] != 0:
        return
    for c in range(width):
        result[k, c] = values[chosen[k], c]


@cuda.jit
def move_rows(status, n, width, sources, targets, values):
    """Set values[targets[k]] ← values[sources[k]], rows of `width` numbers; no source is a target."""
    k = cuda.grid(1)
    if k >= n or status[HALTED] != 0:
        return
    for c in range(width):
        values[targets[k], c] = values[sources[k], c]


@cuda.jit
def set_flags(status, n, chosen, flags):
    """Set flags[chosen[k]] ← 1."""
    k = cuda.grid(1)
    if k >= n or status[HALTED] != 0:
        return
    # Every thread that writes here writes the same.
    flags[chosen[k]] = 1


@cuda.jit
def name_kinds(status, n_own, n, n_types, types_of, seen, ghost_types, kinds, population):
    """Set the kind of each atom, as `fastdp.gpu.kinds` with two stages of own atoms, and count them.

    seen : (n_own,) int32
        1 for atoms that others have as ghosts: the last stage.
    ghost_types : (n − n_own,) int32
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0:
        return
    kind = types_of[i] + n_types * seen[i] if i < n_own else ghost_types[i - n_own] + 2 * n_types
    kinds[i] = kind
    cuda.atomic.add(population, kind, 1)


@cuda.jit
def pack_positions(status, n, n_remote, first_image, table, chosen, named, positions, packed):
    """Gather the positions that ghosts of others and images of own atoms have.

    n_remote : int
        The first n_remote of the n places go to `packed`, (n_remote, 3); the others are images of own atoms,
        and go to positions[first_image], ….
    """
    k = cuda.grid(1)
    if k >= n or status[HALTED] != 0:
        return
    atom = chosen[k]
    candidate = named[k]
    for c in range(3):
        x = positions[atom, c] + table[candidate, TRANSLATION + c]
        if k < n_remote:
            packed[k, c] = x
        else:
            positions[first_image + k - n_remote, c] = x


@cuda.jit
def add_returned(status, n, first, chosen, shift, returned, forces):
    """Add forces on ghosts to those on their atoms; `n` places from `first` on, each of another atom.

    shift : int
        The force on the ghost of place k stands in returned[k + shift].
    """
    k = first + cuda.grid(1)
    if k >= first + n or status[HALTED] != 0:
        return
    atom = chosen[k]
    for c in range(3):
        forces[atom, c] += returned[k + shift, c]


@cuda.jit
def gather_totals(status, n_partial, partial, trouble, with_virial, virial, totals):
    """Sum what this rank found in a step, (TOTALS,) float64; one block."""
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0:
        return
    energy, kinetic = sum_partial(part, n_partial, partial)
    if cuda.threadIdx.x != 0:
        return
    found = status[FOUND]
    totals[TOTAL_ENERGY] = energy
    totals[TOTAL_TWICE_KINETIC] = kinetic
    totals[TOTAL_TROUBLE] = 1.0 if trouble[0] != 0 else 0.0
    totals[TOTAL_LOST] = 1.0 if found & LOST != 0 else 0.0
    totals[TOTAL_TOO_CLOSE] = 1.0 if found & TOO_CLOSE != 0 else 0.0
    for c in range(9):
        totals[TOTAL_VIRIAL + c] = virial[c] if with_virial != 0 else 0.0


@cuda.jit
def take_totals(status, totals, partial, trouble):
    """Put the sums over all ranks where `end_step` looks for those of one; one thread."""
    if status[HALTED] != 0:
        return
    partial[0, ENERGY] = totals[TOTAL_ENERGY]
    partial[0, TWICE_KINETIC] = totals[TOTAL_TWICE_KINETIC]
    trouble[0] = 1 if totals[TOTAL_TROUBLE] > 0.0 else 0
    found = 0
    if totals[TOTAL_LOST] > 0.0:
        found |= LOST
    if totals[TOTAL_TOO_CLOSE] > 0.0:
        found |= TOO_CLOSE
    status[FOUND] = found
