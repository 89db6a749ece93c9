"""Started by mpirun in Numba's simulator: runs every system on its ranks and writes what came out.

Kernels run on shadow memory, which reports races, stray indices and what was never written; with
FASTDP_GPU_PTX as they are compiled for a card, on the processor; "fused" has networks in one kernel.
Judged by `test_gpu_ranks.py`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.append(str(Path(__file__).resolve().parents[1] / "gpu"))

from gpu_rank_systems import SKIN, SYSTEMS, GpuSystem, compressed_model, narrow_watch
from shadow import ShadowDevice, install

from fastdp.dynamics.state import State
from fastdp.errors import FastDPError
from fastdp.gpu.device.stand_in import StandIn
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.engine import RanksEngine
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import deal_out
from fastdp.parallel.mpi import MPICommunicator
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Precision
from fastdp.simulation.collected import CollectedSystem
from fastdp.simulation.device_simulation import DeviceSimulation
from fastdp.simulation.settings import GuardSettings

Sabotage = Callable[[State], object]


def run(
    system: GpuSystem,
    communicator: Communicator,
    directory: Path,
    device: StandIn,
    *,
    direct: bool = False,
    precision: Precision = "double",
    sabotage: Sabotage = lambda _: None,
    hottest: float = 1e5,
) -> dict[str, object] | None:
    """Run a system and return, from rank 0, what is known of it."""
    state, domain, _ = deal_out(
        system.state() if communicator.is_root else None, communicator, grid=system.shape
    )
    network = "fused" if os.environ.get("FASTDP_GPU_PTX") == "fused" and precision == "double" else "layers"
    potential = CudaPotential(compressed_model(), device, precision, network=network)
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
    watch = narrow_watch(potential.cutoff)
    engine.count_neighbours(watch.limits)
    said: list[str] = []
    start = state.identifiers.copy()
    simulation = DeviceSimulation(
        state,
        potential,
        neighbours,
        replace(system.settings(directory), guards=GuardSettings(maximum_temperature_K=hottest)),
        domain=domain,
        engine=engine,
        when_beyond=lambda counts: said.extend(watch.warnings_of(counts)),
    )
    sabotage(state)
    summary = simulation.run()
    moved = communicator.sum(np.array([len(np.setdiff1d(state.identifiers, start))]))
    ascending = communicator.size != 2 or ascends_after_reload(simulation, engine, state)
    whole = CollectedSystem(state).state(state)
    if whole is None:
        return None
    np.savez(
        directory / "end.npz",
        unwrapped=whole.positions + whole.images @ whole.cell,
        velocities=whole.velocities,
    )
    return {
        "builds": summary.neighbour_builds,
        "changed ranks": int(moved[0]),
        "said": sorted(said),
        "ascending": ascending,
    }


def ascends_after_reload(simulation: DeviceSimulation, engine: RanksEngine, state: State) -> bool:
    """Return whether atoms are in the order of their numbers on both ranks, when two have changed places."""
    communicator = state.communicator
    saved = state.positions.copy()
    places = communicator.gather_objects(state.positions[0].copy())
    state.positions[0] = places[1 - communicator.rank]
    engine.load(state, simulation._force_field.evaluation, simulation._stage.integrator, 1e9)
    state.positions[:] = saved
    found = engine._device.read(engine._here.atoms.field("identifiers"))[:, 0]
    assert communicator.sum(np.array([len(np.setdiff1d(found, state.identifiers))]))[0] == 2
    return not communicator.any(bool((np.diff(found) < 0).any()))


def failures(communicator: Communicator, folder: Path, device: StandIn) -> dict[str, object]:
    """Return what runs say that must fail, because of what rank 1 has."""
    found: dict[str, object] = {}

    def attempt(name: str, sabotage: Sabotage, hottest: float = 1e5) -> None:
        def on_rank_1(state: State) -> None:
            if communicator.rank == 1:
                sabotage(state)

        try:
            run(SYSTEMS["open"], communicator, folder / name, device, sabotage=on_rank_1, hottest=hottest)
        except FastDPError as error:
            found[name] = [type(error).__name__, str(error), error.on_all_ranks]

    def collide(state: State) -> None:
        """Send one atom through another."""
        state.velocities[0] = (state.positions[1] - state.positions[0]) / 2e-3

    def lose(state: State) -> None:
        state.velocities[0] = (1e13, 0.0, 0.0)

    def heat(state: State) -> None:
        state.velocities[0] = (4e4, 0.0, 0.0)

    attempt("too close", collide, 1e9)
    attempt("lost", lose, 1e40)
    attempt("too hot", heat)
    return found


def opened() -> StandIn:
    """Return the device of the process."""
    if os.environ.get("FASTDP_GPU_PTX"):
        from ptx import ptx_device

        compiled = ptx_device.PtxDevice()
        ptx_device.install(compiled, setattr)
        return compiled
    shadowed = ShadowDevice()
    install(shadowed, setattr)
    return shadowed


def main() -> None:
    folder = Path(sys.argv[1])
    world = MPI.COMM_WORLD
    everybody = MPICommunicator(world.Dup(), patient=True)
    # Made on one rank first, which fills the caches.
    everybody.on_root(compressed_model)
    compressed_model()
    device = opened()
    report: dict[str, object] = {}
    with thread_limits(1):
        for name, system in SYSTEMS.items():
            group = world.Split(0 if world.rank < system.ranks else MPI.UNDEFINED)
            if group != MPI.COMM_NULL:
                communicator = MPICommunicator(group, patient=True)
                report[name] = run(system, communicator, folder / name, device, precision=system.precision)
                if name == "open":
                    # Messages from and to the memory of the device.
                    run(system, communicator, folder / "direct", device, direct=True)
                    report |= failures(communicator, folder, device)
            everybody.wait_for_root()
    if isinstance(device, ShadowDevice):
        found, kernels = device.reports, device.log.kernels
    else:
        # What is wrong there ends the run.
        found, kernels = [], device.launcher.kernels
    report["found on shadow memory"] = everybody.gather_objects([str(one) for one in found])
    report["kernels"] = everybody.gather_objects(sorted(kernels))
    if world.rank == 0:
        (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    try:
        main()
    except Exception:
        # Others would wait for ever.
        traceback.print_exc()
        MPI.COMM_WORLD.Abort(1)
