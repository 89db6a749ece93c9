"""Started by mpirun in Numba's simulator: runs every system on its ranks and writes what came out.

Judged by `test_gpu_ranks.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gpu_rank_systems import SKIN, SYSTEMS, GpuSystem, compressed_model
from mpi4py import MPI

from fastdp.dynamics.state import State
from fastdp.gpu.device.choice import open_device
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.engine import RanksEngine
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import deal_out
from fastdp.parallel.mpi import MPICommunicator
from fastdp.parallel.threads import thread_limits
from fastdp.simulation.collected import CollectedSystem
from fastdp.simulation.device_simulation import DeviceSimulation

Sabotage = Callable[[State], object]


def run(
    system: GpuSystem,
    communicator: Communicator,
    directory: Path,
    *,
    direct: bool = False,
    precision: str = "double",
    sabotage: Sabotage = lambda _: None,
) -> dict[str, object] | None:
    """Run a system and return, from rank 0, where it ended."""
    state, domain, _ = deal_out(
        system.state() if communicator.is_root else None, communicator, grid=system.shape
    )
    sabotage(state)
    potential = CudaPotential(compressed_model(), open_device(), precision)
    neighbours = DecomposedList(
        potential.cutoff,
        SKIN,
        state.cell,
        state.periodic,
        state.types,
        state.identifiers,
        communicator,
    )
    engine = RanksEngine(potential, state, domain, SKIN, direct=direct)
    start = state.identifiers.copy()
    simulation = DeviceSimulation(
        state, potential, neighbours, system.settings(directory), domain=domain, engine=engine
    )
    summary = simulation.run()
    moved = communicator.sum(np.array([len(np.setdiff1d(state.identifiers, start))]))
    interior = engine._system.neighbours.kinds.start
    n_types = potential.model.n_types
    inside = communicator.sum(np.array([interior[n_types]]))
    whole = CollectedSystem(state).state(state)
    if whole is None:
        return None
    np.savez(
        directory / "end.npz",
        positions=whole.positions + whole.images @ whole.cell,
        inside=whole.positions,
        velocities=whole.velocities,
    )
    return {
        "builds": summary.neighbour_builds,
        "changed ranks": int(moved[0]),
        "interior atoms": int(inside[0]),
        "reads": potential.device.reads,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    names = sys.argv[2:] or list(SYSTEMS)
    world = MPI.COMM_WORLD
    everybody = MPICommunicator(world.Dup(), patient=True)
    # Made on one rank first, which fills the caches.
    everybody.on_root(compressed_model)
    compressed_model()
    sys.setswitchinterval(2e-4)
    report: dict[str, object] = {}
    with thread_limits(1):
        for name in names:
            system = SYSTEMS[name]
            group = world.Split(0 if world.rank < system.ranks else MPI.UNDEFINED)
            if group != MPI.COMM_NULL:
                communicator = MPICommunicator(group, patient=True)
                report[name] = run(system, communicator, folder / name)
            everybody.wait_for_root()
    if world.rank == 0:
        (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
