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
    """Return how many numbers an atom needs in the arena of `network.py`, layer by layer."""
    widths = [layer.n_out for layer in centre.layers]
    thickest = max(layer.rank for layer in centre.layers)
    widest = max(layer.n_in for layer in centre.layers[1:]) if len(centre.layers) > 1 else 1
    split = 2 * largest_factor(centre) if products == "tf32x3" else 0
    # τ and ∂E/∂τ, T and ∂E/∂T; D and ∂E/∂D; outputs and slopes of all layers; thin products; two gradients.
    activations = 2 * centre.width + 2 * sum(widths) + thickest + 2 * widest
    return split + 8 * (centre.rank + centre.axis) + activations


def arena_size(batches: Iterable[Sequence[Tile]], model: DeviceModel) -> int:
    """Return how many numbers the arena must hold for the largest batch of tiles."""
    return max((_numbers(batch, model) for batch in batches), default=0)


def _numbers(batch: Sequence[Tile], model: DeviceModel) -> int:
    if model.fused is not None:
        return model.fused.numbers_for({tile.centre_type: tile.size for tile in batch})
    # Tiles use the arena one after the other.
    return max(
        tile.size * numbers_per_atom(model.centres[tile.centre_type], model.products)
        + ALIGNMENT * (16 + 2 * len(model.centres[tile.centre_type].layers))
        for tile in batch
    )


def in_batches(tiles: Sequence[Tile], model: DeviceModel) -> tuple[tuple[Tile, ...], ...]:
    """Return tiles whose networks are evaluated together, in order.

    One kernel evaluates all types at once where each has a single tile in a stage; else tile by tile.

    Parameters
    ----------
    tiles : sequence of Tile
    model : DeviceModel
    """
    found: list[tuple[Tile, ...]] = []
    for stage in dict.fromkeys(tile.stage for tile in tiles):
        here = tuple(tile for tile in tiles if tile.stage == stage)
        alone = len({tile.centre_type for tile in here}) == len(here)
        found += [here] if alone and model.fused is not None else [(tile,) for tile in here]
    return tuple(found)


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
        most = LARGEST_TILE
        if model.fused is None:
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
