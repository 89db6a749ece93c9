"""Which neighbours a smooth descriptor sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.neighbourhood import Neighbourhood, nearest


def chosen(
    descriptor: Any, neighbourhood: Neighbourhood, truncate: bool
) -> tuple[Neighbourhood, NDArray[np.int64]]:
    """Return the pairs closer than the cutoff, the nearest `selection` of them, without absent pairs.

    Parameters
    ----------
    descriptor : SeE2ADescriptor, SeE2RDescriptor or SeE3Descriptor
    neighbourhood : Neighbourhood
    truncate : bool
        Whether more than `selection` neighbours are cut down to it.

    Returns
    -------
    neighbourhood : Neighbourhood
    pairs : (n,) int64
        Which pairs of the neighbourhood that was given these are.
    """
    vectors = neighbourhood.vectors
    near = np.linalg.norm(vectors, axis=1) < descriptor.cutoff
    if truncate:
        pairs = np.flatnonzero(near)
        near[pairs] = nearest(
            descriptor.overflow_rule,
            descriptor.selection,
            neighbourhood.centre[pairs],
            neighbourhood.neighbour_types[pairs],
            vectors[pairs],
        )
    if descriptor.absent is not None:
        near &= ~descriptor.absent[neighbourhood.centre_type][neighbourhood.neighbour_types]
    return neighbourhood.only(near)
