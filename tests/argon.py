"""A small Lennard-Jones system whose runs the tests compare; as a script, a run to be killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk
from potentials import LennardJones, Sabotaged, wait

from fastdp.dynamics.settings import (
    IntegratorSettings,
    NoseHooverSettings,
    VelocitySettings,
    VelocityVerletSettings,
)
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import Checkpoint, load_latest
from fastdp.potential.base import Potential
from fastdp.simulation.record import state_of
from fastdp.simulation.reporter import Reporter
from fastdp.simulation.settings import (
    CheckpointSettings,
    OutputSettings,
    Provenance,
    RunSettings,
    StageSettings,
    ThermoSettings,
    TrajectorySettings,
)
from fastdp.simulation.simulation import Simulation

SKIN = 0.6  # Å, small enough for the list to be built several times in 200 steps
PROVENANCE = Provenance(
    input_text="version = 1", model_file="argon", model_sha256="0" * 64, potential="lj", author="Test Ér"
)
NVE = VelocityVerletSettings(timestep_fs=5.0)
NVT = NoseHooverSettings(timestep_fs=5.0, temperature_K=120.0, thermostat_time_fs=200.0)


def argon(cells: int = 3, *, triclinic: bool = False, temperature: float = 150.0) -> State:
    """Return 4 cells³ atoms of fcc argon (cells³ in a rhombohedral cell), in motion."""
    atoms = bulk("Ar", "fcc", a=5.4, cubic=not triclinic).repeat(cells)
    n = len(atoms)
    state = State(
        positions=atoms.positions,
        velocities=np.zeros((n, 3)),
        images=np.zeros((n, 3)),
        masses=np.full(n, 39.948),
        cell=atoms.cell.array,
        periodic=[True] * 3,
        symbols=tuple(atoms.symbols),
        types=np.zeros(n),
    )
    prepare_velocities(state, VelocitySettings(temperature_K=temperature, seed=7))
    return state


def settings(
    directory: Path,
    *stages: tuple[int, IntegratorSettings],
    every: int = 10,
    checkpoint_every: int = 1000,
) -> RunSettings:
    """Return the settings of a run of `stages`, each a number of steps and an integrator."""
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
    *,
    state: State | None = None,
    potential: Potential | None = None,
    checkpoint: Checkpoint | None = None,
    reporter: Reporter | None = None,
    provenance: Provenance = PROVENANCE,
) -> Simulation:
    """Return a run that is ready to go."""
    if state is None:
        state = argon() if checkpoint is None else state_of(checkpoint)
    potential = potential or LennardJones()
    return Simulation(
        state,
        potential,
        VerletList(potential.cutoff, SKIN, state.cell, state.periodic, state.types),
        run,
        provenance=provenance,
        potential_state={"parameters": np.array([0.0104, 3.4])},
        reporter=reporter,
        checkpoint=checkpoint,
    )


def resume(run: RunSettings, **options) -> Simulation:
    """Return the continuation of `run` from its newest checkpoint."""
    warnings = options.pop("warnings", [])
    path = run.output.directory / run.output.checkpoint.file
    return simulation(run, checkpoint=load_latest(path, warnings.append), **options)


def main() -> None:
    """Run what the JSON text in the first argument says."""
    task = json.loads(sys.argv[1])
    integrator = NVT if task["ensemble"] == "nvt" else NVE
    run = settings(
        Path(task["directory"]),
        (task["steps"], integrator),
        every=task["every"],
        checkpoint_every=task["checkpoint_every"],
    )
    state = argon(task.get("cells", 3))
    potential = Sabotaged(LennardJones(), wait(task.get("seconds_per_step", 0.0)))
    if task.get("resume"):
        resume(run, potential=potential).run()
    else:
        simulation(run, state=state, potential=potential).run()


if __name__ == "__main__":
    main()
