"""A fitting network for `network.cu`: its text, its weights, and the launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
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
    best_plan,
    largest_shared,
    plans,
    rounded_up,
    shape_of,
    why_not,
)
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST
from fastdp.potential.compressed.compressed_model import CompressedCentre

PRODUCT_CODES = {"double": 0, "tf32": 1, "tf32x3": 3}
"""PRODUCTS of `network.cu`: how many products of TF32 numbers are made of one, 0 for float64."""

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
    products : {"double", "tf32", "tf32x3"}
    plans : tuple of Plan
        That fit on the card.
    multiprocessors : int
    kernels : dict of int to SourceKernel
        By the number of rows of a plan.
    """

    shape: NetworkShape
    weights: DeviceArray
    products: str
    plans: tuple[Plan, ...]
    multiprocessors: int
    kernels: dict[int, SourceKernel]

    def plan_for(self, n: int) -> Plan:
        """Return how n atoms are dealt out."""
        return best_plan(self.plans, n, self.multiprocessors)

    def rows_for(self, n: int) -> int:
        """Return how many atoms blocks for n of them take, with those that are not there."""
        return rounded_up(n, self.plan_for(n).rows)

    def action(
        self,
        device: Device,
        n: int,
        first: int,
        bias: float,
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
        n, first : int
            Number of atoms, and the first of them in the sorted order.
        bias : float
            eV.
        moments : (n, 4, columns) DeviceArray
            M, replaced by Q.
        energies : (n_atoms,) float64 DeviceArray or None
            In the input's order, eV; None if they are known.
        atom_of : (n_atoms,) int32 DeviceArray
        status : (SIZE,) int32 DeviceArray
        scratch : (size,) DeviceArray
            `shape.parked` numbers for each of `rows_for(n)` atoms.
        """
        chosen = self.plan_for(n)
        return device.launch(
            self.kernels[chosen.rows],
            -(-n // chosen.rows),
            chosen.threads,
            (
                status,
                n,
                first,
                int(energies is not None),
                moments,
                # Not looked at where energies are known.
                scratch if energies is None else energies,
                atom_of,
                bias,
                scratch,
                self.weights,
            ),
            chosen.bytes(self.weights.dtype.itemsize),
        )


def fused_network(device: Device, centre: CompressedCentre, dtype: DTypeLike, products: str) -> FusedNetwork:
    """Copy a network to a device for the kernel that does all of it.

    Parameters
    ----------
    device : Device
    centre : CompressedCentre
        Of products of channels.
    dtype : float32 or float64
    products : {"full", "tf32", "tf32x3"}
        "full" for float64 only.

    Raises
    ------
    BackendError
        If the card, the products or the network are none that the kernel can do.
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
    reason = why_not(centre)
    if reason is not None:
        raise BackendError(f"{wanted} cannot evaluate this model ({reason}); {instead}")
    shape = shape_of(centre)
    itemsize = np.dtype(dtype).itemsize
    possible = plans(shape, itemsize, largest_shared(features.capability))
    if not possible:
        raise BackendError(
            f"{wanted} has no room for this model in the shared memory of {device.name}; {instead}"
        )
    weights, offsets = weights_of(centre, shape, dtype)
    kind = "double" if double else products
    return FusedNetwork(
        shape=shape,
        weights=device.upload(weights),
        products=kind,
        plans=possible,
        multiprocessors=features.multiprocessors,
        kernels={
            one.rows: SourceKernel(
                "fused_network",
                preamble(shape, one, kind, offsets) + network_source(),
                2.0 * max(PRODUCT_CODES[kind], 1) * shape.multiply_adds,
            )
            for one in possible
        },
    )


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


def preamble(shape: NetworkShape, chosen: Plan, products: str, offsets: dict[str, tuple[int, ...]]) -> str:
    """Return what stands in front of `network.cu`.

    Parameters
    ----------
    shape : NetworkShape
    chosen : Plan
    products : {"double", "tf32", "tf32x3"}
    offsets : dict of str to tuple of int
        As `weights_of` gives them.
    """
    code = PRODUCT_CODES[products]
    numbers = {
        "HALTED": HALTED,
        "FOUND": FOUND,
        "NO_LIST": NO_LIST,
        "ROWS": chosen.rows,
        "STRIDE": chosen.stride,
        "COLUMNS": shape.columns,
        "Q": shape.q,
        "RIGHT": shape.right,
        "LAYERS": len(shape.layers),
        "PRODUCT_TILES": len(shape.tiles),
        "TAU_AT": chosen.tau,
        "RIGHT_AT": chosen.right,
        "Z_AT": chosen.z,
        "CHUNKS_AT": chosen.chunks,
        "PRODUCTS_AT": chosen.products,
        "GRADIENTS_AT": chosen.gradients,
        "D_LEFT_AT": chosen.d_left,
        "D_RIGHT_AT": chosen.d_right,
        "IS_PARKED": int(chosen.is_parked),
    }
    rows = {
        "N_OUT": [layer.n_out for layer in shape.layers],
        "RANK": [layer.rank for layer in shape.layers],
        "KEPT": [layer.kept for layer in shape.layers],
        "KEPT_AT": chosen.kept,
        "HAS_SHORTCUT": [int(layer.shortcut) for layer in shape.layers],
        "HAS_TIMESTEP": [int(layer.timestep) for layer in shape.layers],
    }
    of_layers = ("LEFT_FORWARD_AT", "LEFT_BACKWARD_AT", "RIGHT_FORWARD_AT", "RIGHT_BACKWARD_AT")
    for name, found in offsets.items():
        if name in (*of_layers, "BIAS_AT", "TIMESTEP_AT"):
            rows[name] = found
        else:
            numbers[name] = found[0]
    tables = {"TILE_LEFT": [a for a, _ in shape.tiles], "TILE_RIGHT": [b for _, b in shape.tiles]}
    lines = [
        f"#define PRODUCTS {code}",
        f"typedef {'float' if code else 'double'} Real;",
        "typedef long long Index;",
        *(f"constexpr int {name} = {value};" for name, value in numbers.items()),
        *(f"constexpr int {name}[] = {_braces(values)};" for name, values in rows.items()),
        *(f"__constant__ int {name}[] = {_braces(values)};" for name, values in tables.items()),
    ]
    return "\n".join(lines) + "\n\n"


def _braces(values: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _wider(matrix: NDArray, width: int) -> NDArray:
    """Return a matrix with zeros on its right side."""
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))


@cache
def network_source() -> str:
    """Return the text of `network.cu`."""
    return (files("fastdp.gpu.fused") / "network.cu").read_text(encoding="utf-8")
