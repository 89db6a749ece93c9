# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled parts of the exchange between ranks: who owns a point, who must see it, packing and adding up."""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy


def find_regions(
    const double[:, ::1] coordinates,
    const double[::1] first,
    const double[:, ::1] second,
    const double[:, :, ::1] third,
    int32_t[::1] ranks,
):
    """Set `ranks` to the region that each point is in.

    `first` holds the planes between slabs along the first axis, second[u] those within slab u along the
    second, third[u, v] those within column (u, v) along the third; regions are numbered with the third
    axis fastest. A point on a plane belongs to the region above.
    """
    cdef Py_ssize_t a, u, v, w
    cdef Py_ssize_t ny = second.shape[1] + 1, nz = third.shape[2] + 1
    with nogil:
        for a in range(coordinates.shape[0]):
            u = _below_or_at(&first[0] if first.shape[0] else NULL, first.shape[0], coordinates[a, 0])
            v = _below_or_at(&second[u, 0] if second.shape[1] else NULL, second.shape[1], coordinates[a, 1])
            w = _below_or_at(&third[u, v, 0] if third.shape[2] else NULL, third.shape[2], coordinates[a, 2])
            ranks[a] = <int32_t>((u * ny + v) * nz + w)


def select_inside(
    const double[:, ::1] coordinates,
    const double[:, ::1] positions,
    const int64_t[::1] shift,
    const double[::1] translation,
    const double[::1] coordinate_low,
    const double[::1] coordinate_high,
    const double[::1] low,
    const double[::1] high,
    int32_t[::1] chosen,
):
    """Write the atoms that, moved by `shift` cells, lie in a box; returns how many.

    The box is given in the cell's coordinates and in Cartesian ones, and an atom must be within both.
    `translation` is `shift` in Å.
    """
    cdef Py_ssize_t a, d, n = 0
    cdef double s, x
    cdef bint inside
    with nogil:
        for a in range(positions.shape[0]):
            inside = True
            for d in range(3):
                s = coordinates[a, d] + shift[d]
                x = positions[a, d] + translation[d]
                inside = (
                    inside and coordinate_low[d] <= s <= coordinate_high[d] and low[d] <= x <= high[d]
                )
            if inside:
                chosen[n] = <int32_t>a
                n += 1
    return n


def pack_positions(
    const double[:, ::1] positions,
    const double[:, ::1] cell,
    const int32_t[::1] atoms,
    const int32_t[:, ::1] images,
    double[:, ::1] packed,
):
    """Write the image images[k] of the atom atoms[k] to packed[k]."""
    cdef Py_ssize_t k, a, d
    with nogil:
        for k in range(atoms.shape[0]):
            a = atoms[k]
            for d in range(3):
                packed[k, d] = positions[a, d] + (
                    images[k, 0] * cell[0, d] + images[k, 1] * cell[1, d] + images[k, 2] * cell[2, d]
                )


def add_forces(const int32_t[::1] atoms, const double[:, ::1] packed, double[:, ::1] forces):
    """Add packed[k] to the force on the atom atoms[k]."""
    cdef Py_ssize_t k, a, d
    with nogil:
        for k in range(atoms.shape[0]):
            a = atoms[k]
            for d in range(3):
                forces[a, d] += packed[k, d]


def pack_rows(
    const uint8_t[:, ::1] rows, const int64_t[::1] chosen, Py_ssize_t offset, uint8_t[:, ::1] packed
):
    """Copy the bytes of the chosen rows into packed[:, offset:]."""
    cdef Py_ssize_t k, width = rows.shape[1]
    if width:
        with nogil:
            for k in range(chosen.shape[0]):
                memcpy(&packed[k, offset], &rows[chosen[k], 0], width)


def unpack_rows(
    const uint8_t[:, ::1] packed, const int64_t[::1] chosen, Py_ssize_t offset, uint8_t[:, ::1] rows
):
    """Fill `rows` with the bytes from `offset` on of the chosen rows of `packed`."""
    cdef Py_ssize_t k, width = rows.shape[1]
    if width:
        with nogil:
            for k in range(chosen.shape[0]):
                memcpy(&rows[k, 0], &packed[chosen[k], offset], width)


cdef inline Py_ssize_t _below_or_at(const double* planes, Py_ssize_t n, double x) noexcept nogil:
    """Return how many of the ascending planes are not above x."""
    cdef Py_ssize_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) // 2
        if planes[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low
