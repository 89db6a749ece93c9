"""A fitting network for `network.cu`: its text, its weights, and the launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.errors import BackendError
from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.device.source_kernel import SourceKernel
from fastdp.gpu.fused.packing import packed
from fastdp.gpu.fused.shape import (
    CHUNK,
    TILE,
    NetworkShape,
    Plan,
    best_rows,
    largest_shared,
    plans,
    rounded_up,
    shape_of,
    why_not,
)
from fastdp.gpu.fused.text import PRODUCT_CODES, Part, kernel_text
from fastdp.potential.compressed.compressed_model import CompressedCentre

FIRST_CAPABILITY = (8, 0)
"""Tensor cores take float64 and TF32 from here on."""

ALIGNMENT = 16
"""Numbers, so that lanes read whole words of 16 bytes."""


@dataclass(frozen=True, eq=False)
class FusedNetwork:
    """The network of atoms of one type on a device.

    Attributes
    ----------
    shape : NetworkShape
    weights : (size,) DeviceArray
        All matrices and vectors.
    offsets : dict of str to tuple of int
        Where each is among the weights; of layers one for each.
    products : {"double", "tf32", "tf32x3"}
    plans : tuple of Plan
        That fit on the card.
    bias : float
        eV.
    """

    shape: NetworkShape
    weights: DeviceArray
    offsets: dict[str, tuple[int, ...]]
    products: str
    plans: tuple[Plan, ...]
    bias: float


class FusedNetworks:
    """What evaluates the networks of one or several types in one launch.

    Parameters
    ----------
    networks : sequence of FusedNetwork
        One for each type.
    multiprocessors : int
        Of the card.
    """

    def __init__(self, networks: Sequence[FusedNetwork], multiprocessors: int) -> None:
        self._networks = tuple(networks)
        self._multiprocessors = multiprocessors
        self._kernels: dict[tuple[tuple[int, ...], int], SourceKernel] = {}
        self._plans = [{one.rows: one for one in network.plans} for network in self._networks]

    def rows_for(self, counts: Mapping[int, int]) -> int:
        """Return how many atoms a block takes.

        Parameters
        ----------
        counts : mapping of int to int
            Atoms by type.
        """
        common = set.intersection(*(set(self._plans[t]) for t in counts))
        return best_rows(sorted(common), tuple(counts.values()), self._multiprocessors)

    def numbers_for(self, counts: Mapping[int, int]) -> int:
        """Return how many numbers of scratch memory a launch needs."""
        rows = self.rows_for(counts)
        return sum(rounded_up(n, rows) * self._networks[t].shape.parked for t, n in counts.items())

    def can_share(self) -> bool:
        """Return whether all types have a number of rows in common."""
        return bool(set.intersection(*(set(plans) for plans in self._plans)))

    def action(
        self,
        device: Device,
        groups: Sequence[AtomsOfAType],
        moments: DeviceArray,
        energies: DeviceArray | None,
        atom_of: DeviceArray,
        status: DeviceArray,
        scratch: DeviceArray,
    ) -> Action:
        """Return what turns moments into energies and Q.

        Parameters
        ----------
        device : Device
        groups : sequence of AtomsOfAType
            No two of one type.
        moments : (rows, 4, columns) DeviceArray
            M, replaced by Q.
        energies : (n_atoms,) float64 DeviceArray or None
            In the input's order, eV; None if they are known.
        atom_of : (n_atoms,) int32 DeviceArray
        status : (SIZE,) int32 DeviceArray
        scratch : (size,) DeviceArray
            `numbers_for` of them or more.
        """
        rows = self.rows_for({group.type: group.n for group in groups})
        types = tuple(group.type for group in groups)
        used = [self._plans[t][rows] for t in types]
        itemsize = self._networks[types[0]].weights.dtype.itemsize
        of_types: list[Any] = []
        for group in groups:
            network = self._networks[group.type]
            of_types += [group.n, group.first, group.row, network.bias, network.weights]
        # Not looked at where energies are known.
        place = scratch if energies is None else energies
        return device.launch(
            self._kernel(types, rows),
            sum(-(-group.n // rows) for group in groups),
            used[0].threads,
            (status, int(energies is not None), moments, place, atom_of, scratch, *of_types),
            max(one.bytes(itemsize) for one in used),
        )

    def _kernel(self, types: tuple[int, ...], rows: int) -> SourceKernel:
        if (types, rows) not in self._kernels:
            networks = [self._networks[t] for t in types]
            plans_of = [self._plans[t][rows] for t in types]
            parts = [Part(n.shape, one, n.offsets) for n, one in zip(networks, plans_of, strict=True)]
            self._kernels[types, rows] = SourceKernel(
                "fused_network",
                kernel_text(parts, networks[0].products),
                tuple(
                    2.0 * max(PRODUCT_CODES[one.products], 1) * one.shape.multiply_adds for one in networks
                ),
            )
        return self._kernels[types, rows]


@dataclass(frozen=True)
class AtomsOfAType:
    """Sorted atoms of one type from `first` on, n of them, whose moments begin in a row."""

    type: int
    n: int
    first: int
    row: int


def fused_networks(
    device: Device, centres: Sequence[CompressedCentre], dtype: DTypeLike, products: str
) -> FusedNetworks:
    """Copy networks to a device for the kernel that does all of them.

    Parameters
    ----------
    device : Device
    centres : sequence of CompressedCentre
        By type, of products of channels.
    dtype : float32 or float64
    products : {"full", "tf32", "tf32x3"}
        "full" for float64 only.

    Raises
    ------
    BackendError
        If the card, the products or a network are none that the kernel can do.
    """
    wanted = 'gpu_network = "fused"'
    instead = 'use gpu_network = "layers"'
    features = device.features
    if features is None or features.capability < FIRST_CAPABILITY:
        raise BackendError(
            f"{wanted} needs a card of compute capability 8.0 or later, and the driver's launcher; {instead}"
        )
    double = np.dtype(dtype) == np.float64
    if not double and products == "full":
        raise BackendError(
            f"{wanted} multiplies on tensor cores, which do not take float32 as it is: set "
            f'gpu_products = "tf32x3", or {instead}'
        )
    found = []
    for centre in centres:
        reason = why_not(centre)
        if reason is not None:
            raise BackendError(f"{wanted} cannot evaluate this model ({reason}); {instead}")
        shape = shape_of(centre)
        weights, offsets = weights_of(centre, shape, dtype)
        found.append(
            FusedNetwork(
                shape=shape,
                weights=device.upload(weights),
                offsets=offsets,
                products="double" if double else products,
                plans=plans(shape, np.dtype(dtype).itemsize, largest_shared(features.capability)),
                bias=float(centre.bias),
            )
        )
    networks = FusedNetworks(found, features.multiprocessors)
    if not networks.can_share():
        raise BackendError(
            f"{wanted} has no room for this model in the shared memory of {device.name}; {instead}"
        )
    return networks


def weights_of(
    centre: CompressedCentre, shape: NetworkShape, dtype: DTypeLike
) -> tuple[NDArray, dict[str, tuple[int, ...]]]:
    """Return all weights in one array, and where each of them begins.

    Parameters
    ----------
    centre : CompressedCentre
    shape : NetworkShape
        Of the centre.
    dtype : float32 or float64
    """
    parts: list[NDArray] = []
    offsets: dict[str, list[int]] = {}
    used = 0

    def put(name: str, values: NDArray) -> None:
        nonlocal used
        flat = np.zeros(rounded_up(values.size, ALIGNMENT), dtype)
        flat[: values.size] = values.ravel()
        parts.append(flat)
        offsets.setdefault(name, []).append(used)
        used += len(flat)

    def pack(matrix: NDArray, **options: Any) -> NDArray:
        return packed(np.asarray(matrix, dtype), **options)

    for name, matrix in (("RADIAL", centre.radial), ("ANGULAR", centre.angular)):
        put(f"{name}_FORWARD_AT", pack(_wider(matrix, rounded_up(shape.q, TILE)), from_memory=True))
        put(f"{name}_BACKWARD_AT", pack(matrix.T, to_memory=True))
    put("CONSTANT_AT", centre.constant)
    axis = np.zeros((0, 0)) if centre.axis_matrix is None else centre.axis_matrix
    put("AXIS_FORWARD_AT", pack(_wider(axis, rounded_up(shape.right, TILE))))
    put("AXIS_BACKWARD_AT", pack(_wider(axis.T, rounded_up(shape.q, TILE))))
    for number, (layer, one) in enumerate(zip(centre.layers, shape.layers, strict=False)):
        left = by_blocks(layer.left, shape) if number == 0 else layer.left
        put("LEFT_FORWARD_AT", pack(left))
        put("LEFT_BACKWARD_AT", pack(left.T))
        right = np.zeros((0, 0)) if layer.right is None else layer.right
        put("RIGHT_FORWARD_AT", pack(right))
        put("RIGHT_BACKWARD_AT", pack(right.T, steps=rounded_up(one.n_out, CHUNK) // 16))
        put("BIAS_AT", layer.bias)
        put("TIMESTEP_AT", np.ones(one.n_out) if layer.timestep is None else layer.timestep)
    last = centre.layers[-1]
    put("LAST_AT", last.left)
    put("LAST_BIAS_AT", last.bias)
    return np.concatenate(parts), {name: tuple(found) for name, found in offsets.items()}


def by_blocks(left: NDArray, shape: NetworkShape) -> NDArray:
    """Return the first matrix with its rows in the order of blocks of 4 × 4 products, and zeros for the rest.

    Parameters
    ----------
    left : (width, n) array
        Rows as `CompressedCentre.layers` has them.
    shape : NetworkShape

    Returns
    -------
    (inputs, n) array
    """
    if shape.right:
        place = np.arange(len(left)).reshape(shape.q, shape.right)
    else:
        place = np.full((shape.q, shape.q), -1)
        place[np.triu_indices(shape.q)] = np.arange(len(left))
    q, right = place.shape
    padded = np.full((rounded_up(q, TILE), rounded_up(right, TILE)), -1)
    padded[:q, :right] = place
    blocks = [padded[TILE * a : TILE * (a + 1), TILE * b : TILE * (b + 1)].ravel() for a, b in shape.tiles]
    # A spare block at the end would count its products twice.
    blocks[shape.n_blocks_of_products :] = [np.full(TILE * TILE, -1)] * (
        len(blocks) - shape.n_blocks_of_products
    )
    rows = np.concatenate(blocks)
    result = np.zeros((len(rows), left.shape[1]))
    result[rows >= 0] = left[rows[rows >= 0]]
    return result


def _wider(matrix: NDArray, width: int) -> NDArray:
    """Return a matrix with zeros on its right side."""
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))
