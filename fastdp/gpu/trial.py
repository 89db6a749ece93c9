"""Which way of multiplying float32 matrices is the fastest for a model on the card at hand."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from fastdp.gpu.device.base import Action, Device
from fastdp.gpu.kernels.status import SIZE
from fastdp.gpu.kinds import one_stage
from fastdp.gpu.layout import DeviceModel, Products, upload_model
from fastdp.gpu.network import NetworkArrays, network_actions
from fastdp.gpu.tiles import Tile, arena_size, cut_into_tiles
from fastdp.potential.compressed.compressed_model import CompressedModel

CANDIDATES: tuple[Products, ...] = ("full", "tf32x3")
"""Alike in accuracy; the first is taken unless another is clearly faster."""

CLEARLY = 0.97
"""A gain of less than 3 % may be noise."""

REPEATS = 5
"""Timed, after two that compile and record."""


def network_seconds(
    device: Device, model: CompressedModel, products: Products, counts: Sequence[int]
) -> float:
    """Time the fitting networks of a step: the part in which ways to multiply differ.

    One tile of each type is timed, of the size that a run of so many atoms has.

    Parameters
    ----------
    device : Device
    model : CompressedModel
    products : {"full", "tf32", "tf32x3"}
    counts : (n_types,) sequence of int
        Atoms of each type.

    Returns
    -------
    float
        s, for all atoms.
    """
    uploaded = upload_model(device, model, np.float32, products)
    largest: dict[int, int] = {}
    for tile in cut_into_tiles(one_stage(counts), uploaded):
        largest[tile.centre_type] = max(largest.get(tile.centre_type, 0), tile.size)
    total = 0.0
    for centre_type, size in largest.items():
        action = device.capture(_tile_actions(device, uploaded, Tile(0, size, centre_type)))
        total += _seconds(device, action) * counts[centre_type] / size
    return total


def choose_products(
    device: Device, model: CompressedModel, counts: Sequence[int]
) -> tuple[Products, dict[Products, float]]:
    """Return the fastest way of multiplying that is as accurate as float32, and the time of each.

    Parameters
    ----------
    device, model, counts
        As in `network_seconds`.

    Returns
    -------
    products : {"full", "tf32x3"}
    seconds : dict of str to float
        s, of the fitting networks of a step.
    """
    seconds = {products: network_seconds(device, model, products, counts) for products in CANDIDATES}
    best = min(seconds, key=lambda products: seconds[products])
    if seconds[best] > CLEARLY * seconds[CANDIDATES[0]]:
        best = CANDIDATES[0]
    return best, seconds


def _tile_actions(device: Device, model: DeviceModel, tile: Tile) -> list[Action]:
    n = tile.size
    arrays = NetworkArrays(
        moments=device.zeros((n, 4, model.columns), model.dtype),
        energies=device.zeros(n, np.float64),
        atom_of=device.upload(np.arange(n, dtype=np.int32)),
        status=device.zeros(SIZE, np.int32),
    )
    arena = device.empty(arena_size([(tile,)], model), model.dtype)
    return network_actions(device, model, [(tile, 0)], arena, arrays)


def _seconds(device: Device, action: Action) -> float:
    found = []
    for number in range(2 + REPEATS):
        first = device.mark()
        action()
        last = device.mark()
        if number >= 2:
            found.append(device.elapsed(first, last))
    return statistics.median(found)
