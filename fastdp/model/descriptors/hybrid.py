"""hybrid: descriptors one after the other, each with its own cutoff and choice of neighbours."""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, HybridDescriptor
from fastdp.model.descriptors.registry import Described, describe, descriptor, expanded
from fastdp.model.neighbourhood import Neighbourhood, nearest


@descriptor(HybridDescriptor)
def _describe(whole: HybridDescriptor, neighbourhood: Neighbourhood, truncate: bool) -> Described:
    shared = np.linalg.norm(neighbourhood.vectors, axis=1) < whole.cutoff
    if truncate and whole.shared_selection is not None:
        near = np.flatnonzero(shared)
        one_limit = len(whole.shared_selection) < whole.n_types
        shared[near] = nearest(
            "nearest_of_any_type" if one_limit else "nearest_of_all_types",
            whole.shared_selection,
            neighbourhood.centre[near],
            neighbourhood.neighbour_types[near],
            neighbourhood.vectors[near],
        )
    mine, pairs = neighbourhood.only(shared)
    parts = [describe(part, mine, truncate=truncate) for part in whole.parts]
    with_rotation = all(part.rotation is not None for part in parts)
    rotation = np.concatenate([part.rotation for part in parts], axis=1) if with_rotation else None

    def pullback(by_d: Array, by_rotation: Array | None) -> Array:
        g = np.zeros((len(mine.vectors), 3))
        column = row = 0
        for part in parts:
            width = part.d.shape[1]
            by_part = None
            if by_rotation is not None and part.rotation is not None:
                by_part = by_rotation[:, row : row + part.rotation.shape[1]]
                row += part.rotation.shape[1]
            g += part.pullback(by_d[:, column : column + width], by_part)
            column += width
        return expanded(g, pairs, len(neighbourhood.vectors))

    return Described(np.concatenate([part.d for part in parts], axis=1), rotation, pullback)
