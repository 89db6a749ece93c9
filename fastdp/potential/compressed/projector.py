"""The balanced projector on the radial channels: T → R Lᵀ T with LᵀR = 1.

Of all rank-q projectors, balanced truncation keeps the directions that T visits *and* the energy hears.
With C_f the covariance of what T can do and C_g that of ∂E/∂T, C_f = X Xᵀ, C_g = Y Yᵀ and
YᵀX = U Σ Vᵀ:  R = X V_q Σ_q^−½,  L = Y U_q Σ_q^−½
(B. C. Moore, IEEE Trans. Autom. Control 26, 17 (1981), DOI 10.1109/TAC.1981.1102568).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdp.model.description import Array

GRADIENT_FLOOR = 1.0e-6
"""Multiple of the mean of C_g added to its diagonal, for directions that the ensemble's gradients miss."""


@dataclass(frozen=True)
class BalancedBasis:
    """All balanced directions; a projector of rank q takes the first q columns.

    Attributes
    ----------
    right, left : (K, K') float64
        R and L, with LᵀR = 1.
    singular_values : (K',) float64
        Σ, descending.
    """

    right: Array
    left: Array
    singular_values: Array


def balance(reach: Array, gradients: Array) -> BalancedBasis:
    """Return the balanced directions of two covariances.

    Parameters
    ----------
    reach : (K, K) float64
        C_f, positive semidefinite.
    gradients : (K, K) float64
        C_g, positive semidefinite.

    Returns
    -------
    BalancedBasis
        K' ≤ K: directions whose singular value is rounding error are left out.
    """
    size = len(gradients)
    x = _root(reach)
    y = _root(gradients + GRADIENT_FLOOR * np.trace(gradients) / size * np.eye(size))
    u, sigma, vt = np.linalg.svd(y.T @ x)
    # A centre that sees nothing (all its pairs excluded) keeps one empty direction.
    kept = max(1, int(np.sum(sigma > 1e-14 * sigma[0])))
    scale = sigma[:kept] ** -0.5 if sigma[0] > 0.0 else np.zeros(kept)
    return BalancedBasis(x @ vt[:kept].T * scale, y @ u[:, :kept] * scale, sigma[:kept])


def _root(covariance: Array) -> Array:
    """Return X with X Xᵀ equal to a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return vectors * np.sqrt(np.clip(values, 0.0, None))
