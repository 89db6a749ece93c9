# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled parts of the neighbour search: images, spatial sort, ghosts, cells, rows, update.

Every function works on arrays that the caller owns, in plain loops whose result depends on nothing but the
arguments. The search takes *extended* arrays (atoms that need rows first, then any others), and does not
care where the others come from.

The space is cut into Cartesian bins, whatever the shape of the cell. Only occupied bins are stored, as a
sorted list of keys, so that vacuum costs nothing.
"""

import numpy as np

from libc.math cimport ceil, fabs, floor, signbit
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

cdef enum:
    RADIX_BITS = 11
    RADIX = 2048

# An atom this little below a face, in units of the cell, is left there: moving it would round it onto the
# opposite face, from where the next call would bring it back.
cdef double WRAP_TOLERANCE = 1e-10


def first_unusable(const double[:, ::1] positions, double largest):
    """Return the first atom with a coordinate that is not finite or beyond ±`largest` Å, or -1."""
    cdef Py_ssize_t a, d
    for a in range(positions.shape[0]):
        for d in range(3):
            if not fabs(positions[a, d]) <= largest:
                return a
    return -1


def wrap_into_cell(
    double[:, ::1] positions,
    int32_t[:, ::1] images,
    const double[:, ::1] cell,
    const double[:, ::1] reciprocal,
):
    """Move atoms into the cell and count the cells crossed, but not where `reciprocal` has zero columns."""
    cdef Py_ssize_t a, d, c, attempt
    cdef double s
    cdef double[3] crossed
    cdef bint inside
    with nogil:
        for a in range(positions.shape[0]):
            # An atom many cells away is only brought near by the first pass, for its coordinates are rounded.
            for attempt in range(8):
                inside = True
                for d in range(3):
                    s = _fractional(positions, reciprocal, a, d)
                    crossed[d] = floor(s) if s < -WRAP_TOLERANCE or s >= 1.0 else 0.0
                    inside = inside and crossed[d] == 0.0
                if inside:
                    break
                for d in range(3):
                    images[a, d] += <int32_t>crossed[d]
                for c in range(3):
                    positions[a, c] -= (
                        crossed[0] * cell[0, c] + crossed[1] * cell[1, c] + crossed[2] * cell[2, c]
                    )


def choose_images(
    const double[:, ::1] positions,
    const double[:, ::1] cell,
    const double[:, ::1] reciprocal,
    const int64_t[:, ::1] transform,
    int32_t[:, ::1] images,
    double[:, ::1] wrapped,
):
    """Bring atoms into the reduced cell, without touching `positions`.

    The reduced cell is transform·cell and `reciprocal` its inverse; `images` counts vectors of `cell`.
    """
    cdef Py_ssize_t a, d
    cdef int64_t[3] shift
    with nogil:
        for a in range(positions.shape[0]):
            for d in range(3):
                shift[d] = -<int64_t>floor(_fractional(positions, reciprocal, a, d))
            for d in range(3):
                images[a, d] = <int32_t>(
                    shift[0] * transform[0, d] + shift[1] * transform[1, d] + shift[2] * transform[2, d]
                )
            for d in range(3):
                wrapped[a, d] = positions[a, d] + _translation(images, cell, a, d)


def sort_atoms(
    const double[:, ::1] positions,
    const double[::1] origin,
    const double[::1] inverse_width,
    const int32_t[::1] types,
    const int64_t[::1] type_start,
    int32_t[::1] order,
):
    """Fill `order` with atoms sorted by type, then along the Morton curve of their bins, then by index."""
    cdef Py_ssize_t n = positions.shape[0], a, k
    cdef uint64_t key, largest = 0
    cdef uint64_t[::1] keys = np.empty(n, dtype=np.uint64)
    cdef int32_t[::1] along_curve = np.empty(n, dtype=np.int32)
    cdef int64_t[::1] place = np.array(type_start)
    with nogil:
        for a in range(n):
            key = (
                _spread_bits(_bin(positions[a, 0], origin[0], inverse_width[0]))
                | _spread_bits(_bin(positions[a, 1], origin[1], inverse_width[1])) << 1
                | _spread_bits(_bin(positions[a, 2], origin[2], inverse_width[2])) << 2
            )
            keys[a] = key
            largest = max(largest, key)
            along_curve[a] = <int32_t>a
    _sort_by_key(keys, along_curve, largest)
    with nogil:
        for k in range(n):
            a = along_curve[k]
            order[place[types[a]]] = <int32_t>a
            place[types[a]] += 1


def place_locals(
    const double[:, ::1] positions,
    const int32_t[::1] types,
    const int32_t[:, ::1] images,
    const int32_t[::1] order,
    double[:, ::1] extended_positions,
    int32_t[::1] extended_types,
    int32_t[:, ::1] extended_images,
    int32_t[::1] owner,
):
    """Copy the atoms, in sorted order, to the front of the extended arrays."""
    cdef Py_ssize_t i, a, d
    with nogil:
        for i in range(order.shape[0]):
            a = order[i]
            for d in range(3):
                extended_positions[i, d] = positions[a, d]
                extended_images[i, d] = images[a, d]
            extended_types[i] = types[a]
            owner[i] = <int32_t>i


def place_ghosts(
    Py_ssize_t n_atoms,
    Py_ssize_t first_ghost,
    const double[:, ::1] cell,
    const double[:, ::1] reciprocal,
    const int64_t[:, ::1] transform,
    const double[::1] fractional_low,
    const double[::1] fractional_high,
    const double[::1] low,
    const double[::1] high,
    double[:, ::1] extended_positions,
    int32_t[::1] extended_types,
    int32_t[:, ::1] extended_images,
    int32_t[::1] owner,
):
    """Write, from `first_ghost` on, the periodic images of the first atoms that lie in the given box.

    The box is given in fractional and in Cartesian coordinates; an image must be within both.

    Images are written as long as there is room. Returns the number of extended atoms that there should be;
    if that is more than the arrays hold, call again with larger ones.
    """
    cdef Py_ssize_t i, d, n = first_ghost, capacity = extended_positions.shape[0]
    cdef int64_t u, v, w
    cdef int64_t[3] first, last
    cdef int64_t[3] image
    cdef double s
    cdef double[3] x
    cdef bint inside
    with nogil:
        for i in range(n_atoms):
            for d in range(3):
                s = _fractional(extended_positions, reciprocal, i, d)
                first[d] = <int64_t>ceil(fractional_low[d] - s)
                last[d] = <int64_t>floor(fractional_high[d] - s)
            for u in range(first[0], last[0] + 1):
                for v in range(first[1], last[1] + 1):
                    for w in range(first[2], last[2] + 1):
                        if u == 0 and v == 0 and w == 0:
                            continue
                        inside = True
                        for d in range(3):
                            image[d] = u * transform[0, d] + v * transform[1, d] + w * transform[2, d]
                        for d in range(3):
                            x[d] = extended_positions[i, d] + (
                                image[0] * cell[0, d] + image[1] * cell[1, d] + image[2] * cell[2, d]
                            )
                            inside = inside and low[d] <= x[d] <= high[d]
                        if not inside:
                            continue
                        if n < capacity:
                            for d in range(3):
                                extended_positions[n, d] = x[d]
                                extended_images[n, d] = <int32_t>image[d]
                            extended_types[n] = extended_types[i]
                            owner[n] = <int32_t>i
                        n += 1
    return n


def bin_atoms(
    const double[:, ::1] positions,
    Py_ssize_t n_extended,
    const double[::1] origin,
    const double[::1] inverse_width,
    const int64_t[::1] shape,
):
    """Sort extended atoms into bins.

    Returns
    -------
    index : (n_extended,) int32
        Extended atoms in the order of their bins (x fastest), inside a bin by index.
    bin_key : (n_bins,) uint64
        Key of each occupied bin, ascending: (bin_z·shape_y + bin_y)·shape_x + bin_x.
    bin_start : (n_bins + 1,) int32
        Bin b holds index[bin_start[b]:bin_start[b + 1]].
    bin_of : (n_extended,) int32
        The bin of each extended atom.
    """
    cdef Py_ssize_t e, k, n_bins = 0
    cdef uint64_t previous = 0
    keys_array = np.empty(n_extended, dtype=np.uint64)
    index_array = np.empty(n_extended, dtype=np.int32)
    bin_key_array = np.empty(n_extended, dtype=np.uint64)
    bin_start_array = np.empty(n_extended + 1, dtype=np.int32)
    bin_of_array = np.empty(n_extended, dtype=np.int32)
    cdef uint64_t[::1] keys = keys_array, bin_key = bin_key_array
    cdef int32_t[::1] index = index_array, bin_start = bin_start_array, bin_of = bin_of_array
    with nogil:
        for e in range(n_extended):
            keys[e] = (
                _bin(positions[e, 2], origin[2], inverse_width[2]) * <uint64_t>shape[1]
                + _bin(positions[e, 1], origin[1], inverse_width[1])
            ) * <uint64_t>shape[0] + _bin(positions[e, 0], origin[0], inverse_width[0])
            index[e] = <int32_t>e
    _sort_by_key(keys, index, <uint64_t>(shape[0] * shape[1] * shape[2]))
    with nogil:
        for k in range(n_extended):
            if k == 0 or keys[k] != previous:
                previous = keys[k]
                bin_key[n_bins] = previous
                bin_start[n_bins] = <int32_t>k
                n_bins += 1
            bin_of[index[k]] = <int32_t>(n_bins - 1)
        bin_start[n_bins] = <int32_t>n_extended
    return index_array, bin_key_array[:n_bins].copy(), bin_start_array[: n_bins + 1].copy(), bin_of_array


def candidate_ranges(
    const uint64_t[::1] bin_key,
    const int32_t[::1] bin_start,
    const int32_t[::1] homes,
    const int64_t[::1] line_offset,
    const int64_t[::1] line_reach,
    int32_t[:, :, ::1] ranges,
    int32_t[::1] candidates,
):
    """Find, for each home bin, the runs of atoms in the bins around it.

    A line of the stencil is a run of bins along x: keys from key + offset − reach to key + offset + reach.
    Homes ascend, so both ends of a line only move forward: a merge instead of a search.
    """
    cdef Py_ssize_t h, line, low, high, n_bins = bin_key.shape[0]
    cdef int64_t centre
    with nogil:
        for h in range(homes.shape[0]):
            candidates[h] = 0
        for line in range(line_offset.shape[0]):
            low = 0
            high = 0
            for h in range(homes.shape[0]):
                centre = <int64_t>bin_key[homes[h]] + line_offset[line]
                while low < n_bins and <int64_t>bin_key[low] < centre - line_reach[line]:
                    low += 1
                high = max(high, low)
                while high < n_bins and <int64_t>bin_key[high] <= centre + line_reach[line]:
                    high += 1
                ranges[h, line, 0] = bin_start[low]
                ranges[h, line, 1] = bin_start[high]
                candidates[h] += bin_start[high] - bin_start[low]


def fill_rows(
    Py_ssize_t row,
    const double[:, ::1] positions,
    double reach,
    const int32_t[::1] index,
    const int32_t[::1] home_of,
    const int32_t[:, :, ::1] ranges,
    const int32_t[::1] candidates,
    int64_t[::1] first,
    int32_t[::1] neighbours,
):
    """Fill rows from `row` on with all extended atoms closer than `reach`.

    Returns the number of rows that are complete; fewer than there are means that `neighbours` must grow
    before the call is repeated from there.
    """
    cdef Py_ssize_t n_rows = first.shape[0] - 1, largest = 0, m = 0, home = -1, h
    for h in range(candidates.shape[0]):
        largest = max(largest, candidates[h])
    cdef double* x = <double*>malloc((4 * largest + 1) * sizeof(double))
    cdef int32_t* j = <int32_t*>malloc((largest + 1) * sizeof(int32_t))
    if x == NULL or j == NULL:
        free(x)
        free(j)
        raise MemoryError
    with nogil:
        while row < n_rows:
            if home_of[row] != home:
                home = home_of[row]
                m = _gather(positions, index, ranges[home], x, x + largest, x + 2 * largest, j)
            if first[row] + m > neighbours.shape[0]:
                break
            first[row + 1] = first[row] + _fill_row(
                positions[row, 0], positions[row, 1], positions[row, 2], reach * reach, <int32_t>row, m,
                x, x + largest, x + 2 * largest, j, x + 3 * largest, &neighbours[0] + first[row],
            )
            row += 1
    free(x)
    free(j)
    return row


def update_positions(
    const double[:, ::1] positions,
    const double[:, ::1] positions_at_build,
    double largest_displacement,
    const double[:, ::1] cell,
    const int32_t[::1] order,
    const int32_t[::1] owner,
    const int32_t[:, ::1] images,
    Py_ssize_t first_ghost,
    Py_ssize_t n_extended,
    double[:, ::1] extended_positions,
):
    """Move the atoms, and their images from `first_ghost` on, to `positions`.

    Returns whether an atom is farther from its place at build than `largest_displacement`.
    """
    cdef Py_ssize_t i, a, d
    cdef double square, difference, limit = largest_displacement * largest_displacement
    cdef bint moved = False
    with nogil:
        for i in range(order.shape[0]):
            a = order[i]
            square = 0.0
            for d in range(3):
                difference = positions[a, d] - positions_at_build[a, d]
                square += difference * difference
                extended_positions[i, d] = positions[a, d] + _translation(images, cell, i, d)
            # Written so that NaN counts as moved.
            if not square <= limit:
                moved = True
        for i in range(first_ghost, n_extended):
            a = owner[i]
            for d in range(3):
                extended_positions[i, d] = extended_positions[a, d] + _translation(images, cell, i, d)
    return moved


def count_by_type(
    const double[:, ::1] positions,
    const int32_t[::1] types,
    const int64_t[::1] first,
    const int32_t[::1] neighbours,
    double cutoff,
    const int64_t[::1] selection,
    int64_t[:, ::1] largest,
    int64_t[:, ::1] overflowing,
):
    """Count neighbours closer than `cutoff` by type: the largest count, and the centres above `selection`."""
    cdef Py_ssize_t i, k, j, t, centre
    cdef double dx, dy, dz
    cdef int64_t[::1] count = np.zeros(selection.shape[0], dtype=np.int64)
    with nogil:
        for i in range(first.shape[0] - 1):
            for t in range(count.shape[0]):
                count[t] = 0
            for k in range(first[i], first[i + 1]):
                j = neighbours[k]
                dx = positions[j, 0] - positions[i, 0]
                dy = positions[j, 1] - positions[i, 1]
                dz = positions[j, 2] - positions[i, 2]
                count[types[j]] += dx * dx + dy * dy + dz * dz < cutoff * cutoff
            centre = types[i]
            for t in range(count.shape[0]):
                largest[centre, t] = max(largest[centre, t], count[t])
                overflowing[centre, t] += count[t] > selection[t]


cdef inline double _fractional(
    const double[:, ::1] positions, const double[:, ::1] reciprocal, Py_ssize_t a, Py_ssize_t d
) noexcept nogil:
    return (
        positions[a, 0] * reciprocal[0, d]
        + positions[a, 1] * reciprocal[1, d]
        + positions[a, 2] * reciprocal[2, d]
    )


cdef inline double _translation(
    const int32_t[:, ::1] images, const double[:, ::1] cell, Py_ssize_t a, Py_ssize_t d
) noexcept nogil:
    return images[a, 0] * cell[0, d] + images[a, 1] * cell[1, d] + images[a, 2] * cell[2, d]


cdef inline uint64_t _bin(double x, double origin, double inverse_width) noexcept nogil:
    return <uint64_t>((x - origin) * inverse_width)


cdef inline uint64_t _spread_bits(uint64_t v) noexcept nogil:
    """Put two zero bits between the 21 low bits of v."""
    v &= 0x1FFFFF
    v = (v | v << 32) & <uint64_t>0x1F00000000FFFF
    v = (v | v << 16) & <uint64_t>0x1F0000FF0000FF
    v = (v | v << 8) & <uint64_t>0x100F00F00F00F00F
    v = (v | v << 4) & <uint64_t>0x10C30C30C30C30C3
    v = (v | v << 2) & <uint64_t>0x1249249249249249
    return v


cdef _sort_by_key(uint64_t[::1] keys, int32_t[::1] values, uint64_t largest):
    """Sort both arrays by key: stable radix sort, with as many passes as the largest key needs."""
    cdef Py_ssize_t n = keys.shape[0], k, digit, total, size
    cdef int shift = 0
    if n == 0:
        return
    cdef uint64_t[::1] key_buffer = np.empty(n, dtype=np.uint64)
    cdef int32_t[::1] value_buffer = np.empty(n, dtype=np.int32)
    cdef Py_ssize_t[RADIX] place
    with nogil:
        while shift < 64 and largest >> shift:
            memset(place, 0, sizeof(place))
            for k in range(n):
                place[(keys[k] >> shift) & (RADIX - 1)] += 1
            total = 0
            for digit in range(RADIX):
                size = place[digit]
                place[digit] = total
                total += size
            for k in range(n):
                digit = (keys[k] >> shift) & (RADIX - 1)
                key_buffer[place[digit]] = keys[k]
                value_buffer[place[digit]] = values[k]
                place[digit] += 1
            memcpy(&keys[0], &key_buffer[0], n * sizeof(uint64_t))
            memcpy(&values[0], &value_buffer[0], n * sizeof(int32_t))
            shift += RADIX_BITS


cdef Py_ssize_t _gather(
    const double[:, ::1] positions,
    const int32_t[::1] index,
    const int32_t[:, ::1] ranges,
    double* x,
    double* y,
    double* z,
    int32_t* j,
) noexcept nogil:
    """Copy the candidates of a home bin side by side, so that rows are found in one straight loop."""
    cdef Py_ssize_t line, k, m = 0
    for line in range(ranges.shape[0]):
        for k in range(ranges[line, 0], ranges[line, 1]):
            j[m] = index[k]
            x[m] = positions[index[k], 0]
            y[m] = positions[index[k], 1]
            z[m] = positions[index[k], 2]
            m += 1
    return m


cdef Py_ssize_t _fill_row(
    double x0,
    double y0,
    double z0,
    double reach_squared,
    int32_t self,
    Py_ssize_t m,
    const double* x,
    const double* y,
    const double* z,
    const int32_t* j,
    double* excess,
    int32_t* row,
) noexcept nogil:
    """Write the candidates within reach and return how many; `row` must have room for all of them."""
    cdef Py_ssize_t k, n = 0
    for k in range(m):
        excess[k] = (
            (x[k] - x0) * (x[k] - x0) + (y[k] - y0) * (y[k] - y0) + (z[k] - z0) * (z[k] - z0) - reach_squared
        )
    # Every candidate is written, and overwritten if it was too far: a sign to add, no branch to mispredict.
    for k in range(m):
        row[n] = j[k]
        n += signbit(excess[k]) != 0
    # The atom itself is among them.
    for k in range(n):
        if row[k] == self:
            n -= 1
            memmove(row + k, row + k + 1, (n - k) * sizeof(int32_t))
            break
    return n
