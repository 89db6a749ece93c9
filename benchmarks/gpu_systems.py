"""Models and structures of any size for the benchmarks of the GPU engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.build import bulk
from ase.io import read as read_ase
from gpu_floors import Density
from numpy.typing import NDArray

from fastdp.dynamics.settings import VelocitySettings
from fastdp.dynamics.state import State, SymbolTable
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.gpu.layout import Network, Products
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Precision
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.prepare import prepare
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

ROOT = Path(__file__).resolve().parents[1]
COPPER = ROOT.parent / "shared" / "models" / "third_party" / "copper.pb"


class Variant(NamedTuple):
    """How a `CudaPotential` computes, and whose rate its products are compared with.

    Attributes
    ----------
    precision : {"double", "mixed"}
    products : {"full", "tf32", "tf32x3"}
    network : {"layers", "fused"}
    rate : {"float64", "float32", "tf32"}
    """

    precision: Precision
    products: Products
    network: Network
    rate: str


VARIANTS = {
    "float64": Variant("double", "full", "layers", "float64"),
    "float32": Variant("mixed", "full", "layers", "float32"),
    "tf32x3": Variant("mixed", "tf32x3", "layers", "tf32"),
    "tf32": Variant("mixed", "tf32", "layers", "tf32"),
    "fused-float64": Variant("double", "full", "fused", "float64"),
    "fused-tf32x3": Variant("mixed", "tf32x3", "fused", "tf32"),
    "fused-tf32": Variant("mixed", "tf32", "fused", "tf32"),
}
"""By the name that results are given under."""


@dataclass(frozen=True)
class Case:
    """A model with the structure that larger ones are copies of.

    Attributes
    ----------
    name : str
    description : DeepPotential
    model : CompressedModel
    structure : Structure
    timestep_fs, temperature : float
        fs and K, of runs.
    steps_of_a_run : int
        Of the comparison of two runs.
    """

    name: str
    description: DeepPotential
    model: CompressedModel
    structure: Structure
    timestep_fs: float
    temperature: float
    steps_of_a_run: int = 1000

    @property
    def n_atoms(self) -> int:
        """Atoms of the structure."""
        return self.structure.n_atoms

    def copies(self, wanted: float) -> tuple[int, int, int]:
        """Return how many copies along each axis make about `wanted` atoms."""
        along = np.ones(3, int)
        lengths = np.linalg.norm(self.structure.cell, axis=1)
        while self.n_atoms * np.prod(along) * 1.0001 < wanted:
            along[np.argmin(along * np.where(lengths > 0.0, lengths, 1.0))] += 1
        # What is nearer to the wish.
        fewer = along.copy()
        fewer[np.argmax(fewer)] -= 1
        few, many = (self.n_atoms * int(np.prod(number)) for number in (fewer, along))
        chosen = fewer if few and wanted - few < many - wanted else along
        return int(chosen[0]), int(chosen[1]), int(chosen[2])

    def density(self, skin: float) -> Density:
        """Return the neighbours of an atom, by a list with this skin, Å."""
        return density_of(self.model.cutoff, skin, make_state(self, (1, 1, 1)))


def density_of(cutoff: float, skin: float, state: State, reach: float = 0.0) -> Density:
    """Return the neighbours of an atom; cutoff, skin, and reach of further terms in Å."""
    counts = []
    for within in (max(cutoff, reach) + skin, cutoff, *([reach] if reach > 0.0 else [])):
        neighbours = VerletList(within, 0.0, state.cell, state.periodic, state.types)
        neighbours.build(state.positions)
        counts.append(float(neighbours.first[-1] / state.n_atoms))
    return Density(*counts)


def make_state(case: Case, copies: tuple[int, int, int]) -> State:
    """Return atoms in motion: copies of the structure, velocities drawn with a fixed seed."""
    structure = case.structure
    number = int(np.prod(copies))
    steps = np.indices(copies).reshape(3, -1).T
    positions = (structure.positions + (steps @ structure.cell)[:, None]).reshape(-1, 3)
    n = len(positions)
    symbols = SymbolTable.of(structure.symbols)
    state = State(
        positions=positions,
        velocities=np.zeros((n, 3)),
        images=np.zeros((n, 3), np.int32),
        masses=np.tile(structure.masses, number),
        cell=structure.cell * np.array(copies)[:, None],
        periodic=structure.periodic,
        symbols=SymbolTable(symbols.names, np.tile(symbols.numbers, number)),
        types=np.tile(_types(case.description, structure), number),
    )
    prepare_velocities(state, VelocitySettings(temperature_K=case.temperature, seed=1))
    return state


def _types(description: DeepPotential, structure: Structure) -> NDArray[np.int32]:
    return match_types(structure.symbols, description.type_names)


def _case(
    name: str, path: Path, structure: Structure, tolerance: float, timestep_fs: float, temperature: float
) -> Case:
    description = read_model(path)
    atoms = Atoms(structure.positions, _types(description, structure), structure.cell, structure.periodic)
    model = prepare(description, atoms, tolerance, lambda line: print(f"{name}: {line}", file=sys.stderr))
    return Case(name, description, model, structure, timestep_fs, temperature)


def water(tolerance: float) -> Case | None:
    """Return the shipped water model on its 192 atoms."""
    folder = ROOT / "inputs" / "water"
    start = structure_from_atoms(read_ase(folder / "start.extxyz"))
    return _case("water", folder / "water.pb", start, tolerance, 0.5, 330.0)


def copper(tolerance: float) -> Case | None:
    """Return the published copper model on a crystal of 864 atoms, if the model is there."""
    if not COPPER.exists():
        return None
    crystal = bulk("Cu", "fcc", 3.615, cubic=True) * (6, 6, 6)
    crystal.rattle(0.05, seed=1)
    return _case("copper", COPPER, structure_from_atoms(crystal), tolerance, 1.0, 600.0)


CASES: dict[str, Callable[[float], Case | None]] = {"water": water, "copper": copper}


def small_case() -> Case:
    """Return one molecule of the water model, for the simulator."""
    folder = ROOT / "inputs" / "water"
    frame = read_ase(folder / "start.extxyz")
    vectors = frame.get_distances(0, range(len(frame)), mic=True, vector=True)
    nearest = np.argsort(np.linalg.norm(vectors, axis=1))[:3]
    molecule = frame[nearest]
    molecule.positions[:] = vectors[nearest]
    molecule.cell, molecule.pbc = None, False
    found = _case("water", folder / "water.pb", structure_from_atoms(molecule), 1e-2, 0.5, 330.0)
    return replace(found, steps_of_a_run=2)
