"""Sums over atoms, always in the same order."""

from __future__ import annotations

from numba import cuda, types

from fastdp.gpu.kernels.compiling import block_function
from fastdp.gpu.kernels.status import HALTED

BLOCKS = 128
"""Number of partial sums: a constant, so that a sum gives the same bits on every device."""

THREADS = 128
"""Threads of a block of a sum; a power of two, the same for every sum and device for the same reason."""

# Columns of sums.
ENERGY, TWICE_KINETIC, SUM_COLUMNS = range(3)


def add_up_block(part, value):
    """Return the sum over the threads of a block, in thread 0; `part` : (THREADS,) float64, shared."""
    t = cuda.threadIdx.x
    part[t] = value
    cuda.syncthreads()
    step = cuda.blockDim.x // 2
    while step > 0:
        if t < step:
            part[t] += part[t + step]
        cuda.syncthreads()
        step //= 2
    total = part[0]
    cuda.syncthreads()
    return total


sum_block = block_function(add_up_block, globals())


def add_up_partial(part, n_partial, partial):
    """Return energy and m v² in thread 0 of one block, sums over rows of `partial`, (n_partial, SUM_COLUMNS).

    A module that uses it has `sum_block` and the columns by these names.
    """
    energy = 0.0
    kinetic = 0.0
    for i in range(cuda.threadIdx.x, n_partial, cuda.blockDim.x):
        energy += partial[i, ENERGY]
        kinetic += partial[i, TWICE_KINETIC]
    return sum_block(part, energy), sum_block(part, kinetic)


@cuda.jit
def partial_sums(status, n, width, values, partial):
    """Sum rows of `values`, (n, width) float64, to `partial`, (BLOCKS, width)."""
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0:
        return
    for column in range(width):
        total = 0.0
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            total += values[i, column]
        total = sum_block(part, total)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, column] = total


@cuda.jit
def finish_sums(status, n_partial, width, partial, result):
    """Sum rows of `partial` to `result`, (width,); one block."""
    part = cuda.shared.array(THREADS, types.float64)
    if status[HALTED] != 0:
        return
    for column in range(width):
        total = 0.0
        for i in range(cuda.threadIdx.x, n_partial, cuda.blockDim.x):
            total += partial[i, column]
        total = sum_block(part, total)
        if cuda.threadIdx.x == 0:
            result[column] = total
