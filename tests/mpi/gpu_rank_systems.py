"""Runs of a few atoms on several GPUs, for the simulator: what they start from and how they go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from compressed import random_atoms

from fastdp.dynamics.settings import (
    IntegratorSettings,
    NoseHooverSettings,
    VelocitySettings,
    VelocityVerletSettings,
)
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.model.readers.registry import read_model
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.tuning import compress
from fastdp.simulation.settings import (
    CheckpointSettings,
    OutputSettings,
    RunSettings,
    StageSettings,
    ThermoSettings,
    TrajectorySettings,
)

NVE = VelocityVerletSettings(timestep_fs=1.0)
NVT = NoseHooverSettings(timestep_fs=1.0, temperature_K=2000.0, thermostat_time_fs=20.0)
MASSES = (15.999, 1.008)
SKIN = 0.2


@dataclass(frozen=True)
class GpuSystem:
    """Atoms and the ranks that they are on."""

    shape: tuple[int, int, int]
    integrator: IntegratorSettings
    steps: int
    n_atoms: int
    cell: tuple[tuple[float, float, float], ...]
    periodic: tuple[bool, bool, bool] = (True, True, True)
    temperature: float = 3000.0
    seed: int = 3

    @property
    def ranks(self) -> int:
        return int(np.prod(self.shape))

    def state(self) -> State:
        cell = np.array(self.cell)
        generator = np.random.default_rng(self.seed)
        positions = np.zeros((0, 3))
        images = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T * self.periodic @ cell
        while len(positions) < self.n_atoms:
            trial = generator.uniform(size=3) @ cell
            apart = positions[:, None, :] + images[None, :, :] - trial
            if len(positions) == 0 or np.linalg.norm(apart, axis=-1).min() > 1.1:
                positions = np.vstack([positions, trial])
        types = np.arange(self.n_atoms, dtype=np.int32) % 2
        state = State(
            positions=positions,
            velocities=np.zeros_like(positions),
            images=np.zeros((self.n_atoms, 3)),
            masses=np.array(MASSES)[types],
            cell=cell,
            periodic=np.array(self.periodic),
            symbols=tuple("OH"[t] for t in types),
            types=types,
        )
        prepare_velocities(state, VelocitySettings(temperature_K=self.temperature, seed=7))
        return state

    def settings(self, directory: Path, *, every: int = 4, checkpoint_every: int = 1000) -> RunSettings:
        return RunSettings(
            stages=(StageSettings(self.steps, self.integrator),),
            output=OutputSettings(
                directory,
                TrajectorySettings(every=every),
                ThermoSettings(every=every),
                CheckpointSettings(every=checkpoint_every),
            ),
        )


SYSTEMS = {
    # Long enough for interior atoms; skewed, so that the reduced cell is another one.
    "skewed": GpuSystem((2, 1, 1), NVT, 10, 8, ((16.0, 0.0, 0.0), (2.0, 4.0, 0.0), (0.5, 3.6, 4.2))),
    "open": GpuSystem(
        (2, 1, 1), NVE, 20, 6, ((8.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 3.0)), (False, False, False)
    ),
    "slab on three ranks": GpuSystem(
        (1, 3, 1), NVE, 12, 6, ((4.5, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, 0.0, 3.0)), (True, True, False)
    ),
    # Two atoms that see many images of themselves and of each other.
    "tiny cell": GpuSystem((2, 1, 1), NVE, 4, 2, ((2.9, 0.0, 0.0), (0.4, 3.1, 0.0), (0.2, -0.3, 3.3))),
    # One of the ranks has no atom at first, or later.
    "more ranks than atoms": GpuSystem(
        (2, 2, 1), NVT, 6, 3, ((5.0, 0.0, 0.0), (0.0, 5.0, 0.0), (0.0, 0.0, 5.0)), (False, True, False)
    ),
}


@cache
def compressed_model() -> CompressedModel:
    """The model of the tests, `FASTDP_TEST_MODEL`."""
    description = read_model(Path(os.environ["FASTDP_TEST_MODEL"]))
    training: Atoms = random_atoms(np.random.default_rng(3), description.n_types)
    return compress(description, training, 1e-4)[0]
