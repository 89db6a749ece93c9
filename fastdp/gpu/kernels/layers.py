"""What a layer of the fitting network does besides its matrix products.

Loops are written out: Numba's `range` divides for its number of turns, more work than the one turn there is.
"""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import Any

from numba import cuda, types

from fastdp.errors import UnsupportedModelError
from fastdp.gpu.kernels.compiling import device_function
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST
from fastdp.model.activations import ACTIVATIONS
from fastdp.model.description import Shortcut

SHORTCUT_CODES: dict[Shortcut, int] = {"none": 0, "identity": 1, "doubling": 2}
_IDENTITY, _DOUBLING = 1, 2


def _activation_functions(real: Any, name: str) -> tuple[Any, Any]:
    """Return device functions for φ(x), and for φ'(x) given x and φ(x)."""
    if name == "tanh":
        # Most of all activations; its slope follows from its value.
        one = real(1.0)

        def tanh(x):
            return math.tanh(x)

        def tanh_slope(x, y):
            return one - y * y

        return device_function(tanh), device_function(tanh_slope)
    if name not in ACTIVATIONS:
        raise UnsupportedModelError(f'there is no activation function {name!r}; use backend = "reference"')
    activation = ACTIVATIONS[name]
    derivative = device_function(activation.derivative)

    def slope(x, y):
        return derivative(x)

    return device_function(activation.value), device_function(slope)


@cache
def activation_kernel(real: Any, name: str) -> Any:
    """Return the kernel that finishes a layer, for one precision and activation function.

    Parameters
    ----------
    real : numba.float32 or numba.float64
    name : str
        As in `fastdp.model.activations`.

    Raises
    ------
    UnsupportedModelError
        If there is no such function.
    """
    value_of, slope_of = _activation_functions(real, name)

    @cuda.jit
    def activate(status, n, width, n_in, shortcut, has_timestep, bias, timestep, x, z, slope):
        """Set z ← shortcut(x) + t φ(z + b) and slope ← t φ'(z + b); z, slope : (n, width), x : (n, n_in)."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            h = cuda.threadIdx.x
            while h < width:
                a = z[i, h] + bias[h]
                y = real(value_of(a))
                s = real(slope_of(a, y))
                if has_timestep != 0:
                    y *= timestep[h]
                    s *= timestep[h]
                if shortcut == _IDENTITY:
                    y += x[i, h]
                elif shortcut == _DOUBLING:
                    y += x[i, h if h < n_in else h - n_in]
                z[i, h] = y
                slope[i, h] = s
                h += cuda.blockDim.x
            i += cuda.gridDim.x

    return activate


@cache
def layer_kernels(real: Any) -> SimpleNamespace:
    """Return the other kernels of a layer for one precision, numba.float32 or numba.float64."""

    @cuda.jit
    def multiply(status, n, width, gradient, slope):
        """Set slope ← slope · gradient, (n, width): ∂E/∂z."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            h = cuda.threadIdx.x
            while h < width:
                slope[i, h] *= gradient[i, h]
                h += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def add(status, n, width, gradient, below):
        """Set below += gradient, (n, width)."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            h = cuda.threadIdx.x
            while h < width:
                below[i, h] += gradient[i, h]
                h += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def fold(status, n, half, gradient, below):
        """Set below += both halves of gradient; below : (n, half), gradient : (n, 2 half)."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            h = cuda.threadIdx.x
            while h < half:
                below[i, h] += gradient[i, h] + gradient[i, half + h]
                h += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def store_energies(status, n, first, bias, output, atom_of, energies):
        """Set energies of atoms ← output of the network + bias, eV, in the input's order."""
        i = cuda.grid(1)
        if i >= n or status[HALTED] != 0 or status[FOUND] & NO_LIST:
            return
        energies[atom_of[first + i]] = types.float64(output[i, 0]) + bias

    return SimpleNamespace(multiply=multiply, add=add, fold=fold, store_energies=store_energies)
