"""All pair terms of a run, summed over the neighbour list: as specified, and by kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import PairTooCloseError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.close_pair import ClosePair, closest_pair
from fastdp.potential.terms.base import Array, PairTerm
from fastdp.potential.terms.packed import packed_terms
from fastdp.potential.terms.short_list import ShortList

PAIRS_AT_ONCE = 65536
"""Pairs that are processed together: some megabytes."""


def closest_pair_of_terms(terms: Sequence[PairTerm], neighbours: VerletList) -> ClosePair:
    """Return the pair that lies deepest below where a term begins.

    Parameters
    ----------
    terms : sequence of PairTerm
    neighbours : VerletList
        Holds the positions.
    """

    def limits(centre: int, types: NDArray[np.integer], distances: Array) -> Array:
        acts = [distances < term.reach[centre, types] for term in terms]
        limits = [np.where(near, term.shortest, 0.0) for near, term in zip(acts, terms, strict=True)]
        return np.max([np.zeros(len(types)), *limits], axis=0)

    return closest_pair(neighbours, range(neighbours.n_atoms), limits)


def too_close(neighbours: VerletList, i: int, extended: int, terms: Sequence[PairTerm]) -> PairTooCloseError:
    """Return the error that names two atoms that are closer than a term begins, and the term.

    Parameters
    ----------
    neighbours : VerletList
    i, extended : int
        Sorted atom, and extended atom that it sees.
    terms : sequence of PairTerm
    """
    positions, types = neighbours.extended_positions, neighbours.extended_types
    distance = float(np.linalg.norm(positions[extended] - positions[i]))
    identifiers = neighbours.row_identifiers
    atoms = sorted((int(identifiers[i]), int(identifiers[neighbours.owner[extended]])))
    acting = [term for term in terms if distance < term.reach[types[i], types[extended]]]
    term = max(acting or terms, key=lambda term: term.shortest)
    return PairTooCloseError(
        f"atoms {atoms[0]} and {atoms[1]} are {distance:.4f} Å apart, and the {term.label} begins at "
        f"{term.shortest:.4f} Å: give one that begins at a shorter distance, or check structure and time "
        "step",
        atoms=atoms,
    )


class PairSum:
    """Pair terms in readable float64 NumPy: the specification of `FastPairSum`.

        E_i = ½ Σ_j φ(r_ij),   F_i = Σ_j φ'(r_ij) r̂_ij,   Ξ = −½ Σ_ij φ'(r_ij) r̂_ij ⊗ r_ij

    Every atom sums over its own neighbours, so that ghosts of other ranks get no force here.

    Parameters
    ----------
    terms : sequence of PairTerm
    """

    def __init__(self, terms: Sequence[PairTerm]) -> None:
        self.terms = tuple(terms)

    @property
    def cutoff(self) -> float:
        """Radius that the neighbour list must reach, Å."""
        return max(term.cutoff for term in self.terms)

    def add(self, neighbours: VerletList, result: Evaluation, *, virial: bool) -> None:
        """Add to energies, forces and, if wanted, the virial of `result`.

        Parameters
        ----------
        neighbours : VerletList
            Updated to the current positions.
        result : Evaluation
        virial : bool

        Raises
        ------
        PairTooCloseError
            If a pair is closer than a table begins.
        """
        n, first = neighbours.n_atoms, neighbours.first
        energies, forces = np.zeros(n), np.zeros((n, 3))
        start = 0
        while start < n:
            stop = int(np.searchsorted(first, first[start] + PAIRS_AT_ONCE, side="right")) - 1
            stop = min(max(stop, start + 1), n)
            centre = np.repeat(np.arange(start, stop), np.diff(first[start : stop + 1]))
            columns = neighbours.neighbours[first[start] : first[stop]]
            self._add_pairs(neighbours, centre, columns, energies, forces, result.virial if virial else None)
            start = stop
        _add_rows(neighbours, energies, forces, result)

    def _add_pairs(
        self,
        neighbours: VerletList,
        centre: NDArray[np.integer],
        columns: NDArray[np.integer],
        energies: Array,
        forces: Array,
        virial: Array | None,
    ) -> None:
        positions, types = neighbours.extended_positions, neighbours.extended_types
        vectors = positions[columns] - positions[centre]
        r = np.linalg.norm(vectors, axis=1)
        for term in self.terms:
            near = np.flatnonzero(r < term.reach[types[centre], types[columns]])
            if r[near].min(initial=np.inf) < term.shortest:
                worst = near[np.argmin(r[near])]
                raise too_close(neighbours, int(centre[worst]), int(columns[worst]), self.terms)
            i, vector = centre[near], vectors[near]
            energy, slope = term.energy_and_slope(types[i], types[columns[near]], r[near])
            pull = (slope / r[near])[:, None] * vector
            np.add.at(energies, i, 0.5 * energy)
            np.add.at(forces, i, pull)
            if virial is not None:
                virial -= 0.5 * pull.T @ vector


def _add_rows(neighbours: VerletList, energies: Array, forces: Array, result: Evaluation) -> None:
    """Add what was found for sorted atoms to a result in the order of the input."""
    n, order = neighbours.n_atoms, neighbours.order
    result.atomic_energies[order] += energies[:n]
    result.forces[order] += forces[:n]
    result.energy += float(energies[:n].sum())


class FastPairSum:
    """Pair terms by Numba kernels over threads; the same bits for any number of threads.

    The list of the model reaches far beyond most pair terms, so a shorter one is drawn from it whenever it
    was built.

    Parameters
    ----------
    terms : sequence of PairTerm
    """

    def __init__(self, terms: Sequence[PairTerm]) -> None:
        self.terms = tuple(terms)
        self._packed = packed_terms(self.terms)
        self._short = ShortList()
        self._energies, self._forces = np.zeros(0), np.zeros((0, 3))
        self._virials, self._closest = np.zeros((0, 9)), np.zeros((0, 2), np.int64)

    @property
    def cutoff(self) -> float:
        """Radius that the neighbour list must reach, Å."""
        return max(term.cutoff for term in self.terms)

    def add(self, neighbours: VerletList, result: Evaluation, *, virial: bool) -> None:
        """Add to energies, forces and, if wanted, the virial of `result`; as `PairSum.add`."""
        from fastdp.potential.terms import kernels

        packed = self._packed
        self._short.prepare(neighbours, packed.farthest)
        n = neighbours.n_atoms
        n_blocks = -(-n // kernels.BLOCK_ATOMS)
        if n != len(self._energies):
            self._energies, self._forces = np.zeros(n), np.zeros((n, 3))
            self._virials, self._closest = np.zeros((n_blocks, 9)), np.zeros((n_blocks, 2), np.int64)
        energies, forces, virials, closest = self._energies, self._forces, self._virials, self._closest
        virials[:] = 0.0
        closest[:] = -1
        kernels.pair_sums(
            neighbours.extended_positions,
            neighbours.extended_types,
            self._short.first,
            self._short.near,
            packed.kinds,
            packed.offsets,
            packed.widths,
            packed.numbers,
            packed.reach,
            packed.farthest**2,
            packed.shortest,
            virial,
            energies,
            forces,
            virials,
            closest,
        )
        for i, extended in closest[closest[:, 0] >= 0]:
            raise too_close(neighbours, int(i), int(extended), self.terms)
        _add_rows(neighbours, energies, forces, result)
        if virial:
            result.virial += virials.sum(axis=0).reshape(3, 3)
