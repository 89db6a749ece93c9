"""Uniform B-splines on a mapped radius: the basis of the spline moments.

The basis of degree d with N functions on N − d intervals; on interval k the functions k … k+d are
non-zero, and each is a polynomial of the fraction f in [0, 1) through the interval
(C. de Boor, A Practical Guide to Splines, Springer 1978, ch. IX).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import null_space, solveh_banded
from scipy.sparse import block_diag, csr_array, eye_array, vstack

Array = NDArray[np.float64]

VANISHING_DERIVATIVES = 3
"""Value, slope and curvature are held at zero at the cutoff, as they are in the model."""


@cache
def segment_polynomials(degree: int) -> tuple[tuple[float, ...], ...]:
    """Return the polynomials of the `degree` + 1 basis functions that are non-zero on one interval.

    Parameters
    ----------
    degree : int

    Returns
    -------
    tuple of tuples of float
        `[m][p]`: coefficient of f^p of function k + m on interval k.
    """
    order = degree + 1
    samples = np.linspace(0.05, 0.95, order)
    knots = np.arange(-degree, degree + 2, dtype=float)
    values = BSpline.design_matrix(samples, knots, degree).toarray()
    powers = samples[:, None] ** np.arange(order)
    coefficients = np.linalg.solve(powers, values)
    return tuple(tuple(float(c) for c in coefficients[:, m]) for m in range(order))


@cache
def _end_space(degree: int) -> Array:
    """Return what the last `degree` coefficients may be for a sum that vanishes with two derivatives.

    Returns
    -------
    (degree, degree − 3) float64
        Columns span the space.
    """
    at_end = np.array(
        [
            [np.polynomial.Polynomial(c).deriv(k)(1.0) for c in segment_polynomials(degree)[1:]]
            for k in range(VANISHING_DERIVATIVES)
        ]
    )
    return null_space(at_end)


@dataclass(frozen=True)
class RadialBasis:
    """B-splines of u(r) = r/(r + a) between the shortest distance and the cutoff of one pair of types.

    Attributes
    ----------
    degree : int
    n_functions : int
        N.
    shortest, cutoff : float
        Å; the interval that is covered.
    softness : float
        a of the map u(r), Å.
    """

    degree: int
    n_functions: int
    shortest: float
    cutoff: float
    softness: float

    @property
    def n_intervals(self) -> int:
        """Number of intervals, N − degree."""
        return self.n_functions - self.degree

    @property
    def origin(self) -> float:
        """U at the shortest distance."""
        return self.shortest / (self.shortest + self.softness)

    @property
    def inverse_spacing(self) -> float:
        """Number of intervals for each unit of u."""
        span = self.cutoff / (self.cutoff + self.softness) - self.origin
        return self.n_intervals / span

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Return all basis functions and their derivatives with respect to r.

        Parameters
        ----------
        r : (n,) float64
            Å, within [shortest, cutoff].

        Returns
        -------
        values, slopes : (n, N) float64
            Dimensionless and 1/Å.
        """
        values, slopes = self._matrices(r)
        return values.toarray(), slopes.toarray()

    def _matrices(self, r: Array) -> tuple[csr_array, csr_array]:
        """Return what `evaluate` does, as sparse matrices."""
        order = self.degree + 1
        u = r / (r + self.softness)
        slope_u = self.softness / (r + self.softness) ** 2
        t = (u - self.origin) * self.inverse_spacing
        k = np.clip(np.floor(t), 0, self.n_intervals - 1).astype(np.int64)
        f = t - k
        values = np.empty((len(r), order))
        slopes = np.empty((len(r), order))
        for m, c in enumerate(segment_polynomials(self.degree)):
            polynomial = np.polynomial.Polynomial(c)
            values[:, m] = polynomial(f)
            slopes[:, m] = polynomial.deriv()(f) * slope_u * self.inverse_spacing
        columns = (k[:, None] + np.arange(order)).ravel()
        starts = np.arange(len(r) + 1) * order
        shape = (len(r), self.n_functions)
        return (
            csr_array((values.ravel(), columns, starts), shape=shape),
            csr_array((slopes.ravel(), columns, starts), shape=shape),
        )

    def fit(self, r: Array, weights: Array, targets: Array, slopes: Array, slope_length: float) -> Array:
        """Return the coefficients of the weighted least-squares fit of functions and their slopes.

        Parameters
        ----------
        r : (n,) float64
            Å.
        weights : (n,) float64
            Importance of each distance.
        targets : (n, k) float64
            Values to reproduce.
        slopes : (n, k) float64
            Their derivatives, 1/Å.
        slope_length : float
            Å; how much a slope counts against a value.

        Returns
        -------
        (N, k) float64
            The sum vanishes at the cutoff together with its slope and curvature.
        """
        inner = self.n_functions - self.degree
        end = _end_space(self.degree)
        reduction = (
            block_diag([eye_array(inner), end]).tocsr() if end.size else eye_array(self.n_functions, inner)
        )
        root = np.sqrt(weights)[:, None]
        design = vstack([part.multiply(root) for part in self._matrices(r)])
        design = design.multiply(np.repeat([1.0, slope_length], len(r))[:, None]).tocsr() @ reduction
        wanted = np.concatenate([targets * root, slopes * root * slope_length])
        # The normal equations of B-splines are banded (one wider where the end is reduced) and well
        # conditioned; a ridge at rounding level covers intervals that no sample falls into.
        gram = (design.T @ design).tocsr()
        banded = np.stack([np.pad(gram.diagonal(k), (k, 0)) for k in range(self.degree + 1, -1, -1)])
        banded[-1] += 1e-14 * banded[-1].mean()
        return reduction @ solveh_banded(banded, design.T @ wanted)
