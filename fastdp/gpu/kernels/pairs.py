"""The two loops over neighbours: moments forwards, forces backwards; one warp for each atom.

The lanes first take a neighbour each, 32 at a time: distance, interval, weights and slopes of the basis
functions go to shared memory. Then all of them take these neighbours one after the other, each lane with one
of the 4 × (degree + 1) numbers that a neighbour touches. So the sums have a fixed order without atomics, the
numbers of one neighbour are next to each other in memory, and no lane waits for another.

Layout of M and Q: [atom, component, neighbour type · N + basis function]; components are (1, x/r, y/r, z/r).
"""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import Any

from numba import cuda, types

from fastdp.gpu.kernels.compiling import device_function
from fastdp.gpu.kernels.entries import displacement_of
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST, NOT_HELD, TOO_CLOSE
from fastdp.potential.compressed import scalar

WARP = 32
LARGEST_ORDER = 6
"""Splines of degree 5 have six non-zero functions at any distance."""
PADDED = WARP + 1
"""Row length of tables in shared memory: the lanes' accesses fall into different banks."""

# Columns of the table of a pair of types.
SHORTEST_SQUARED, SOFTNESS, ORIGIN, INVERSE_SPACING, PAIR_COLUMNS = range(5)

# Rows of the geometry of 32 neighbours.
UNIT_X, UNIT_Y, UNIT_Z, INVERSE_R, GEOMETRY_ROWS = range(5)

# Columns of the table of places: sorted atom LOW ≤ j < HIGH has its Q in row j + SHIFT.
LOW, HIGH, SHIFT, PLACE_COLUMNS = range(4)

NOT_COUNTED = -1
"""Interval of a neighbour beyond the cutoff."""

FORCE_COLUMNS = 12
"""Three components of the force and nine of the virial."""


def moment_stride(n_functions: int, itemsize: int) -> int:
    """Return how far apart the sums of two components stand in shared memory, in numbers of `itemsize` bytes.

    The lanes add to six numbers each of four components at a time. 8 (mod 32) puts all of them into different
    ones of the 32 banks of 4 bytes; for numbers of 8 bytes, which go by half a warp, that is 6 (mod 16).
    """
    remainder, banks = (8, 32) if itemsize == 4 else (6, 16)
    return n_functions + (remainder - n_functions) % banks


@cache
def pair_kernels(real: Any, windowed: bool = False) -> SimpleNamespace:
    """Return the kernels `moments` and `forces` for one precision.

    Parameters
    ----------
    real : numba.float32 or numba.float64
        Type of everything but differences of positions, forces and virials.
    windowed : bool
        Whether `forces` finds Q by `places`; otherwise that of each sorted atom is in its row.
    """
    place_of = device_function(scalar.radial_coordinate)
    slope_of = device_function(scalar.radial_coordinate_slope)
    polynomial = device_function(scalar.array_polynomial)
    derivative = device_function(scalar.array_polynomial_slope)

    def interval_and_fraction(r, softness, origin, inverse_spacing, last):
        """Return the interval of the splines that a distance falls into, and where in it."""
        place = (place_of(r, softness) - origin) * inverse_spacing
        k = types.int32(max(real(0.0), min(place, real(last))))
        return k, place - real(k)

    interval_of = device_function(interval_and_fraction)

    @cuda.jit
    def moments(
        status,
        first,
        centre_type,
        n_types,
        n_functions,
        order,
        cutoff_squared,
        index_mask,
        index_bits,
        polynomials,
        pair_tables,
        translations,
        sorted_positions,
        rows,
        row_counts,
        stride,
        result,
    ):
        """Fill M of one atom for each block, all of one type.

        polynomials : (order, order) of `real`
        pair_tables : (n_types, n_types, PAIR_COLUMNS) float64
        stride : int
            Of the sums of one component, see `moment_stride`.
        result : (grid, 4, n_types·N) of `real`, filled.

        Shared memory: 4 · stride of `real`.
        """
        total = cuda.shared.array(0, real)
        weight = cuda.shared.array((LARGEST_ORDER, PADDED), real)
        geometry = cuda.shared.array((GEOMETRY_ROWS, PADDED), real)
        interval = cuda.shared.array(WARP, types.int32)
        residue = cuda.shared.array(WARP, types.int32)
        if status[HALTED] != 0 or status[FOUND] & NO_LIST:
            # Rows that are cut short are not to be read beyond their end.
            return
        i = first + cuda.blockIdx.x
        lane = cuda.threadIdx.x
        # A lane adds to the basis functions n of one component with n mod order = own_residue, of which any
        # neighbour has exactly one: no other lane ever touches these sums.
        component = lane // order
        own_residue = lane % order
        x = sorted_positions[i, 0]
        y = sorted_positions[i, 1]
        z = sorted_positions[i, 2]
        start = 0
        for b in range(n_types):
            for p in range(lane, 4 * stride, WARP):
                total[p] = real(0.0)
            shortest_squared = pair_tables[centre_type, b, SHORTEST_SQUARED]
            softness = real(pair_tables[centre_type, b, SOFTNESS])
            origin = real(pair_tables[centre_type, b, ORIGIN])
            inverse_spacing = real(pair_tables[centre_type, b, INVERSE_SPACING])
            stop = start + row_counts[i, b]
            for base in range(start, stop, WARP):
                if base > start:
                    # The lanes are through with the neighbours before.
                    cuda.syncthreads()
                k = NOT_COUNTED
                if base + lane < stop:
                    j, dx, dy, dz, r_squared = displacement_of(
                        rows[i, base + lane], index_mask, index_bits, translations, sorted_positions, x, y, z
                    )
                    if r_squared < cutoff_squared:
                        if not (r_squared >= shortest_squared):
                            cuda.atomic.or_(status, FOUND, TOO_CLOSE)
                            r_squared = shortest_squared
                        r = real(math.sqrt(real(r_squared)))
                        inverse_r = real(1.0) / r
                        k, fraction = interval_of(r, softness, origin, inverse_spacing, n_functions - order)
                        geometry[UNIT_X, lane] = real(dx) * inverse_r
                        geometry[UNIT_Y, lane] = real(dy) * inverse_r
                        geometry[UNIT_Z, lane] = real(dz) * inverse_r
                        for a in range(order):
                            weight[a, lane] = polynomial(polynomials, a, order, fraction)
                interval[lane] = k
                residue[lane] = k % order
                cuda.syncthreads()
                if component < 4:
                    for j in range(min(WARP, stop - base)):
                        k = interval[j]
                        if k != NOT_COUNTED:
                            m = own_residue - residue[j]
                            if m < 0:
                                m += order
                            value = weight[m, j]
                            if component > 0:
                                value *= geometry[component - 1, j]
                            total[component * stride + k + m] += value
            cuda.syncthreads()
            for c in range(4):
                for p in range(lane, n_functions, WARP):
                    result[cuda.blockIdx.x, c, b * n_functions + p] = total[c * stride + p]
            if b + 1 < n_types:
                cuda.syncthreads()
            start = stop

    @cuda.jit
    def forces(
        status,
        first,
        first_row,
        centre_type,
        with_virial,
        n_types,
        n_functions,
        order,
        cutoff_squared,
        index_mask,
        index_bits,
        polynomials,
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
        q : (rows, 4, n_types·N) of `real`
        places : (n_types, m, PLACE_COLUMNS) int64
            Where in `q` the atoms of each type are; NOT_HELD is found where a neighbour is in none of them.
        atom_of : (n,) int32
            Index in the input.
        forces : (n, 3) float64, filled
            eV/Å, in the input's order.
        virials : (grid, 9) float64, filled where wanted
            Half of −g ⊗ r of the atom's pairs, eV.
        """
        weight = cuda.shared.array((LARGEST_ORDER, PADDED), real)
        slope = cuda.shared.array((LARGEST_ORDER, PADDED), real)
        geometry = cuda.shared.array((GEOMETRY_ROWS, PADDED), real)
        interval = cuda.shared.array(WARP, types.int32)
        neighbour = cuda.shared.array(WARP, types.int32)
        part = cuda.shared.array((FORCE_COLUMNS, PADDED), types.float64)
        if status[HALTED] != 0 or status[FOUND] & NO_LIST:
            # Rows that are cut short are not to be read beyond their end.
            return
        i = first + cuda.blockIdx.x
        row = first_row + cuda.blockIdx.x if windowed else i
        lane = cuda.threadIdx.x
        # Splines of low degree leave lanes for two neighbours at a time.
        together = WARP // (4 * order)
        member = lane // (4 * order)
        component = lane // order - 4 * member
        m = lane % order
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
        start = 0
        for b in range(n_types):
            softness = real(pair_tables[centre_type, b, SOFTNESS])
            origin = real(pair_tables[centre_type, b, ORIGIN])
            inverse_spacing = real(pair_tables[centre_type, b, INVERSE_SPACING])
            shortest_squared = pair_tables[centre_type, b, SHORTEST_SQUARED]
            stop = start + row_counts[i, b]
            for base in range(start, stop, WARP):
                if base > 0:
                    # The lanes are through with the neighbours before.
                    cuda.syncthreads()
                k = NOT_COUNTED
                if base + lane < stop:
                    j, dx, dy, dz, r_squared = displacement_of(
                        rows[i, base + lane], index_mask, index_bits, translations, sorted_positions, x, y, z
                    )
                    if r_squared < cutoff_squared:
                        r = real(math.sqrt(real(max(r_squared, shortest_squared))))
                        inverse_r = real(1.0) / r
                        k, fraction = interval_of(r, softness, origin, inverse_spacing, n_functions - order)
                        factor = inverse_spacing * slope_of(r, softness)
                        place = j
                        if windowed:
                            place = -1
                            for held in range(places.shape[1]):
                                if places[b, held, LOW] <= j and j < places[b, held, HIGH]:
                                    place = j + places[b, held, SHIFT]
                            if place < 0:
                                cuda.atomic.or_(status, FOUND, NOT_HELD)
                                place = 0
                        neighbour[lane] = place
                        geometry[UNIT_X, lane] = real(dx) * inverse_r
                        geometry[UNIT_Y, lane] = real(dy) * inverse_r
                        geometry[UNIT_Z, lane] = real(dz) * inverse_r
                        geometry[INVERSE_R, lane] = inverse_r
                        for a in range(order):
                            weight[a, lane] = polynomial(polynomials, a, order, fraction)
                            slope[a, lane] = factor * derivative(polynomials, a, order, fraction)
                interval[lane] = k
                cuda.syncthreads()
                if member < together:
                    for j in range(member, min(WARP, stop - base), together):
                        k = interval[j]
                        if k != NOT_COUNTED:
                            own = q[row, component, b * n_functions + k + m]
                            other = q[neighbour[j], component, centre_type * n_functions + k + m]
                            # X = Q^i + Q^j for component 0, Q^i − Q^j for the others.
                            both = own + mirrored * other
                            ux = geometry[UNIT_X, j]
                            uy = geometry[UNIT_Y, j]
                            uz = geometry[UNIT_Z, j]
                            radial = both * slope[m, j]
                            across = real(0.0)
                            if component > 0:
                                # X_c [B' r̂_c r̂ + B (e_c − r̂_c r̂)/r]
                                across = both * weight[m, j] * geometry[INVERSE_R, j]
                                radial = (radial - across) * geometry[component - 1, j]
                            gx = radial * ux
                            gy = radial * uy
                            gz = radial * uz
                            if component == 1:
                                gx += across
                            elif component == 2:
                                gy += across
                            elif component == 3:
                                gz += across
                            fx += types.float64(gx)
                            fy += types.float64(gy)
                            fz += types.float64(gz)
                            if with_virial != 0:
                                half_r = 0.5 / types.float64(geometry[INVERSE_R, j])
                                rx = half_r * types.float64(ux)
                                ry = half_r * types.float64(uy)
                                rz = half_r * types.float64(uz)
                                vxx -= types.float64(gx) * rx
                                vxy -= types.float64(gx) * ry
                                vxz -= types.float64(gx) * rz
                                vyx -= types.float64(gy) * rx
                                vyy -= types.float64(gy) * ry
                                vyz -= types.float64(gy) * rz
                                vzx -= types.float64(gz) * rx
                                vzy -= types.float64(gz) * ry
                                vzz -= types.float64(gz) * rz
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
        columns = FORCE_COLUMNS if with_virial != 0 else 3
        if lane < columns:
            value = 0.0
            for other_lane in range(WARP):
                value += part[lane, other_lane]
            atom = atom_of[i]
            if lane < 3:
                forces[atom, lane] = value
            else:
                virials[cuda.blockIdx.x, lane - 3] = value

    return SimpleNamespace(moments=moments, forces=forces)
