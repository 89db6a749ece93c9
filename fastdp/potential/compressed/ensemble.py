"""Environments for building a compressed potential: what the user's structure may turn into.

Only the neighbours of an atom enter its energy, so an environment is perturbed by itself, without
keeping a whole structure consistent: displaced, strained, thinned, cut at a surface, made disordered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array
from fastdp.model.environment import Neighbourhood
from fastdp.neighbours.verlet_list import VerletList

DISPLACEMENTS = (0.0, 0.05, 0.1, 0.2, 0.35)
"""Å, rms for each component: from a crystal at low temperature to a disordered liquid."""

LARGEST_STRAIN = 0.08
"""Of the strain tensors: beyond what a cell does in a run without a phase change."""


@dataclass(frozen=True)
class Environments:
    """Neighbours of sampled atoms of one type.

    Attributes
    ----------
    vectors : tuple of (n_neighbours, 3) float64
        Å, from the centre; those within the cutoff and a margin.
    types : tuple of (n_neighbours,) int
    """

    vectors: tuple[Array, ...]
    types: tuple[NDArray[np.integer], ...]

    def __add__(self, other: Environments) -> Environments:
        """Return the environments of both."""
        return Environments(self.vectors + other.vectors, self.types + other.types)


def sample_environments(
    neighbours: VerletList,
    complete: NDArray[np.integer],
    centre_type: int,
    count: int,
    rng: np.random.Generator,
) -> Environments:
    """Return the neighbours of up to `count` atoms of one type.

    Parameters
    ----------
    neighbours : VerletList
        Built with a skin, so that atoms can come in under compression.
    complete : (k,) int
        Atoms that may be taken, in the order of the input.
    centre_type : int
    count : int
    rng : numpy.random.Generator
    """
    vectors, types = [], []
    candidates = np.flatnonzero(np.isin(neighbours.order, complete))
    members = candidates[neighbours.extended_types[candidates] == centre_type]
    if len(members) > count:
        members = rng.choice(members, count, replace=False)
    for i in members:
        row = neighbours.neighbours[neighbours.first[i] : neighbours.first[i + 1]]
        vectors.append(neighbours.extended_positions[row] - neighbours.extended_positions[i])
        types.append(neighbours.extended_types[row])
    return Environments(tuple(vectors), tuple(types))


def perturb(
    environments: Environments,
    centre_type: int,
    shortest: Array,
    cutoff: float,
    copies: int,
    rng: np.random.Generator,
) -> Neighbourhood:
    """Return perturbed copies of environments as one batch.

    Parameters
    ----------
    environments : Environments
        At least one.
    centre_type : int
    shortest : (n_types,) float64
        Å; neighbours of each type that come closer are left out.
    cutoff : float
        Å.
    copies : int
        Number of perturbed environments.
    rng : numpy.random.Generator
    """
    centres, types, vectors = [], [], []
    for copy in range(copies):
        k = copy % len(environments.vectors)
        moved = environments.vectors[k] @ (_strain(rng) if copy % 3 else np.eye(3))
        # The centre moves too, hence √2.
        spread = DISPLACEMENTS[copy % len(DISPLACEMENTS)] * np.sqrt(2.0)
        moved += rng.normal(0.0, 1.0, moved.shape) * spread
        distance = np.linalg.norm(moved, axis=1)
        kept = (distance < cutoff) & (distance > shortest[environments.types[k]]) & _cut(copy, moved, rng)
        vectors.append(moved[kept])
        types.append(environments.types[k][kept])
        centres.append(np.full(int(kept.sum()), copy))
    return Neighbourhood(
        centre_type, copies, np.concatenate(centres), np.concatenate(types), np.concatenate(vectors)
    )


def unperturbed(
    environments: Environments, centre_type: int, shortest: Array, cutoff: float
) -> Neighbourhood:
    """Return the environments as they were found, as one batch; arguments as `perturb`."""
    centres, types, vectors = [], [], []
    for k, (found, neighbour_types) in enumerate(zip(environments.vectors, environments.types, strict=True)):
        distance = np.linalg.norm(found, axis=1)
        kept = (distance < cutoff) & (distance > shortest[neighbour_types])
        vectors.append(found[kept])
        types.append(neighbour_types[kept])
        centres.append(np.full(int(kept.sum()), k))
    return Neighbourhood(
        centre_type,
        len(environments.vectors),
        np.concatenate(centres),
        np.concatenate(types),
        np.concatenate(vectors),
    )


def _strain(rng: np.random.Generator) -> Array:
    """Return a random deformation: a change of volume, and a random symmetric strain."""
    strain = rng.uniform(-0.5, 0.5, (3, 3)) * LARGEST_STRAIN
    return np.eye(3) * (1.0 + rng.uniform(-LARGEST_STRAIN, LARGEST_STRAIN)) + 0.5 * (strain + strain.T)


def _cut(copy: int, vectors: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which neighbours stay: all of them in every other environment.

    The others are cut by a plane (surfaces), by a sphere around another point (clusters, droplets, down to
    a few atoms), or thinned at random (vacancies, gas).
    """
    reach = np.linalg.norm(vectors, axis=1).max(initial=1.0)
    kind = copy % 6
    if kind == 1:
        normal = rng.normal(size=3)
        return vectors @ (normal / np.linalg.norm(normal)) < rng.uniform(-0.3, 0.6) * reach
    if kind == 3:
        radius = reach * rng.uniform(0.25, 1.0)
        middle = rng.normal(size=3)
        middle *= radius * rng.uniform(0.0, 1.0) / np.linalg.norm(middle)
        return np.linalg.norm(vectors - middle, axis=1) < radius
    if kind == 5:
        return rng.uniform(size=len(vectors)) < rng.uniform(0.02, 1.0)
    return np.ones(len(vectors), dtype=bool)
