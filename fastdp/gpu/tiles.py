"""Tiles: atoms of one type that pass through the fitting network together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastdp.gpu.arena import ALIGNMENT
from fastdp.gpu.kinds import Group, Kinds
from fastdp.gpu.layout import DeviceCentre, DeviceModel, Products

LARGEST_ARENA = 256 * 2**20
"""Bytes for the activations of one tile.

Enough rows for the GEMMs to fill a large card (8 000 atoms of a water model in float64), few enough that
memory does not grow with the atoms. To be settled by measurement.
"""

LARGEST_TILE = 1 << 15
"""Atoms."""


@dataclass(frozen=True)
class Tile:
    """Atoms `start` to `stop` of the sorted order, all of type `centre_type` and of one stage."""

    start: int
    stop: int
    centre_type: int
    stage: int = 0

    @property
    def size(self) -> int:
        """Number of atoms."""
        return self.stop - self.start


def largest_factor(centre: DeviceCentre) -> int:
    """Return how many numbers the widest factor of a matrix product has for an atom."""
    inputs = [max(layer.n_in, layer.n_out, layer.rank) for layer in centre.layers]
    return max(3 * centre.radial.shape[0], 4 * centre.rank, 4 * centre.axis, *inputs)


def numbers_per_atom(centre: DeviceCentre, products: Products) -> int:
    """Return how many numbers an atom needs in the arena of `network.py`, or of `fused/network.py`."""
    if centre.fused is not None:
        return max(centre.fused.shape.parked, 1)
    widths = [layer.n_out for layer in centre.layers]
    thickest = max(layer.rank for layer in centre.layers)
    widest = max(layer.n_in for layer in centre.layers[1:]) if len(centre.layers) > 1 else 1
    split = 2 * largest_factor(centre) if products == "tf32x3" else 0
    # τ and ∂E/∂τ, T and ∂E/∂T; D and ∂E/∂D; outputs and slopes of all layers; thin products; two gradients.
    activations = 2 * centre.width + 2 * sum(widths) + thickest + 2 * widest
    return split + 8 * (centre.rank + centre.axis) + activations


def arena_size(tiles: Sequence[Tile], model: DeviceModel) -> int:
    """Return how many numbers the arena must hold for the largest tile."""
    centres = [model.centres[tile.centre_type] for tile in tiles]
    return max(
        (
            _rows(centre, tile.size) * numbers_per_atom(centre, model.products)
            + ALIGNMENT * (16 + 2 * len(centre.layers))
            for tile, centre in zip(tiles, centres, strict=True)
        ),
        default=0,
    )


def _rows(centre: DeviceCentre, n: int) -> int:
    """Return the number of atoms, or that of whole blocks which have room for them."""
    return n if centre.fused is None else centre.fused.rows_for(n)


def cut_into_tiles(groups: Iterable[Group], model: DeviceModel) -> tuple[Tile, ...]:
    """Return tiles that cover groups of atoms, none larger than the arena allows.

    Parameters
    ----------
    groups : iterable of Group
    model : DeviceModel
    """
    tiles = []
    for group in groups:
        centre = model.centres[group.type]
        n = group.stop - group.start
        per_atom = model.dtype.itemsize * numbers_per_atom(centre, model.products)
        most = min(LARGEST_TILE, max(1, LARGEST_ARENA // per_atom))
        count = -(-n // most)
        edges = group.start + (n * np.arange(count + 1)) // count
        tiles += [Tile(int(a), int(b), group.type, group.stage) for a, b in pairwise(edges)]
    return tuple(tiles)


def cut_for_sums(tiles: Sequence[Tile], kinds: Kinds) -> tuple[Group, ...]:
    """Return pieces of all atoms over which sums are made: tiles, and as many ghosts at most."""
    pieces = [Group(tile.start, tile.stop, tile.centre_type, tile.stage) for tile in tiles]
    for group in kinds.groups(kinds.own_stages):
        for start in range(group.start, group.stop, LARGEST_TILE):
            pieces.append(Group(start, min(start + LARGEST_TILE, group.stop), group.type, group.stage))
    return tuple(pieces)
