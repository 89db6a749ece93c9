"""Check, time and tabulate the GPU engine in one call.

    python benchmarks/bench_gpu.py [--systems water copper] [--sizes 192 1e4 1e5 1e6 1e7] [--json FILE]
        [--variants float64 fused-float64 …] [--profile 1e5] [--minutes 8] [--launcher numba] [--simulate]

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
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from gpu_checks import accuracy, reproducibility
from gpu_parts import build_seconds, graph_and_launches, launch_seconds, measure_rates, step_floor, time_parts
from gpu_runs import SKIN, Bench
from gpu_systems import CASES, VARIANTS, Case, small_case

import fastdp
from fastdp.errors import BackendError
from fastdp.gpu.device.base import Device
from fastdp.gpu.device.choice import open_device, simulated
from fastdp.gpu.engine import LONGEST_CHUNK, DeviceEngine

TIMED = ["float64", "float32", "tf32x3", "fused-float64", "fused-tf32x3"]
"""Variants, by default; plain TF32 loses too much. The accuracy of all is shown."""

CHUNK_SECONDS = 0.5
"""Steps are timed in chunks that take about this long."""


def time_engine(engine: DeviceEngine, device: Device, chunks: int) -> dict[str, Any]:
    """Return seconds for a step by the device's clock and by the host's; what compiles is not counted."""

    def chunk(steps: int) -> tuple[float, float]:
        began, first = time.perf_counter(), device.mark()
        _, halted = engine.advance(steps, virial=False)
        last = device.mark()
        if halted:
            raise SystemExit("the run was halted; the start structure is not one to begin with")
        return device.elapsed(first, last) / steps, (time.perf_counter() - began) / steps

    # The first may be recorded as a graph.
    chunk(1)
    single = chunk(1)[1]
    steps = int(min(max(CHUNK_SECONDS / single, 1), LONGEST_CHUNK))
    builds = engine.number_of_builds
    times = [chunk(steps) for _ in range(chunks)]
    by_device, by_host = zip(*times, strict=True)
    return {
        "steps": steps,
        "chunks": chunks,
        "seconds": statistics.median(by_device),
        "shortest": min(by_device),
        "longest": max(by_device),
        "seconds_by_the_host": statistics.median(by_host),
        "builds": engine.number_of_builds - builds,
    }


def time_size(bench: Bench, case: Case, variant: str, wanted: float) -> dict[str, Any] | None:
    """Time a step twice, each with everything made anew; None if there is no room."""
    copies = case.copies(wanted)
    turns = []
    for _ in range(bench.options.repeats):
        gc.collect()
        free = bench.device.memory()[0]
        try:
            run = bench.run(case, variant, copies)
            engine = run.engine
            turns.append(time_engine(engine, bench.device, bench.options.chunks))
            turns[-1]["start_seconds"] = run.start_seconds
        except BackendError as error:
            print(f"{case.name}, {wanted:.0f} atoms, {variant}: {error}", flush=True)
            return None
        used = free - bench.device.memory()[0]
        system = engine._system
        per_atom, fixed = engine.bytes / system.n_atoms, system.fixed_bytes
        rates = bench.found["rates"]
        floor = step_floor(
            engine, bench.device, case.density(SKIN), rates[VARIANTS[variant].rate], rates["bytes"]
        )
        error = run.force_error
        del run, engine, system
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
        "largest_force_error": error,
        "floor_seconds": floor,
        "of_the_floor": floor / best,
        "bytes_per_atom": per_atom,
        "bytes_used": used,
        "largest_system": int((total - fixed) / per_atom),
    }
    print(row_of(found), flush=True)
    return found


HEADER = (
    "| system | atoms | variant | force error | ms/step | spread | noise | of the floor | M atom·step/s | "
    "ns/day | bytes/atom | largest system |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row_of(found: dict[str, Any]) -> str:
    """Return a row of the table of times."""
    turn = min(found["turns"], key=lambda one: one["seconds"])
    return (
        f"| {found['system']} | {found['atoms']} | {found['variant']} | "
        f"{found['largest_force_error']:.1e} | {found['ms_per_step']:.4g} | "
        f"{1e3 * turn['shortest']:.4g}–{1e3 * turn['longest']:.4g} | {100 * found['noise']:.1f} % | "
        f"{100 * found['of_the_floor']:.0f} % | "
        f"{found['million_atom_steps_per_s']:.4g} | {found['ns_per_day']:.3g} | "
        f"{found['bytes_per_atom']:.0f} | {found['largest_system'] / 1e6:.3g} M |"
    )


def profile(bench: Bench, case: Case, variant: str, wanted: float, rates: dict[str, float]) -> dict[str, Any]:
    """Time each kernel of a step, and compare it with its floor; print both."""
    run = bench.run(case, variant, case.copies(wanted))
    engine, state = run.engine, run.state
    engine.advance(1, virial=False)
    rows = time_parts(
        engine,
        bench.device,
        case.density(SKIN),
        rates[VARIANTS[variant].rate],
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
    graph, launched = graph_and_launches(engine, bench.device, bench.options.profile_steps)
    built = build_seconds(engine, bench.device, bench.options.profile_steps)
    print(f"| list | to build it | | {1e6 * built:.1f} | | |")
    whole, floor = (sum(row[key] for row in rows) for key in ("seconds", "floor"))
    print(f"| sum | | | {1e6 * whole:.1f} | {1e6 * floor:.1f} | {100 * floor / whole:.0f} % |", flush=True)
    print(f"\na step: {1e6 * graph:.1f} µs as a graph, {1e6 * launched:.1f} µs launched kernel by kernel")
    return {
        "atoms": state.n_atoms,
        "graph_seconds": graph,
        "launched_seconds": launched,
        "variant": variant,
        "rows": rows,
        "seconds": whole,
        "floor": floor,
        "build_seconds": built,
    }


def measure(bench: Bench) -> None:
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
        for variant in ("float64",) if device.features is None else ("float64", "fused-float64"):
            if bench.time_left(f"reproducibility of {case.name}, {variant}"):
                bench.keep(f"reproducibility {case.name} {variant}", reproducibility(bench, case, variant))
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
    parser.add_argument("--variants", nargs="*", default=TIMED, choices=list(VARIANTS))
    parser.add_argument("--profile", type=float, default=1e5, help="atoms of the table of kernels")
    parser.add_argument("--profile-steps", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--launcher", default="driver", choices=["driver", "numba"])
    parser.add_argument("--json", type=Path, default=Path("bench_gpu.json"))
    parser.add_argument("--simulate", action="store_true", help="a few atoms, in Numba's simulator")
    options = parser.parse_args()
    # The log of a chunk has no more rows.
    options.profile_steps = min(options.profile_steps, LONGEST_CHUNK)
    if simulated() or options.simulate:
        if not simulated():
            raise SystemExit("--simulate: set NUMBA_ENABLE_CUDASIM=1, which Numba reads when it starts")
        options.simulate = True
        options.systems, options.variants = ["water"], ["tf32x3"]
        options.sizes, options.profile = [3.0], 3.0
        options.chunks, options.profile_steps = 1, 1
    measure(Bench(open_device(options.launcher), options))


if __name__ == "__main__":
    main()
