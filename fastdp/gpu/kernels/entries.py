"""Entries of the neighbour list: image << index_bits | sorted atom."""

from __future__ import annotations

from numba import types

from fastdp.gpu.kernels.compiling import device_function


def displacement(entry, index_mask, index_bits, translations, sorted_positions, x, y, z):
    """Return a neighbour, the vector to it from (x, y, z), and the square of its length.

    translations : (n_images, 3) float64
        Å, lattice vectors by image.
    sorted_positions : (n, 3) float64
        Å.
    """
    # As unsigned numbers, which no code is needed for that counts from an array's end.
    j = types.uint32(entry & index_mask)
    image = types.uint32(entry >> index_bits)
    dx = sorted_positions[j, 0] + translations[image, 0] - x
    dy = sorted_positions[j, 1] + translations[image, 1] - y
    dz = sorted_positions[j, 2] + translations[image, 2] - z
    return j, dx, dy, dz, dx * dx + dy * dy + dz * dz


displacement_of = device_function(displacement)
