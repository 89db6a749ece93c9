"""Moments M of an atom's neighbours; one warp for each atom, see `pairs`.

The lanes first take a neighbour each: interval and weights of the basis functions go to shared memory. Then
all of them take these neighbours one after the other, each lane with one of the 4 × (degree + 1) numbers that
a neighbour adds to.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda, float64, uint32, uint64

from fastdp.gpu.kernels.compiling import block_function, device_function
from fastdp.gpu.kernels.pairs import (
    INVERSE_SPACING,
    ORIGIN,
    PADDED,
    RING,
    SHORTEST_SQUARED,
    SOFTNESS,
    WARP,
    append_near,
    coefficients,
    interval_function,
    ring_filler,
    type_of,
)
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST, TOO_CLOSE
from fastdp.potential.compressed import scalar

AT_ONCE = 4
"""Neighbours whose numbers are read before the first is added; 32 is a multiple of it."""

fill = ring_filler(block_function(append_near, globals()))


@cache
def moment_kernel(real: Any, order: int) -> Any:
    """Return the kernel `moments` for one precision and degree of splines.

    Parameters
    ----------
    real : numba.float32 or numba.float64
        Type of everything but differences of positions.
    order : int
        Degree of the splines + 1: loops over it are unrolled, and their polynomials part of the code.
    """
    polynomial = device_function(scalar.array_polynomial)
    interval_of = interval_function(real, order)
    splines = coefficients(real, order)
    lanes_of_one = 4 * order
    by_function, by_component = (order, PADDED), (4, PADDED)

    @cuda.jit
    def moments(
        status,
        first,
        kind_starts,
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
        stride,
        result,
    ):
        """Fill M of one atom for each block.

        kind_starts : (n_kinds + 1,) int64
            Where atoms of each type and stage begin.
        pair_tables : (n_types, n_types, PAIR_COLUMNS) float64
        stride : int
            Of the sums of one component, see `moment_stride`.
        result : (grid, 4, n_types·N) of `real`, filled.

        Shared memory: 4 · stride of `real`.
        """
        polynomials = cuda.const.array_like(splines)
        total = cuda.shared.array(0, real)
        weight = cuda.shared.array(by_function, real)
        target = cuda.shared.array(by_function, uint32)
        direction = cuda.shared.array(by_component, real)
        found = cuda.shared.array(3, uint32)
        near = cuda.shared.array(RING, uint32)
        near_vector = cuda.shared.array((3, RING), float64)
        place = cuda.local.array(AT_ONCE, uint64)
        value = cuda.local.array(AT_ONCE, real)
        if status[HALTED] != 0 or status[FOUND] & NO_LIST:
            # Rows that are cut short are not to be read beyond their end.
            return
        block = uint32(cuda.blockIdx.x)
        i = uint32(first + block)
        lane = uint32(cuda.threadIdx.x)
        centre = type_of(i, kind_starts, n_types)
        # A lane adds to the basis functions n of one component with n mod order = own_residue, of which any
        # neighbour has exactly one: no other lane ever touches these sums.
        component = uint32(lane // order)
        own_residue = uint32(lane % order)
        own = uint64(component * stride)
        x = sorted_positions[i, 0]
        y = sorted_positions[i, 1]
        z = sorted_positions[i, 2]
        s = uint64(lane)
        while s < uint64(4 * stride):
            total[s] = real(0.0)
            s += uint64(WARP)
        if lane < 3:
            found[lane] = 0
        direction[0, lane] = real(1.0)
        cuda.syncthreads()
        turn = uint32(0)
        head = 0
        start = 0
        for b in range(n_types):
            shortest_squared = pair_tables[centre, b, SHORTEST_SQUARED]
            softness = real(pair_tables[centre, b, SOFTNESS])
            origin = real(pair_tables[centre, b, ORIGIN])
            inverse_spacing = real(pair_tables[centre, b, INVERSE_SPACING])
            stop = start + row_counts[i, b]
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
                # The ring is filled, and the lanes are through with the neighbours before.
                cuda.syncthreads()
                n = min(held, WARP)
                if lane < n:
                    p = uint32((head + lane) & (RING - 1))
                    dx = near_vector[0, p]
                    dy = near_vector[1, p]
                    dz = near_vector[2, p]
                    r_squared = dx * dx + dy * dy + dz * dz
                    if not (r_squared >= shortest_squared):
                        cuda.atomic.or_(status, FOUND, TOO_CLOSE)
                        r_squared = shortest_squared
                    r = real(math.sqrt(real(r_squared)))
                    inverse_r = real(1.0) / r
                    k, fraction = interval_of(r, softness, origin, inverse_spacing, n_functions)
                    direction[1, lane] = real(dx) * inverse_r
                    direction[2, lane] = real(dy) * inverse_r
                    direction[3, lane] = real(dz) * inverse_r
                    residue = k % order
                    for a in range(order):
                        m = residue + a
                        m = uint32(m if m < order else m - order)
                        weight[m, lane] = polynomial(polynomials, a, order, fraction)
                        target[m, lane] = k + a
                else:
                    # Adds nothing to any of the first sums.
                    direction[1, lane] = real(0.0)
                    direction[2, lane] = real(0.0)
                    direction[3, lane] = real(0.0)
                    for a in range(order):
                        weight[a, lane] = real(0.0)
                        target[a, lane] = a
                cuda.syncthreads()
                if lane < lanes_of_one:
                    number = uint64(0)
                    while number < uint64(n):
                        # All that does not depend on the sums comes first.
                        for t in range(AT_ONCE):
                            at = number + uint64(t)
                            place[t] = own + target[own_residue, at]
                            value[t] = weight[own_residue, at] * direction[component, at]
                        for t in range(AT_ONCE):
                            total[place[t]] += value[t]
                        number += uint64(AT_ONCE)
                head += n
                held -= n
            start = stop
            cuda.syncthreads()
            function = uint64(lane)
            while function < uint64(n_functions):
                for c in range(4):
                    s = function + uint64(c * stride)
                    result[block, c, function + uint64(b * n_functions)] = total[s]
                    # For the next type; nobody else has a part in it before the next barrier.
                    total[s] = real(0.0)
                function += uint64(WARP)

    return moments
