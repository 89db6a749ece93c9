"""The model exactly as it was trained, in readable float64 NumPy: the specification of every fast path.

Where an atom has more neighbours of a type than the model's `selection`, the nearest are kept and the
rest dropped, as the trainer does; the energy is then not continuous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import PairTooCloseError
from fastdp.model.description import Array, DeepPotential
from fastdp.model.environment import (
    Neighbourhood,
    nearest_within_selection,
    pair_blocks,
    pair_gradients,
    sum_environment,
)
from fastdp.model.fitting import fitting_energy_and_gradient
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential

PAIRS_AT_ONCE = 16384
"""Pairs that are processed together: about 100 MB for an embedding 100 wide."""


class ReferencePotential(Potential):
    """A Deep Potential evaluated by its definition.

        E = Σ_i E_i,   F_i = Σ_j g_ij − Σ_j g_ji,   Ξ_ab = −Σ_ij (g_ij)_a (r_ij)_b,   g_ij = ∂E_i/∂r_ij

    Parameters
    ----------
    description : DeepPotential
    every_neighbour : bool
        Keep all neighbours instead of the nearest `selection`: what fast paths compute, and what they are
        compared to.
    """

    def __init__(self, description: DeepPotential, *, every_neighbour: bool = False) -> None:
        self.description = description
        self.every_neighbour = every_neighbour

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.description.cutoff

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Fill `result` for the positions that `neighbours` holds now.

        Parameters
        ----------
        neighbours : VerletList
            Built, and updated to the current positions.
        result : Evaluation
            Filled in place, in input order.
        virial : bool
            Whether the virial is wanted.
        between : callable, optional
            Called when the atoms are through that see no ghost of another rank.

        Raises
        ------
        PairTooCloseError
            If two atoms are on top of each other.
        """
        # In the order of the rows that forces act on: sorted atoms, then ghosts that other ranks own.
        found = Evaluation.empty(neighbours.n_rows)
        segments = neighbours.segments
        for start, stop, _, _ in segments[segments[:, 3] == 0]:
            self._add_centres(found, neighbours, start, stop)
        if between is not None:
            between()
        for start, stop, _, _ in segments[segments[:, 3] == 1]:
            self._add_centres(found, neighbours, start, stop)
        n_atoms, order = neighbours.n_atoms, neighbours.order
        result.atomic_energies[order] = found.atomic_energies[:n_atoms]
        result.forces[order] = found.forces[:n_atoms]
        result.ghost_forces = found.forces[n_atoms:]
        result.virial[:] = found.virial
        result.energy = float(np.sum(result.atomic_energies))
        result.virial_is_current = virial

    def _add_centres(self, found: Evaluation, neighbours: VerletList, begin: int, end: int) -> None:
        """Add what the sorted atoms from `begin` to `end` contribute."""
        first, positions, types = neighbours.first, neighbours.extended_positions, neighbours.extended_types
        for start, stop in _chunks(first[begin : end + 1]):
            start, stop = begin + start, begin + stop
            columns = neighbours.neighbours[first[start] : first[stop]]
            centre = np.repeat(np.arange(start, stop), np.diff(first[start : stop + 1]))
            try:
                self._add(
                    found,
                    atoms=np.arange(start, stop),
                    atom_types=types[start:stop],
                    centre=centre - start,
                    neighbour=neighbours.owner[columns],
                    neighbour_types=types[columns],
                    vectors=positions[columns] - positions[centre],
                )
            except PairTooCloseError as error:
                i, j = (int(neighbours.row_identifiers[row]) for row in error.atoms)
                raise _coincidence(i, j) from None

    def evaluate_pairs(
        self,
        types: NDArray[np.integer],
        centre: NDArray[np.integer],
        neighbour: NDArray[np.integer],
        vectors: Array,
        n_centres: int | None = None,
    ) -> Evaluation:
        """Return energy, forces and virial from a plain list of pairs.

        Parameters
        ----------
        types : (n_atoms,) int
            Type of each atom.
        centre, neighbour : (n_pairs,) int
            Atoms of each pair; each pair occurs in both directions, and once for every periodic image.
        vectors : (n_pairs, 3) float64
            From the centre to the neighbour (image), Å; pairs beyond the cutoff may be there.
        n_centres : int, optional
            Atoms from this one on are neighbours only, and have no energy; by default all have.

        Returns
        -------
        Evaluation

        Raises
        ------
        PairTooCloseError
            If two atoms are on top of each other.
        """
        result = Evaluation.empty(len(types))
        order = np.argsort(centre, kind="stable")
        n_centres = len(types) if n_centres is None else n_centres
        first = np.searchsorted(centre[order], np.arange(n_centres + 1))
        for start, stop in _chunks(first):
            pairs = order[first[start] : first[stop]]
            self._add(
                result,
                atoms=np.arange(start, stop),
                atom_types=types[start:stop],
                centre=centre[pairs] - start,
                neighbour=neighbour[pairs],
                neighbour_types=types[neighbour[pairs]],
                vectors=vectors[pairs],
            )
        result.energy = float(np.sum(result.atomic_energies))
        result.virial_is_current = True
        return result

    def _add(
        self,
        result: Evaluation,
        *,
        atoms: NDArray[np.integer],
        atom_types: NDArray[np.integer],
        centre: NDArray[np.integer],
        neighbour: NDArray[np.integer],
        neighbour_types: NDArray[np.integer],
        vectors: Array,
    ) -> None:
        """Add what the given atoms contribute; `centre` counts within them and is ascending."""
        r = np.linalg.norm(vectors, axis=1)
        if np.any(r == 0.0):
            pair = int(np.argmin(r))
            i, j = int(atoms[centre[pair]]), int(neighbour[pair])
            raise _coincidence(i, j)
        near = np.flatnonzero(r < self.cutoff)
        if not self.every_neighbour:
            kept = nearest_within_selection(
                self.description, centre[near], neighbour_types[near], vectors[near]
            )
            near = near[kept]
        for centre_type in np.unique(atom_types):
            members = np.flatnonzero(atom_types == centre_type)
            pairs = near[atom_types[centre[near]] == centre_type]
            neighbourhood = Neighbourhood(
                centre_type=int(centre_type),
                n_centres=len(members),
                centre=np.searchsorted(members, centre[pairs]),
                neighbour_types=neighbour_types[pairs],
                vectors=vectors[pairs],
            )
            blocks = list(pair_blocks(self.description, neighbourhood))
            environments = sum_environment(self.description, neighbourhood, blocks)
            energies, gradient = fitting_energy_and_gradient(self.description, int(centre_type), environments)
            g = pair_gradients(self.description, neighbourhood, blocks, gradient)
            result.atomic_energies[atoms[members]] = energies
            np.add.at(result.forces, atoms[centre[pairs]], g)
            np.subtract.at(result.forces, neighbour[pairs], g)
            result.virial -= g.T @ neighbourhood.vectors


def _coincidence(i: int, j: int) -> PairTooCloseError:
    return PairTooCloseError(f"atoms {i} and {j} are on top of each other", atoms=(i, j))


def _chunks(first: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield ranges of atoms with at most `PAIRS_AT_ONCE` pairs, at least one atom each."""
    n_atoms = len(first) - 1
    start = 0
    while start < n_atoms:
        limit = first[start] + PAIRS_AT_ONCE
        stop = int(np.searchsorted(first, limit, side="right")) - 1
        stop = min(max(stop, start + 1), n_atoms)
        yield start, stop
        start = stop
