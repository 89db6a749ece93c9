"""Time for a step and memory, for one atom, from 192 to a million atoms.

    python benchmarks/scaling_size.py [--systems water copper] [--precision mixed] [--largest 1000000]

Each size is a run of its own (`fastdp run`, NVE, no frames), on the cores that this process may use. The
memory of an atom is the slope of the peak memory between neighbouring sizes. Writes JSON, a Markdown table
and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

REPEATS = {
    "water": [(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8), (12, 12, 12), (17, 17, 18)],
    "copper": [(6, 6, 6), (12, 12, 12), (24, 24, 24), (40, 40, 40), (63, 63, 63)],
}
"""Copies of 192 and of 4 atoms."""

ATOM_STEPS = 1_500_000
"""Of each run; at least `LEAST_STEPS` steps."""

LEAST_STEPS = 8


def system(name: str, folder: Path) -> tuple[Path, int, float, float]:
    """Write the unit of structure; return model, atoms of the unit, time step in fs and temperature in K."""
    if name == "water":
        unit = ase.io.read(ROOT / "inputs" / "water" / "start.extxyz")
        found = ROOT / "inputs" / "water" / "water.pb", len(unit), 0.5, 330.0
    else:
        unit = bulk("Cu", "fcc", 3.615, cubic=True)
        found = SHARED / "models" / "third_party" / "copper.pb", len(unit), 1.0, 600.0
    ase.io.write(folder / "unit.extxyz", unit)
    return found


def measure(name: str, repeat: tuple[int, int, int], precision: str, threads: int) -> dict:
    """Run one size and return its figures."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        model, unit, timestep, temperature = system(name, folder)
        n_atoms = unit * int(np.prod(repeat))
        steps = max(LEAST_STEPS, ATOM_STEPS // n_atoms)
        (folder / "input.toml").write_text(f"""version = 1
[potential]
model = "{model}"
backend = "cpu"
precision = "{precision}"
audit_atoms = 0
[structure]
file = "unit.extxyz"
repeat = {list(repeat)}
[velocities]
temperature_K = {temperature}
seed = 12345
[[stage]]
ensemble = "nve"
steps = {steps}
timestep_fs = {timestep}
[output]
directory = "out"
trajectory.every = 1000000
thermo.every = 1000
checkpoint.every = 1000000
[parallel]
threads = {threads}
""")
        command = [sys.executable, "-m", "fastdp"]
        # Compresses and compiles, so that neither counts below.
        subprocess.run([*command, "check", "input.toml"], cwd=folder, capture_output=True, check=True)
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "run", "input.toml"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{name} {repeat} failed:\n{printed[-2000:]}")
    kilobyte = 1 if sys.platform == "darwin" else 1024

    def number(pattern: str) -> float:
        return float(re.search(pattern, printed)[1])

    return {
        "system": name,
        "atoms": n_atoms,
        "steps": steps,
        "microseconds_per_atom_step": number(r"([\d.]+) µs/atom/step \("),
        "model_microseconds": number(r"model +([\d.]+)") * 1e6 / (steps * n_atoms),
        "peak_bytes": usage.ru_maxrss * kilobyte,
        "seconds_before_first_step": seconds - number(r"all steps +([\d.]+)"),
    }


def table(results: list[dict]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| system | atoms | steps | µs/atom/step | of it model | peak memory, MiB | bytes for each further"
        " atom | start, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before: dict | None = None
    for row in results:
        same = before is not None and before["system"] == row["system"]
        slope = (
            f"{(row['peak_bytes'] - before['peak_bytes']) / (row['atoms'] - before['atoms']):.0f}"
            if same and before is not None
            else ""
        )
        lines.append(
            f"| {row['system']} | {row['atoms']} | {row['steps']} | "
            f"{row['microseconds_per_atom_step']:.2f} | "
            f"{row['model_microseconds']:.2f} | {row['peak_bytes'] / 2**20:.0f} | {slope} | "
            f"{row['seconds_before_first_step']:.1f} |"
        )
        before = row
    return "\n".join(lines)


def plot(results: list[dict], path: Path, title: str) -> None:
    """Draw time and memory over the number of atoms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (speed, memory) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    for name in dict.fromkeys(row["system"] for row in results):
        rows = [row for row in results if row["system"] == name]
        atoms = [row["atoms"] for row in rows]
        speed.plot(atoms, [row["microseconds_per_atom_step"] for row in rows], "o-", label=name)
        memory.plot(atoms, [row["peak_bytes"] / 2**20 for row in rows], "o-", label=name)
    atoms = np.array([min(r["atoms"] for r in results), max(r["atoms"] for r in results)], float)
    memory.plot(atoms, 250 + atoms * 3e3 / 2**20, "k:", label="3 kB an atom")
    speed.set(xscale="log", xlabel="atoms", ylabel="µs/atom/step", title=title)
    speed.set_ylim(bottom=0.0)
    memory.set(xscale="log", yscale="log", xlabel="atoms", ylabel="peak memory, MiB")
    speed.legend(frameon=False)
    memory.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["water", "copper"], choices=list(REPEATS))
    parser.add_argument("--precision", default="mixed", choices=["double", "mixed"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--largest", type=float, default=1.1e6, help="atoms")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    results = []
    for name in options.systems:
        if name == "copper" and not SHARED.exists():
            print("copper: its model is not here, left out")
            continue
        unit = 192 if name == "water" else 4
        for repeat in REPEATS[name]:
            if unit * int(np.prod(repeat)) <= options.largest:
                results.append(measure(name, repeat, options.precision, options.threads))
                print(table(results[-1:]).splitlines()[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling_size.json").write_text(json.dumps(results, indent=1))
    (options.out / "scaling_size.md").write_text(table(results) + "\n")
    title = f"{options.precision}, {options.threads} thread{'s' * (options.threads > 1)}"
    plot(results, options.out / "scaling_size.png", title)
    print(table(results))


if __name__ == "__main__":
    main()
