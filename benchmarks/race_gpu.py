"""Race fastdp on a GPU against LAMMPS with DeePMD-kit's compressed model on the same GPU, model and atoms.

    python benchmarks/race_gpu.py --peer /path/to/environment [--cases water-12288 …] [--repeats 3]

The peer's environment is made there with `pip install "deepmd-kit[gpu,cu12,lmp]"` if it does not exist (some
GB; it needs a network); it is no dependency of fastdp. All else is as in `race_cpu.py`: runs alternate,
both run NVE from the same positions, start-up and compilation are left out, forces are compared first.
`--backend cpu` tries out the script where there is no card: its figures are then those of processors, and say
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from race_cpu import System, compare_forces, peer_environment, run, systems, write_fastdp, write_lammps

PEER = "deepmd-kit[gpu,cu12,lmp]"

CASES = {
    "water-192": ("water", 1),
    "water-12288": ("water", 4),
    "water-98304": ("water", 8),
    "water-998784": ("water", 17),
    "copper-864": ("copper", 6),
    "copper-6912": ("copper", 12),
    "copper-108000": ("copper", 30),
    "copper-1000188": ("copper", 63),
}
"""Model, and copies of the unit along each axis. The peer's memory ends at some 10⁵ atoms for each 10 GB."""


LARGEST_COMPARED = 20_000
"""Atoms: forces are compared on the processor."""


@dataclass(frozen=True)
class Contestant:
    """One way to run fastdp.

    Attributes
    ----------
    label, key : str
        In the table, and of the input file and the results.
    settings : str
        Lines of the table [potential].
    """

    label: str
    key: str
    settings: str


CONTESTANTS = (
    Contestant("double, layers", "double", 'gpu_network = "layers"'),
    Contestant("double, fused", "double_fused", 'gpu_network = "fused"'),
    Contestant("mixed, layers", "mixed", 'precision = "mixed"\ngpu_network = "layers"'),
    Contestant("mixed, fused", "mixed_fused", 'precision = "mixed"\ngpu_network = "fused"'),
)


def race(case: str, system: System, size: int, options: argparse.Namespace) -> dict:
    """Run one case and return its figures."""
    atoms = system.unit.repeat(size)
    if len(system.types) == 1:
        atoms.positions += np.random.default_rng(1).normal(0.0, 0.05, atoms.positions.shape)
    environment = peer_environment(options.peer, PEER)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def timed(command: list[str], variables: dict[str, str], pattern: str) -> float:
            text = run(command, cores=cores, cwd=folder, environment=variables)
            return float(re.findall(pattern, text)[-1])

        compressed = system.compressed
        if compressed is None:
            compressed = folder / "compressed.pb"
            command = ["dp", "compress", "-i", str(system.model), "-o", str(compressed)]
            run(command, cores=cores, cwd=folder, environment=environment)
        write_lammps(folder, system, atoms, compressed, options.steps)
        for one in CONTESTANTS:
            potential = f'backend = "{options.backend}"\n{one.settings}'
            write_fastdp(folder, system, atoms, options.steps, one.key, potential)
        figures: dict[str, list[float]] = {"lammps": [], **{one.key: [] for one in CONTESTANTS}}
        # The first turn compiles and compresses, and does not count.
        for turn in range(1 + options.repeats):
            seconds = timed(["lmp", "-in", "in.lammps"], environment, r"Loop time of ([\d.eE+-]+) on")
            measured = {"lammps": 1e6 * seconds / options.steps / len(atoms)}
            for one in CONTESTANTS:
                command = [sys.executable, "-m", "fastdp", "run", f"{one.key}.toml", "--overwrite"]
                measured[one.key] = timed(command, dict(os.environ), r"([\d.]+) µs/atom/step \(")
            for key, value in measured.items() if turn else ():
                figures[key].append(value)
        difference = compare_forces(folder, system, atoms) if len(atoms) < LARGEST_COMPARED else None
    medians = {key: statistics.median(values) for key, values in figures.items()}
    return {
        "case": case,
        "atoms": len(atoms),
        "steps": options.steps,
        "backend": options.backend,
        "force_difference_eV_per_A": difference,
        "microseconds_per_atom_and_step": figures,
        "speedup": {one.key: medians["lammps"] / medians[one.key] for one in CONTESTANTS},
    }


def table(results: list[dict]) -> str:
    """Return the results as a Markdown table."""
    labels = [one.label for one in CONTESTANTS]
    lines = [
        f"| case | LAMMPS + DeePMD-kit, ns/atom/step | {' | '.join(labels)} | "
        f"{' | '.join(f'speed-up {label}' for label in labels)} | force difference, eV/Å |",
        "|" + "---|" * (3 + 2 * len(labels)),
    ]
    for row in results:
        cells = [row["case"]]
        for values in row["microseconds_per_atom_and_step"].values():
            low, middle, high = (1e3 * f(values) for f in (min, statistics.median, max))
            cells.append(f"{middle:.1f} ({low:.1f}–{high:.1f})")
        cells += [f"{value:.1f}" for value in row["speedup"].values()]
        difference = row["force_difference_eV_per_A"]
        cells.append("" if difference is None else f"{difference:.1e}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the race."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="environment of DeePMD-kit and LAMMPS")
    parser.add_argument("--cases", nargs="+", default=["water-12288", "copper-6912"], choices=CASES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--backend", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--json", type=Path, default=Path("race_gpu.json"))
    options = parser.parse_args()
    available, results = systems(), []
    for case in options.cases:
        name, size = CASES[case]
        if name not in available:
            print(f"{case}: its model is not here, left out")
            continue
        results.append(race(case, available[name], size, options))
        options.json.write_text(json.dumps(results, indent=1) + "\n")
        print(table(results[-1:]).splitlines()[-1], flush=True)
    print(f"\nbackend {options.backend}\n\n{table(results)}")


if __name__ == "__main__":
    main()
