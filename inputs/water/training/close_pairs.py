"""Frames of water with two oxygens too close, labelled by a model plus a repulsion, to train on.

A model trained on DFT frames alone knows nothing of oxygens closer than 2.35 Å, the shortest distance
there, and may attract them. These frames say otherwise: each is a DFT frame in which two molecules were
pushed together and turned by chance, or a frame of a run in which they fell together; energy and forces are

    E = E_model + Σ_{pairs O-O} A (r₀ − r)³ for r < r₀ = 2.4 Å,  A = 8 eV/Å³

    python close_pairs.py MODEL DATA DESTINATION [--runs trajectory.h5 ...]

DATA is the folder with data_0, data_1, data_2; DESTINATION becomes a folder in DeePMD-kit's npy layout.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import ase
import numpy as np

from fastdp.ase import FastDP
from fastdp.errors import PairTooCloseError
from fastdp.output.trajectory import Trajectory
from fastdp.structure.read import read_structure

REACH_A = 2.4
STRENGTH_EV_PER_A3 = 8.0
N_OXYGEN = 64
SYSTEMS = {"data_0": 80, "data_1": 160, "data_2": 80}
"""Training data, with the number of frames of each."""


def differences(points: np.ndarray, others: np.ndarray, length: float) -> np.ndarray:
    """Return the shortest vectors from `others` to `points` in a cubic cell."""
    vectors = points[:, None] - others[None]
    return vectors - length * np.round(vectors / length)


def oxygen_distances(positions: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors and distances between oxygens; no oxygen is close to itself."""
    vectors = differences(positions[:N_OXYGEN], positions[:N_OXYGEN], length)
    return vectors, np.linalg.norm(vectors, axis=-1) + length * np.eye(N_OXYGEN)


def repulsion(positions: np.ndarray, length: float) -> tuple[float, np.ndarray]:
    """Return energy (eV) and forces (eV/Å) of the repulsion."""
    vectors, distances = oxygen_distances(positions, length)
    depth = np.clip(REACH_A - distances, 0.0, None)
    forces = np.zeros_like(positions)
    forces[:N_OXYGEN] = ((3.0 * STRENGTH_EV_PER_A3 * depth**2 / distances)[:, :, None] * vectors).sum(axis=1)
    return 0.5 * STRENGTH_EV_PER_A3 * float((depth**3).sum()), forces


def random_rotation(generator: np.random.Generator) -> np.ndarray:
    """Return a rotation from a random unit quaternion."""
    w, x, y, z = (q := generator.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def pushed_together(
    positions: np.ndarray, length: float, generator: np.random.Generator
) -> np.ndarray | None:
    """Return the frame with two near molecules pushed to 1.7-2.35 Å; None if others get in the way."""
    vectors, distances = oxygen_distances(positions, length)
    to_oxygen = np.linalg.norm(differences(positions[N_OXYGEN:], positions[:N_OXYGEN], length), axis=-1)
    owner = to_oxygen.argmin(axis=1)
    pairs = np.argwhere((distances > REACH_A) & (distances < 4.2))
    a, b = pairs[generator.integers(len(pairs))]
    target = generator.uniform(1.7, 2.35)
    direction = vectors[a, b] / distances[a, b]
    moved = positions.copy()
    for oxygen, sign in ((a, -1.0), (b, 1.0)):
        hydrogens = N_OXYGEN + np.flatnonzero(owner == oxygen)
        bonds = differences(positions[hydrogens], positions[[oxygen]], length)[:, 0]
        if generator.random() < 0.6:
            bonds = bonds @ random_rotation(generator).T
        moved[oxygen] += sign * 0.5 * (distances[a, b] - target) * direction
        moved[hydrogens] = moved[oxygen] + bonds
    all_distances = np.linalg.norm(differences(moved, moved, length), axis=-1) + length * np.eye(len(moved))
    oxygens = all_distances[:N_OXYGEN, :N_OXYGEN].copy()
    oxygens[a, b] = oxygens[b, a] = length
    second_nearest_oxygen = np.sort(all_distances[N_OXYGEN:, :N_OXYGEN], axis=1)[:, 1]
    in_the_way = (
        oxygens.min() < 2.35
        or all_distances[N_OXYGEN:, N_OXYGEN:].min() < 1.25
        or second_nearest_oxygen.min() < 1.2
    )
    return None if in_the_way else moved


def from_data(folder: Path, count: int, generator: np.random.Generator) -> Iterator[ase.Atoms]:
    """Yield `count` DFT frames with a pair pushed together."""
    places = [(name, frame) for name, frames in SYSTEMS.items() for frame in range(frames)]
    while count:
        name, frame = places[generator.integers(len(places))]
        structure = read_structure(folder / name, frame=frame)
        moved = pushed_together(structure.positions, structure.cell[0, 0], generator)
        if moved is not None:
            count -= 1
            yield ase.Atoms(structure.symbols, moved, cell=structure.cell, pbc=True)


def from_run(path: Path) -> Iterator[ase.Atoms]:
    """Yield the frames of a run in which the closest oxygens are at 1.6-2.38 Å."""
    with Trajectory(path) as trajectory:
        for frame in trajectory:
            if 1.6 < oxygen_distances(frame.positions, frame.cell[0, 0])[1].min() < 2.38:
                yield ase.Atoms(trajectory.symbols, frame.positions, cell=frame.cell, pbc=True)


def main() -> None:
    """Make the frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--runs", nargs="*", type=Path, default=[])
    parser.add_argument("--count", type=int, default=220, help="frames made from the data")
    arguments = parser.parse_args()

    generator = np.random.default_rng(5)
    calculator = FastDP(arguments.model)
    kept: list[tuple[np.ndarray, np.ndarray, float, np.ndarray]] = []
    frames = [from_data(arguments.data, arguments.count, generator), *map(from_run, arguments.runs)]
    for atoms in (atoms for source in frames for atoms in source):
        try:
            energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
        except PairTooCloseError:
            continue
        extra_energy, extra_forces = repulsion(atoms.positions, atoms.cell[0, 0])
        kept.append((atoms.positions, atoms.cell[:], energy + extra_energy, forces + extra_forces))

    folder = arguments.destination / "set.000"
    folder.mkdir(parents=True)
    for name in ("type.raw", "type_map.raw"):
        shutil.copy(arguments.data / "data_0" / name, arguments.destination)
    order = generator.permutation(len(kept))
    for name, column in (("coord", 0), ("box", 1), ("energy", 2), ("force", 3)):
        np.save(folder / f"{name}.npy", np.array([np.ravel(kept[i][column]) for i in order]))
    print(f"{len(kept)} frames in {arguments.destination}")


if __name__ == "__main__":
    main()
