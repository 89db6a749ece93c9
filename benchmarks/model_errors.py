"""Errors of a model against the energies and forces of a data set, for the model as trained and compressed.

Run it from the root of the project:

    python benchmarks/model_errors.py inputs/water/water.pb ../shared/water/data_3
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase
import numpy as np

from fastdp.ase import FastDP
from fastdp.structure.read import read_structure

POTENTIALS = {
    "reference": {"backend": "reference"},
    "compressed, double": {"backend": "cpu", "precision": "double"},
    "compressed, mixed": {"backend": "cpu", "precision": "mixed"},
}


def read_frames(folder: Path) -> tuple[list[ase.Atoms], np.ndarray, np.ndarray]:
    """Return the frames of a DeePMD-kit folder with one set, their energies (eV) and forces (eV/Å)."""
    (data,) = folder.glob("set.*")
    energies = np.load(data / "energy.npy").astype(np.float64).ravel()
    frames = []
    for number in range(len(energies)):
        structure = read_structure(folder, frame=number)
        frames.append(
            ase.Atoms(structure.symbols, structure.positions, cell=structure.cell, pbc=structure.periodic)
        )
    forces = np.load(data / "force.npy").astype(np.float64).reshape(len(frames), -1, 3)
    return frames, energies, forces


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="folder in DeePMD-kit's npy layout, with energies and forces")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    frames, energies, forces = read_frames(arguments.data)
    n_atoms = len(frames[0])
    print(f"{len(frames)} frames of {n_atoms} atoms; rms of the forces themselves {rms(forces):.3f} eV/Å")
    as_trained: np.ndarray | None = None
    for name, options in POTENTIALS.items():
        calculator = FastDP(arguments.model, threads=arguments.threads, **options)
        found_energies, found_forces = [], []
        for atoms in frames:
            atoms.calc = calculator
            found_energies.append(atoms.get_potential_energy())
            found_forces.append(atoms.get_forces())
        difference = np.array(found_energies) - energies
        if as_trained is None:
            as_trained = np.array(found_forces)
        print(
            f"{name}: energy rmse {1e3 * rms(difference) / n_atoms:.3f} meV/atom"
            f" (mean {1e3 * difference.mean() / n_atoms:+.3f}),"
            f" force rmse {rms(np.array(found_forces) - forces):.4f} eV/Å,"
            f" against the model as trained {rms(np.array(found_forces) - as_trained):.1e} eV/Å"
        )


if __name__ == "__main__":
    main()
