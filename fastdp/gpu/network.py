"""Fitting networks: from M to energies and Q, by matrix products and other kernels, or by one kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdp.errors import UnsupportedModelError
from fastdp.gpu.arena import Arena
from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.fused.network import AtomsOfAType
from fastdp.gpu.kernels.layers import activation_kernel, layer_kernels
from fastdp.gpu.kernels.products import product_kernels
from fastdp.gpu.layout import DeviceCentre, DeviceLayer, DeviceModel, Matrix
from fastdp.gpu.tiles import Tile, largest_factor


@dataclass(frozen=True)
class NetworkArrays:
    """Where networks read and write.

    Attributes
    ----------
    moments : (rows, 4, n_types·N)
        M, replaced by Q = ∂E/∂M.
    energies : (n_atoms,) float64 or None
        In the input's order, eV; None if they are known.
    atom_of : (n_atoms,) int32
        Input index of each sorted atom.
    status : (SIZE,) int32
    """

    moments: DeviceArray
    energies: DeviceArray | None
    atom_of: DeviceArray
    status: DeviceArray


def network_actions(
    device: Device,
    model: DeviceModel,
    batch: Sequence[tuple[Tile, int]],
    arena_memory: DeviceArray,
    arrays: NetworkArrays,
) -> list[Action]:
    """Return what turns the moments of tiles into energies and Q.

    Parameters
    ----------
    device : Device
    model : DeviceModel
    batch : sequence of (Tile, int)
        Tiles as `in_batches` gives them, each with the row in `arrays.moments` where it begins.
    arena_memory : (size,) DeviceArray
        Scratch that other batches use too.
    arrays : NetworkArrays
    """
    if model.fused is None:
        return [
            action
            for tile, row in batch
            for action in _Network(device, model, tile, row, Arena(arena_memory), arrays).actions
        ]
    groups = [AtomsOfAType(tile.centre_type, tile.size, tile.start, row) for tile, row in batch]
    return [
        model.fused.action(
            device, groups, arrays.moments, arrays.energies, arrays.atom_of, arrays.status, arena_memory
        )
    ]


class _Network:
    """Collects the actions for one tile."""

    def __init__(
        self,
        device: Device,
        model: DeviceModel,
        tile: Tile,
        row: int,
        arena: Arena,
        arrays: NetworkArrays,
    ) -> None:
        self.actions: list[Action] = []
        self._device = device
        self._model = model
        self._n = tile.size
        self._arena = arena
        self._arrays = arrays
        self._products = product_kernels(model.real)
        self._layers = layer_kernels(model.real)
        centre = model.centres[tile.centre_type]
        n, q, m = tile.size, centre.rank, centre.axis
        size = n * largest_factor(centre) if model.products == "tf32x3" else 0
        self._halves = (self._take(size), self._take(size))
        moments = arrays.moments[row : row + n]
        scalar, vector = moments[:, 0], moments[:, 1:].transpose(1, 0, 2)
        tau, d_tau = self._take(4, n, q), self._take(4, n, q)
        axis, d_axis = self._take(4, n, m), self._take(4, n, m)

        self._product(scalar, centre.radial, tau[0])
        self._product(vector, centre.angular, tau[1:])
        self._rows(self._products.add_constant, q, centre.constant, tau)
        right = tau
        if centre.axis_matrix is not None:
            right = axis
            self._product(tau.reshape(4 * n, q), centre.axis_matrix, axis.reshape(4 * n, m))
        descriptor, gradient = self._take(n, centre.width), self._take(n, centre.width)
        self._rows(
            self._products.product, centre.width, centre.left_of, centre.right_of, tau, right, descriptor
        )
        output = self._network(centre, descriptor, gradient)
        if arrays.energies is not None:
            arguments = (arrays.status, n, tile.start, centre.bias, output, arrays.atom_of, arrays.energies)
            self.actions.append(device.launch(self._layers.store_energies, *device.elements(n), arguments))
        if centre.axis_matrix is None:
            self._rows(
                self._products.triangle_backward, q, q, centre.place_of, tau, gradient, d_tau, own=True
            )
        else:
            contract = self._products.contract
            self._rows(contract, q, m, m, 1, gradient, axis, d_tau)
            self._rows(contract, m, q, 1, m, gradient, tau, d_axis)
            # τ enters the second factor too, through T_l = Σ_p R_lp τ_p.
            self._product(
                d_axis.reshape(4 * n, m),
                centre.axis_matrix,
                d_tau.reshape(4 * n, q),
                transposed=True,
                accumulate=True,
            )
        self._product(d_tau[0], centre.radial, scalar, transposed=True)
        self._product(d_tau[1:], centre.angular, vector, transposed=True)

    def _network(self, centre: DeviceCentre, descriptor: DeviceArray, gradient: DeviceArray) -> DeviceArray:
        """Go through the layers and back; return the output, (n, 1), and fill the gradient."""
        n, layers = self._n, centre.layers
        if layers[-1].n_out != 1 or layers[-1].shortcut != "none":
            raise UnsupportedModelError(
                "the last layer of a fitting network must have one output and no shortcut; "
                'use backend = "reference"'
            )
        outputs = [self._take(n, layer.n_out) for layer in layers]
        slopes = [self._take(n, layer.n_out) for layer in layers]
        between = self._take(n * max(layer.rank for layer in layers))
        inputs = [descriptor, *outputs[:-1]]
        for layer, x, z, slope in zip(layers, inputs, outputs, slopes, strict=True):
            self._forward(layer, x, z, slope, between)
        widest = max((layer.n_in for layer in layers[1:]), default=1)
        spare, other = self._take(n * widest), self._take(n * widest)
        above: DeviceArray | None = None
        for number in reversed(range(len(layers))):
            layer, slope = layers[number], slopes[number]
            if above is not None:
                self._rows(self._layers.multiply, layer.n_out, above, slope)
            if number == 0:
                below = gradient
            elif layer.shortcut == "identity" and above is not None:
                # The gradient passes by as it is, and the rest is added to it.
                below = above
            else:
                below = spare[: n * layer.n_in].reshape(n, layer.n_in)
                spare, other = other, spare
            self._backward(layer, slope, above, below, between)
            above = below
        return outputs[-1]

    def _forward(
        self, layer: DeviceLayer, x: DeviceArray, z: DeviceArray, slope: DeviceArray, between: DeviceArray
    ) -> None:
        if layer.right is None:
            self._product(x, layer.left, z)
        else:
            thin = between[: self._n * layer.rank].reshape(self._n, layer.rank)
            self._product(x, layer.left, thin)
            self._product(thin, layer.right, z)
        self._rows(
            activation_kernel(self._model.real, layer.activation),
            layer.n_out,
            layer.n_in,
            layer.shortcut_code,
            int(layer.has_timestep),
            layer.bias,
            layer.timestep,
            x,
            z,
            slope,
        )

    def _backward(
        self,
        layer: DeviceLayer,
        slope: DeviceArray,
        above: DeviceArray | None,
        below: DeviceArray,
        between: DeviceArray,
    ) -> None:
        """Fill below = ∂E/∂x from ∂E/∂z in `slope` and ∂E/∂y in `above` (None: ones)."""
        in_place = below is above
        last = slope
        if layer.right is not None:
            last = between[: self._n * layer.rank].reshape(self._n, layer.rank)
            self._product(slope, layer.right, last, transposed=True)
        self._product(last, layer.left, below, transposed=True, accumulate=in_place)
        if layer.shortcut == "doubling" and above is not None:
            self._rows(self._layers.fold, layer.n_in, above, below)
        elif layer.shortcut == "identity" and not in_place and above is not None:
            self._rows(self._layers.add, layer.n_in, above, below)

    def _take(self, *shape: int) -> DeviceArray:
        return self._arena.take(*shape)

    def _product(
        self,
        a: DeviceArray,
        b: Matrix,
        out: DeviceArray,
        *,
        transposed: bool = False,
        accumulate: bool = False,
    ) -> None:
        if self._model.products != "tf32x3":
            tf32 = self._model.products == "tf32"
            self._multiply(a, b.whole, out, transposed=transposed, accumulate=accumulate, tf32=tf32)
            return
        high, low = self._split(a)
        # The product of the two low parts is below the rounding of float32.
        self._multiply(low, b.high, out, transposed=transposed, accumulate=accumulate, tf32=True)
        self._multiply(high, b.low, out, transposed=transposed, accumulate=True, tf32=True)
        self._multiply(high, b.high, out, transposed=transposed, accumulate=True, tf32=True)

    def _multiply(self, a: DeviceArray, b: DeviceArray, out: DeviceArray, **options: bool) -> None:
        self.actions.append(self._device.product(a, b, out, **options))

    def _split(self, a: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
        """Split a factor in two of TF32; they are overwritten by the next."""
        stack = a if len(a.shape) == 3 else a[None]
        batch, n, width = stack.shape
        high, low = (part[: batch * n * width].reshape(batch, n, width) for part in self._halves)
        grid, block = self._device.rows(n, width)
        arguments = (stack.view(np.int32), stack, high.view(np.int32), high, low)
        self.actions.append(
            self._device.launch(
                self._products.split, grid, block, (self._arrays.status, n, width, batch, *arguments)
            )
        )
        return (high, low) if len(a.shape) == 3 else (high[0], low[0])

    def _rows(self, kernel: Callable[..., Any], width: int, *arguments: Any, own: bool = False) -> None:
        """Launch a kernel that takes (status, n, width, …); with `own`, (status, n, …)."""
        grid, block = self._device.rows(self._n, width)
        first = (self._arrays.status, self._n) if own else (self._arrays.status, self._n, width)
        self.actions.append(self._device.launch(kernel, grid, block, (*first, *arguments)))
