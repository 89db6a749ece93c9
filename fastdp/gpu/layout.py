"""A compressed model in the memory of a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.errors import BackendError, InputError
from fastdp.gpu.device.base import Device, DeviceArray
from fastdp.gpu.device.tf32 import rounded_to_tf32
from fastdp.gpu.fused.network import FusedNetworks, fused_networks
from fastdp.gpu.kernels.layers import SHORTCUT_CODES
from fastdp.gpu.kernels.pairs import (
    INVERSE_SPACING,
    ORIGIN,
    PAIR_COLUMNS,
    SHORTEST_SQUARED,
    SOFTNESS,
    moment_stride,
)
from fastdp.model.description import Shortcut
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel, FactoredLayer

if TYPE_CHECKING:
    from fastdp.gpu.pair_terms import DevicePairTerms

Network = Literal["layers", "fused"]
"""How fitting networks are evaluated: layer by layer, by matrix products and kernels between; or all of a
network by one kernel on tensor cores."""

Products = Literal["full", "tf32", "tf32x3"]
"""How float32 matrices are multiplied: as they are; with factors rounded to the 11 bits of TF32; or as three
such products of factors split in two, which brings the accuracy of float32 back."""


SHARED_FOR_MOMENTS = 42 * 1024
"""Bytes, of the 48 KiB that a block has without asking for more; tables of neighbours take 5.2 kB."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix of the model.

    Attributes
    ----------
    whole : (n, m) float32 or float64
    high, low : (n, m) float32
        Two TF32 numbers whose sum is `whole`; `whole` itself unless products are split.
    """

    whole: DeviceArray
    high: DeviceArray
    low: DeviceArray

    @property
    def shape(self) -> tuple[int, ...]:
        """As of NumPy's arrays."""
        return self.whole.shape


@dataclass(frozen=True, eq=False)
class DeviceLayer:
    """A layer of a fitting network.

    Attributes
    ----------
    left : (n_in, n_out) float32 or float64, or (n_in, rank) if `right` is given
    right : (rank, n_out) or None
    bias : (n_out,)
    timestep : (n_out,)
        Ones where there is none.
    has_timestep : bool
    activation : str
    shortcut : {"none", "identity", "doubling"}
    n_in, n_out : int
    """

    left: Matrix
    right: Matrix | None
    bias: DeviceArray
    timestep: DeviceArray
    has_timestep: bool
    activation: str
    shortcut: Shortcut
    n_in: int
    n_out: int

    @property
    def rank(self) -> int:
        """Width between the two factors; 0 if the matrix is whole."""
        return 0 if self.right is None else self.right.shape[0]

    @property
    def shortcut_code(self) -> int:
        """As kernels take it."""
        return SHORTCUT_CODES[self.shortcut]


@dataclass(frozen=True, eq=False)
class DeviceCentre:
    """What is needed for centres of one type; the symbols are those of `CompressedCentre`.

    Attributes
    ----------
    radial, angular : (n_types·N, q) float32 or float64
    constant : (q,)
    axis_matrix : (q, M) or None
    left_of, right_of : (width,) int32
        The pair of channels that each input of the network is the product of.
    place_of : (q, q) int32
        Place of a pair in the upper triangle; (1, 1) where the network takes τ_p · T_l.
    layers : tuple of DeviceLayer
    bias : float
        eV.
    rank, axis, width : int
        q, M (0 for the triangle) and the number of the network's inputs.
    """

    radial: Matrix
    angular: Matrix
    constant: DeviceArray
    axis_matrix: Matrix | None
    left_of: DeviceArray
    right_of: DeviceArray
    place_of: DeviceArray
    layers: tuple[DeviceLayer, ...]
    bias: float
    rank: int
    axis: int
    width: int


@dataclass(frozen=True, eq=False)
class DeviceModel:
    """A compressed model in one precision.

    Attributes
    ----------
    dtype : float32 or float64
        Of everything but `pair_tables`.
    pair_tables : (n_types, n_types, PAIR_COLUMNS) float64
    centres : tuple of DeviceCentre
        By type.
    n_types, n_functions, order : int
        N, and the degree of the splines + 1.
    cutoff : float
        Å.
    products : {"full", "tf32", "tf32x3"}
    fused : FusedNetworks or None
        What evaluates fitting networks, unless that is done layer by layer.
    terms : DevicePairTerms or None
        What is added to the model's energy.
    """

    dtype: np.dtype
    pair_tables: DeviceArray
    centres: tuple[DeviceCentre, ...]
    n_types: int
    n_functions: int
    order: int
    cutoff: float
    products: Products
    fused: FusedNetworks | None = None
    terms: DevicePairTerms | None = None

    @property
    def network(self) -> Network:
        """How fitting networks are evaluated."""
        return "layers" if self.fused is None else "fused"

    @property
    def reach(self) -> float:
        """Radius that the neighbour list must have, Å."""
        return self.cutoff if self.terms is None else max(self.cutoff, self.terms.cutoff)

    @property
    def real(self) -> numba.types.Float:
        """The precision as Numba names it."""
        return numba.float32 if self.dtype == np.float32 else numba.float64

    @property
    def moment_stride(self) -> int:
        """See `fastdp.gpu.kernels.pairs.moment_stride`."""
        return moment_stride(self.n_functions, self.dtype.itemsize)

    @property
    def columns(self) -> int:
        """P = n_types·N, moments of each component."""
        return self.n_types * self.n_functions


def upload_model(
    device: Device,
    model: CompressedModel,
    dtype: DTypeLike,
    products: Products = "full",
    network: Network = "layers",
) -> DeviceModel:
    """Copy a compressed model to a device.

    Parameters
    ----------
    device : Device
    model : CompressedModel
    dtype : float32 or float64
    products : {"full", "tf32", "tf32x3"}
        Only "full" for float64.
    network : {"layers", "fused"}

    Returns
    -------
    DeviceModel
    """
    if products != "full" and np.dtype(dtype) != np.float32:
        raise InputError(f'products = "{products}" are products of float32: it needs precision = "mixed"')
    if model.triples is not None:
        raise BackendError('a GPU has no kernels for three-body terms (se_e3); use backend = "cpu"')
    itemsize = np.dtype(dtype).itemsize
    if 4 * itemsize * moment_stride(model.n_functions, itemsize) > SHARED_FOR_MOMENTS:
        raise BackendError(
            f"a GPU has no room for the moments of {model.n_functions} basis functions in its shared memory; "
            'use a larger tolerance, or backend = "cpu"'
        )
    tables = np.zeros((model.n_types, model.n_types, PAIR_COLUMNS))
    for a, bases in enumerate(model.bases):
        for b, basis in enumerate(bases):
            tables[a, b, SHORTEST_SQUARED] = basis.shortest**2
            tables[a, b, SOFTNESS] = basis.softness
            tables[a, b, ORIGIN] = basis.origin
            tables[a, b, INVERSE_SPACING] = basis.inverse_spacing
    return DeviceModel(
        dtype=np.dtype(dtype),
        pair_tables=device.upload(tables),
        centres=tuple(_centre(device, centre, dtype, products) for centre in model.centres),
        n_types=model.n_types,
        n_functions=model.n_functions,
        order=model.degree + 1,
        cutoff=model.cutoff,
        products=products,
        fused=_fused(device, model, dtype, products) if network == "fused" else None,
    )


def _fused(device: Device, model: CompressedModel, dtype: DTypeLike, products: Products) -> FusedNetworks:
    centres = [_with_products(centre) for centre in model.centres]
    return fused_networks(device, centres, dtype, products)


def _matrix(device: Device, values: NDArray, dtype: DTypeLike, products: Products) -> Matrix:
    whole = np.asarray(values, dtype)
    uploaded = device.upload(whole)
    if products != "tf32x3":
        return Matrix(uploaded, uploaded, uploaded)
    high = rounded_to_tf32(whole)
    return Matrix(uploaded, device.upload(high), device.upload(whole - high))


def _with_products(centre: CompressedCentre) -> CompressedCentre:
    found = centre.as_products()
    if found is None:
        raise BackendError(
            "a GPU does not evaluate a network of distances whose first layer adds its own input; use "
            'backend = "cpu"'
        )
    return found


def _centre(device: Device, centre: CompressedCentre, dtype: DTypeLike, products: Products) -> DeviceCentre:
    def matrix(values: NDArray) -> Matrix:
        return _matrix(device, values, dtype, products)

    centre = _with_products(centre)
    q = centre.rank
    place_of = np.zeros((1, 1), np.int32)
    if centre.axis_matrix is None:
        left_of, right_of = np.triu_indices(q)
        place_of = np.zeros((q, q), np.int32)
        place_of[left_of, right_of] = place_of[right_of, left_of] = np.arange(len(left_of))
        axis = 0
    else:
        axis = centre.axis_matrix.shape[1]
        left_of, right_of = np.repeat(np.arange(q), axis), np.tile(np.arange(axis), q)
    return DeviceCentre(
        radial=matrix(centre.radial),
        angular=matrix(centre.angular),
        constant=device.upload(np.asarray(centre.constant, dtype)),
        axis_matrix=None if centre.axis_matrix is None else matrix(centre.axis_matrix),
        left_of=device.upload(left_of.astype(np.int32)),
        right_of=device.upload(right_of.astype(np.int32)),
        place_of=device.upload(place_of),
        layers=tuple(_layer(device, layer, dtype, products) for layer in centre.layers),
        bias=float(centre.bias),
        rank=q,
        axis=axis,
        width=len(left_of),
    )


def _layer(device: Device, layer: FactoredLayer, dtype: DTypeLike, products: Products) -> DeviceLayer:
    def upload(values: NDArray) -> DeviceArray:
        return device.upload(np.asarray(values, dtype))

    n_out = len(layer.bias)
    return DeviceLayer(
        left=_matrix(device, layer.left, dtype, products),
        right=None if layer.right is None else _matrix(device, layer.right, dtype, products),
        bias=upload(layer.bias),
        timestep=upload(np.ones(n_out) if layer.timestep is None else layer.timestep),
        has_timestep=layer.timestep is not None,
        activation=layer.activation,
        shortcut=layer.shortcut,
        n_in=layer.left.shape[0],
        n_out=n_out,
    )
