"""From τ to the input of the fitting network, and back: products of pairs of channels.

Both forms, the upper triangle of τ τᵀ and τ_p · T_l, are a list of pairs (p, l); the tables of pairs are
made on the host. A block takes an atom, its threads the pairs or channels, in loops without `range`: see
layers.py.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

from numba import cuda, types

from fastdp.gpu.kernels.status import HALTED

ROUNDING, MASK = types.int32(0x1000), types.int32(-0x2000)
"""Half of the last of TF32's bits in a float32, and all of them."""


@cache
def product_kernels(real: Any) -> SimpleNamespace:
    """Return the kernels of the products for one precision, numba.float32 or numba.float64."""

    @cuda.jit
    def add_constant(status, n, width, constant, tau):
        """Add Lᵀ const to component 0; tau : (4, n, q)."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            p = cuda.threadIdx.x
            while p < width:
                tau[0, i, p] += constant[p]
                p += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def product(status, n, width, left_of, right_of, left, right, descriptor):
        """D_d = Σ_c left_c,p(d) right_c,l(d); left (4, n, q), right (4, n, M), descriptor (n, width)."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            d = cuda.threadIdx.x
            while d < width:
                p = left_of[d]
                k = right_of[d]
                descriptor[i, d] = (
                    left[0, i, p] * right[0, i, k]
                    + left[1, i, p] * right[1, i, k]
                    + left[2, i, p] * right[2, i, k]
                    + left[3, i, p] * right[3, i, k]
                )
                d += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def triangle_backward(status, n, q, place_of, tau, gradient, d_tau):
        """∂E/∂τ_p = Σ_k g_pk τ_k (1 + δ_pk), g being the gradient of the upper triangle.

        place_of : (q, q) int32
            Where the pair stands in the triangle, in either order.
        """
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            p = cuda.threadIdx.x
            while p < q:
                # The diagonal enters from both sides.
                g = gradient[i, place_of[p, p]]
                t0 = g * tau[0, i, p]
                t1 = g * tau[1, i, p]
                t2 = g * tau[2, i, p]
                t3 = g * tau[3, i, p]
                for k in range(q):
                    g = gradient[i, place_of[k, p]]
                    t0 += g * tau[0, i, k]
                    t1 += g * tau[1, i, k]
                    t2 += g * tau[2, i, k]
                    t3 += g * tau[3, i, k]
                d_tau[0, i, p] = t0
                d_tau[1, i, p] = t1
                d_tau[2, i, p] = t2
                d_tau[3, i, p] = t3
                p += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def contract(status, n, width, depth, stride, step, gradient, factor, result):
        """result_c,p = Σ_k g[p·stride + k·step] factor_c,k for p < width, k < depth."""
        if status[HALTED] != 0:
            return
        i = cuda.blockIdx.x
        while i < n:
            p = cuda.threadIdx.x
            while p < width:
                t0 = real(0.0)
                t1 = real(0.0)
                t2 = real(0.0)
                t3 = real(0.0)
                for k in range(depth):
                    g = gradient[i, p * stride + k * step]
                    t0 += g * factor[0, i, k]
                    t1 += g * factor[1, i, k]
                    t2 += g * factor[2, i, k]
                    t3 += g * factor[3, i, k]
                result[0, i, p] = t0
                result[1, i, p] = t1
                result[2, i, p] = t2
                result[3, i, p] = t3
                p += cuda.blockDim.x
            i += cuda.gridDim.x

    @cuda.jit
    def split(status, n, width, batch, bits, values, high_bits, high, low):
        """Set high + low = values, high having the 11 bits of TF32.

        bits, values : (batch, n, width) int32 and float32, the same memory
        high_bits, high : (batch, n, width), likewise, filled
        low : (batch, n, width) float32, filled
        """
        if status[HALTED] != 0:
            return
        for b in range(batch):
            i = cuda.blockIdx.x
            while i < n:
                h = cuda.threadIdx.x
                while h < width:
                    high_bits[b, i, h] = (bits[b, i, h] + ROUNDING) & MASK
                    low[b, i, h] = values[b, i, h] - high[b, i, h]
                    h += cuda.blockDim.x
                i += cuda.gridDim.x

    return SimpleNamespace(
        split=split,
        add_constant=add_constant,
        product=product,
        triangle_backward=triangle_backward,
        contract=contract,
    )
