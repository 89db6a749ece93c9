"""Naming the pair of atoms that a compressed potential does not cover."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import PairTooCloseError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.close_pair import ClosePair, closest_pair
from fastdp.potential.compressed.compressed_model import CompressedModel


def closest_pair_of(model: CompressedModel, neighbours: VerletList, sorted_atoms: Iterable[int]) -> ClosePair:
    """Return the pair that lies deepest below its table.

    Parameters
    ----------
    model : CompressedModel
    neighbours : VerletList
        Holds the positions.
    sorted_atoms : iterable of int
        Atoms to look at, as numbered by `neighbours`; one of them has a neighbour.
    """

    def limits(
        centre: int, types: NDArray[np.integer], distances: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.array([model.bases[centre][b].shortest for b in types])

    return closest_pair(neighbours, sorted_atoms, limits)


def closest_pair_error(
    model: CompressedModel, neighbours: VerletList, sorted_atoms: Iterable[int]
) -> PairTooCloseError:
    """Return the error that names this pair; the parameters are those of `closest_pair_of`."""
    pair = closest_pair_of(model, neighbours, sorted_atoms)
    identifiers = neighbours.row_identifiers
    atoms = sorted((int(identifiers[pair.atom]), int(identifiers[neighbours.owner[pair.extended]])))
    return PairTooCloseError(
        f"atoms {atoms[0]} and {atoms[1]} are {pair.distance:.4f} Å apart; the compressed potential begins "
        f"at {pair.limit:.4f} Å for this pair of types, far below what a model is trained on. "
        "Check the start structure, the time step and the temperature",
        atoms=atoms,
    )
