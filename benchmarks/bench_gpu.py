"""Check, time and tabulate the GPU engine in one call.

    python benchmarks/bench_gpu.py [--systems water copper] [--sizes 192 1e4 1e5 1e6 1e7] [--json FILE]
        [--variants float64 float32 tf32x3 tf32] [--profile 1e5] [--minutes 9] [--launcher numba] [--simulate]

In this order, each written to the JSON file as soon as it is known: rates of the card and cost of a launch;
rms force error of every variant, and of the compressed potential on the CPU, against the model as trained;
two runs of 1000 steps compared bit by bit, their drift, and 50 steps against the CPU's; a step of each size
and variant, timed twice; each kernel of a step against what it has to do at least (`gpu_floors.py`); last a
table. Sizes that do not fit are left out, and nothing new is begun when the minutes are over. `--simulate`,
implied in Numba's simulator (NUMBA_ENABLE_CUDASIM=1), does the same with three atoms; its times mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from gpu_parts import launch_seconds, measure_rates, step_floor, time_parts
from gpu_systems import CASES, VARIANTS, Case, make_state, small_case

import fastdp
from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.dynamics.state import State
from fastdp.errors import BackendError
from fastdp.gpu.device.base import Device
from fastdp.gpu.device.choice import open_device, simulated
from fastdp.gpu.engine import LONGEST_CHUNK, DeviceEngine
from fastdp.gpu.potential import CudaPotential
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.reference import ReferencePotential
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.timers import Timers

SKIN = 1.0
LIMIT = 1e12
"""K; no guard is to end a run."""

CHUNK_SECONDS = 0.5
"""Steps are timed in chunks that take about this long."""

LARGE_FOR_THE_HOST = 50_000
"""Atoms, from which on forces at the start are left out: without them the first step is a drift."""


class Bench:
    """Everything that is measured, and how long there is for it.

    Parameters
    ----------
    device : Device
    options : namespace
        Of the command line.
    """

    def __init__(self, device: Device, options: argparse.Namespace) -> None:
        self.device = device
        self.options = options
        self.found: dict[str, Any] = {}
        self._end = time.monotonic() + 60.0 * options.minutes

    def keep(self, name: str, value: Any) -> None:
        """Note a result, and write everything that is known."""
        self.found[name] = value
        self.options.json.write_text(json.dumps(self.found, indent=1) + "\n")

    def time_left(self, what: str) -> bool:
        """Whether something new may begin."""
        if time.monotonic() < self._end:
            return True
        print(f"left out for want of time: {what}", flush=True)
        return False

    def potential(self, case: Case, variant: str) -> CudaPotential:
        """Return a potential of one variant."""
        return CudaPotential(case.model, self.device, *VARIANTS[variant])

    def engine(
        self, case: Case, variant: str, copies: tuple[int, int, int], *, forces: bool
    ) -> tuple[DeviceEngine, State, Any]:
        """Return an engine that holds atoms in motion, those atoms, and their integrator."""
        potential, state = self.potential(case, variant), make_state(case, copies)
        evaluation = Evaluation.empty(state.n_atoms)
        if forces:
            evaluate(potential, state, evaluation)
        engine = DeviceEngine(potential, state, SKIN)
        integrator = make_integrator(VelocityVerletSettings(timestep_fs=case.timestep_fs))
        engine.load(state, evaluation, integrator, LIMIT)
        return engine, state, integrator


def evaluate(potential: Potential, state: State, result: Evaluation) -> np.ndarray:
    """Evaluate a potential from scratch and return the forces, eV/Å."""
    neighbours = VerletList(potential.cutoff, SKIN, state.cell, state.periodic, state.types)
    neighbours.build(state.positions)
    potential.evaluate(neighbours, result)
    return result.forces.copy()


def rate_of(variant: str, rates: dict[str, float]) -> float:
    """Return the operations per second of a variant's matrix products."""
    return rates[variant if variant in rates else "tf32"]


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def accuracy(bench: Bench, case: Case) -> dict[str, dict[str, float]]:
    """Return rms force errors, eV/Å, of all variants and of the CPU; print them."""
    state = make_state(case, (1, 1, 1))
    result = Evaluation.empty(state.n_atoms)
    reference = evaluate(ReferencePotential(case.description), state, result)
    exact = evaluate(CompressedPotential(case.model), state, result)
    found = {"cpu": {"reference": rms(exact - reference), "compressed": 0.0}}
    for variant in VARIANTS:
        forces = evaluate(bench.potential(case, variant), state, result)
        found[variant] = {"reference": rms(forces - reference), "compressed": rms(forces - exact)}
    print(f"\n{case.name}, {state.n_atoms} atoms, rms force error in eV/Å against:\n")
    print("| variant | the model as trained | the compressed potential on the CPU |\n|---|---|---|")
    for variant, errors in found.items():
        print(f"| {variant} | {errors['reference']:.2e} | {errors['compressed']:.2e} |", flush=True)
    return found


def reproducibility(bench: Bench, case: Case) -> dict[str, Any]:
    """Run the same twice and once on the CPU; return what differed."""
    n = case.steps_of_a_run
    runs = []
    for _ in range(2):
        engine, state, integrator = bench.engine(case, "float64", (1, 1, 1), forces=True)
        energies = []
        while len(energies) < n:
            log, halted = engine.advance(n - len(energies), virial=False)
            energies += (log.potential_energy + log.kinetic_energy).tolist()
            if halted:
                raise SystemExit(f"{case.name}: the run was halted after {len(energies)} steps")
        engine.fetch(state, Evaluation.empty(state.n_atoms), integrator)
        runs.append((state.positions, state.velocities, energies))
    same = all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    picoseconds = 1e-3 * case.timestep_fs * np.arange(n)
    drift = 1e6 * float(np.polyfit(picoseconds, runs[0][2], 1)[0]) / len(runs[0][0])

    engine, state, integrator = bench.engine(case, "float64", (1, 1, 1), forces=True)
    host = make_state(case, (1, 1, 1))
    short = min(n, LONGEST_CHUNK)
    engine.advance(short, virial=False)
    engine.fetch(state, Evaluation.empty(state.n_atoms), integrator)
    neighbours = VerletList(case.model.cutoff, SKIN, host.cell, host.periodic, host.types)
    field = NeighbourForceField(CompressedPotential(case.model), neighbours, Timers())
    field.compute(host)
    integrator.initialise(host)
    for _ in range(short):
        integrator.step(host, field)
    apart = (state.positions + state.images @ state.cell) - (host.positions + host.images @ host.cell)
    found = {
        "steps": n,
        "bitwise_equal": same,
        "drift_ueV_per_atom_per_ps": drift,
        "steps_beside_the_cpu": short,
        "largest_distance_A": float(np.abs(apart).max()),
    }
    print(
        f"\n{case.name}: two runs of {n} steps {'have the same bits' if same else 'DIFFER'}, drift "
        f"{drift:+.2f} µeV/atom/ps; after {short} steps at most {found['largest_distance_A']:.1e} Å from the "
        "CPU's",
        flush=True,
    )
    return found


def time_engine(engine: DeviceEngine, device: Device, chunks: int) -> dict[str, Any]:
    """Return seconds for a step by the device's clock and by the host's; what compiles is not counted."""

    def chunk(steps: int) -> tuple[float, float]:
        began, first = time.perf_counter(), device.mark()
        _, halted = engine.advance(steps, virial=False)
        last = device.mark()
        if halted:
            raise SystemExit("the run was halted; the start structure is not one to begin with")
        return device.elapsed(first, last) / steps, (time.perf_counter() - began) / steps

    # The first compiles, the second is recorded as a graph, the third is neither.
    first, _, single = (chunk(1)[1] for _ in range(3))
    steps = int(min(max(CHUNK_SECONDS / single, 1), LONGEST_CHUNK))
    times = [chunk(steps) for _ in range(chunks)]
    by_device, by_host = zip(*times, strict=True)
    return {
        "steps": steps,
        "chunks": chunks,
        "seconds": statistics.median(by_device),
        "shortest": min(by_device),
        "longest": max(by_device),
        "seconds_by_the_host": statistics.median(by_host),
        "seconds_of_the_first_step": first,
    }


def time_size(bench: Bench, case: Case, variant: str, wanted: float) -> dict[str, Any] | None:
    """Time a step twice, each with everything made anew; None if there is no room."""
    copies = case.copies(wanted)
    turns = []
    for _ in range(bench.options.repeats):
        gc.collect()
        free = bench.device.memory()[0]
        try:
            engine = bench.engine(case, variant, copies, forces=wanted < LARGE_FOR_THE_HOST)[0]
            turns.append(time_engine(engine, bench.device, bench.options.chunks))
        except BackendError as error:
            print(f"{case.name}, {wanted:.0f} atoms, {variant}: {error}", flush=True)
            return None
        used = free - bench.device.memory()[0]
        system = engine._system
        per_atom, fixed = engine.bytes / system.n_atoms, system.fixed_bytes
        rates = bench.found["rates"]
        floor = step_floor(engine, bench.device, case.density(SKIN), rate_of(variant, rates), rates["bytes"])
        del engine, system
    n = case.n_atoms * int(np.prod(copies))
    seconds = [turn["seconds"] for turn in turns]
    best = min(seconds)
    total = bench.device.memory()[1]
    found = {
        "system": case.name,
        "atoms": n,
        "variant": variant,
        "turns": turns,
        "ms_per_step": 1e3 * best,
        "million_atom_steps_per_s": 1e-6 * n / best,
        "ns_per_day": 86400.0 * 1e-6 * case.timestep_fs / best,
        "noise": max(seconds) / best - 1.0,
        "floor_seconds": floor,
        "of_the_floor": floor / best,
        "bytes_per_atom": per_atom,
        "bytes_used": used,
        "largest_system": int((total - fixed) / per_atom),
    }
    print(row_of(found), flush=True)
    return found


HEADER = (
    "| system | atoms | variant | ms/step | spread | noise | of the floor | M atom·step/s | ns/day | "
    "bytes/atom | largest system |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def row_of(found: dict[str, Any]) -> str:
    """Return a row of the table of times."""
    turn = min(found["turns"], key=lambda one: one["seconds"])
    return (
        f"| {found['system']} | {found['atoms']} | {found['variant']} | {found['ms_per_step']:.4g} | "
        f"{1e3 * turn['shortest']:.4g}–{1e3 * turn['longest']:.4g} | {100 * found['noise']:.1f} % | "
        f"{100 * found['of_the_floor']:.0f} % | "
        f"{found['million_atom_steps_per_s']:.4g} | {found['ns_per_day']:.3g} | "
        f"{found['bytes_per_atom']:.0f} | {found['largest_system'] / 1e6:.3g} M |"
    )


def profile(bench: Bench, case: Case, variant: str, wanted: float, rates: dict[str, float]) -> dict[str, Any]:
    """Time each kernel of a step, and compare it with its floor; print both."""
    engine, state, _ = bench.engine(case, variant, case.copies(wanted), forces=wanted < LARGE_FOR_THE_HOST)
    engine.advance(1, virial=False)
    rows = time_parts(
        engine,
        bench.device,
        case.density(SKIN),
        rate_of(variant, rates),
        rates["bytes"],
        bench.options.profile_steps,
    )
    print(f"\n{case.name}, {state.n_atoms} atoms, {variant}: a step without a build of the list\n")
    print("| part | kernel | launches | µs | floor, µs | of the floor |\n|---|---|---|---|---|---|")
    for row in rows:
        share = f"{100 * row['floor'] / row['seconds']:.0f} %" if row["floor"] else ""
        print(
            f"| {row['part']} | {row['name']} | {row['launches']} | {1e6 * row['seconds']:.1f} | "
            f"{1e6 * row['floor']:.1f} | {share} |"
        )
    whole, floor = (sum(row[key] for row in rows) for key in ("seconds", "floor"))
    print(f"| sum | | | {1e6 * whole:.1f} | {1e6 * floor:.1f} | {100 * floor / whole:.0f} % |", flush=True)
    return {"atoms": state.n_atoms, "variant": variant, "rows": rows, "seconds": whole, "floor": floor}


def run(bench: Bench) -> None:
    """Do everything that there is time for."""
    options, device = bench.options, bench.device
    rates = measure_rates(device, small=options.simulate)
    launches = launch_seconds(device, 4 if options.simulate else 500)
    bench.keep(
        "machine",
        {
            "device": device.name,
            "launcher": getattr(device, "launcher", device).name,
            "memory_bytes": device.memory()[1],
            "python": platform.python_version(),
            "fastdp": fastdp.__version__,
            "command": " ".join(sys.argv),
            "simulated": simulated(),
        },
    )
    bench.keep("rates", rates)
    bench.keep("launch_seconds", launches)
    print(f"{device.name}: copies {rates['bytes'] / 1e12:.3g} TB/s; products, TFLOP/s: ", end="")
    print(", ".join(f"{name} {rates[name] / 1e12:.3g}" for name in ("float64", "float32", "tf32")), end="; ")
    costs = ", ".join(f"{1e6 * seconds:.1f} µs by {name}" for name, seconds in launches.items())
    print(f"a launch takes the host {costs}", flush=True)
    cases = []
    for name in options.systems:
        case = small_case() if options.simulate else CASES[name](options.tolerance)
        if case is None:
            print(f"{name}: its model is not there; left out")
            continue
        cases.append(case)
    for case in cases:
        if bench.time_left(f"accuracy of {case.name}"):
            bench.keep(f"accuracy {case.name}", accuracy(bench, case))
    for case in cases:
        if bench.time_left(f"reproducibility of {case.name}"):
            bench.keep(f"reproducibility {case.name}", reproducibility(bench, case))
    times: list[dict[str, Any]] = []
    print("\n" + HEADER)
    for wanted in options.sizes:
        for case in cases:
            for variant in options.variants:
                if bench.time_left(f"{case.name}, {wanted:.0f} atoms, {variant}"):
                    found = time_size(bench, case, variant, wanted)
                    times += [] if found is None else [found]
                    bench.keep("times", times)
    for case in cases:
        for variant in options.variants:
            if bench.time_left(f"kernels of {case.name}, {variant}"):
                bench.keep(
                    f"kernels {case.name} {variant}", profile(bench, case, variant, options.profile, rates)
                )
    print("\n" + HEADER)
    for found in times:
        print(row_of(found))
    print(f"\nwritten: {options.json}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="*", default=["water", "copper"], choices=list(CASES))
    parser.add_argument("--sizes", nargs="*", type=float, default=[192, 1e4, 1e5, 1e6, 1e7])
    parser.add_argument(
        "--variants", nargs="*", default=["float64", "float32", "tf32x3"], choices=list(VARIANTS)
    )
    parser.add_argument("--profile", type=float, default=1e5, help="atoms of the table of kernels")
    parser.add_argument("--profile-steps", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--launcher", default="driver", choices=["driver", "numba"])
    parser.add_argument("--json", type=Path, default=Path("bench_gpu.json"))
    parser.add_argument("--simulate", action="store_true", help="a few atoms, in Numba's simulator")
    options = parser.parse_args()
    if simulated() or options.simulate:
        if not simulated():
            raise SystemExit("--simulate: set NUMBA_ENABLE_CUDASIM=1, which Numba reads when it starts")
        options.simulate = True
        options.systems, options.variants = ["water"], ["tf32x3"]
        options.sizes, options.profile = [3.0], 3.0
        options.chunks, options.profile_steps = 1, 1
    run(Bench(open_device(options.launcher), options))


if __name__ == "__main__":
    main()
