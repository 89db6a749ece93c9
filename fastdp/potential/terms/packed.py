"""Pair terms as arrays of numbers, as kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.potential.terms.base import Array, PairTerm


@dataclass(frozen=True, eq=False)
class PackedTerms:
    """The numbers of all pair terms of a run, one after the other.

    Attributes
    ----------
    kinds, offsets, widths : (n_terms,) int64
        Function of each term (`scalar`), where its numbers begin, and how many a pair of types has.
    numbers : (n,) float64
    reach : (n_terms, n_types, n_types) float64
        Å.
    farthest : (n_types, n_types) float64
        Å, the largest reach of all terms.
    shortest : (n_terms,) float64
        Å, below which a term says nothing.
    """

    kinds: NDArray[np.int64]
    offsets: NDArray[np.int64]
    widths: NDArray[np.int64]
    numbers: Array
    reach: Array
    farthest: Array
    shortest: Array


def packed_terms(terms: Sequence[PairTerm]) -> PackedTerms:
    """Return the numbers of terms.

    Parameters
    ----------
    terms : sequence of PairTerm
        At least one.
    """
    packed = [term.packed() for term in terms]
    sizes = [numbers.size for numbers in packed]
    reach = np.stack([term.reach for term in terms])
    return PackedTerms(
        kinds=np.array([term.kind for term in terms], dtype=np.int64),
        offsets=np.cumsum([0, *sizes[:-1]]).astype(np.int64),
        widths=np.array([numbers.shape[2] for numbers in packed], dtype=np.int64),
        numbers=np.concatenate([numbers.ravel() for numbers in packed]),
        reach=reach,
        farthest=reach.max(axis=0),
        shortest=np.array([term.shortest for term in terms]),
    )
