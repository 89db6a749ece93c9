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
    # Without a literal: it would be float64, and make float32 code divide in float64.
    total = r + softness
    return softness / (total * total)


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


def array_polynomial(coefficients, row, size, x):
    """Return Σ_p c_p x^p by Horner's rule, c being the first `size` numbers of a row of a matrix.

    Parameters
    ----------
    coefficients : (n, size) array
        Lowest power first.
    row, size : int
    x : float
    """
    value = coefficients[row, size - 1]
    for p in range(1, size):
        value = value * x + coefficients[row, size - 1 - p]
    return value


def array_polynomial_and_slope(coefficients, row, size, x):
    """Return `array_polynomial` and its derivative with respect to x, Σ_p p c_p x^(p−1).

    The derivative is the same polynomial again, but for the factors: those are formed by adding, so that
    they have the type of the coefficients.
    """
    slope = coefficients[row, size - 1]
    value = slope * x + coefficients[row, size - 2]
    for p in range(2, size):
        slope = slope * x + value
        value = value * x + coefficients[row, size - 1 - p]
    return value, slope
