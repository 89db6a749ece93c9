"""The periodic part of a cell: checks, fractional coordinates, perpendicular heights, a reduced basis."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import StructureError

SMALLEST_RELATIVE_VOLUME = 1e-6
"""Volume of the periodic cell over that of a right-angled one with the same edges; less is called flat."""


@dataclass(frozen=True)
class Lattice:
    """Vectors of which the ones along open directions do not count.

    Attributes
    ----------
    vectors : (3, 3) float64
        Å, rows; zero along open directions.
    reciprocal : (3, 3) float64
        1/Å. positions @ reciprocal: fractional coordinates along periodic directions, zero along open ones.
    inverse_heights : (3,) float64
        1/Å. One over the distance between opposite faces; zero along open directions.
    """

    vectors: NDArray[np.float64]
    reciprocal: NDArray[np.float64]
    inverse_heights: NDArray[np.float64]

    @classmethod
    def from_cell(cls, cell: ArrayLike, periodic: ArrayLike) -> Lattice:
        """Check a cell and return its periodic part.

        Parameters
        ----------
        cell : (3, 3) float64
            Å, rows are vectors; those along open directions are ignored.
        periodic : (3,) bool

        Returns
        -------
        Lattice

        Raises
        ------
        StructureError
            If a periodic vector is zero or not finite, or the periodic vectors span no volume.
        """
        directions = np.asarray(periodic, dtype=bool)
        vectors = np.array(cell, dtype=np.float64)
        vectors[~directions] = 0.0
        spanning = vectors[directions]
        _check(vectors, directions)
        # Directions across all periodic vectors stand in for the open ones, so that there is an inverse.
        completed = vectors.copy()
        if len(spanning) < 3:
            completed[~directions] = null_space(spanning)
        reciprocal = np.linalg.inv(completed)
        reciprocal[:, ~directions] = 0.0
        return cls(vectors, np.ascontiguousarray(reciprocal), np.linalg.norm(reciprocal, axis=0))


def reduction(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the integer matrix that makes a basis of the same lattice with short, nearly orthogonal vectors.

    A skewed cell has small perpendicular heights, and would need many layers of images. Vectors are shortened
    by each other (Gauss), and by the sum or difference of the two others, until none gets shorter.

    Parameters
    ----------
    vectors : (3, 3) float64
        Å, rows; zero rows are left alone.

    Returns
    -------
    (3, 3) int64
        `transform`; transform @ vectors is the reduced basis.
    """
    transform = np.eye(3, dtype=np.int64)
    present = [d for d in range(3) if vectors[d].any()]
    shortened = True
    while shortened:
        shortened = False
        for moves in _moves(present, transform @ vectors):
            trial = transform.copy()
            for target, source, times in moves:
                trial[target] += times * transform[source]
            target = moves[0][0]
            old, new = transform[target] @ vectors, trial[target] @ vectors
            # A tie must not count as shorter, or two equally good bases would alternate for ever.
            if new @ new < (1.0 - 1e-9) * (old @ old):
                transform, shortened = trial, True
                break
    return transform


def _moves(present: list[int], basis: NDArray[np.float64]) -> list[list[tuple[int, int, int]]]:
    """Return ways to shorten a vector, each a list of (vector to change, vector to add, how many times)."""
    pairs = []
    for a, b in permutations(present, 2):
        times = -round(float(basis[a] @ basis[b] / (basis[b] @ basis[b])))
        pairs.append([(a, b, times)])
    triples = [
        [(a, b, p), (a, c, q)]
        for a, b, c in permutations(present, 3)
        if b < c
        for p, q in product((-1, 1), repeat=2)
    ]
    return pairs + triples


def null_space(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors across all of `vectors`, (k, 3), and across each other: (3 - k, 3)."""
    return np.linalg.svd(vectors)[2][len(vectors) :] if len(vectors) else np.eye(3)


def _check(vectors: NDArray[np.float64], periodic: NDArray[np.bool_]) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    for d in np.flatnonzero(periodic):
        if not np.isfinite(lengths[d]) or lengths[d] == 0.0:
            raise StructureError(
                f"cell vector {'abc'[d]} is {vectors[d].tolist()} Å, but the structure is periodic along it; "
                "give the vector, or make the direction open"
            )
    spanning = vectors[periodic]
    if len(spanning) == 0:
        return
    volume = float(np.sqrt(max(np.linalg.det(spanning @ spanning.T), 0.0)))
    if volume < SMALLEST_RELATIVE_VOLUME * float(np.prod(lengths[periodic])):
        raise StructureError(
            f"the periodic cell vectors {spanning.tolist()} Å span {volume:.3g} Å^{len(spanning)} of volume; "
            "they must not be parallel or lie in one plane"
        )
