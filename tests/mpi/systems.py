"""What runs on one rank and on many, to be compared: systems of every kind of cell and boundary."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from argon import settings
from ase import Atoms
from ase.build import bulk
from cases import water_box
from potentials import ScatteredLennardJones
from shared_folder import SHARED
from water import WATER

from fastdp.dynamics.settings import (
    IntegratorSettings,
    NoseHooverSettings,
    VelocitySettings,
    VelocityVerletSettings,
)
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.model.readers.registry import read_model
from fastdp.potential.base import Potential
from fastdp.potential.factory import make_potential
from fastdp.potential.reference import ReferencePotential
from fastdp.simulation.settings import RunSettings
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.read import read_structure
from fastdp.structure.types import match_types

STEPS = 200

SHAPES: dict[int, tuple[tuple[int, int, int], ...]] = {
    2: ((2, 1, 1), (1, 1, 2)),
    3: ((3, 1, 1), (1, 3, 1)),
    4: ((2, 2, 1), (1, 4, 1)),
    6: ((3, 2, 1), (1, 2, 3)),
    8: ((2, 2, 2), (8, 1, 1)),
}
"""Grids that each number of ranks is tried on."""


@dataclass(frozen=True)
class System:
    """Atoms, what acts on them, how they move, and on which grid they do so for 200 steps."""

    state: Callable[[], State]
    potential: Callable[[], Potential]
    integrator: IntegratorSettings
    skin: float
    moves_on: tuple[tuple[int, int, int], ...]

    def settings(self, directory: Path) -> RunSettings:
        return settings(directory, (STEPS, self.integrator), every=50, checkpoint_every=1000)


def _moving(atoms: Atoms, temperature: float, types: object = 0) -> State:
    n = len(atoms)
    # Off the lattice, where forces would vanish.
    atoms.rattle(0.05, seed=1)
    state = State(
        positions=atoms.positions,
        velocities=np.zeros((n, 3)),
        images=np.zeros((n, 3)),
        masses=atoms.get_masses(),
        cell=atoms.cell.array,
        periodic=atoms.pbc,
        symbols=tuple(atoms.symbols),
        types=np.broadcast_to(types, n),
    )
    prepare_velocities(state, VelocitySettings(temperature_K=temperature, seed=7))
    return state


def water() -> State:
    structure = read_structure(WATER / "start.extxyz")
    state = State.from_structure(structure, match_types(structure.symbols, ("O", "H")))
    prepare_velocities(state, VelocitySettings(temperature_K=330.0, seed=3))
    return state


def water_potential() -> Potential:
    description = read_model(WATER / "water.pb")
    return make_potential(description, read_structure(WATER / "start.extxyz"))


def thin() -> State:
    """Regions of 2 Å on 8 ranks in a row, where atoms see each other up to 6.6 Å."""
    return _moving(bulk("Ar", "fcc", a=5.4, cubic=True).repeat(3), 150.0)


def crystal_of_copper() -> Atoms:
    return bulk("Cu", "fcc", a=3.615, cubic=True).repeat(4)


def copper() -> State:
    return _moving(crystal_of_copper(), 1500.0)


def copper_potential() -> Potential:
    """The production model of the shared folder: cutoff 8 Å, longer than half of the cell."""
    atoms = crystal_of_copper()
    description = read_model(COPPER_MODEL)
    return make_potential(description, structure_from_atoms(atoms))


def triclinic() -> State:
    """So skewed that its own faces are close together, while those of the reduced cell are not."""
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True).repeat((3, 3, 4))
    a, b, c = atoms.cell.array
    atoms.set_cell([a, b + a, c - b + a], scale_atoms=False)
    return _moving(atoms, 120.0)


def slab() -> State:
    """Atoms in a third of the cell, which is open across."""
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True).repeat((3, 3, 2))
    atoms.cell[2, 2] *= 3.0
    atoms.pbc = (True, True, False)
    return _moving(atoms, 60.0)


def cluster() -> State:
    """A ball in open space."""
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True).repeat(5)
    positions = atoms.positions - atoms.positions.mean(axis=0)
    inside = np.linalg.norm(positions, axis=1) < 9.0
    return _moving(Atoms(f"Ar{inside.sum()}", positions=positions[inside]), 30.0)


def twelve_atoms() -> State:
    atoms = water_box()
    return _moving(atoms, 300.0, match_types(atoms.symbols, ("O", "H")))


def small_model() -> Potential:
    return ReferencePotential(read_model(Path(os.environ["FASTDP_TEST_MODEL"])))


COPPER_MODEL = SHARED / "models/third_party/copper.pb"
COPPER = {"epsilon": 0.167, "sigma": 2.34, "cutoff": 5.5}
FS = VelocityVerletSettings(timestep_fs=1.0)

SYSTEMS: dict[str, System] = {
    "water": System(
        water,
        water_potential,
        NoseHooverSettings(timestep_fs=0.5, temperature_K=330.0),
        0.6,
        ((2, 1, 1), (2, 2, 1)),
    ),
    "crystal": System(copper, lambda: ScatteredLennardJones(**COPPER), FS, 0.5, ((3, 1, 1),)),
    "triclinic": System(
        triclinic, ScatteredLennardJones, VelocityVerletSettings(timestep_fs=4.0), 0.6, ((3, 2, 1),)
    ),
    "slab": System(slab, ScatteredLennardJones, VelocityVerletSettings(timestep_fs=4.0), 0.6, ((1, 4, 1),)),
    "cluster": System(
        cluster, ScatteredLennardJones, VelocityVerletSettings(timestep_fs=4.0), 0.6, ((1, 3, 1),)
    ),
    "twelve atoms": System(
        twelve_atoms, small_model, VelocityVerletSettings(timestep_fs=0.1), 0.4, ((2, 2, 2),)
    ),
    "thin": System(thin, ScatteredLennardJones, VelocityVerletSettings(timestep_fs=4.0), 0.6, ((8, 1, 1),)),
}
if COPPER_MODEL.exists():
    SYSTEMS["copper"] = System(copper, copper_potential, FS, 0.5, ((3, 1, 1), (2, 2, 1)))
