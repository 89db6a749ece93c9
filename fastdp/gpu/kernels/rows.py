"""The neighbour list: one row of fixed capacity for each atom, its entries grouped by type."""

from __future__ import annotations

from numba import cuda, types

from fastdp.gpu.kernels.cell_list import CELLS, PERIODIC, REACH
from fastdp.gpu.kernels.status import FOUND, HALTED, LARGEST_ROW, OVERFLOW, REBUILD


@cuda.jit
def fill_rows(
    status,
    n,
    n_own,
    n_types,
    own_stages,
    stages,
    n_cells,
    reach_squared,
    index_bits,
    capacity,
    counts,
    key,
    order,
    starts,
    translations,
    sorted_positions,
    rows,
    row_counts,
):
    """Find all neighbours of one atom, a thread each.

    n_own : int
        Sorted atoms from here on are ghosts, which see only those of the last stage before.
    own_stages, stages : int
        Of own atoms, and of all; see `fastdp.gpu.kinds`.
    counts : (3, 3) int32
        Cells, whether periodic, and how many cells away neighbours can be, along each direction.
    starts : (stages·n_types·n_cells + 1,) int32
        Sorted atoms of type β and stage s in cell k are starts[m] … starts[m + 1] with
        m = (s·n_types + β)·n_cells + k.
    translations : (n_images, 3) float64
        Lattice vectors, Å.
    rows : (n, capacity) int32
        Filled: image << index_bits | sorted atom, grouped by type.
    row_counts : (n, n_types) int32
        Filled: neighbours of each type. Where their sum exceeds the capacity the row is incomplete, and
        OVERFLOW is found.
    """
    i = cuda.grid(1)
    if i >= n or status[HALTED] != 0 or status[REBUILD] == 0 or (status[FOUND] & ~OVERFLOW) != 0:
        return
    x = sorted_positions[i, 0]
    y = sorted_positions[i, 1]
    z = sorted_positions[i, 2]
    nx = counts[CELLS, 0]
    ny = counts[CELLS, 1]
    nz = counts[CELLS, 2]
    rx = counts[REACH, 0]
    ry = counts[REACH, 1]
    rz = counts[REACH, 2]
    # Largest number of lattice vectors that a neighbour can be away.
    mx = (rx + nx - 1) // nx if counts[PERIODIC, 0] != 0 else 0
    my = (ry + ny - 1) // ny if counts[PERIODIC, 1] != 0 else 0
    mz = (rz + nz - 1) // nz if counts[PERIODIC, 2] != 0 else 0
    home = key[order[i]] % n_cells
    hx = home % nx
    hy = home // nx % ny
    hz = home // (nx * ny)
    itself = ((mz * (2 * my + 1) + my) * (2 * mx + 1) + mx) << index_bits | i
    first_stage = 0 if i < n_own else own_stages - 1
    last_stage = stages if i < n_own else own_stages
    total = 0
    for b in range(n_types):
        before = total
        for oz in range(hz - rz, hz + rz + 1):
            # Python's floor division, on the device as well: −1 // n is −1. Few cells need it.
            image_z = 0 if 0 <= oz < nz else oz // nz
            if image_z != 0 and counts[PERIODIC, 2] == 0:
                continue
            for oy in range(hy - ry, hy + ry + 1):
                image_y = 0 if 0 <= oy < ny else oy // ny
                if image_y != 0 and counts[PERIODIC, 1] == 0:
                    continue
                for ox in range(hx - rx, hx + rx + 1):
                    image_x = 0 if 0 <= ox < nx else ox // nx
                    if image_x != 0 and counts[PERIODIC, 0] == 0:
                        continue
                    cell = ((oz - image_z * nz) * ny + oy - image_y * ny) * nx + ox - image_x * nx
                    image = ((image_z + mz) * (2 * my + 1) + image_y + my) * (2 * mx + 1) + image_x + mx
                    tx = translations[image, 0] - x
                    ty = translations[image, 1] - y
                    tz = translations[image, 2] - z
                    for stage in range(first_stage, last_stage):
                        k = (stage * n_types + b) * n_cells + cell
                        for j in range(starts[k], starts[k + 1]):
                            dx = sorted_positions[j, 0] + tx
                            dy = sorted_positions[j, 1] + ty
                            dz = sorted_positions[j, 2] + tz
                            if dx * dx + dy * dy + dz * dz < reach_squared:
                                entry = image << index_bits | j
                                if entry != itself:
                                    if total < capacity:
                                        rows[i, total] = types.int32(entry)
                                    total += 1
        row_counts[i, b] = total - before
    if total > capacity:
        cuda.atomic.or_(status, FOUND, OVERFLOW)
    cuda.atomic.max(status, LARGEST_ROW, total)
