"""What the two loops over neighbours share: moments forwards (`moments`), forces backwards (`forces`).

A warp takes one atom. Of the neighbours in the list those within the cutoff wait in a ring in shared memory
until there are 32 of them (or the row of a type ends), so that each lane has one to evaluate. After that
the lanes turn to the 4 × (degree + 1) numbers that a neighbour touches, which are next to each other in
memory. Sums have a fixed order, without atomics, whatever else is in the list.

What a loop counts is unsigned, where an array is indexed by it: Numba looks at every signed index for whether
it counts from the array's end.

Layout of M and Q: [atom, component, neighbour type · N + basis function]; components are (1, x/r, y/r, z/r).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, int32, uint32
from numba.np import numpy_support
from numpy.typing import NDArray

from fastdp.gpu.kernels.compiling import device_function
from fastdp.gpu.kernels.entries import displacement_of
from fastdp.potential.compressed import scalar
from fastdp.potential.compressed.splines import segment_polynomials

WARP = 32
PADDED = WARP + 1
"""Row length of tables in shared memory: the lanes' accesses fall into different banks."""

RING = 2 * WARP
"""Neighbours within the cutoff that wait: fewer than 32, and up to 32 more."""

# Columns of the table of a pair of types.
SHORTEST_SQUARED, SOFTNESS, ORIGIN, INVERSE_SPACING, PAIR_COLUMNS = range(5)

# Columns of the table of places: sorted atom LOW ≤ j < HIGH has its Q in row j + SHIFT.
LOW, HIGH, SHIFT, PLACE_COLUMNS = range(4)


def moment_stride(n_functions: int, itemsize: int) -> int:
    """Return how far apart the sums of two components stand in shared memory, in numbers of `itemsize` bytes.

    The lanes add to six numbers each of four components at a time. 8 (mod 32) puts all of them into different
    ones of the 32 banks of 4 bytes; for numbers of 8 bytes, which go by half a warp, that is 6 (mod 16).
    """
    remainder, banks = (8, 32) if itemsize == 4 else (6, 16)
    return n_functions + (remainder - n_functions) % banks


def append_near(turn, place, inside, j, dx, dy, dz, lane, found, near, near_vector):
    """Append those of 32 neighbours that are within the cutoff to a ring; return how many.

    Their order is kept: each finds its place by the bits of those before it. To be compiled by
    `block_function` for a module that has the names `cuda`, `uint32` and `RING`.

    Parameters
    ----------
    turn : uint32
        Word of `found` that takes a bit of each lane: 0, 1, 2, 0, …
    place : int
        In the ring, of the first.
    inside : bool
        Whether the lane has a neighbour within the cutoff, atom `j` at (dx, dy, dz).
    lane : uint32
    found : (3,) uint32, shared
        The word of this turn is zero, and so is made that of the turn after the next.
    near, near_vector : (RING,) uint32 and (3, RING) float64, shared
        Sorted atoms, and the vectors to them, Å.
    """
    if inside:
        cuda.atomic.or_(found, turn, 1 << lane)
    cuda.syncthreads()
    bits = found[turn]
    if lane == 0:
        # Others may still read the word of this turn, and set bits of the next.
        found[uint32(turn - 1 if turn > 0 else 2)] = 0
    if inside:
        p = uint32((place + cuda.popc(uint32(bits & ((1 << lane) - 1)))) & (RING - 1))
        near[p] = j
        near_vector[0, p] = dx
        near_vector[1, p] = dy
        near_vector[2, p] = dz
    return cuda.popc(bits)


def ring_filler(append: Any) -> Any:
    """Return the device function by which the lanes of a warp fill the ring.

    Parameters
    ----------
    append
        `append_near`, compiled.
    """

    def fill(
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
    ):
        """Go through a row of the list until 32 neighbours within the cutoff wait, or it ends.

        Parameters
        ----------
        held, turn : int, uint32
            Neighbours that wait already, and the word of `found` that is next.
        start, stop : int
            Part of the row of sorted atom `i` that is left.
        head : int
            Place in the ring of the first that waits.
        cutoff_squared : float64
            Å².
        x, y, z : float64
            Å, of the atom.
        lane, found, near, near_vector
            As in `append_near`; all else as in `displacement`.

        Returns
        -------
        held, turn, start
        """
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
        return held, turn, start

    return device_function(fill)


def type_of_place(i, kind_starts, n_types):
    """Return the type of a sorted atom.

    kind_starts : (n_kinds + 1,) int64
        Where each kind of atoms begins, see `fastdp.gpu.kinds`.
    """
    kind = 0
    while i >= kind_starts[uint32(kind + 1)]:
        kind += 1
    return uint32(kind % n_types)


type_of = device_function(type_of_place)


@cache
def interval_function(real: Any, order: int) -> Any:
    """Return the device function that gives the interval of the splines that a distance falls into.

    Parameters
    ----------
    real : numba.float32 or numba.float64
    order : int
        Degree of the splines + 1.
    """
    coordinate = device_function(scalar.radial_coordinate)

    def interval_and_fraction(r, softness, origin, inverse_spacing, n_functions):
        """Return the interval, a uint32, and the place in it."""
        place = (coordinate(r, softness) - origin) * inverse_spacing
        k = int32(max(real(0.0), min(place, real(n_functions - order))))
        return uint32(k), place - real(k)

    return device_function(interval_and_fraction)


def coefficients(real: Any, order: int) -> NDArray[Any]:
    """Return the polynomials of the splines, (order, order), to be part of a kernel's code."""
    return np.array(segment_polynomials(order - 1), numpy_support.as_dtype(real))
