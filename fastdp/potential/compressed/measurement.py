"""The error of a compressed potential: forces against the reference, on the user's own structure.

A large structure is represented by the surroundings of a few atoms, cut out with everything that the
forces on these atoms depend on (two cutoffs).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array, DeepPotential
from fastdp.neighbours.partial import PartialList, rows_in_cluster
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.reference import ReferencePotential

PROBED_RADIUS = 3.0
"""Å around an atom within which forces are compared: of the order of ten atoms."""

WHOLE_STRUCTURE = 256
"""Structures up to this size are compared whole."""


LARGE_FORCE = 1.0
"""eV/Å: rms force component of a liquid at room temperature or a hot crystal, at most."""


@dataclass(frozen=True)
class Atoms:
    """Positions, types and cell of a structure, as neighbour search wants them.

    Attributes
    ----------
    positions : (n, 3) float64
        Å.
    types : (n,) int32
    cell : (3, 3) float64
        Å.
    periodic : (3,) bool
    """

    positions: Array
    types: NDArray[np.int32]
    cell: Array
    periodic: NDArray[np.bool_]

    def neighbours(self, cutoff: float, skin: float = 0.0) -> VerletList:
        """Return the built neighbour list."""
        result = VerletList(cutoff, skin, self.cell, self.periodic, self.types)
        result.build(self.positions)
        return result

    def displaced(self, distance: float, rng: np.random.Generator) -> Atoms:
        """Return a copy with every coordinate moved by a normal deviate of rms `distance`, Å."""
        moved = self.positions + rng.normal(0.0, distance, self.positions.shape)
        return Atoms(moved, self.types, self.cell, self.periodic)

    def strained(self, strain: float) -> Atoms:
        """Return a copy with all lengths scaled by 1 + `strain`."""
        scale = 1.0 + strain
        return Atoms(self.positions * scale, self.types, self.cell * scale, self.periodic)


@dataclass(frozen=True)
class Region:
    """A structure, or a cluster cut out of it.

    Attributes
    ----------
    atoms : Atoms
    probed : (m,) int64
        Atoms whose forces are as in the whole structure.
    complete : (k,) int64
        Atoms whose neighbours are all there.
    """

    atoms: Atoms
    probed: NDArray[np.int64]
    complete: NDArray[np.int64]


@dataclass(frozen=True)
class Probe:
    """A structure, and the reference's forces on some of its atoms.

    Attributes
    ----------
    name : str
        What was done to the user's structure.
    neighbours : VerletList or PartialList
    probed : (m,) int64
        Atoms whose forces are compared, in the order of an evaluation.
    forces : (m, 3) float64
        eV/Å, of the reference.
    """

    name: str
    neighbours: VerletList | PartialList
    probed: NDArray[np.int64]
    forces: Array

    def error(self, potential: Potential) -> float:
        """Return the rms error of one force component, eV/Å, in proportion where forces are large.

        Where their rms is above `LARGE_FORCE`, the error is divided by its multiple of that.
        """
        result = Evaluation.empty(self.neighbours.n_atoms)
        potential.evaluate(cast(VerletList, self.neighbours), result, virial=False)
        return rms(result.forces[self.probed] - self.forces) / max(1.0, rms(self.forces) / LARGE_FORCE)


def rms(values: Array) -> float:
    """Return the root mean square of all elements."""
    return float(np.sqrt(np.mean(np.square(values))))


def make_probe(name: str, atoms: Atoms, description: DeepPotential, probed: NDArray[np.int64]) -> Probe:
    """Evaluate the reference for some atoms of a structure.

    Every neighbour counts, also beyond the model's `selection`: what is measured is the compression, not
    the trainer's truncation.

    Parameters
    ----------
    name : str
    atoms : Atoms
    description : DeepPotential
    probed : (m,) int64
    """
    neighbours: VerletList | PartialList = atoms.neighbours(description.cutoff)
    place = probed
    if len(probed) < len(atoms.types) and not np.any(atoms.periodic):
        # A force depends on the energies of the atom and of its neighbours.
        squares = np.full(len(atoms.types), np.inf)
        for i in probed:
            squares = np.minimum(squares, np.sum((atoms.positions - atoms.positions[i]) ** 2, axis=1))
        neighbours, seen = rows_in_cluster(
            atoms.positions,
            atoms.types,
            np.flatnonzero(squares < description.cutoff**2),
            description.cutoff,
        )
        index = np.zeros(len(atoms.types), np.int64)
        index[seen] = np.arange(len(seen))
        place = index[probed]
    first, rows = neighbours.first, neighbours.neighbours
    centre = np.repeat(np.arange(neighbours.n_atoms), np.diff(first))
    row = rows[: first[-1]]
    vectors = neighbours.extended_positions[row] - neighbours.extended_positions[centre]
    # Named as in the input where all atoms have rows, as in the list where some do.
    if isinstance(neighbours, VerletList):
        names, types = neighbours.order, atoms.types
    else:
        names, types = np.arange(neighbours.n_rows, dtype=np.int32), neighbours.extended_types
    reference = ReferencePotential(description, every_neighbour=True)
    forces = reference.evaluate_pairs(
        types,
        names[centre],
        names[neighbours.owner[row]],
        vectors,
        n_centres=neighbours.n_atoms,
    ).forces
    return Probe(name, neighbours, place, forces[place])


def regions(atoms: Atoms, description: DeepPotential, rng: np.random.Generator) -> list[Region]:
    """Return what represents a structure: itself, or the surroundings of one atom of each type.

    Parameters
    ----------
    atoms : Atoms
    description : DeepPotential
    rng : numpy.random.Generator
    """
    n = len(atoms.types)
    if n <= WHOLE_STRUCTURE:
        everything = np.arange(n)
        return [Region(atoms, everything, everything)]
    result = []
    for centre_type in np.unique(atoms.types):
        centre = int(rng.choice(np.flatnonzero(atoms.types == centre_type)))
        cluster = surroundings(atoms, centre, 2.0 * description.cutoff + PROBED_RADIUS)
        distance = np.linalg.norm(cluster.positions, axis=1)
        nearest = np.argsort(distance, kind="stable")
        probed = nearest[: int(np.sum(distance < PROBED_RADIUS))]
        complete = nearest[: int(np.sum(distance < description.cutoff))]
        result.append(Region(cluster, probed, complete))
    return result


def surroundings(atoms: Atoms, centre: int, reach: float) -> Atoms:
    """Return everything within `reach` of an atom, images included, as a cluster around the origin.

    Parameters
    ----------
    atoms : Atoms
    centre : int
    reach : float
        Å.
    """
    relative = atoms.positions - atoms.positions[centre]
    layers = np.zeros(3, dtype=int)
    if np.any(atoms.periodic):
        vectors = np.where(atoms.periodic[:, None], atoms.cell, 0.0)
        inverse = np.linalg.pinv(vectors)
        fractional = relative @ inverse
        relative = relative - np.round(fractional) @ vectors
        heights = 1.0 / np.linalg.norm(inverse, axis=0)[atoms.periodic]
        layers[atoms.periodic] = np.ceil(reach / heights).astype(int) + 1
    positions, types = [], []
    for image in itertools.product(*(range(-k, k + 1) for k in layers)):
        shifted = relative + np.array(image) @ atoms.cell
        inside = np.einsum("ij,ij->i", shifted, shifted) < reach**2
        positions.append(shifted[inside])
        types.append(atoms.types[inside])
    return Atoms(np.concatenate(positions), np.concatenate(types), np.zeros((3, 3)), np.zeros(3, dtype=bool))
