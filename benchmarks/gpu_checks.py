"""Whether a device gives what it should: forces of every variant, and runs that can be repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
from gpu_runs import SKIN, Bench, evaluate
from gpu_systems import VARIANTS, Case, make_state

from fastdp.dynamics.state import State
from fastdp.gpu.engine import LONGEST_CHUNK, DeviceEngine
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.reference import ReferencePotential
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.timers import Timers


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
    for variant, chosen in VARIANTS.items():
        if chosen.network == "fused" and bench.device.features is None:
            continue
        forces = evaluate(bench.potential(case, variant), state, result)
        found[variant] = {"reference": rms(forces - reference), "compressed": rms(forces - exact)}
    print(f"\n{case.name}, {state.n_atoms} atoms, rms force error in eV/Å against:\n")
    print("| variant | the model as trained | the compressed potential on the CPU |\n|---|---|---|")
    for variant, errors in found.items():
        print(f"| {variant} | {errors['reference']:.2e} | {errors['compressed']:.2e} |", flush=True)
    return found


def engine_of(bench: Bench, case: Case, variant: str) -> tuple[DeviceEngine, State, Any]:
    """Return the structure in motion."""
    run = bench.run(case, variant, (1, 1, 1))
    return run.engine, run.state, run.integrator


def reproducibility(bench: Bench, case: Case, variant: str) -> dict[str, Any]:
    """Run the same twice and once on the CPU, in float64; return what differed."""
    n = case.steps_of_a_run
    runs = []
    for _ in range(2):
        engine, state, integrator = engine_of(bench, case, variant)
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

    engine, state, integrator = engine_of(bench, case, variant)
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
        f"\n{case.name}, {variant}: two runs of {n} steps "
        f"{'have the same bits' if same else 'DIFFER'}, drift "
        f"{drift:+.2f} µeV/atom/ps; after {short} steps at most {found['largest_distance_A']:.1e} Å from the "
        "CPU's",
        flush=True,
    )
    return found
