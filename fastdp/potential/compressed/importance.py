"""How much each environment of the ensemble counts, and each neighbour in it.

An ensemble that is to cover surfaces, melts and clusters holds environments with forces a hundred times
those of a run. Left to themselves they decide what is kept, so their errors are judged in proportion to
their forces: an environment whose pair gradients have the norm F counts 1/(1 + F²/F_0²), with F_0 the
median norm in the environments as they were found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array
from fastdp.model.environment import Neighbourhood

EVEN_SHARE = 0.5
"""Part of the probability of being drawn that every neighbour of an atom has alike; the rest goes by the
square of the gradient, since a few close neighbours carry most of it."""


@dataclass(frozen=True)
class Batch:
    """Environments with what the original model makes of them.

    Attributes
    ----------
    neighbourhood : Neighbourhood
    matrices : (n, K, 4) float64
        T of each centre.
    gradients : (n, K, 4) float64
        ∂E/∂T, eV.
    pair_gradients : (n_pairs, 3) float64
        ∂E_i/∂r_j, eV/Å.
    """

    neighbourhood: Neighbourhood
    matrices: Array
    gradients: Array
    pair_gradients: Array

    @property
    def norms(self) -> Array:
        """F of each environment, eV/Å, (n,)."""
        squares = np.sum(self.pair_gradients**2, axis=1)
        return np.sqrt(np.bincount(self.neighbourhood.centre, squares, self.neighbourhood.n_centres))

    def weights(self, typical: float) -> Array:
        """Return how much the squared error of each environment counts, for F_0 in eV/Å, (n,)."""
        return 1.0 / (1.0 + (self.norms / typical) ** 2)

    def draw(self, per_environment: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
        """Draw pairs, the important ones more often.

        Returns
        -------
        pairs : (m,) int64
            Ascending.
        weights : (m,) float64
            Pairs that each one drawn stands for.
        """
        hood = self.neighbourhood
        n_pairs = len(hood.centre)
        if n_pairs == 0:
            return np.zeros(0, np.int64), np.zeros(0)
        squares = np.sum(self.pair_gradients**2, axis=1)
        counts = np.bincount(hood.centre, minlength=hood.n_centres)[hood.centre]
        sums = np.bincount(hood.centre, squares, hood.n_centres)[hood.centre]
        share = np.divide(squares, sums, out=1.0 / counts, where=sums > 0.0)
        # Every environment is given the same number of draws.
        probability = (EVEN_SHARE / counts + (1.0 - EVEN_SHARE) * share) / len(np.unique(hood.centre))
        probability /= probability.sum()
        m = min(n_pairs, per_environment * hood.n_centres)
        pairs = np.sort(rng.choice(n_pairs, m, p=probability))
        return pairs, 1.0 / (m * probability[pairs])
