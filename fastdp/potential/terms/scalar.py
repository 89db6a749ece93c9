"""Scalar physics of pair terms, as plain Python functions.

Written once; each backend compiles them (`numba.njit` on the CPU, `numba.cuda.jit(device=True)` on a GPU).
Kept free of library calls for that reason; of arrays, they only read elements.
"""

from __future__ import annotations

import math

ZBL, TABLE = range(2)
"""Which function a pair term is, by number, for kernels."""

TABLE_HEAD = 3
"""Numbers of a table before its coefficients."""

# Of the universal screening function, J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of
# Ions in Solids, Pergamon (1985): amplitudes, and exponents in units of the screening length.
C1, C2, C3, C4 = 0.18175, 0.50986, 0.28022, 0.02817
D1, D2, D3, D4 = 3.19980, 0.94229, 0.40290, 0.20162


def switched_zbl(r, strength, inverse_length, inner, cubic, quartic, shift):
    """Return the screened Coulomb energy brought smoothly to zero, and its derivative.

    strength/r · φ(r · inverse_length) + S(r),   S = cubic (r − inner)³ + quartic (r − inner)⁴ + shift

    Parameters
    ----------
    r : float
        Distance, Å.
    strength : float
        e²Z₁Z₂/(4πε₀), eV·Å.
    inverse_length : float
        One over the screening length, 1/Å.
    inner : float
        Å; below it, S is `shift`.
    cubic, quartic, shift : float
        eV/Å³, eV/Å⁴, eV.
    """
    x = r * inverse_length
    e1 = C1 * math.exp(-D1 * x)
    e2 = C2 * math.exp(-D2 * x)
    e3 = C3 * math.exp(-D3 * x)
    e4 = C4 * math.exp(-D4 * x)
    coulomb = strength / r
    energy = coulomb * (e1 + e2 + e3 + e4)
    slope = -energy / r - coulomb * inverse_length * (D1 * e1 + D2 * e2 + D3 * e3 + D4 * e4)
    energy += shift
    t = r - inner
    if t > 0.0:
        energy += t * t * t * (cubic + quartic * t)
        slope += t * t * (3.0 * cubic + 4.0 * quartic * t)
    return energy, slope


def cubic_piece(t, inverse_spacing, c0, c1, c2, c3):
    """Return c0 + c1 t + c2 t² + c3 t³ and its derivative with respect to r.

    Parameters
    ----------
    t : float
        Place within the interval, from 0 to 1.
    inverse_spacing : float
        dt/dr, 1/Å.
    c0, c1, c2, c3 : float
        eV.
    """
    return c0 + t * (c1 + t * (c2 + t * c3)), inverse_spacing * (c1 + t * (2.0 * c2 + t * 3.0 * c3))


def pair_energy_and_slope(kind, numbers, at, r):
    """Return φ and dφ/dr of a term.

    Parameters
    ----------
    kind : int
        Which function it is.
    numbers : (n,) float64
        As `PackedTerms` has them.
    at : int
        Where those of this pair of types begin.
    r : float
        Å, not below where the term begins, and within its reach.
    """
    if kind == ZBL:
        return switched_zbl(
            r,
            numbers[at],
            numbers[at + 1],
            numbers[at + 2],
            numbers[at + 3],
            numbers[at + 4],
            numbers[at + 5],
        )
    u = (r - numbers[at]) * numbers[at + 1]
    k = min(int(u), int(numbers[at + 2]) - 1)
    c = at + TABLE_HEAD + 4 * k
    return cubic_piece(u - k, numbers[at + 1], numbers[c], numbers[c + 1], numbers[c + 2], numbers[c + 3])
