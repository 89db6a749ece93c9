"""The pairs of all atoms, in batches that fit into memory, and a model evaluated on one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import InputError, PairTooCloseError
from fastdp.model.description import Array, DeepPotential, ParameterInput
from fastdp.model.descriptors.registry import Described, describe
from fastdp.model.fittings.registry import Fitted, fitting_kind, scaled_parameters
from fastdp.model.neighbourhood import Neighbourhood
from fastdp.neighbours.verlet_list import VerletList

PAIRS_AT_ONCE = 16384
"""Pairs that are processed together: about 100 MB for an embedding 100 wide."""

VIRTUAL = -1
"""Type of atoms that are not there for the model: no neighbours, no energy, no force."""


@dataclass(frozen=True)
class PairBatch:
    """Some atoms with all their pairs; `centre` counts within `atoms` and is ascending.

    Attributes
    ----------
    atoms : (n,) int
    atom_types : (n,) int
    centre : (n_pairs,) int
    neighbour : (n_pairs,) int
        Atom that the neighbour is an image of.
    neighbour_types : (n_pairs,) int
    vectors : (n_pairs, 3) float64
        Å.
    first_type : int
        Type of the frame's first atom.
    """

    atoms: NDArray[np.integer]
    atom_types: NDArray[np.integer]
    centre: NDArray[np.integer]
    neighbour: NDArray[np.integer]
    neighbour_types: NDArray[np.integer]
    vectors: Array
    first_type: int


@dataclass(frozen=True)
class Parameters:
    """What a model is given besides atoms.

    Attributes
    ----------
    frame : (n,) float64
        fparam, as the model's file expects them.
    atom : (n_atoms, m) float64, or (1, m) for all atoms alike
        aparam.
    """

    frame: Array
    atom: Array

    @classmethod
    def for_model(
        cls, description: DeepPotential, frame: ArrayLike | None = None, atom: ArrayLike | None = None
    ) -> Parameters:
        """Return parameters that fit a model; its defaults stand for those that are not given.

        Parameters
        ----------
        description : DeepPotential
        frame : (n,) float64, optional
        atom : (m,) or (n_atoms, m) float64, optional

        Raises
        ------
        InputError
            If some are missing, or their number is wrong.
        """
        source = description.origin.path
        fitting = description.fitting
        frame_values = _given(source, "frame parameters (fparam)", fitting.frame_parameters, frame)
        atom_values = _given(source, "atomic parameters (aparam)", fitting.atom_parameters, atom)
        if frame_values.shape[0] != 1:
            raise InputError(f"{source}: fparam has {frame_values.shape[0]} rows, and should be one")
        return cls(frame_values[0], atom_values)

    def in_order(self, order: NDArray[np.integer]) -> Parameters:
        """Return the parameters with the atoms in another order."""
        return self if len(self.atom) == 1 else Parameters(self.frame, self.atom[order])

    def of(self, description: DeepPotential, atoms: NDArray[np.integer]) -> Array:
        """Return what the networks take besides the descriptors of these atoms, (n, n_frame + n_atom)."""
        fitting = description.fitting
        rows = self.atom if len(self.atom) == 1 else self.atom[atoms]
        atomic = scaled_parameters(fitting.atom_parameters, rows)
        frame = scaled_parameters(fitting.frame_parameters, self.frame)
        n = len(atoms)
        return np.concatenate(
            (np.broadcast_to(frame, (n, len(frame))), np.broadcast_to(atomic, (n, atomic.shape[1]))), axis=1
        )


def _given(source: str, what: str, wanted: ParameterInput, values: ArrayLike | None) -> Array:
    if values is None:
        values = wanted.default
    if values is None:
        if wanted.size:
            raise InputError(f"{source}: the model needs {wanted.size} {what}, and none are given")
        return np.zeros((1, 0))
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if rows.shape[1] != wanted.size or not np.isfinite(rows).all():
        raise InputError(
            f"{source}: the model needs {wanted.size} {what}, finite numbers, but {rows.shape[1]} are given"
        )
    return rows


def batches_of_list(neighbours: VerletList, begin: int = 0, end: int | None = None) -> Iterator[PairBatch]:
    """Yield the pairs of sorted atoms of a neighbour list, at the positions that it holds now.

    Atoms and neighbours are numbered as the list's rows: sorted atoms, then ghosts that other ranks own.

    Parameters
    ----------
    neighbours : VerletList
    begin, end : int
        Range of sorted atoms; by default all.
    """
    first, positions, types = neighbours.first, neighbours.extended_positions, neighbours.extended_types
    end = neighbours.n_atoms if end is None else end
    of_input = getattr(neighbours, "types", types)
    first_type = int(of_input[0]) if len(of_input) else 0
    for start, stop in _chunks(first[begin : end + 1]):
        start, stop = begin + start, begin + stop
        columns = neighbours.neighbours[first[start] : first[stop]]
        centre = np.repeat(np.arange(start, stop), np.diff(first[start : stop + 1]))
        yield PairBatch(
            atoms=np.arange(start, stop),
            atom_types=types[start:stop],
            centre=centre - start,
            neighbour=neighbours.owner[columns],
            neighbour_types=types[columns],
            vectors=positions[columns] - positions[centre],
            first_type=first_type,
        )


def batches_of_pairs(
    types: NDArray[np.integer],
    centre: NDArray[np.integer],
    neighbour: NDArray[np.integer],
    vectors: Array,
    n_centres: int | None = None,
) -> Iterator[PairBatch]:
    """Yield a plain list of pairs; atoms of type `VIRTUAL` are left out.

    Parameters
    ----------
    types : (n_atoms,) int
    centre, neighbour : (n_pairs,) int
        Each pair occurs in both directions, and once for every periodic image.
    vectors : (n_pairs, 3) float64
        From the centre to the neighbour (image), Å.
    n_centres : int, optional
        Atoms from this one on are neighbours only; by default none is.
    """
    real = np.flatnonzero((types[centre] != VIRTUAL) & (types[neighbour] != VIRTUAL))
    centre, neighbour, vectors = centre[real], neighbour[real], vectors[real]
    order = np.argsort(centre, kind="stable")
    n_centres = len(types) if n_centres is None else n_centres
    first = np.searchsorted(centre[order], np.arange(n_centres + 1))
    first_type = int(types[types != VIRTUAL][0]) if np.any(types != VIRTUAL) else 0
    for start, stop in _chunks(first):
        pairs = order[first[start] : first[stop]]
        yield PairBatch(
            atoms=np.arange(start, stop),
            atom_types=types[start:stop],
            centre=centre[pairs] - start,
            neighbour=neighbour[pairs],
            neighbour_types=types[neighbour[pairs]],
            vectors=vectors[pairs],
            first_type=first_type,
        )


@dataclass(frozen=True)
class ModelBatch:
    """A model evaluated on atoms of one type.

    Attributes
    ----------
    atoms : (n,) int
    centre, neighbour : (n_pairs,) int
        Atoms of each pair.
    vectors : (n_pairs, 3) float64
    fitted : Fitted
    described : Described
    """

    atoms: NDArray[np.integer]
    centre: NDArray[np.integer]
    neighbour: NDArray[np.integer]
    vectors: Array
    fitted: Fitted
    described: Described

    def pair_gradients(self, seed: Array) -> Array:
        """Return ∂L/∂r_ij (n_pairs, 3) from ∂L/∂values (n, C)."""
        return self.described.pullback(*self.fitted.pullback(seed))


def evaluate_batch(
    description: DeepPotential, batch: PairBatch, parameters: Parameters, *, truncate: bool
) -> Iterator[ModelBatch]:
    """Evaluate a model on a batch, one type of centre after the other.

    Parameters
    ----------
    description : DeepPotential
    batch : PairBatch
        Pairs beyond the cutoff may be there.
    parameters : Parameters
    truncate : bool
        Whether to keep only as many neighbours as the trainer does.

    Raises
    ------
    PairTooCloseError
        If two atoms are on top of each other.
    """
    r = np.linalg.norm(batch.vectors, axis=1)
    if np.any(r == 0.0):
        pair = int(np.argmin(r))
        i, j = int(batch.atoms[batch.centre[pair]]), int(batch.neighbour[pair])
        raise too_close(i, j, "are on top of each other")
    near = np.flatnonzero(r <= description.descriptor.cutoff)
    kind = fitting_kind(description.fitting)
    for centre_type in np.unique(batch.atom_types):
        if centre_type == VIRTUAL:
            continue
        members = np.flatnonzero(batch.atom_types == centre_type)
        pairs = near[batch.atom_types[batch.centre[near]] == centre_type]
        neighbourhood = Neighbourhood(
            centre_type=int(centre_type),
            n_centres=len(members),
            centre=np.searchsorted(members, batch.centre[pairs]),
            neighbour_types=batch.neighbour_types[pairs],
            vectors=batch.vectors[pairs],
            first_type=batch.first_type,
        )
        described = describe(description.descriptor, neighbourhood, truncate=truncate)
        atoms = batch.atoms[members]
        fitted = kind.fit(description.fitting, int(centre_type), described, parameters.of(description, atoms))
        yield ModelBatch(
            atoms,
            batch.atoms[batch.centre[pairs]],
            batch.neighbour[pairs],
            neighbourhood.vectors,
            fitted,
            described,
        )


def too_close(i: int, j: int, how: str) -> PairTooCloseError:
    """Return the error that two atoms are too close; `how` ends its sentence."""
    return PairTooCloseError(f"{_ATOMS.format(i, j)}{how}", atoms=(i, j))


def renumbered(error: PairTooCloseError, numbers: NDArray[np.integer]) -> PairTooCloseError:
    """Return an error of `too_close` with the atoms' numbers looked up in `numbers`."""
    before = _ATOMS.format(*error.atoms)
    i, j = (int(numbers[atom]) for atom in error.atoms)
    return too_close(i, j, error.reason.removeprefix(before))


_ATOMS = "atoms {} and {} "


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
