"""What a structure must satisfy before anything is computed from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import StructureError
from fastdp.neighbours.lattice import Lattice
from fastdp.neighbours.verlet_list import VerletList
from fastdp.structure.naming import list_atoms
from fastdp.structure.structure import Structure

COINCIDENT_A = 0.01
"""Å; two nuclei are never this close, so the atom is there twice or the cell or its unit is wrong."""

LONGEST_REPORT = 5


def check_structure(structure: Structure) -> None:
    """Check numbers, cell and distances.

    Parameters
    ----------
    structure : Structure

    Raises
    ------
    StructureError
        With everything found: numbers that are not finite, masses that are not positive, a cell
        without volume, atoms on top of each other.
    """
    problems = list(_numbers(structure))
    try:
        Lattice.from_cell(structure.cell, structure.periodic)
    except StructureError as error:
        problems.append(str(error))
    if not problems:
        problems += _coincident_atoms(structure)
    if problems:
        raise StructureError("; ".join(problems))


def _numbers(structure: Structure) -> Iterator[str]:
    if structure.n_atoms == 0:
        yield "there are no atoms"
    yield from _not_finite("position", structure.positions, "Å")
    if structure.velocities is not None:
        yield from _not_finite("velocity", structure.velocities, "Å/ps")
    if not np.isfinite(structure.cell).all():
        yield f"the cell is {structure.cell.tolist()} Å"
    bad = np.flatnonzero(~(np.isfinite(structure.masses) & (structure.masses > 0)))
    if len(bad):
        yield (
            f"{list_atoms(bad)} ({structure.symbols[bad[0]]}) cannot move with a mass of "
            f"{structure.masses[bad[0]]:g} u; set masses_u in [structure]"
        )


def _not_finite(what: str, values: NDArray[np.float64], unit: str) -> Iterator[str]:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        yield f"the {what} of {list_atoms(bad)} is not finite: {values[bad[0]].tolist()} {unit}"


def _coincident_atoms(structure: Structure) -> Iterator[str]:
    pairs = _pairs_in_one_bin(structure.positions)
    if not pairs:
        try:
            pairs = [(a, b) for a, b, _ in _pairs_within(structure, COINCIDENT_A)]
        except StructureError as error:
            yield str(error)
    if not pairs:
        return
    shown = "; ".join(_pair_name(structure, a, b) for a, b in pairs[:LONGEST_REPORT])
    rest = len(pairs) - LONGEST_REPORT
    yield (
        f"atoms on top of each other (less than {COINCIDENT_A} Å apart, atoms counted from 0): {shown}"
        + (f" and {rest} more pairs" if rest > 0 else "")
    )


def _pair_name(structure: Structure, a: int, b: int) -> str:
    if a == b:
        return f"{a} ({structure.symbols[a]}) and its own periodic image"
    return f"{a} ({structure.symbols[a]}) and {b} ({structure.symbols[b]})"


def _pairs_in_one_bin(positions: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Find atoms that share a bin so small that they coincide, one pair for each atom too many.

    This goes first because a list of all pairs grows without bound where many atoms sit in one place,
    as when positions were given in metres.
    """
    with np.errstate(over="ignore"):  # absurdly far away; the neighbour search says so
        bins = np.floor(positions / (COINCIDENT_A / 2))
    _, representative, which = np.unique(bins, axis=0, return_index=True, return_inverse=True)
    first = representative[which.reshape(-1)]
    surplus = np.flatnonzero(first != np.arange(len(positions)))
    return [(int(first[atom]), int(atom)) for atom in surplus]


def _pairs_within(structure: Structure, cutoff: float) -> list[tuple[int, int, float]]:
    """Return the atoms, in order, and the distance of each pair nearer than `cutoff` (Å)."""
    kinds = np.zeros(structure.n_atoms, dtype=np.int32)
    close = VerletList(cutoff, 0.0, structure.cell, structure.periodic, kinds)
    close.build(structure.positions)
    centres = np.repeat(np.arange(structure.n_atoms), np.diff(close.first))
    others = close.neighbours[: len(centres)]
    places = close.extended_positions
    distances = np.linalg.norm(places[others] - places[centres], axis=1)
    pairs: dict[tuple[int, int], float] = {}
    for a, b, distance in zip(close.order[centres], close.order[close.owner[others]], distances, strict=True):
        pair = (int(min(a, b)), int(max(a, b)))
        pairs[pair] = min(float(distance), pairs.get(pair, np.inf))
    return [(*pair, distance) for pair, distance in sorted(pairs.items())]


FRACTION_OF_TRAINED = 0.9
"""Of the shortest distance in the training data: a little below it a model may still be right."""


def untrained_distance(structure: Structure, trained: float | None) -> str | None:
    """Return a warning where atoms are much closer than any were that the model was trained on.

    Parameters
    ----------
    structure : Structure
        That passes `check_structure`.
    trained : float or None
        Shortest distance in the training data, Å; None if the model does not say.

    Returns
    -------
    str or None
    """
    pairs = [] if trained is None else _pairs_within(structure, FRACTION_OF_TRAINED * trained)
    if not pairs:
        return None
    a, b, distance = min(pairs, key=lambda pair: pair[2])
    rest = f", and {len(pairs) - 1} more pairs are as close" if len(pairs) > 1 else ""
    return (
        f"atoms {_pair_name(structure, a, b)} are {distance:.3g} Å apart{rest}; no two were closer than "
        f"{trained:.3g} Å in the training of the model, and what it says below that is chance"
    )
