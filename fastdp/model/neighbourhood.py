"""The neighbours of a batch of atoms, and which of them a trainer keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array, OverflowRule


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours of a batch of atoms that are all of one type.

    Attributes
    ----------
    centre_type : int
        α.
    n_centres : int
    centre : (n_pairs,) int64
        Number of the centre within the batch, ascending.
    neighbour_types : (n_pairs,) int
        β.
    vectors : (n_pairs, 3) float64
        r_j − r_i, Å, shorter than the cutoff.
    first_type : int
        Type of the first atom of the frame, which some models of DeePMD-kit give to empty slots.
    """

    centre_type: int
    n_centres: int
    centre: NDArray[np.int64]
    neighbour_types: NDArray[np.integer]
    vectors: Array
    first_type: int = 0

    def only(self, kept: NDArray[np.bool_]) -> tuple[Neighbourhood, NDArray[np.int64]]:
        """Return the neighbourhood of some of the pairs, and which pairs these are."""
        pairs = np.flatnonzero(kept)
        return replace(
            self,
            centre=self.centre[pairs],
            neighbour_types=self.neighbour_types[pairs],
            vectors=self.vectors[pairs],
        ), pairs


def nearest(
    rule: OverflowRule,
    selection: NDArray[np.int64],
    centre: NDArray[np.integer],
    neighbour_types: NDArray[np.integer],
    vectors: Array,
) -> NDArray[np.bool_]:
    """Return which pairs a trainer keeps.

    Equal distances are decided by the order in which the pairs are given.

    Parameters
    ----------
    rule : {"nearest_of_each_type", "nearest_of_all_types", "nearest_of_any_type"}
        See `fastdp.model.description.SeE2ADescriptor`.
    selection : (n_types,) int64, or (1,)
    centre : (n_pairs,) int64
    neighbour_types : (n_pairs,) int
    vectors : (n_pairs, 3) float64
        Å.

    Returns
    -------
    (n_pairs,) bool
    """
    r_squared = np.einsum("pc,pc->p", vectors, vectors)
    keep = np.ones(len(centre), dtype=bool)
    if rule != "nearest_of_each_type":
        keep = rank_by_distance(r_squared, centre) < selection.sum()
    if rule == "nearest_of_any_type":
        return keep
    kept = np.flatnonzero(keep)
    rank = rank_by_distance(r_squared[kept], neighbour_types[kept], centre[kept])
    keep[kept] = rank < selection[neighbour_types[kept]]
    return keep


def rank_by_distance(r_squared: Array, *groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return how many members of its own group are nearer than each one."""
    order = np.lexsort((r_squared, *groups))
    new = np.zeros(len(order), dtype=bool)
    new[:1] = True
    for group in groups:
        new[1:] |= np.diff(group[order]) != 0
    position = np.arange(len(order))
    start = np.maximum.accumulate(np.where(new, position, 0))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = position - start
    return rank


def slices_of(centre: NDArray[np.int64]) -> tuple[tuple[int, slice], ...]:
    """Return each centre that occurs in the ascending list, with its range."""
    present, start = np.unique(centre, return_index=True)
    stop = np.append(start[1:], len(centre))
    return tuple((int(i), slice(int(a), int(b))) for i, a, b in zip(present, start, stop, strict=True))
