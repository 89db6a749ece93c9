"""How many ranks stand along each axis."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import InputError

Shape = tuple[int, int, int]


def choose_shape(
    n_ranks: int, extents: NDArray[np.float64], periodic: NDArray[np.bool_], wanted: Shape | None = None
) -> Shape:
    """Return the grid of ranks whose cuts through space have the least area.

    Atoms near a cut are ghosts on its other side, so the area is what communication costs. A periodic
    direction that is cut at all is cut at the cell's faces too.

    Parameters
    ----------
    n_ranks : int
    extents : (3,) float64
        Å, of space along each axis.
    periodic : (3,) bool
    wanted : (3,) tuple of int, optional
        What the user asks for.

    Returns
    -------
    (3,) tuple of int

    Raises
    ------
    InputError
        If `wanted` does not multiply to `n_ranks`.
    """
    if wanted is not None:
        if math.prod(wanted) != n_ranks:
            raise InputError(
                f"[parallel] grid = {list(wanted)} is for {math.prod(wanted)} ranks, but there are {n_ranks};"
                " leave it out for the grid with the least surface"
            )
        return wanted
    area = np.prod(extents) / extents
    # Among equals the one that leaves the last axes uncut: images along those are a rank's own.
    return min(_shapes(n_ranks), key=lambda shape: (_cut_area(shape, area, periodic), shape[::-1]))


def _cut_area(shape: Shape, area: NDArray[np.float64], periodic: NDArray[np.bool_]) -> float:
    cuts = [n if repeats and n > 1 else n - 1 for n, repeats in zip(shape, periodic, strict=True)]
    return round(float(np.dot(cuts, area)), 6)


def _shapes(n: int) -> Iterator[Shape]:
    for first in range(1, n + 1):
        if n % first == 0:
            for second in range(1, n // first + 1):
                if n // first % second == 0:
                    yield first, second, n // first // second
