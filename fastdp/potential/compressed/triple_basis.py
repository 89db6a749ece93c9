"""The basis of three-body moments: B-splines of the scalar product of two neighbours.

se_e3 sums f(E) = E G(E) over pairs of neighbours j, k of one centre, E_jk = ρ_j·ρ_k with ρ_j = (t_j/σ) r̂_j.
With

    G(E) ≈ Σ_n A_n B_n(u),   u = E / (E² + a²)^¼,

the pairs are summed first, into moments M_n = Σ_jk E_jk B_n(u_jk) that know nothing of the network. The
factor E stays outside of the expansion: what a neighbour adds then vanishes at the cutoff, as ρ does, with as
many derivatives as the switch. The map spreads the functions as √E does: two bonded neighbours have products
of hundreds, most others less than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.sparse import csr_array, vstack

from fastdp.model.description import Array
from fastdp.potential.compressed.splines import segment_polynomials


def pairs_of_types(n_types: int) -> list[tuple[int, int]]:
    """Return the pairs of neighbours' types in the order of the moments, (a, b) with a ≤ b."""
    return [(a, b) for a in range(n_types) for b in range(a, n_types)]


@dataclass(frozen=True)
class TripleBasis:
    """B-splines of u(E) between −E_max and E_max.

    Attributes
    ----------
    degree : int
    n_functions : int
        N.
    largest : float
        E_max, which no two neighbours exceed while they are farther than the tables begin.
    softness : float
        a of the map.
    """

    degree: int
    n_functions: int
    largest: float
    softness: float

    @property
    def origin(self) -> float:
        """U at −E_max."""
        return float(-self.largest / np.sqrt(np.hypot(self.largest, self.softness)))

    @property
    def inverse_spacing(self) -> float:
        """Number of intervals for each unit of u."""
        return (self.n_functions - self.degree) / (-2.0 * self.origin)

    def products(self, uniform: Array) -> Array:
        """Return E for u between its ends, given as fractions from −1 to 1."""
        u = -self.origin * uniform
        # u⁴ (E² + a²) = E⁴, a square equation for E².
        squares = 0.5 * (u**4 + np.sqrt(u**8 + 4.0 * u**4 * self.softness**2))
        return np.sign(u) * np.sqrt(squares)

    def matrices(self, e: Array) -> tuple[csr_array, csr_array]:
        """Return E B_n(u(E)) and its derivatives by E, (n, N) each."""
        order, root = self.degree + 1, np.hypot(e, self.softness)
        slope_u = (1.0 - 0.5 * (e / root) ** 2) / np.sqrt(root)
        t = (e / np.sqrt(root) - self.origin) * self.inverse_spacing
        k = np.clip(np.floor(t), 0, self.n_functions - order).astype(np.int64)
        f = t - k
        values, slopes = np.empty((len(e), order)), np.empty((len(e), order))
        for m, c in enumerate(segment_polynomials(self.degree)):
            polynomial = np.polynomial.Polynomial(c)
            b = polynomial(f)
            values[:, m] = e * b
            slopes[:, m] = b + e * polynomial.deriv()(f) * slope_u * self.inverse_spacing
        columns, starts = (k[:, None] + np.arange(order)).ravel(), np.arange(len(e) + 1) * order
        shape = (len(e), self.n_functions)
        return (
            csr_array((values.ravel(), columns, starts), shape=shape),
            csr_array((slopes.ravel(), columns, starts), shape=shape),
        )

    def fit(self, e: Array, weights: Array, targets: Array, slopes: Array, scale: float) -> Array:
        """Return the coefficients of the weighted least-squares fit of functions and their slopes.

        Parameters
        ----------
        e : (n,) float64
        weights : (n,) float64
            Importance of each.
        targets, slopes : (n, k) float64
            f and df/dE.
        scale : float
            How much a slope counts against a value.

        Returns
        -------
        (N, k) float64
        """
        root = np.sqrt(weights)[:, None]
        values_matrix, slopes_matrix = self.matrices(e)
        design = vstack([values_matrix.multiply(root), slopes_matrix.multiply(root * scale)]).tocsr()
        wanted = np.concatenate([targets * root, slopes * root * scale])
        gram = (design.T @ design).tocsr()
        banded = np.stack([np.pad(gram.diagonal(k), (k, 0)) for k in range(self.degree, -1, -1)])
        # A ridge at rounding level, for intervals that no sample falls into.
        banded[-1] += 1e-14 * banded[-1].mean()
        return solveh_banded(banded, design.T @ wanted)


@dataclass(frozen=True, eq=False)
class TripleForm:
    """What the kernels need for three-body moments.

    Attributes
    ----------
    inner, cutoff, width : float
        Of the switch, Å.
    protection : float
        p in t = w r/(r + p)², Å.
    scale : (n_types, n_types) float64
        1/σ by types of centre and neighbour; 0 where the neighbour does not count.
    bases : tuple of tuples of TripleBasis
        By the centre's type, then by the pair of neighbours' types in the order of `pairs_of_types`. All have
        the same size.
    """

    inner: float
    cutoff: float
    width: float
    protection: float
    scale: Array
    bases: tuple[tuple[TripleBasis, ...], ...]

    @property
    def n_functions(self) -> int:
        """N of each pair of neighbours' types."""
        return self.bases[0][0].n_functions

    @property
    def columns(self) -> int:
        """Number of moments."""
        return len(self.bases[0]) * self.n_functions

    def arrays(self) -> dict[str, NDArray]:
        """Return the form as named arrays."""
        return {
            "triples/switch": np.array([self.inner, self.cutoff, self.width, self.protection]),
            "triples/scale": self.scale,
            "triples/n_functions": np.array(self.n_functions),
            "triples/largest": np.array([[b.largest for b in row] for row in self.bases]),
            "triples/softness": np.array([[b.softness for b in row] for row in self.bases]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], degree: int) -> TripleForm | None:
        """Rebuild a form from `arrays()`, or None if there is none.

        Raises
        ------
        KeyError
            If something is missing.
        """
        if "triples/switch" not in arrays:
            return None
        n_functions = int(arrays["triples/n_functions"])
        bases = tuple(
            tuple(
                TripleBasis(degree, n_functions, float(largest), float(softness))
                for largest, softness in zip(*row, strict=True)
            )
            for row in zip(arrays["triples/largest"], arrays["triples/softness"], strict=True)
        )
        inner, cutoff, width, protection = (float(x) for x in arrays["triples/switch"])
        return cls(inner, cutoff, width, protection, arrays["triples/scale"], bases)
