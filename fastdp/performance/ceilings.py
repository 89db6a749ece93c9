"""What one core of this machine can do at best, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from fastdp.potential.base import Precision
from fastdp.potential.compressed.activation_kernels import activate, activation_code
from fastdp.potential.compressed.matrix_kernels import panels, stored_width, times
from fastdp.potential.compressed.potential import DTYPES
from fastdp.potential.compressed.simd import read_cycles

SHAPE = (96, 240, 240)
"""Rows, depth and columns of the product: that of a hidden layer, which stays in the second cache."""

BLAS_SHAPE = (512, 512, 512)
COPIED_BYTES = 1 << 27
"""Far beyond any cache of one core."""

REPEATS = 7


@dataclass(frozen=True)
class Ceilings:
    """Rates of one core.

    Attributes
    ----------
    products : float
        Floating-point operations per second of fastdp's own matrix product, `SHAPE`.
    blas : float
        The same of NumPy's BLAS at its best, `BLAS_SHAPE`.
    bandwidth : float
        Bytes per second read and written in a large copy.
    tanh_seconds : float
        For one number, with its derivative.
    cycles_per_second : float
        Of the counter that sections are timed with.
    """

    products: float
    blas: float
    bandwidth: float
    tanh_seconds: float
    cycles_per_second: float

    @property
    def operations(self) -> float:
        """Floating-point operations per second, the better of both products."""
        return max(self.products, self.blas)


def measure_ceilings(precision: Precision) -> Ceilings:
    """Measure the ceilings for a precision of the kernels; takes about a second.

    Parameters
    ----------
    precision : {"double", "mixed"}

    Returns
    -------
    Ceilings
    """
    dtype = DTYPES[precision]
    rng = np.random.default_rng(1)
    rows, depth, columns = SHAPE
    a = rng.normal(size=(rows, depth)).astype(dtype)
    b = panels(rng.normal(size=(depth, columns)), dtype).astype(dtype)
    c = np.zeros(rows * stored_width(columns, dtype), dtype)
    repeats = 20
    own = _seconds(lambda: _repeat_product(repeats, rows, a.ravel(), b, depth, columns, c)) / repeats
    m, k, n = BLAS_SHAPE
    left, right = (rng.normal(size=(x, y)).astype(dtype) for x, y in ((m, k), (k, n)))
    out = np.zeros((m, n), dtype)
    blas = _seconds(lambda: np.dot(left, right, out))
    source = np.ones(COPIED_BYTES // 8)
    target = np.zeros_like(source)
    copy = _seconds(lambda: np.copyto(target, source))
    z = rng.normal(size=(rows, columns)).astype(dtype)
    slope, bias = np.zeros_like(z), np.zeros(columns, dtype)
    code, threshold = activation_code("tanh")
    tanh = _seconds(lambda: activate(code, threshold, z, bias, slope)) / z.size
    started, cycles = time.perf_counter(), _cycles()
    time.sleep(0.05)
    elapsed, counted = time.perf_counter() - started, _cycles() - cycles
    return Ceilings(
        products=2.0 * rows * depth * columns / own,
        blas=2.0 * m * k * n / blas,
        bandwidth=2.0 * source.nbytes / copy,
        tanh_seconds=tanh,
        cycles_per_second=counted / elapsed,
    )


@njit(cache=True)
def _cycles():
    return read_cycles()


@njit(cache=True)
def _repeat_product(repeats, rows, a, b, depth, columns, c):
    for _ in range(repeats):
        times(rows, a, 0, depth, b, 0, depth, columns, c, 0, c.shape[0] // rows)


def _seconds(action: Callable[[], object]) -> float:
    """Return the shortest of several times; the first call, which may compile, is not counted."""
    action()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return min(found)
