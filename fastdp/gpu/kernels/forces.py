"""Forces on an atom from its Q and those of its neighbours; one warp for each atom, see `pairs`.

The lanes first take a neighbour each and say where its Q is. Then they fetch Q of one neighbour after the
other, each lane one of its 4 × (degree + 1) numbers, many of them under way at the same time; Q^i ± Q^j goes
to shared memory. At last each lane has a neighbour again, sums up what is between the two atoms, and adds
that to a force and a virial of its own; those of all lanes are added up in the end.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, float64, int64, uint32, uint64

from fastdp.gpu.kernels.compiling import block_function, device_function
from fastdp.gpu.kernels.pairs import (
    HIGH,
    INVERSE_SPACING,
    LOW,
    ORIGIN,
    PADDED,
    RING,
    SHIFT,
    SHORTEST_SQUARED,
    SOFTNESS,
    WARP,
    append_near,
    coefficients,
    interval_function,
    ring_filler,
    type_of,
)
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST, NOT_HELD
from fastdp.potential.compressed import scalar

AT_ONCE = 8
"""Neighbours whose Q is under way at the same time, for each lane; 32 is a multiple of it."""

FORCE_COLUMNS = 12
"""Three components of the force and nine of the virial."""

fill = ring_filler(block_function(append_near, globals()))


def is_wide(n_numbers: int) -> bool:
    """Whether Q of so many numbers needs indices of 64 bits, which take more instructions."""
    return n_numbers > 2**32


@cache
def force_kernel(real: Any, order: int, windowed: bool = False, wide: bool = False) -> Any:
    """Return the kernel `forces` for one precision and degree of splines.

    Parameters
    ----------
    real : numba.float32 or numba.float64
        Type of everything but differences of positions, forces and virials.
    order : int
        Degree of the splines + 1: loops over it are unrolled, and their polynomials part of the code.
    windowed : bool
        Whether Q is found by `places`; otherwise that of each sorted atom is in its row.
    wide : bool
        Whether Q has more numbers than 32 bits can count, see `is_wide`.
    """
    slope_of = device_function(scalar.radial_coordinate_slope)
    value_and_slope = device_function(scalar.array_polynomial_and_slope)
    interval_of = interval_function(real, order)
    splines = coefficients(real, order)
    place_type = uint64 if wide else uint32
    lanes_of_one = 4 * order
    # Splines of low degree leave lanes for several neighbours at a time.
    together = WARP // lanes_of_one
    by_lane = (lanes_of_one, PADDED)

    @cuda.jit
    def forces(
        status,
        first,
        first_row,
        kind_starts,
        with_virial,
        n_types,
        n_functions,
        cutoff_squared,
        index_mask,
        index_bits,
        pair_tables,
        translations,
        sorted_positions,
        rows,
        row_counts,
        q,
        places,
        atom_of,
        forces,
        virials,
    ):
        """Gather the force on one atom for each block from its Q and those of its neighbours.

        first_row : int
            Of `q`, that of the first atom.
        kind_starts : (n_kinds + 1,) int64
            Where atoms of each type and stage begin.
        q : (rows · 4 · n_types·N,) of `real`
            (rows, 4, n_types·N) in a line.
        places : (n_types, m, PLACE_COLUMNS) int64
            Where in `q` the atoms of each type are; NOT_HELD is found where a neighbour is in none of them.
        atom_of : (n,) int32
            Index in the input.
        forces : (n, 3) float64, filled
            eV/Å, in the input's order.
        virials : (grid, 9) float64, filled where wanted
            Half of −g ⊗ r of the atom's pairs, eV.
        """
        polynomials = cuda.const.array_like(splines)
        # Q^i ± Q^j by component and function, of one neighbour in each column.
        both = cuda.shared.array(by_lane, real)
        interval = cuda.shared.array(WARP, uint32)
        other_place = cuda.shared.array(WARP, place_type)
        part = cuda.shared.array((FORCE_COLUMNS, PADDED), float64)
        found = cuda.shared.array(3, uint32)
        near = cuda.shared.array(RING, uint32)
        near_vector = cuda.shared.array((3, RING), float64)
        if status[HALTED] != 0 or status[FOUND] & NO_LIST:
            # Rows that are cut short are not to be read beyond their end.
            return
        block = uint32(cuda.blockIdx.x)
        i = uint32(first + block)
        row = first_row + block if windowed else i
        lane = uint32(cuda.threadIdx.x)
        centre = type_of(i, kind_starts, n_types)
        columns = n_types * n_functions
        member = uint64(lane // lanes_of_one)
        mine = uint64(lane % lanes_of_one)
        component = mine // uint64(order)
        function = mine % uint64(order)
        of_own = cuda.local.array(AT_ONCE, real)
        of_other = cuda.local.array(AT_ONCE, real)
        mirrored = real(1.0) if component == 0 else real(-1.0)
        x = sorted_positions[i, 0]
        y = sorted_positions[i, 1]
        z = sorted_positions[i, 2]
        fx = 0.0
        fy = 0.0
        fz = 0.0
        vxx = 0.0
        vxy = 0.0
        vxz = 0.0
        vyx = 0.0
        vyy = 0.0
        vyz = 0.0
        vzx = 0.0
        vzy = 0.0
        vzz = 0.0
        if lane < 3:
            found[lane] = 0
        cuda.syncthreads()
        turn = uint32(0)
        head = 0
        start = 0
        for b in range(n_types):
            softness = real(pair_tables[centre, b, SOFTNESS])
            origin = real(pair_tables[centre, b, ORIGIN])
            inverse_spacing = real(pair_tables[centre, b, INVERSE_SPACING])
            shortest_squared = pair_tables[centre, b, SHORTEST_SQUARED]
            stop = start + row_counts[i, b]
            # Where the lane's number is for k = 0, in Q of this atom and of an atom in row 0.
            in_row = component * uint64(columns) + function
            own = place_type(uint64(row * 4 * columns + b * n_functions) + in_row)
            other = place_type(uint64(centre * n_functions) + in_row)
            held = 0
            while start < stop or held > 0:
                held, turn, start = fill(
                    held,
                    turn,
                    start,
                    stop,
                    head,
                    i,
                    lane,
                    cutoff_squared,
                    index_mask,
                    index_bits,
                    translations,
                    sorted_positions,
                    rows,
                    x,
                    y,
                    z,
                    found,
                    near,
                    near_vector,
                )
                # The ring is filled, and no lane looks at places of the neighbours before.
                cuda.syncthreads()
                n = min(held, WARP)
                p = uint32((head + lane) & (RING - 1))
                k = uint32(0)
                place = int64(row)
                fraction = real(0.0)
                factor = real(0.0)
                inverse_r = real(0.0)
                if lane < n:
                    j = near[p]
                    dx = near_vector[0, p]
                    dy = near_vector[1, p]
                    dz = near_vector[2, p]
                    r_squared = dx * dx + dy * dy + dz * dz
                    r = real(math.sqrt(real(max(r_squared, shortest_squared))))
                    inverse_r = real(1.0) / r
                    k, fraction = interval_of(r, softness, origin, inverse_spacing, n_functions)
                    factor = inverse_spacing * slope_of(r, softness)
                    place = int64(j)
                    if windowed:
                        place = -1
                        for kept in range(places.shape[1]):
                            if places[b, kept, LOW] <= j and j < places[b, kept, HIGH]:
                                place = j + places[b, kept, SHIFT]
                        if place < 0:
                            cuda.atomic.or_(status, FOUND, NOT_HELD)
                            place = 0
                interval[lane] = k
                other_place[lane] = place_type(place * 4 * columns + k)
                cuda.syncthreads()
                if member < uint64(together):
                    number = member
                    # Beyond the last neighbour the atom is its own.
                    while number < uint64(n):
                        # All of them are under way before the first is used.
                        for t in range(AT_ONCE):
                            at = number + uint64(t * together)
                            of_own[t] = q[place_type(own + interval[at])]
                            of_other[t] = q[place_type(other + other_place[at])]
                        for t in range(AT_ONCE):
                            both[mine, number + uint64(t * together)] = of_own[t] + mirrored * of_other[t]
                        number += uint64(AT_ONCE * together)
                cuda.syncthreads()
                if lane < n:
                    # Sums of X B' by component, and of X B of the vectors.
                    s0 = real(0.0)
                    sx = real(0.0)
                    sy = real(0.0)
                    sz = real(0.0)
                    ax = real(0.0)
                    ay = real(0.0)
                    az = real(0.0)
                    for m in range(order):
                        a = uint64(m)
                        value, slope = value_and_slope(polynomials, a, order, fraction)
                        s0 += both[a, lane] * slope
                        sx += both[uint64(order) + a, lane] * slope
                        sy += both[uint64(2 * order) + a, lane] * slope
                        sz += both[uint64(3 * order) + a, lane] * slope
                        ax += both[uint64(order) + a, lane] * value
                        ay += both[uint64(2 * order) + a, lane] * value
                        az += both[uint64(3 * order) + a, lane] * value
                    dx = near_vector[0, p]
                    dy = near_vector[1, p]
                    dz = near_vector[2, p]
                    ux = real(dx) * inverse_r
                    uy = real(dy) * inverse_r
                    uz = real(dz) * inverse_r
                    ax *= inverse_r
                    ay *= inverse_r
                    az *= inverse_r
                    # X_0 B' r̂ + Σ_c X_c [B' r̂_c r̂ + B (e_c − r̂_c r̂)/r]
                    radial = (
                        factor * s0
                        + (factor * sx - ax) * ux
                        + (factor * sy - ay) * uy
                        + (factor * sz - az) * uz
                    )
                    gx = float64(radial * ux + ax)
                    gy = float64(radial * uy + ay)
                    gz = float64(radial * uz + az)
                    fx += gx
                    fy += gy
                    fz += gz
                    if with_virial != 0:
                        dx *= 0.5
                        dy *= 0.5
                        dz *= 0.5
                        vxx -= gx * dx
                        vxy -= gx * dy
                        vxz -= gx * dz
                        vyx -= gy * dx
                        vyy -= gy * dy
                        vyz -= gy * dz
                        vzx -= gz * dx
                        vzy -= gz * dy
                        vzz -= gz * dz
                head += n
                held -= n
            start = stop
        part[0, lane] = fx
        part[1, lane] = fy
        part[2, lane] = fz
        if with_virial != 0:
            part[3, lane] = vxx
            part[4, lane] = vxy
            part[5, lane] = vxz
            part[6, lane] = vyx
            part[7, lane] = vyy
            part[8, lane] = vyz
            part[9, lane] = vzx
            part[10, lane] = vzy
            part[11, lane] = vzz
        cuda.syncthreads()
        if lane < (FORCE_COLUMNS if with_virial != 0 else 3):
            value = 0.0
            for other_lane in range(WARP):
                value += part[lane, other_lane]
            atom = atom_of[i]
            if lane < 3:
                forces[atom, lane] = value
            else:
                virials[block, lane - 3] = value

    return forces
