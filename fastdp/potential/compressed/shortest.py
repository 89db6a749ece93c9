"""Where the tables begin: the shortest distance that the compressed potential covers for a pair of types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from fastdp.model.description import Array, DeepPotential
from fastdp.neighbours.partial import PartialList
from fastdp.neighbours.verlet_list import VerletList

FRACTION_OF_BOND = 0.6
"""Of the sum of covalent radii (B. Cordero et al., Dalton Trans. 2832 (2008), DOI 10.1039/b801115j)."""

FRACTION_OF_TRAINED = 0.75
"""Of the shortest distance in the training data: below it a model has seen nothing."""

FRACTION_OF_OBSERVED = 0.85
"""Of the shortest distance in the structures at hand, so that a run never starts at the limit."""

UNKNOWN_BOND = 1.0
"""Å, for types that are not elements."""


def shortest_distances(description: DeepPotential, structures: Sequence[VerletList | PartialList]) -> Array:
    """Return the shortest distance that a table must cover, for each pair of types.

    Parameters
    ----------
    description : DeepPotential
    structures : sequence of VerletList or PartialList
        Structures that must lie inside the tables.

    Returns
    -------
    (n_types, n_types) float64
        Å, symmetric.
    """
    radii = np.array(
        [
            covalent_radii[atomic_numbers[name]] if name in atomic_numbers else 0.5 * UNKNOWN_BOND
            for name in description.type_names
        ]
    )
    shortest = FRACTION_OF_BOND * (radii[:, None] + radii[None, :])
    if description.shortest_trained_distance is not None:
        # It is one number for all pairs, so it says something only where a bond would be longer.
        shortest = np.maximum(
            np.minimum(shortest, FRACTION_OF_TRAINED * description.shortest_trained_distance), 0.5 * shortest
        )
    for structure in structures:
        shortest = np.minimum(shortest, FRACTION_OF_OBSERVED * _observed(structure, description.n_types))
    return shortest


def _observed(neighbours: VerletList | PartialList, n_types: int) -> Array:
    """Return the shortest distance of each pair of types in a structure, infinity where there is none."""
    result = np.full((n_types, n_types), np.inf)
    centre = np.repeat(np.arange(neighbours.n_atoms), np.diff(neighbours.first))
    row = neighbours.neighbours[: len(centre)]
    distance = np.linalg.norm(
        neighbours.extended_positions[row] - neighbours.extended_positions[centre], axis=1
    )
    np.minimum.at(result, (neighbours.extended_types[centre], neighbours.extended_types[row]), distance)
    return np.minimum(result, result.T)
