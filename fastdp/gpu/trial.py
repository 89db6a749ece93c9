"""Which way of evaluating fitting networks is the fastest for a model on the card at hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.errors import BackendError
from fastdp.gpu.device.base import Action, Device, DeviceArray, run_all
from fastdp.gpu.kernels.status import SIZE
from fastdp.gpu.kinds import one_stage
from fastdp.gpu.layout import DeviceModel, Network, Products, upload_model
from fastdp.gpu.network import NetworkArrays, network_actions
from fastdp.gpu.tiles import Tile, arena_size, cut_into_tiles
from fastdp.potential.compressed.compressed_model import CompressedModel


class Way(NamedTuple):
    """How fitting networks are evaluated.

    Attributes
    ----------
    products : {"full", "tf32", "tf32x3"}
    network : {"layers", "fused"}
    """

    products: Products
    network: Network

    def __str__(self) -> str:
        return f"{self.network}, {self.products}"


ALIKE: tuple[Products, ...] = ("full", "tf32x3")
"""Products of float32 that are alike in accuracy."""

CLEARLY = 0.97
"""The first way is taken unless another is faster by more: a gain of less than 3 % may be noise."""

REPEATS = 5
"""Timed, after two that compile and record."""

SAMPLE = 48
"""Atoms of each type on which ways are compared."""

APART = {"full": 1e-9, "tf32x3": 1e-3, "tf32": 1e-1}
"""Largest difference between ways, of the largest number: far above rounding, far below what a defect does.
"full" is of float64 here: one kernel does not multiply float32 as it is."""


def candidates(
    device: Device,
    dtype: DTypeLike,
    products: Products | Literal["auto"],
    network: Network | Literal["auto"],
) -> tuple[Way, ...]:
    """Return the ways that are open, the first of which is taken if none is clearly faster.

    Parameters
    ----------
    device : Device
    dtype : float32 or float64
    products : {"auto", "full", "tf32", "tf32x3"}
        As asked for; means nothing for float64.
    network : {"auto", "layers", "fused"}
        As asked for.
    """
    double = np.dtype(dtype) == np.float64
    some: tuple[Products, ...] = ALIKE if products == "auto" else (products,)
    networks: tuple[Network, ...] = ("layers", "fused") if network == "auto" else (network,)
    if network == "auto" and device.features is None:
        networks = ("layers",)
    return tuple(
        Way(one, other)
        for other in networks
        for one in (("full",) if double else some)
        # Tensor cores do not take float32 as it is; where that is asked for, it is refused.
        if double or one != "full" or other == "layers" or (products, network) == ("full", "fused")
    )


def choose_way(
    device: Device,
    model: CompressedModel,
    dtype: DTypeLike,
    ways: Sequence[Way],
    counts: Sequence[int],
    report: Callable[[str], None],
) -> tuple[Way, dict[Way, float]]:
    """Return the fastest way, and the time of each.

    A network in one kernel is compared with the same layer by layer first; if it cannot be evaluated so, or
    gives other numbers, it is left out.

    Parameters
    ----------
    device : Device
    model : CompressedModel
    dtype : float32 or float64
    ways : sequence of Way
    counts : (n_types,) sequence of int
        Atoms of each type.
    report : callable
        Told what was left out, and why.

    Returns
    -------
    way : Way
    seconds : dict of Way to float
        s, of the fitting networks of a step.
    """
    seconds: dict[Way, float] = {}
    for way in ways:
        try:
            if way.network == "fused" and Way(way.products, "layers") in seconds:
                apart = difference(device, model, dtype, way)
                if not apart <= APART[way.products]:
                    report(
                        "the fitting network in one kernel gives other numbers than layer by layer, by "
                        f"{apart:.1e} of the largest: it is not used. Please report this with the card's name"
                    )
                    continue
            seconds[way] = network_seconds(device, model, dtype, way, counts)
        # Compilers and drivers that do not fit announce themselves in many ways; there is another way.
        except Exception as error:
            if way.network == "layers" or len(ways) == 1:
                raise
            kind = "" if isinstance(error, BackendError) else f"{type(error).__name__}: "
            report(f"fitting networks in one kernel were not tried: {kind}{error}")
    first = next(iter(seconds))
    best = min(seconds, key=lambda way: seconds[way])
    if seconds[best] > CLEARLY * seconds[first]:
        best = first
    return best, seconds


def network_seconds(
    device: Device, model: CompressedModel, dtype: DTypeLike, way: Way, counts: Sequence[int]
) -> float:
    """Time the fitting networks of a step: the part in which ways differ.

    One tile of each type is timed, of the size that a run of so many atoms has.

    Parameters
    ----------
    device, model, dtype, counts
        As in `choose_way`.
    way : Way

    Returns
    -------
    float
        s, for all atoms.
    """
    uploaded = upload_model(device, model, dtype, *way)
    largest: dict[int, int] = {}
    for tile in cut_into_tiles(one_stage(counts), uploaded):
        largest[tile.centre_type] = max(largest.get(tile.centre_type, 0), tile.size)
    total = 0.0
    for centre_type, size in largest.items():
        moments = device.zeros((size, 4, uploaded.columns), uploaded.dtype)
        actions = _tile_actions(device, uploaded, Tile(0, size, centre_type), moments, None)
        total += _seconds(device, device.capture(actions)) * counts[centre_type] / size
    return total


def difference(device: Device, model: CompressedModel, dtype: DTypeLike, way: Way) -> float:
    """Return how far energies and gradients are from those layer by layer, as a share of the largest.

    Of the same atoms, with moments drawn at random with a fixed seed. NaN where the device gives that.

    Parameters
    ----------
    device, model, dtype
        As in `choose_way`.
    way : Way
    """
    generator = np.random.default_rng(1)
    networks: tuple[Network, ...] = ("layers", way.network)
    both = [upload_model(device, model, dtype, way.products, network) for network in networks]
    found = []
    for centre_type in range(model.n_types):
        moments = generator.normal(0.0, 0.1, (SAMPLE, 4, both[0].columns)).astype(dtype)
        results = [_evaluated(device, one, centre_type, moments) for one in both]
        for expected, other in zip(*results, strict=True):
            # The energy's own size is that of a bias.
            largest = np.abs(expected - (expected.mean() if expected.ndim == 1 else 0.0)).max()
            found.append(np.abs(other - expected).max() / max(largest, 1e-30))
    return float(np.max(found))


def _evaluated(
    device: Device, model: DeviceModel, centre_type: int, moments: NDArray
) -> tuple[NDArray[np.float64], NDArray]:
    uploaded, energies = device.upload(moments), device.zeros(SAMPLE, np.float64)
    run_all(_tile_actions(device, model, Tile(0, SAMPLE, centre_type), uploaded, energies))
    return device.read(energies), device.read(uploaded)


def _tile_actions(
    device: Device, model: DeviceModel, tile: Tile, moments: DeviceArray, energies: DeviceArray | None
) -> list[Action]:
    n = tile.size
    arrays = NetworkArrays(
        moments=moments,
        energies=device.zeros(n, np.float64) if energies is None else energies,
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
