"""Tiles: atoms of one type that pass through the fitting network together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastdp.gpu.arena import ALIGNMENT
from fastdp.gpu.layout import DeviceCentre

LARGEST_ARENA = 256 * 2**20
"""Bytes for the activations of one tile.

Enough rows for the GEMMs to fill a large card (8 000 atoms of a water model in float64), few enough that
memory does not grow with the atoms. To be settled by measurement.
"""

LARGEST_TILE = 1 << 15
"""Atoms."""


@dataclass(frozen=True)
class Tile:
    """Atoms `start` to `stop` of the sorted order, all of type `centre_type`."""

    start: int
    stop: int
    centre_type: int

    @property
    def size(self) -> int:
        """Number of atoms."""
        return self.stop - self.start


def numbers_per_atom(centre: DeviceCentre) -> int:
    """Return how many numbers an atom needs in the arena; `network.py` takes them in this order."""
    widths = [layer.n_out for layer in centre.layers]
    thickest = max(layer.rank for layer in centre.layers)
    widest = max(layer.n_in for layer in centre.layers[1:]) if len(centre.layers) > 1 else 1
    # τ and ∂E/∂τ, T and ∂E/∂T; D and ∂E/∂D; outputs and slopes of all layers; thin products; two gradients.
    return 8 * (centre.rank + centre.axis) + 2 * centre.width + 2 * sum(widths) + thickest + 2 * widest


def arena_size(tiles: Sequence[Tile], centres: Sequence[DeviceCentre]) -> int:
    """Return how many numbers the arena must hold for the largest tile."""
    return max(
        (
            tile.size * numbers_per_atom(centres[tile.centre_type])
            + ALIGNMENT * (12 + 2 * len(centres[tile.centre_type].layers))
            for tile in tiles
        ),
        default=0,
    )


def cut_into_tiles(
    type_start: Sequence[int], centres: Sequence[DeviceCentre], itemsize: int
) -> tuple[Tile, ...]:
    """Return tiles that cover all atoms, none larger than the arena allows.

    Parameters
    ----------
    type_start : (n_types + 1,) sequence of int
        Sorted atoms of type t are type_start[t] … type_start[t + 1].
    centres : sequence of DeviceCentre
    itemsize : int
        Bytes of a number.
    """
    tiles = []
    for alpha, centre in enumerate(centres):
        start, stop = int(type_start[alpha]), int(type_start[alpha + 1])
        n = stop - start
        if n == 0:
            continue
        most = min(LARGEST_TILE, max(1, LARGEST_ARENA // (itemsize * numbers_per_atom(centre))))
        count = -(-n // most)
        edges = start + (n * np.arange(count + 1)) // count
        tiles += [Tile(int(a), int(b), alpha) for a, b in pairwise(edges)]
    return tuple(tiles)
