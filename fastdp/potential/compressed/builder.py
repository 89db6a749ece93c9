"""From a trained Deep Potential to a compressed model of given basis and ranks.

One `Compressor` holds what does not depend on the choices (sampled radial functions, balanced
directions); `compress` then makes the model for one choice. Which choice is made is decided in
`selection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fastdp.model.description import Array, DeepPotential
from fastdp.model.environment import Neighbourhood
from fastdp.model.fitting import fitting_constant
from fastdp.potential.compressed.channels import Channels, Front
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel
from fastdp.potential.compressed.ensemble import Environments, perturb, sample_environments, unperturbed
from fastdp.potential.compressed.importance import Batch
from fastdp.potential.compressed.measurement import Region
from fastdp.potential.compressed.projector import BalancedBasis, balance
from fastdp.potential.compressed.reduction import (
    LayerStatistics,
    gather_statistics,
    input_features,
    input_tangents,
    thin,
)
from fastdp.potential.compressed.splines import RadialBasis
from fastdp.potential.compressed.triples import Triples

SAMPLES = 3000
"""Distances at which the radial functions of a pair are sampled."""

SLOPE_LENGTH = 0.1
"""Å; weight of slopes against values, in the fits and in the covariance of what T can do."""

LIKELIHOOD_FLOOR = 0.01
"""Weight of a distance that the structure does not have, relative to the most frequent one."""

CONSTANT_WEIGHT = 1.0e3
"""Weight of the constant of T in its covariance: it is there in every environment."""

ENVIRONMENTS_PER_TYPE = 60
COPIES_PER_TYPE = 900
ENVIRONMENTS_AT_ONCE = 60
TANGENTS_PER_ENVIRONMENT = 8


@dataclass(frozen=True)
class Choice:
    """What one compressed model is made of.

    Attributes
    ----------
    degree : int
        Of the splines.
    n_functions : int
        N.
    threshold : float
        Balanced directions with a singular value above this fraction of the largest are kept.
    layer_threshold : float
        eV/Å, the force that each layer of the fitting network may leave out; zero keeps them whole.
    n_triples : int
        N of a three-body part beside others; 0 for that of the others.
    """

    degree: int
    n_functions: int
    threshold: float
    layer_threshold: float = 0.0
    n_triples: int = 0

    @property
    def triple_functions(self) -> int:
        """N of a three-body part."""
        return self.n_triples or self.n_functions


@dataclass(frozen=True)
class PairSamples:
    """Radial functions of one pair of types on a grid.

    Attributes
    ----------
    r : (n,) float64
        Å.
    weights : (n,) float64
        r² × likelihood.
    values : (n, 2, K) float64
        a and b.
    slopes : (n, 2, K) float64
        Their derivatives, 1/Å.
    """

    r: Array
    weights: Array
    values: Array
    slopes: Array

    def interpolation(self, r: Array) -> csr_array:
        """Return the matrix that interpolates linearly from the grid to distances, (n, n_grid)."""
        place = np.clip((r - self.r[0]) / (self.r[1] - self.r[0]), 0.0, len(self.r) - 1.001)
        k = place.astype(np.int64)
        fraction = place - k
        weights = np.column_stack((1.0 - fraction, fraction)).ravel()
        columns = np.column_stack((k, k + 1)).ravel()
        return csr_array((weights, columns, 2 * np.arange(len(r) + 1)), shape=(len(r), len(self.r)))


class Compressor:
    """What all compressed models of one potential and one structure have in common.

    Parameters
    ----------
    description : DeepPotential
    regions : sequence of Region
        What represents the user's structure.
    shortest : (n_types, n_types) float64
        Å, where the tables begin; symmetric.
    softness : float
        a of the radial map, Å.
    seed : int
        Of the ensemble.
    """

    def __init__(
        self,
        description: DeepPotential,
        regions: Sequence[Region],
        shortest: Array,
        softness: float,
        seed: int,
    ) -> None:
        self.description = description
        self.channels = Channels(description)
        block = self.channels.triples
        self.triples = None if block is None else (block.channels, Triples(block.part, shortest))
        self.shortest = shortest
        self.softness = softness
        self._layer_statistics: dict[tuple[int, int], list[LayerStatistics]] = {}
        self._projected: dict[tuple[int, int, int], tuple[Array, ...]] = {}
        self._splines: dict[tuple[int, ...], tuple[Array, Array]] = {}
        self._fronts: dict[tuple[int, int], Front] = {}
        rng = np.random.default_rng(seed)
        n_types = description.n_types
        sampled = [Environments((), ()) for _ in range(n_types)]
        for region in regions:
            neighbours = region.atoms.neighbours(description.cutoff, skin=1.0)
            for a in range(n_types):
                sampled[a] += sample_environments(neighbours, region.complete, a, ENVIRONMENTS_PER_TYPE, rng)
        present = [a for a in range(n_types) if sampled[a].vectors]
        self.samples = [[self._sample_pair(a, b, sampled[a]) for b in range(n_types)] for a in range(n_types)]
        self._batches: list[list[Batch]] = []
        self._typical: list[float] = []
        for a in range(n_types):
            source = sampled[a if a in present else present[0]]
            found = self._batch(unperturbed(source, a, shortest[a], description.cutoff)).norms
            self._typical.append(float(np.median(found)) or 1.0)
            self._batches.append(
                [
                    self._batch(
                        perturb(source, a, shortest[a], description.cutoff, ENVIRONMENTS_AT_ONCE, rng)
                    )
                    for _ in range(COPIES_PER_TYPE // ENVIRONMENTS_AT_ONCE)
                ]
            )
        self.directions = [self._balance(a) for a in range(n_types)]

    def compress(self, choice: Choice) -> CompressedModel:
        """Return the compressed model for one choice.

        Parameters
        ----------
        choice : Choice

        Returns
        -------
        CompressedModel
        """
        bases = tuple(
            tuple(
                RadialBasis(
                    choice.degree,
                    choice.n_functions if self.channels.has_pairs else 0,
                    float(shortest),
                    self.description.cutoff,
                    self.softness,
                )
                for shortest in row
            )
            for row in self.shortest
        )
        return CompressedModel(
            self.description.cutoff,
            bases,
            tuple(self._centre(a, bases[a], choice) for a in range(self.description.n_types)),
            None if self.triples is None else self.triples[1].form(choice.degree, choice.triple_functions),
        )

    def ranks(self, threshold: float) -> tuple[int, ...]:
        """Return q of each type for a threshold."""
        return tuple(
            max(1, int(np.sum(d.singular_values > threshold * d.singular_values[0]))) for d in self.directions
        )

    def _sample_pair(self, alpha: int, beta: int, environments: Environments) -> PairSamples:
        functions = self.channels.functions
        shortest, cutoff = self.shortest[alpha, beta], self.description.cutoff
        r = np.linspace(shortest, cutoff, SAMPLES)
        # Central differences of functions that are smooth on 1e-4 Å: error ~1e-9 of the third derivative.
        h = 1e-4
        values = np.stack(functions(alpha, beta, r), axis=1)
        above = np.stack(functions(alpha, beta, r + h), axis=1)
        below = np.stack(functions(alpha, beta, r - h), axis=1)
        likelihood = _likelihood(r, beta, environments)
        return PairSamples(r, r**2 * likelihood, values, (above - below) / (2.0 * h))

    def _balance(self, alpha: int) -> BalancedBasis:
        n_channels = self.channels.n_channels
        reach = np.zeros((n_channels, n_channels))
        for pair in self.samples[alpha]:
            weights = pair.weights / pair.weights.sum()
            for part in range(2):
                for functions, scale in ((pair.values, 1.0), (pair.slopes, SLOPE_LENGTH)):
                    rows = functions[:, part] * (np.sqrt(weights) * scale)[:, None]
                    reach += rows.T @ rows
        constant = self.channels.constant(alpha) * self.channels.normaliser
        reach += CONSTANT_WEIGHT * np.outer(constant, constant)
        if self.triples is not None:
            channels, triples = self.triples
            reach[channels, channels] += triples.reach(alpha, SLOPE_LENGTH)

        gradients = np.zeros((n_channels, n_channels))
        for batch in self._batches[alpha]:
            weights = batch.weights(self._typical[alpha])
            weighted = batch.gradients * np.sqrt(weights)[:, None, None]
            rows = weighted.transpose(0, 2, 1).reshape(-1, n_channels)
            gradients += rows.T @ rows / len(weights)
        return balance(reach, gradients)

    def _batch(self, hood: Neighbourhood) -> Batch:
        """Evaluate the original model on a batch of environments."""
        matrices = self._environment_matrices(hood)
        _, gradients = self.channels.energy_and_gradient(hood.centre_type, matrices)
        r = np.linalg.norm(hood.vectors, axis=1)
        unit = hood.vectors / r[:, None]
        pair_gradients = np.zeros_like(hood.vectors)
        for beta, pair in enumerate(self.samples[hood.centre_type]):
            mine = np.flatnonzero(hood.neighbour_types == beta)
            g = gradients[hood.centre[mine]]
            interpolation = pair.interpolation(r[mine])
            across = np.einsum("mk,mkc->mc", interpolation @ pair.values[:, 1], g[:, :, 1:]) / r[mine, None]
            radial = np.einsum("mk,mk->m", interpolation @ pair.slopes[:, 0], g[:, :, 0])
            slopes = np.einsum("mk,mkc->mc", interpolation @ pair.slopes[:, 1], g[:, :, 1:])
            radial += np.sum((slopes - across) * unit[mine], axis=1)
            pair_gradients[mine] = radial[:, None] * unit[mine] + across
        pair_gradients /= self.channels.normaliser
        if self.triples is not None:
            channels, triples = self.triples
            pair_gradients += triples.pair_gradients(hood, gradients[:, channels, 0])
        return Batch(hood, matrices, gradients, pair_gradients)

    def _environment_matrices(self, batch: Neighbourhood) -> Array:
        """Return T of a batch from the sampled functions, by linear interpolation: enough for C_g."""
        alpha, n = batch.centre_type, batch.n_centres
        t = np.zeros((n, self.channels.n_channels, 4))
        for beta, pair in enumerate(self.samples[alpha]):
            mine = batch.neighbour_types == beta
            centre, vectors = batch.centre[mine], batch.vectors[mine]
            r = np.linalg.norm(vectors, axis=1)
            interpolation = pair.interpolation(r)
            components = np.column_stack((np.ones_like(r), vectors / r[:, None]))
            for c in range(4):
                sums = csr_array((components[:, c], (centre, np.arange(len(r)))), shape=(n, len(r)))
                t[:, :, c] += (sums @ interpolation) @ pair.values[:, min(c, 1)]
        t /= self.channels.normaliser
        t[:, :, 0] += self.channels.constant(alpha)
        if self.triples is not None:
            channels, triples = self.triples
            t[:, channels, 0] += triples.sums(batch)
        return t

    def _statistics(self, alpha: int, rank: int) -> list[LayerStatistics]:
        """Return the balanced layers of the network for a rank of the projector."""
        key = (alpha, rank)
        if key not in self._layer_statistics:
            front = self._front(alpha, rank)
            _, left = self._projector(alpha, rank)
            features, tangents, owners, moves, weights = [], [], [], [], []
            count = 0
            rng = np.random.default_rng(alpha)
            for batch in self._batches[alpha]:
                tau = self.channels.with_one(np.swapaxes(batch.matrices, 1, 2) @ left, 1.0)
                centre, tau_tangent, stands_for = self._tangents(batch, left, rng)
                tau_tangent = self.channels.with_one(tau_tangent, 0.0)
                if self.channels.sums_only:
                    features.append(tau[:, 0])
                    tangents.append(tau_tangent[:, 0])
                else:
                    features.append(input_features(tau, front.axis_matrix))
                    tangents.append(input_tangents(tau[centre], tau_tangent, front.axis_matrix))
                owners.append(centre + count)
                moves.append(stands_for)
                weights.append(batch.weights(self._typical[alpha]))
                count += batch.neighbourhood.n_centres
            self._layer_statistics[key] = gather_statistics(
                front.layers,
                np.concatenate(features),
                np.concatenate(weights),
                np.concatenate(tangents),
                np.concatenate(owners),
                np.concatenate(moves),
            )
        return self._layer_statistics[key]

    def _tangents(
        self, batch: Batch, left: Array, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], Array, Array]:
        """Return τ̇ of random moves of single neighbours: centre, (m, 4, q) per Å, moves it stands for."""
        hood = batch.neighbourhood
        normaliser = self.channels.normaliser
        chosen, weights = batch.draw(TANGENTS_PER_ENVIRONMENT, rng)
        centre, types, vectors = hood.centre[chosen], hood.neighbour_types[chosen], hood.vectors[chosen]
        r = np.linalg.norm(vectors, axis=1)
        unit = vectors / r[:, None]
        direction = _directions(len(vectors), rng)
        along = np.sum(unit * direction, axis=1)
        across = (direction - along[:, None] * unit) / r[:, None]
        result = np.zeros((len(chosen), 4, left.shape[1]))
        for beta, pair in enumerate(self.samples[hood.centre_type]):
            mine = types == beta
            interpolation = pair.interpolation(r[mine])
            value = interpolation @ (pair.values[:, 1] @ left)
            slopes = [interpolation @ (pair.slopes[:, part] @ left) for part in range(2)]
            result[mine, 0] = slopes[0] * along[mine, None]
            result[mine, 1:] = (unit[mine] * along[mine, None])[:, :, None] * slopes[1][:, None, :]
            result[mine, 1:] += across[mine][:, :, None] * value[:, None, :]
        result /= normaliser
        if self.triples is not None:
            channels, triples = self.triples
            result[:, 0] += triples.tangents(hood, chosen, direction) @ left[channels]
        # Each neighbour moves in three directions, of which one was drawn.
        return centre, result, 3.0 * weights

    def _front(self, alpha: int, rank: int) -> Front:
        """Return `Channels.absorb` for a rank; it is asked for again with every basis."""
        key = (alpha, rank)
        if key not in self._fronts:
            self._fronts[key] = self.channels.absorb(alpha, self._projector(alpha, rank)[0])
        return self._fronts[key]

    def _projector(self, alpha: int, rank: int) -> tuple[Array, Array]:
        """Return R and L, (K, q)."""
        adds_input = self.description.fitting.networks[alpha].layers[0].shortcut != "none"
        if adds_input or (self.triples is not None and self.channels.sums_only):
            # Such a layer adds its own input, which only the whole descriptor has. The few channels of a
            # three-body part cost next to nothing beside its loops over neighbours.
            identity = np.eye(self.channels.n_channels)
            return identity, identity
        directions = self.directions[alpha]
        return directions.right[:, :rank], directions.left[:, :rank]

    def _centre(self, alpha: int, bases: Sequence[RadialBasis], choice: Choice) -> CompressedCentre:
        rank = self.ranks(choice.threshold)[alpha]
        _, left = self._projector(alpha, rank)
        radial, angular = self._coefficients(alpha, bases, choice, rank)
        constant = left.T @ self.channels.constant(alpha)
        if self.channels.has_one:
            nothing = np.zeros((len(radial), 1))
            radial, angular = np.hstack((radial, nothing)), np.hstack((angular, nothing))
            constant = np.append(constant, 1.0)
        front = self._front(alpha, rank)
        layers = front.layers
        if choice.layer_threshold > 0.0:
            layers = thin(layers, self._statistics(alpha, rank), choice.layer_threshold)
        return CompressedCentre(
            radial=radial,
            angular=angular,
            constant=constant,
            axis_matrix=front.axis_matrix,
            layers=layers,
            bias=fitting_constant(self.description, alpha),
            sums=self.channels.sums_only,
        )

    def _coefficients(
        self, alpha: int, bases: Sequence[RadialBasis], choice: Choice, rank: int
    ) -> tuple[Array, Array]:
        """Return what turns moments into τ, (n_types·N, q): radial and angular; they are asked for again."""
        key = (alpha, rank, choice.degree, choice.n_functions, choice.triple_functions)
        if key not in self._splines:
            _, left = self._projector(alpha, rank)
            normaliser = self.channels.normaliser
            radial, angular = [np.zeros((0, left.shape[1]))], [np.zeros((0, left.shape[1]))]
            if not self.channels.has_pairs:
                bases = ()
            for beta, (basis, pair) in enumerate(zip(bases, self.samples[alpha], strict=False)):
                if (alpha, beta, rank) not in self._projected:
                    self._projected[alpha, beta, rank] = tuple(
                        (functions @ left).reshape(len(functions), -1)
                        for functions in (pair.values, pair.slopes)
                    )
                values, slopes = self._projected[alpha, beta, rank]
                coefficients = basis.fit(pair.r, pair.weights, values, slopes, SLOPE_LENGTH)
                both = coefficients.reshape(choice.n_functions, 2, left.shape[1])
                radial.append(both[:, 0] / normaliser)
                angular.append(both[:, 1] / normaliser)
            if self.triples is not None:
                channels, triples = self.triples
                form = triples.form(choice.degree, choice.triple_functions)
                radial.append(triples.coefficients(alpha, form, left[channels]))
                angular.append(np.zeros_like(radial[-1]))
            self._splines[key] = np.concatenate(radial), np.concatenate(angular)
        return self._splines[key]


def _directions(n: int, rng: np.random.Generator) -> Array:
    """Return unit vectors at random, (n, 3)."""
    direction = rng.normal(size=(n, 3))
    return direction / np.linalg.norm(direction, axis=1)[:, None]


def _likelihood(r: Array, neighbour_type: int, environments: Environments) -> Array:
    """Return how often a distance occurs for one type of neighbour, at least `LIKELIHOOD_FLOOR`, at most 1.

    A histogram over r² dr, smoothed with a Gaussian of 0.25 Å, the scale of thermal motion and strain.
    """
    distances = [
        np.linalg.norm(v[t == neighbour_type], axis=1)
        for v, t in zip(environments.vectors, environments.types, strict=True)
    ]
    found = np.concatenate(distances) if distances else np.zeros(0)
    found = found[found > 0.0]
    if len(found) == 0:
        return np.ones_like(r)
    width = 0.25
    edges = np.arange(0.0, r[-1] + 1.0, 0.02)
    centres = 0.5 * (edges[1:] + edges[:-1])
    counts = np.histogram(found, edges)[0] / centres**2
    smooth = np.exp(-0.5 * ((r[:, None] - centres) / width) ** 2) @ counts
    return np.maximum(np.minimum(smooth / np.median(smooth[smooth > 0.0]), 1.0), LIKELIHOOD_FLOOR)
