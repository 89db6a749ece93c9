"""Naming the pair of atoms that a compressed potential does not cover."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastdp.errors import PairTooCloseError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.compressed.compressed_model import CompressedModel


def closest_pair_error(
    model: CompressedModel, neighbours: VerletList, sorted_atoms: Iterable[int]
) -> PairTooCloseError:
    """Return the error that names the pair that lies deepest below its table.

    Parameters
    ----------
    model : CompressedModel
    neighbours : VerletList
        Holds the positions.
    sorted_atoms : iterable of int
        Atoms to look at, as numbered by `neighbours`; one of them has a neighbour.
    """
    worst = (np.inf, 0, 0, 0.0, 0.0)
    for i in sorted_atoms:
        row = neighbours.neighbours[neighbours.first[i] : neighbours.first[i + 1]]
        if len(row) == 0:
            continue
        difference = neighbours.extended_positions[row] - neighbours.extended_positions[i]
        distances = np.linalg.norm(difference, axis=1)
        bases = model.bases[neighbours.extended_types[i]]
        shortest = np.array([bases[b].shortest for b in neighbours.extended_types[row]])
        k = int(np.argmin(distances / shortest))
        worst = min(
            worst, (distances[k] / shortest[k], i, neighbours.owner[row[k]], distances[k], shortest[k])
        )
    _, i, j, distance, limit = worst
    identifiers = neighbours.row_identifiers
    atoms = sorted((int(identifiers[i]), int(identifiers[j])))
    return PairTooCloseError(
        f"atoms {atoms[0]} and {atoms[1]} are {distance:.4f} Å apart; the compressed potential begins at "
        f"{limit:.4f} Å for this pair of types, far below what a model is trained on. "
        "Check the start structure, the time step and the temperature",
        atoms=atoms,
    )
