"""Dealing the atoms to threads in chunks of one type each."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

N_STAGES = 2
"""Atoms that see only atoms of this rank, then the others."""


def cut_into_chunks(
    segments: NDArray[np.int64], n_parts: int, largest: int, multiple: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Cut sorted atoms into chunks, so that every part gets an equal share of each segment.

    Parts, not only chunks, are dealt out from the start: atoms of different types cost differently.

    Parameters
    ----------
    segments : (n_segments, 4) int64
        First atom, one past the last, type and stage (0 or 1) of atoms that lie together.
    n_parts : int
        Number of threads.
    largest : int
        Number of atoms in the largest chunk, a multiple of the next.
    multiple : int
        Rows of matrices are padded to it, so all chunks of a part but the last are multiples of it.

    Returns
    -------
    chunks : (n_chunks, 3) int64
        First atom, one past the last, and their type.
    bounds : list of (n_parts + 1,) int64
        For each stage: part p takes chunks bounds[p]:bounds[p + 1].
    """
    chunks: list[tuple[int, int, int]] = []
    bounds = []
    for stage in range(N_STAGES):
        parts: list[list[tuple[int, int, int]]] = [[] for _ in range(n_parts)]
        for start, stop, alpha, _ in segments[segments[:, 3] == stage]:
            shares = start + ((stop - start) * np.arange(n_parts + 1)) // n_parts
            for part, low, high in zip(parts, shares[:-1], shares[1:], strict=True):
                units = -(-(high - low) // multiple)
                count = -(-units * multiple // largest)
                edges = low + multiple * ((units * np.arange(count + 1)) // max(count, 1))
                part.extend((int(first), int(min(last, high)), int(alpha)) for first, last in pairwise(edges))
        sizes = np.array([0, *(len(part) for part in parts)])
        bounds.append(len(chunks) + np.cumsum(sizes))
        chunks.extend(chunk for part in parts for chunk in part)
    return np.array(chunks, dtype=np.int64).reshape(-1, 3), bounds
