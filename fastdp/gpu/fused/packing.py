"""Matrices of a network in the order in which the lanes of a warp take them.

A warp multiplies 16 × 8 by 8 × 8 numbers at a time. Of the second factor, lane 4 g + t holds rows t and
t + 4 of column g (PTX ISA, fragments of mma.m16n8k8). For numbers of 4 bytes two such steps stand next to
each other, so that a lane reads 16 bytes at once, and 32 lanes 512 in a row.

The columns of a tile may be dealt out to the places g as one likes, because sums of column 2 t + e come to
lane t: where results go to shared memory, place g stands for column g // 2 + 4 (g mod 2), so that stores meet
different banks; where they go to the card's memory, a lane gets 16 bytes of adjacent columns, two of one tile
or four of two. The same holds for the sum: where the first factor comes from the card's memory, a lane takes
16 bytes of adjacent numbers at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP = 16
"""Rows of two steps."""

_LANE = np.arange(32)
_G, _T = _LANE // 4, _LANE % 4

ROWS_FROM_SHARED = np.stack([8 * j + 4 * v + _T for j in range(2) for v in range(2)], axis=1)
"""(32, 4), rows of the second factor in a step, by lane and place, where the first is in shared memory."""

ROWS_FROM_MEMORY = {
    4: np.stack([4 * _T + i for i in range(4)], axis=1),
    8: np.stack([8 * j + 2 * _T + e for j in range(2) for e in range(2)], axis=1),
}
"""(32, 4), likewise, where it is in the card's memory, by the size of a number."""


def packed(matrix: NDArray, *, from_memory: bool = False, to_memory: bool = False, steps: int = 0) -> NDArray:
    """Return a matrix as `network.cu` takes it.

    Parameters
    ----------
    matrix : (k, m) array
    from_memory : bool
        Whether the first factor comes from the card's memory.
    to_memory : bool
        Whether the product goes there.
    steps : int
        At least so many steps of 16, with zeros.

    Returns
    -------
    (size,) array
        [tile of 8 columns, 16 rows, lane, four numbers] of 4 bytes, or [tile, 16 rows, half of them, lane,
        two numbers] of 8 bytes, with zeros beyond the matrix. The number of tiles is even if the product goes
        to memory.
    """
    k, m = matrix.shape
    steps = max(steps, -(-k // STEP))
    tiles = -(-m // 8)
    tiles += tiles % 2 if to_memory else 0
    whole = np.zeros((steps * STEP, tiles * 8), matrix.dtype)
    whole[:k, :m] = matrix
    rows = ROWS_FROM_MEMORY[matrix.itemsize] if from_memory else ROWS_FROM_SHARED
    rows = STEP * np.arange(steps)[:, None, None] + rows
    tile = np.arange(tiles)[:, None]
    if to_memory and matrix.itemsize == 8:
        columns = 8 * tile + _G
    elif to_memory:
        columns = 16 * (tile // 2) + 4 * (_G // 2) + 2 * (tile % 2) + _G % 2
    else:
        columns = 8 * tile + _G // 2 + 4 * (_G % 2)
    found = whole[rows[None], columns[:, None, :, None]]
    if matrix.itemsize == 8:
        found = found.reshape(tiles, steps, 32, 2, 2).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(found).ravel()
