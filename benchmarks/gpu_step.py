"""Time whole steps on the GPU, with and without a CUDA graph, and the cost of a launch.

    python benchmarks/gpu_step.py MODEL STRUCTURE [--repeat 1 2 4] [--precision double mixed] [--steps 50]

Needs a GPU (in Numba's simulator it only shows that it works). Times are medians of chunks, after two that
compile and record.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from ase.io import read as read_ase

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import VelocitySettings, VelocityVerletSettings
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.gpu.device.base import Device
from fastdp.gpu.device.choice import open_device
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.kernels.status import SIZE, begin_evaluation
from fastdp.gpu.potential import CudaPotential
from fastdp.model.readers.registry import read_model
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.prepare import prepare
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

SKIN = 1.0
LIMIT = 1e9


def run_one_by_one(actions: list[Any]) -> Any:
    """Stand in for `Device.capture`: return an action that launches everything by itself."""

    def act() -> None:
        for action in actions:
            action()

    return act


def time_chunks(engine: DeviceEngine, steps: int, chunks: int) -> float:
    """Return seconds for a step, the median of chunks; `advance` waits for the device at the end of each."""
    seconds = []
    for _ in range(2 + chunks):
        started = time.perf_counter()
        _, halted = engine.advance(steps, virial=False)
        seconds.append((time.perf_counter() - started) / steps)
        if halted:
            raise SystemExit("the run was halted; give a relaxed structure")
    return statistics.median(seconds[2:])


def launch_seconds(device: Device, n: int) -> float:
    """Return the time of a launch of an almost empty kernel, n of them in a row."""
    status = device.zeros(SIZE, "int32")
    action = device.launch(begin_evaluation, 1, 1, (status,))
    action()
    device.read(status)
    started = time.perf_counter()
    for _ in range(n):
        action()
    device.read(status)
    return (time.perf_counter() - started) / n


def state_of(structure: Structure, type_names: tuple[str, ...]) -> State:
    """Return the atoms at 300 K."""
    state = State.from_structure(structure, match_types(structure.symbols, type_names))
    prepare_velocities(state, VelocitySettings(temperature_K=300.0, seed=1))
    return state


def main() -> None:
    """Time steps of all sizes and precisions asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("structure")
    parser.add_argument("--repeat", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--precision", nargs="*", default=["double", "mixed"])
    parser.add_argument("--products", nargs="*", default=["full", "tf32x3"], help="of mixed")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    chosen = parser.parse_args()
    device = open_device()
    print(f"{device.name}; a launch takes {1e6 * launch_seconds(device, chosen.steps):.1f} µs")
    description = read_model(chosen.model)
    frame = read_ase(chosen.structure)
    start = structure_from_atoms(frame)
    types = match_types(start.symbols, description.type_names)
    atoms = Atoms(start.positions, types, start.cell, start.periodic)
    model = prepare(description, atoms, chosen.tolerance, print)
    print("\n| atoms | precision | products | launched | µs/step | ns/atom/step |\n|---|---|---|---|---|---|")
    for repeat in chosen.repeat:
        structure = structure_from_atoms(frame * ((repeat,) * 3))
        for precision in chosen.precision:
            for products in chosen.products if precision == "mixed" else ["full"]:
                for way in ("graph", "one by one"):
                    potential = CudaPotential(model, device, precision, products)
                    state = state_of(structure, description.type_names)
                    engine = DeviceEngine(potential, state, SKIN, chosen.steps)
                    if way == "one by one":
                        device.capture = run_one_by_one
                    else:
                        vars(device).pop("capture", None)
                    integrator = make_integrator(VelocityVerletSettings(timestep_fs=0.5))
                    # Without forces the first step is a drift, which costs the same.
                    engine.load(state, Evaluation.empty(state.n_atoms), integrator, LIMIT)
                    seconds = time_chunks(engine, chosen.steps, chosen.chunks)
                    print(
                        f"| {state.n_atoms} | {precision} | {products} | {way} | {1e6 * seconds:.0f} | "
                        f"{1e9 * seconds / state.n_atoms:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
