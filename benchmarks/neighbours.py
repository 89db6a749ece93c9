"""Time of the neighbour search for a copper crystal and water-like atoms, next to what has to be done.

Run it from the root of the project: python benchmarks/neighbours.py
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from fastdp.neighbours import rows
from fastdp.neighbours.verlet_list import VerletList

REPEATS = 7


def crystal(repeat: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shuffled positions, cell and types of a displaced face-centred cubic crystal of copper."""
    rng = np.random.default_rng(1)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[np.arange(repeat)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions = 3.61 * (corners + basis).reshape(-1, 3)
    positions = rng.permutation(positions + 0.1 * rng.normal(size=positions.shape))
    return positions, np.eye(3) * 3.61 * repeat, np.zeros(len(positions), dtype=np.int32)


def mixture(n_atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return atoms at random with the density and the types of water."""
    rng = np.random.default_rng(1)
    edge = (n_atoms / 0.1) ** (1 / 3)
    types = np.tile([0, 1, 1], n_atoms // 3 + 1)[:n_atoms].astype(np.int32)
    return rng.uniform(0, edge, size=(n_atoms, 3)), np.eye(3) * edge, types


def shortest(function: Callable[[], object]) -> float:
    """Return the shortest of several times, in s."""
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return min(times)


def count_candidates(neighbours: VerletList, positions: np.ndarray) -> int:
    """Return how many pairs of atoms a build looks at."""
    counts = []
    original = rows.cell_list.fill_rows

    def counting(*arguments):
        home_of, per_home = arguments[4], arguments[6]
        counts.append(int(per_home[home_of].sum()))
        return original(*arguments)

    rows.cell_list.fill_rows = counting
    neighbours.build(positions)
    rows.cell_list.fill_rows = original
    return counts[-1]


def measure(name: str, system: tuple[np.ndarray, np.ndarray, np.ndarray], cutoff: float, skin: float) -> None:
    """Print one line of the table."""
    positions, cell, types = system
    neighbours = VerletList(cutoff, skin, cell, (True, True, True), types)
    neighbours.build(positions)
    n = len(positions)
    candidates = count_candidates(neighbours, positions) / n
    found = neighbours.first[-1] / n
    build = shortest(lambda: neighbours.build(positions)) / n
    update = shortest(lambda: neighbours.update(positions)) / n
    ghosts = neighbours.n_extended / n - 1
    # Positions now and at build, order, images, extended positions; for ghosts: owner, image, position.
    update_bytes = 24 + 24 + 4 + 12 + 24 + ghosts * (4 + 12 + 24)
    print(
        f"{name:>7} {n:7d} {ghosts:6.2f} {candidates:6.0f} {found:6.1f} {4 * found:6.0f}"
        f" {neighbours.bytes / n:6.0f} {1e6 * build:6.2f} {1e9 * build / candidates:6.2f}"
        f" {1e9 * update:6.1f} {update_bytes:6.0f}"
    )


def main() -> None:
    print("         atoms ghosts  cand.  found   list   held  build per cand update  moved")
    print("               /atom   /atom  /atom B/atom B/atom µs/atom   ns    ns/atom B/atom")
    for repeat in (6, 12, 24):
        measure("copper", crystal(repeat), 8.0, 1.0)
    for n_atoms in (1536, 12288, 98304):
        measure("water", mixture(n_atoms), 6.0, 1.0)


if __name__ == "__main__":
    main()
