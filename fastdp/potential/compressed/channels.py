"""What the compressor knows of a descriptor: channels that neighbours add up to, and what D is made of them.

T_kc, c = 0…3, are sums over neighbours of radial functions, a_k(r) for c = 0 and b_k(r) r̂_c for the others. A
descriptor is made of blocks of them, one after the other:

    products:  D_kl = Σ_c T_kc T_lc,  l = 1…M        (se_e2_a and all that is written like it)
    sums:      D_k  = T_k0                            (se_e2_r: distances only)

se_e3 is a block of sums too, but over pairs of neighbours (see `triples`): its radial functions are zero.

A hybrid has several blocks. All its channels go through one projector T → R Lᵀ T, and both kinds of block are
products of the channels of τ = Lᵀ T, once one joins them that is always (1, 0, 0, 0): its product with τ_p is
τ_p0. So the kernels for se_e2_a evaluate hybrids too. Where all blocks are sums, the network takes τ_0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from fastdp.model.description import (
    Array,
    DeepPotential,
    EnergyFitting,
    HybridDescriptor,
    SeE2ADescriptor,
    SeE2RDescriptor,
    SeE3Descriptor,
)
from fastdp.model.fitting import fitting_constant
from fastdp.model.networks import forward_with_gradient
from fastdp.model.radial_functions import (
    distance_constant,
    distance_functions,
    radial_constant,
    radial_functions,
)
from fastdp.potential.compressed.compressed_model import FactoredLayer


@dataclass(frozen=True)
class Block:
    """One part of a descriptor.

    Attributes
    ----------
    part : SeE2ADescriptor, SeE2RDescriptor or SeE3Descriptor
    channels : slice
        Its rows of T.
    columns : slice
        Its components of D.
    axis_neurons : int
        M; 0 for a block of sums.
    """

    part: Any
    channels: slice
    columns: slice
    axis_neurons: int


@dataclass(frozen=True)
class Front:
    """The fitting network of one type of centre, made to take what the projected channels give.

    Attributes
    ----------
    axis_matrix : (q, M) float64 or None
        As in `CompressedCentre`.
    layers : tuple of FactoredLayer
    """

    axis_matrix: Array | None
    layers: tuple[FactoredLayer, ...]


class Channels:
    """The channels of a model.

    Parameters
    ----------
    description : DeepPotential
        That can be compressed, see `fastdp.model.suitability`.
    """

    def __init__(self, description: DeepPotential) -> None:
        self.description = description
        blocks: list[Block] = []
        channel = column = 0
        for part in _parts(description.descriptor):
            n, m = _extent(part)
            width = part.width
            blocks.append(Block(part, slice(channel, channel + n), slice(column, column + width), m))
            channel, column = channel + n, column + width
        self.blocks = tuple(blocks)
        self.n_channels = channel

    @property
    def triples(self) -> Block | None:
        """The three-body part; there is one at most."""
        return next((block for block in self.blocks if isinstance(block.part, SeE3Descriptor)), None)

    @property
    def has_pairs(self) -> bool:
        """Whether there is a part that is not three-body."""
        return any(not isinstance(block.part, SeE3Descriptor) for block in self.blocks)

    @property
    def sums_only(self) -> bool:
        """Whether the network takes τ_0 itself."""
        return all(block.axis_neurons == 0 for block in self.blocks)

    @property
    def has_one(self) -> bool:
        """Whether the channel that is always (1, 0, 0, 0) joins those that are projected."""
        return not self.sums_only and any(block.axis_neurons == 0 for block in self.blocks)

    @property
    def normaliser(self) -> float:
        """By what `functions` are divided to be those of T; 1 where the blocks differ in it."""
        return _normaliser(self.blocks[0].part) if len(self.blocks) == 1 else 1.0

    def functions(self, alpha: int, beta: int, r: Array) -> tuple[Array, Array]:
        """Return a and b of a pair of types times the normaliser, (n, K) each.

        Parameters
        ----------
        alpha, beta : int
            Type of the centre and of the neighbour.
        r : (n,) float64
            Å.
        """
        found = [_functions(block.part, self.description, alpha, beta, r) for block in self.blocks]
        if len(found) == 1:
            return found[0]
        scales = [_normaliser(block.part) for block in self.blocks]
        a, b = (
            np.concatenate([pair[k] / scale for pair, scale in zip(found, scales, strict=True)], axis=1)
            for k in range(2)
        )
        return a, b

    def constant(self, alpha: int) -> Array:
        """Return T_k0 of a centre without neighbours, (K,)."""
        return np.concatenate([_constant(block.part, self.description, alpha) for block in self.blocks])

    def energy_and_gradient(self, alpha: int, matrices: Array) -> tuple[Array, Array]:
        """Return E_i = F_α(D) − [F_α(0)] + bias_α and ∂E_i/∂T.

        Parameters
        ----------
        alpha : int
        matrices : (n, K, 4) float64
            T.

        Returns
        -------
        energies : (n,) float64
            eV.
        gradient : (n, K, 4) float64
            eV.
        """
        d = np.concatenate([_components(block, matrices) for block in self.blocks], axis=1)
        energies, by_d = forward_with_gradient(self.description.fitting.networks[alpha], d)
        gradient = np.zeros_like(matrices)
        for block in self.blocks:
            t, p = matrices[:, block.channels], by_d[:, block.columns]
            if block.axis_neurons == 0:
                gradient[:, block.channels, 0] = p
                continue
            m = block.axis_neurons
            p = p.reshape(len(p), -1, m)
            by_t = p @ t[:, :m]
            by_t[:, :m] += p.transpose(0, 2, 1) @ t
            gradient[:, block.channels] = by_t
        return energies + fitting_constant(self.description, alpha), gradient

    def with_one(self, tau: Array, value: float) -> Array:
        """Return τ, (…, 4, q), with the channel that is always (`value`, 0, 0, 0), if it joins them."""
        if not self.has_one:
            return tau
        more = np.zeros((*tau.shape[:-1], 1))
        more[..., 0, 0] = value
        return np.concatenate((tau, more), axis=-1)

    def absorb(self, alpha: int, right: Array) -> Front:
        """Rewrite the fitting network for projected channels.

        For products D'_pl = τ_p·T_l needs W'[(p,l),h] = Σ_k R_kp W[(k,l),h]. Since T_l is linear in τ, D' is
        linear in the Gram matrix τ τᵀ; its upper triangle is the input where that is the shorter of the two.
        Sums are products with the channel that is always one, or, where there is nothing else, τ_0 itself.

        Parameters
        ----------
        alpha : int
            Type of the centre.
        right : (K, q) float64
            R.

        Returns
        -------
        Front
        """
        fitting: EnergyFitting = self.description.fitting
        first, *rest = fitting.networks[alpha].layers
        if self.sums_only:
            return Front(None, _layers(first, right.T @ first.weight, rest))
        if self.has_one:
            right = block_diag(right, np.ones((1, 1)))
        rank = right.shape[1]
        projected, axis, sums = [], [], np.zeros((rank, first.n_out))
        for block in self.blocks:
            weight, mine = first.weight[block.columns], right[block.channels]
            if block.axis_neurons == 0:
                sums += mine.T @ weight
                continue
            weight = weight.reshape(len(mine), block.axis_neurons, first.n_out)
            projected.append(np.tensordot(mine, weight, axes=(0, 0)))
            axis.append(mine[: block.axis_neurons].T)
        if self.has_one:
            projected.append(sums[:, None, :])
            axis.append(np.eye(rank)[:, -1:])
        by_axis = np.concatenate(projected, axis=1)
        axis_matrix = np.ascontiguousarray(np.concatenate(axis, axis=1))
        n_axis = axis_matrix.shape[1]
        if rank + 1 < 2 * n_axis and first.shortcut == "none":
            square = np.einsum("plh,ql->pqh", by_axis, axis_matrix)
            rows, columns = np.triu_indices(rank)
            packed = square[rows, columns]
            off_diagonal = rows != columns
            packed[off_diagonal] += square[columns, rows][off_diagonal]
            return Front(None, _layers(first, packed, rest))
        return Front(axis_matrix, _layers(first, by_axis.reshape(rank * n_axis, first.n_out), rest))


def _layers(first: Any, matrix: Array, rest: list[Any]) -> tuple[FactoredLayer, ...]:
    layers = [FactoredLayer(matrix, None, first.bias, first.timestep, first.activation, first.shortcut)]
    layers += [
        FactoredLayer(item.weight, None, item.bias, item.timestep, item.activation, item.shortcut)
        for item in rest
    ]
    return tuple(layers)


def _components(block: Block, matrices: Array) -> Array:
    t = matrices[:, block.channels]
    if block.axis_neurons == 0:
        return t[:, :, 0]
    return (t @ t[:, : block.axis_neurons].transpose(0, 2, 1)).reshape(len(t), -1)


def _parts(descriptor: Any) -> Iterator[Any]:
    """Yield the descriptors that a descriptor consists of."""
    if isinstance(descriptor, HybridDescriptor):
        for part in descriptor.parts:
            yield from _parts(part)
    else:
        yield descriptor


@singledispatch
def _extent(part: Any) -> tuple[int, int]:
    """Return the number of channels, and M (0 for sums)."""
    raise TypeError(f"no channels: {type(part).__name__}")


@singledispatch
def _normaliser(part: Any) -> float:
    """Return by what functions are divided."""
    raise TypeError(f"no channels: {type(part).__name__}")


@singledispatch
def _functions(part: Any, description: DeepPotential, alpha: int, beta: int, r: Array) -> tuple[Array, Array]:
    """Return a and b times the normaliser."""
    raise TypeError(f"no channels: {type(part).__name__}")


@singledispatch
def _constant(part: Any, description: DeepPotential, alpha: int) -> Array:
    """Return T_k0 without neighbours."""
    raise TypeError(f"no channels: {type(part).__name__}")


@_extent.register
def _(part: SeE2ADescriptor) -> tuple[int, int]:
    return part.n_channels, part.axis_neurons


@_normaliser.register
def _(part: SeE2ADescriptor) -> float:
    return part.normaliser


@_functions.register
def _(
    part: SeE2ADescriptor, description: DeepPotential, alpha: int, beta: int, r: Array
) -> tuple[Array, Array]:
    return radial_functions(replace(description, descriptor=part), alpha, beta, r)


@_constant.register
def _(part: SeE2ADescriptor, description: DeepPotential, alpha: int) -> Array:
    return radial_constant(replace(description, descriptor=part), alpha)


@_extent.register
def _(part: SeE2RDescriptor) -> tuple[int, int]:
    return part.width, 0


@_normaliser.register
def _(part: SeE2RDescriptor) -> float:
    return 5.0 * part.normaliser


@_functions.register
def _(
    part: SeE2RDescriptor, description: DeepPotential, alpha: int, beta: int, r: Array
) -> tuple[Array, Array]:
    a = distance_functions(part, alpha, beta, r)
    return a, np.zeros_like(a)


@_constant.register
def _(part: SeE2RDescriptor, description: DeepPotential, alpha: int) -> Array:
    return distance_constant(part, alpha)


@_extent.register
def _(part: SeE3Descriptor) -> tuple[int, int]:
    return part.width, 0


@_normaliser.register
def _(part: SeE3Descriptor) -> float:
    return 1.0


@_functions.register
def _(
    part: SeE3Descriptor, description: DeepPotential, alpha: int, beta: int, r: Array
) -> tuple[Array, Array]:
    nothing = np.zeros((len(r), part.width))
    return nothing, nothing


@_constant.register
def _(part: SeE3Descriptor, description: DeepPotential, alpha: int) -> Array:
    return np.zeros(part.width)
