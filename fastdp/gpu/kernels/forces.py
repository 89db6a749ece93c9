"""Forces on an atom from its Q and those of its neighbours; one warp for each atom, see `pairs`.

The lanes first take a neighbour each: interval, weights and slopes of the basis functions go to shared
memory. Then all of them take these neighbours one after the other, each lane with one of the 4 × (degree + 1)
numbers of Q that a neighbour touches; each lane sums up its share of the force.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, float64, int64, uint32

from fastdp.gpu.kernels.compiling import block_function, device_function
from fastdp.gpu.kernels.entries import displacement_of
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
)
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST, NOT_HELD
from fastdp.potential.compressed import scalar

FORCE_COLUMNS = 12
"""Three components of the force and nine of the virial."""

append = block_function(append_near, globals())


@cache
def force_kernel(real: Any, order: int, windowed: bool = False) -> Any:
    """Return the kernel `forces` for one precision and degree of splines.

    Parameters
    ----------
    real : numba.float32 or numba.float64
        Type of everything but differences of positions, forces and virials.
    order : int
        Degree of the splines + 1: loops over it are unrolled, and their polynomials part of the code.
    windowed : bool
        Whether Q is found by `places`; otherwise that of each sorted atom is in its row.
    """
    slope_of = device_function(scalar.radial_coordinate_slope)
    polynomial = device_function(scalar.array_polynomial)
    derivative = device_function(scalar.array_polynomial_slope)
    interval_of = interval_function(real, order)
    splines = coefficients(real, order)
    lanes_of_one = 4 * order
    # Splines of low degree leave lanes for several neighbours at a time.
    together = WARP // lanes_of_one
    by_function, by_component, with_zeros = (order, PADDED), (4, PADDED), (order + 1, PADDED)

    @cuda.jit
    def forces(
        status,
        first,
        first_row,
        centre_type,
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
        weight = cuda.shared.array(with_zeros, real)
        slope = cuda.shared.array(by_function, real)
        direction = cuda.shared.array(by_component, real)
        inverse = cuda.shared.array(PADDED, real)
        half_vector = cuda.shared.array((3, PADDED), float64)
        interval = cuda.shared.array(WARP, uint32)
        other_row = cuda.shared.array(WARP, int64)
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
        centre = uint32(centre_type)
        columns = n_types * n_functions
        # Splines of low degree leave lanes for two neighbours at a time.
        member = lane // (4 * order)
        component = uint32(lane // order - 4 * member)
        m = uint32(lane % order)
        mirrored = real(1.0) if component == 0 else real(-1.0)
        along_x = real(1.0) if component == 1 else real(0.0)
        along_y = real(1.0) if component == 2 else real(0.0)
        along_z = real(1.0) if component == 3 else real(0.0)
        # Component 0 has no part across: its weight is zero.
        across_row = uint32(m if component > 0 else order)
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
        direction[0, lane] = real(1.0)
        weight[order, lane] = real(0.0)
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
            own_place = (row * 4 + component) * columns + b * n_functions + m
            other_place = component * columns + centre * n_functions + m
            held = 0
            while start < stop or held > 0:
                while start < stop and held < WARP:
                    j = uint32(0)
                    dx = 0.0
                    dy = 0.0
                    dz = 0.0
                    inside = False
                    if start + lane < stop:
                        j, dx, dy, dz, r_squared = displacement_of(
                            rows[i, uint32(start + lane)],
                            index_mask,
                            index_bits,
                            translations,
                            sorted_positions,
                            x,
                            y,
                            z,
                        )
                        inside = r_squared < cutoff_squared
                    held += append(turn, head + held, inside, j, dx, dy, dz, lane, found, near, near_vector)
                    turn = uint32(turn + 1 if turn < 2 else 0)
                    start += WARP
                # The ring is filled, and the lanes are through with the neighbours before.
                cuda.syncthreads()
                n = min(held, WARP)
                if lane < n:
                    p = uint32((head + lane) & (RING - 1))
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
                        for held_place in range(places.shape[1]):
                            if places[b, held_place, LOW] <= j and j < places[b, held_place, HIGH]:
                                place = j + places[b, held_place, SHIFT]
                        if place < 0:
                            cuda.atomic.or_(status, FOUND, NOT_HELD)
                            place = 0
                    ux = real(dx) * inverse_r
                    uy = real(dy) * inverse_r
                    uz = real(dz) * inverse_r
                    half_r = 0.5 / float64(inverse_r)
                    direction[1, lane] = ux
                    direction[2, lane] = uy
                    direction[3, lane] = uz
                    half_vector[0, lane] = half_r * float64(ux)
                    half_vector[1, lane] = half_r * float64(uy)
                    half_vector[2, lane] = half_r * float64(uz)
                    inverse[lane] = inverse_r
                    interval[lane] = k
                    other_row[lane] = place * 4 * columns + k
                    for a in range(order):
                        weight[a, lane] = polynomial(polynomials, a, order, fraction)
                        slope[a, lane] = factor * derivative(polynomials, a, order, fraction)
                else:
                    direction[1, lane] = real(0.0)
                    direction[2, lane] = real(0.0)
                    direction[3, lane] = real(0.0)
                    half_vector[0, lane] = 0.0
                    half_vector[1, lane] = 0.0
                    half_vector[2, lane] = 0.0
                    inverse[lane] = real(0.0)
                    interval[lane] = 0
                    other_row[lane] = row * 4 * columns
                    for a in range(order):
                        weight[a, lane] = real(0.0)
                        slope[a, lane] = real(0.0)
                cuda.syncthreads()
                if member < together:
                    for first_j in range(member, n, 2 * together):
                        j0 = uint32(first_j)
                        j1 = uint32(first_j + together)
                        own0 = q[own_place + interval[j0]]
                        own1 = q[own_place + interval[j1]]
                        other0 = q[other_place + other_row[j0]]
                        other1 = q[other_place + other_row[j1]]
                        for turn_of in range(2):
                            j = j0 if turn_of == 0 else j1
                            own = own0 if turn_of == 0 else own1
                            other = other0 if turn_of == 0 else other1
                            # X = Q^i + Q^j for component 0, Q^i − Q^j for the others.
                            both = own + mirrored * other
                            # X_c [B' r̂_c r̂ + B (e_c − r̂_c r̂)/r]
                            across = both * weight[across_row, j] * inverse[j]
                            radial = (both * slope[m, j] - across) * direction[component, j]
                            gx = float64(radial * direction[1, j] + along_x * across)
                            gy = float64(radial * direction[2, j] + along_y * across)
                            gz = float64(radial * direction[3, j] + along_z * across)
                            fx += gx
                            fy += gy
                            fz += gz
                            if with_virial != 0:
                                rx = half_vector[0, j]
                                ry = half_vector[1, j]
                                rz = half_vector[2, j]
                                vxx -= gx * rx
                                vxy -= gx * ry
                                vxz -= gx * rz
                                vyx -= gy * rx
                                vyy -= gy * ry
                                vyz -= gy * rz
                                vzx -= gz * rx
                                vzy -= gz * ry
                                vzz -= gz * rz
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
