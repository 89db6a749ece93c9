"""Structures and models for the tests of the GPU engine, small in the simulator and large on a card."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import ase.build
import numpy as np
import pytest
from compressed import frames, model_path, random_atoms
from make_models import MODELS, write_model
from native_models import write_native
from numba import config

from fastdp.dynamics.settings import IntegratorSettings, VelocitySettings
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Potential
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.tuning import compress
from fastdp.simulation.device_simulation import DeviceSimulation
from fastdp.simulation.overflow import OverflowWatch
from fastdp.simulation.settings import (
    CheckpointSettings,
    OutputSettings,
    RunSettings,
    StageSettings,
    ThermoSettings,
    TrajectorySettings,
)
from fastdp.simulation.simulation import Simulation

AS_PTX = "" if config.ENABLE_CUDASIM else os.environ.get("FASTDP_GPU_PTX", "")
"""Anything: run what is compiled for a card, on the processor; "backwards": threads in the opposite order."""

SMALL = bool(config.ENABLE_CUDASIM or AS_PTX) or os.environ.get("FASTDP_GPU_TESTS") == "small"
"""In the simulator, as PTX, and under compute-sanitizer (`benchmarks/sanitize_gpu.py`)."""

SHARED = Path(__file__).resolve().parents[3] / "shared"
MASSES = (15.999, 1.008, 58.69)
SKIN = 0.5


def size(small: int, large: int) -> int:
    """Return a number of atoms for the simulator or for a card."""
    return small if SMALL else large


def shared() -> Path:
    """The folder of models beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED}")
    return SHARED


def copper_cluster() -> tuple[DeepPotential, Atoms]:
    """A published copper model and a sphere of crystal in open space."""
    crystal = ase.build.bulk("Cu", cubic=True) * (8, 8, 8)
    distances = np.linalg.norm(crystal.positions - crystal.positions.mean(axis=0), axis=1)
    positions = crystal.positions[np.argsort(distances)[: size(6, 1000)]]
    positions = positions + np.random.default_rng(1).normal(0.0, 0.05, positions.shape)
    atoms = Atoms(positions, np.zeros(len(positions), np.int32), np.zeros((3, 3)), np.zeros(3, bool))
    return read_model(shared() / model_path("copper.pb")), atoms


def water_frame() -> tuple[DeepPotential, Atoms]:
    """A water model on its smallest frame, a cell shorter than the cutoff."""
    found = dict(frames(shared(), "water.pb"))
    name = "cell_shorter_than_cutoff"
    return read_model(shared() / model_path("water.pb")), found[name]


def random_model(name: str, atoms: Atoms) -> tuple[DeepPotential, Atoms]:
    """A small random model of `make_models.MODELS`."""
    return read_model(random_model_file(name)), atoms


@functools.cache
def _folder() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="fastdp-gpu-"))


def random_model_file(name: str) -> Path:
    """Write a small random model and return where it is."""
    path = _folder() / f"{name}.pb"
    if not path.exists():
        write_model(MODELS[name], path)
    return path


def native_model(name: str, atoms: Atoms) -> tuple[DeepPotential, Atoms]:
    """A small random model of `native_models.NATIVE`."""
    path = _folder() / f"{name}.json"
    return read_model(path if path.exists() else write_native(name, path)), atoms


def at_random(n_types: int, small: int, *, periodic: bool = True, seed: int = 11) -> Atoms:
    """Atoms at random in a triclinic cell or in open space."""
    return random_atoms(
        np.random.default_rng(seed), n_types, n_atoms=size(small, 40 * small), periodic=periodic
    )


def slab() -> Atoms:
    """Atoms at random, periodic along two directions."""
    atoms = at_random(2, 6, seed=4)
    return Atoms(atoms.positions, atoms.types, atoms.cell, np.array([True, False, True]))


def tiny_cell() -> Atoms:
    """Two atoms in a cell much shorter than the cutoff."""
    cell = np.array([[2.9, 0, 0], [0.4, 3.1, 0], [0.2, -0.3, 3.3]])
    positions = np.array([[0.1, 0.2, 0.1], [1.5, 1.4, 1.7]])
    return Atoms(positions, np.array([0, 1], np.int32), cell, np.ones(3, bool))


CASES = {
    "copper cluster": copper_cluster,
    "water frame": water_frame,
    "ternary, triclinic": lambda: random_model("three_types", at_random(3, 6)),
    "open boundaries": lambda: random_model("two_sided", at_random(2, 6, periodic=False)),
    "open along one direction": lambda: random_model("one_sided", slab()),
    "cell shorter than the cutoff": lambda: random_model("two_sided", tiny_cell()),
    "time steps and other widths": lambda: random_model("timesteps", at_random(2, 3)),
    "doubling layers": lambda: random_model("no_timesteps", at_random(2, 3, periodic=False)),
    "identity from the first layer": lambda: random_model(
        "descriptor_as_wide_as_layer", at_random(2, 3, periodic=False)
    ),
    "gelu": lambda: random_model("activation_gelu", at_random(2, 4, periodic=False)),
    "se_e2_r": lambda: native_model("se_e2_r", at_random(2, 6)),
    "se_e2_a and se_e2_r": lambda: native_model("se_e2_a and se_e2_r", at_random(2, 4, periodic=False)),
}


@functools.cache
def compressed_case(name: str, tolerance: float) -> tuple[DeepPotential, Atoms, CompressedModel]:
    """Return description, atoms and compressed model of a case."""
    description, atoms = CASES[name]()
    training = atoms
    if name not in ("copper cluster", "water frame"):
        training = random_atoms(np.random.default_rng(3), description.n_types)
    return description, atoms, compress(description, training, tolerance)[0]


def state_of(atoms: Atoms, temperature: float = 300.0) -> State:
    """Return atoms in motion."""
    n = len(atoms.types)
    state = State(
        positions=atoms.positions,
        velocities=np.zeros((n, 3)),
        images=np.zeros((n, 3)),
        masses=np.array(MASSES)[atoms.types],
        cell=atoms.cell,
        periodic=atoms.periodic,
        symbols=tuple("OHX"[t] for t in atoms.types),
        types=atoms.types,
    )
    prepare_velocities(state, VelocitySettings(temperature_K=temperature, seed=7))
    return state


def run_settings(
    directory: Path, *stages: tuple[int, IntegratorSettings], every: int = 10, checkpoint_every: int = 1000
) -> RunSettings:
    """Return settings of a run of `stages`, each a number of steps and an integrator."""
    return RunSettings(
        stages=tuple(StageSettings(steps, integrator) for steps, integrator in stages),
        output=OutputSettings(
            directory,
            TrajectorySettings(every=every),
            ThermoSettings(every=every),
            CheckpointSettings(every=checkpoint_every),
        ),
    )


def simulation(
    run: RunSettings,
    state: State,
    potential: Potential,
    skin: float = SKIN,
    watch: OverflowWatch | None = None,
    said: list[str] | None = None,
    **options: object,
) -> Simulation:
    """Return a run, on the device where the potential has an engine.

    `said` takes what `watch` says of neighbours in the course of the run.
    """
    neighbours = VerletList(potential.cutoff, skin, state.cell, state.periodic, state.types)
    engine = potential.make_engine(state, skin)
    if watch is not None and said is not None:
        options["when_built"] = lambda built: said.extend(watch.warnings(built))
    if engine is None:
        return Simulation(state, potential, neighbours, run, **options)
    if watch is not None and said is not None:
        engine.count_neighbours(watch.limits)
        options["when_beyond"] = lambda counts: said.extend(watch.warnings_of(counts))
    return DeviceSimulation(state, potential, neighbours, run, engine=engine, **options)
