"""The three-body part of a descriptor, sampled: what the compressor needs of se_e3.

    T_m = Σ_{a ≤ b} Σ_jk f^ab_m(E_jk),   f^ab_m(E) = E G^ab_m(E)/(N_a N_b),   E_jk = ρ_j·ρ_k

with ρ_j = (t_j/σ) r̂_j, over neighbours j of type a and k of type b, in both orders and with j = k where
a = b.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array, SeE3Descriptor
from fastdp.model.embeddings import embed
from fastdp.model.neighbourhood import Neighbourhood
from fastdp.model.radial_functions import inverse_distance
from fastdp.potential.compressed.triple_basis import TripleBasis, TripleForm, pairs_of_types

SAMPLES = 4001
"""Scalar products at which functions are sampled, uniformly in u; zero is among them."""

SOFTNESS = 0.005
"""a of the map, in units of the largest scalar product."""

LIKELIHOOD_FLOOR = 0.01
"""Weight of a scalar product that the ensemble does not have, relative to the most frequent ones."""

SMALLEST = 1e-6
"""Scalar product at least, where all that count are zero."""


@dataclass(frozen=True)
class _Samples:
    """Functions of one pair of neighbours' types on a grid.

    Attributes
    ----------
    basis : TripleBasis
        Its map, that of the grid; its size is of no account.
    e : (n,) float64
    values, slopes : (n, K) float64
        f and df/dE.
    """

    basis: TripleBasis
    e: Array
    values: Array
    slopes: Array

    def place(self, e: Array) -> tuple[NDArray[np.int64], Array]:
        """Return the grid point below each scalar product, and the fraction of the way to the next."""
        u = e / np.sqrt(np.hypot(e, self.basis.softness)) / -self.basis.origin
        place = np.clip(0.5 * (u + 1.0) * (len(self.e) - 1), 0.0, len(self.e) - 1.001)
        k = place.astype(np.int64)
        return k, place - k


def _interpolated(table: Array, k: NDArray[np.int64], fraction: Array) -> Array:
    fraction = fraction.reshape(fraction.shape + (1,) * (table.ndim - 1))
    return table[k] * (1.0 - fraction) + table[k + 1] * fraction


class Triples:
    """The three-body part of a descriptor.

    Parameters
    ----------
    part : SeE3Descriptor
    shortest : (n_types, n_types) float64
        Å, where the tables begin.
    """

    def __init__(self, part: SeE3Descriptor, shortest: Array) -> None:
        self.part = part
        n_types = part.n_types
        self.scale = 1.0 / part.spread
        if part.absent is not None:
            self.scale = np.where(part.absent, 0.0, self.scale)
        self.pairs = pairs_of_types(n_types)
        grid = [np.linspace(begin, part.cutoff, SAMPLES) for begin in shortest.ravel()]
        longest = np.array([inverse_distance(part.switch, r, part.protection).t.max() for r in grid])
        longest = longest.reshape(n_types, n_types) * self.scale
        self._samples = [
            [self._sample(a, b, longest[alpha, a] * longest[alpha, b]) for a, b in self.pairs]
            for alpha in range(n_types)
        ]
        self._centres = [0] * n_types
        self._counts = [[np.zeros(SAMPLES) for _ in self.pairs] for _ in range(n_types)]

    def _sample(self, a: int, b: int, largest: float) -> _Samples:
        # A little more than there can be: rounding must not lead beyond the table.
        largest = max(1.001 * largest, SMALLEST)
        basis = TripleBasis(3, 8, largest, SOFTNESS * largest)
        e = basis.products(np.linspace(-1.0, 1.0, SAMPLES))
        network = self.part.embedding[a][b]
        scale = 1.0 / float(self.part.normaliser[a] * self.part.normaliser[b])
        if network is None:
            nothing = np.zeros((SAMPLES, self.part.width))
            return _Samples(basis, e, nothing, nothing)
        g, slope, _ = embed(network, e, e)
        return _Samples(basis, e, scale * e[:, None] * g, scale * (g + e[:, None] * slope))

    def rho(self, hood: Neighbourhood) -> Array:
        """Return ρ of every pair of a neighbourhood, zero where it does not count, (n_pairs, 3)."""
        return self._geometry(hood)[0]

    def _geometry(self, hood: Neighbourhood) -> tuple[Array, Array, Array, Array]:
        """Return ρ, r̂, and its derivatives along r̂ and across it, for each pair."""
        r = np.linalg.norm(hood.vectors, axis=1)
        direction = hood.vectors / r[:, None]
        inverse = inverse_distance(self.part.switch, r, self.part.protection)
        scale = self.scale[hood.centre_type][hood.neighbour_types]
        length = inverse.t * scale
        return length[:, None] * direction, direction, inverse.t_derivative * scale, length / r

    def _products(
        self, hood: Neighbourhood, rho: Array
    ) -> Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.int64], Array]]:
        """Yield centre, pair of types, neighbours of both types, and E of each two of them."""
        starts = np.searchsorted(hood.centre, np.arange(hood.n_centres + 1))
        near = np.any(rho != 0.0, axis=1)
        for i in range(hood.n_centres):
            mine = np.arange(starts[i], starts[i + 1])[near[starts[i] : starts[i + 1]]]
            types = hood.neighbour_types[mine]
            by_type = [mine[types == a] for a in range(self.part.n_types)]
            for number, (a, b) in enumerate(self.pairs):
                j, k = by_type[a], by_type[b]
                if len(j) and len(k):
                    yield i, number, j, k, rho[j] @ rho[k].T

    def sums(self, hood: Neighbourhood) -> Array:
        """Return T of each centre, (n_centres, K), and count which scalar products occur."""
        alpha = hood.centre_type
        total = np.zeros((hood.n_centres, self.part.width))
        self._centres[alpha] += hood.n_centres
        for i, number, _, _, e in self._products(hood, self.rho(hood)):
            samples = self._samples[alpha][number]
            k, fraction = samples.place(e.ravel())
            # The same for each two neighbours of a kind, so that the table is read once.
            weights = np.bincount(k, 1.0 - fraction, SAMPLES) + np.bincount(k + 1, fraction, SAMPLES)
            self._counts[alpha][number] += weights
            total[i] += weights @ samples.values
        return total

    def pair_gradients(self, hood: Neighbourhood, by_t: Array) -> Array:
        """Return ∂y_i/∂r_ij (n_pairs, 3) from ∂y_i/∂T (n_centres, K)."""
        alpha = hood.centre_type
        rho, direction, along, across = self._geometry(hood)
        by_rho = np.zeros_like(rho)
        for i, number, j, k, e in self._products(hood, rho):
            samples = self._samples[alpha][number]
            slope = _interpolated(samples.slopes @ by_t[i], *samples.place(e))
            by_rho[j] += slope @ rho[k]
            by_rho[k] += slope.T @ rho[j]
        radial = np.sum(by_rho * direction, axis=1)
        g = (radial * along)[:, None] * direction
        return g + across[:, None] * (by_rho - radial[:, None] * direction)

    def tangents(self, hood: Neighbourhood, chosen: NDArray[np.int64], moves: Array) -> Array:
        """Return how T changes when one neighbour moves.

        Parameters
        ----------
        hood : Neighbourhood
        chosen : (m,) int64
            Pairs whose neighbour moves, ascending.
        moves : (m, 3) float64
            Directions.

        Returns
        -------
        (m, K) float64
            1/Å.
        """
        alpha = hood.centre_type
        rho, direction, along, across = self._geometry(hood)
        unit = direction[chosen]
        radial = np.sum(unit * moves, axis=1)
        change = (radial * along[chosen])[:, None] * unit
        change += across[chosen][:, None] * (moves - radial[:, None] * unit)
        result = np.zeros((len(chosen), self.part.width))
        # Where in `chosen` each pair is; those that were not drawn are nowhere. One may be drawn twice.
        first, last = (
            np.searchsorted(chosen, np.arange(len(rho))),
            np.searchsorted(chosen, np.arange(len(rho)), side="right"),
        )
        for _, number, j, k, e in self._products(hood, rho):
            samples = self._samples[alpha][number]
            same = self.pairs[number][0] == self.pairs[number][1]
            sides = [(j, k, e)] if same else [(j, k, e), (k, j, e.T)]
            for moving, others, products in sides:
                for row in np.flatnonzero(last[moving] > first[moving]):
                    slope = _interpolated(samples.slopes, *samples.place(products[row]))
                    for place in range(first[moving[row]], last[moving[row]]):
                        found = (rho[others] @ change[place]) @ slope
                        # Both orders count among neighbours of one type, and E_jj has ρ_j twice.
                        result[place] += 2.0 * found if same else found
        return result

    def reach(self, alpha: int, slope_length: float) -> Array:
        """Return the covariance of what T can do when a neighbour moves, (K, K).

        Parameters
        ----------
        alpha : int
        slope_length : float
            Å; weight of slopes against values. A step of a neighbour by its own distance changes E by as much
            as it is.
        """
        total = np.zeros((self.part.width, self.part.width))
        for samples, counts in zip(self._samples[alpha], self._counts[alpha], strict=True):
            weights = _likelihood(counts)
            # One neighbour has products with all others.
            root = np.sqrt(weights / weights.sum() * max(1.0, self.mean_products(alpha)))[:, None]
            slopes = samples.slopes * (np.abs(samples.e)[:, None] * slope_length)
            for functions in (samples.values, slopes):
                total += (functions * root).T @ (functions * root)
        return total

    def form(self, degree: int, n_functions: int) -> TripleForm:
        """Return what the kernels need, for one size of the basis."""
        switch = self.part.switch
        bases = tuple(
            tuple(TripleBasis(degree, n_functions, s.basis.largest, s.basis.softness) for s in row)
            for row in self._samples
        )
        return TripleForm(switch.inner, switch.cutoff, switch.width, self.part.protection, self.scale, bases)

    def coefficients(self, alpha: int, form: TripleForm, left: Array) -> Array:
        """Return what turns moments into projected channels, (columns, q).

        Parameters
        ----------
        alpha : int
        form : TripleForm
        left : (K, q) float64
            L.
        """
        found = []
        for samples, basis, counts in zip(
            self._samples[alpha], form.bases[alpha], self._counts[alpha], strict=True
        ):
            weights = _likelihood(counts)
            # A step of a neighbour by its own distance changes E by as much as it is.
            typical = np.sqrt(np.average(samples.e**2, weights=weights))
            found.append(
                basis.fit(samples.e, weights, samples.values @ left, samples.slopes @ left, float(typical))
            )
        return np.concatenate(found)

    def mean_products(self, alpha: int) -> float:
        """Return the mean number of scalar products of an environment of one type, of those summed so far."""
        return float(sum(counts.sum() for counts in self._counts[alpha])) / max(1, self._centres[alpha])


def _likelihood(counts: Array) -> Array:
    """Return how much each scalar product counts, from how often it occurs: at most 1, and never nothing."""
    smooth = np.convolve(counts, np.ones(41) / 41.0, mode="same")
    return np.maximum(np.minimum(10.0 * smooth / (smooth.max() or 1.0), 1.0), LIKELIHOOD_FLOOR)
