"""Counting neighbours beyond what the model was trained to see, where the list is built."""

from __future__ import annotations

from numba import cuda

from fastdp.gpu.kernels.entries import displacement_of
from fastdp.gpu.kernels.status import BEYOND, FOUND, HALTED, REBUILD

# Columns of what is counted for a pair of types, as `fastdp.neighbours.selection.Overflow`.
LARGEST, OVERFLOWING, COUNT_COLUMNS = range(3)


@cuda.jit
def count_neighbours(
    status,
    n,
    n_types,
    index_mask,
    index_bits,
    kinds_of,
    order,
    translations,
    sorted_positions,
    rows,
    row_counts,
    squared_cutoffs,
    limits,
    counts,
):
    """Count the neighbours of one atom by their type, a thread each; ghosts come after all own atoms.

    kinds_of : (n_atoms,) int32
        As `fastdp.gpu.kinds.Kinds.of`.
    squared_cutoffs : (n_parts,) float64
        Å², of the parts of the model.
    limits : (n_parts, n_types) int32
    counts : (n_parts, n_types, n_types, COUNT_COLUMNS) int32
        Zeros, of which the most and the number beyond the limit are made.
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    centre = kinds_of[order[i]] % n_types
    x = sorted_positions[i, 0]
    y = sorted_positions[i, 1]
    z = sorted_positions[i, 2]
    start = 0
    for b in range(n_types):
        stop = start + row_counts[i, b]
        for part in range(squared_cutoffs.shape[0]):
            inside = 0
            for place in range(start, stop):
                _, _, _, _, r_squared = displacement_of(
                    rows[i, place], index_mask, index_bits, translations, sorted_positions, x, y, z
                )
                if r_squared < squared_cutoffs[part]:
                    inside += 1
            # What another thread has just written may not be seen here; then the atomic operation decides.
            if inside > counts[part, centre, b, LARGEST]:
                cuda.atomic.max(counts, (part, centre, b, LARGEST), inside)
            if inside > limits[part, b]:
                cuda.atomic.add(counts, (part, centre, b, OVERFLOWING), 1)
        start = stop


@cuda.jit
def note_beyond(status, n_parts, n_types, limits_of_all, counts, noted):
    """Keep the counts of pairs of types that are beyond a limit for the first time; one thread.

    limits_of_all : (n_parts,) int32
        Of all types together; −1 where each type has its own.
    counts, noted : (n_parts, n_types, n_types, COUNT_COLUMNS) int32
        The first is emptied. BEYOND counts how often something new is noted.
    """
    if status[HALTED] != 0 or status[REBUILD] == 0 or status[FOUND] != 0:
        return
    for part in range(n_parts):
        for a in range(n_types):
            total = 0
            for b in range(n_types):
                total += counts[part, a, b, LARGEST]
            for b in range(n_types):
                most = counts[part, a, b, LARGEST]
                number = counts[part, a, b, OVERFLOWING]
                beyond = number > 0
                if limits_of_all[part] >= 0:
                    beyond = total > limits_of_all[part]
                if beyond and noted[part, a, b, LARGEST] == 0 and most > 0:
                    noted[part, a, b, LARGEST] = most
                    noted[part, a, b, OVERFLOWING] = number
                    status[BEYOND] += 1
                counts[part, a, b, LARGEST] = 0
                counts[part, a, b, OVERFLOWING] = 0
