"""Scalar physics of the compressed potential, as plain Python functions.

Written once; each backend compiles them (`numba.njit` on the CPU, `numba.cuda.jit(device=True)` on a
GPU). Kept free of array and library calls for that reason.
"""

from __future__ import annotations


def radial_coordinate(r, softness):
    """Return u(r) = r / (r + a), which spreads knots towards short distances.

    Parameters
    ----------
    r : float
        Distance, Å.
    softness : float
        a, Å.
    """
    return r / (r + softness)


def radial_coordinate_slope(r, softness):
    """Return du/dr = a / (r + a)², 1/Å."""
    inverse = 1.0 / (r + softness)
    return softness * inverse * inverse


def polynomial(coefficients, x):
    """Return Σ_p c_p x^p by Horner's rule.

    Parameters
    ----------
    coefficients : tuple of float
        Lowest power first.
    x : float
    """
    value = coefficients[len(coefficients) - 1]
    for p in range(1, len(coefficients)):
        value = value * x + coefficients[len(coefficients) - 1 - p]
    return value
