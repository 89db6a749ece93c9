"""How a run gets faster with ranks (strong scaling), or larger in the same time (weak scaling).

Each row of the CSV is one run through `Simulation`, as `fastdp run` does it, with where the time went (mean,
least and most over ranks), and how many ghosts, messages and bytes a rank has each step. Runs take turns,
`--repeat` times, and the fastest of each counts: other programs only ever make a run slower.

    python benchmarks/scaling_mpi.py --case water --atoms 20000 --layouts 1x1 2x1 1x2
    python benchmarks/scaling_mpi.py --case copper --atoms 20000 --layouts 1x1 2x1 --weak
    python benchmarks/scaling_mpi.py --plot benchmarks/results/scaling_water.csv

A layout is ranks x threads of each. The copper model is not part of this repository; `--model` names it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SKIN = 1.0  # Å, the default of `fastdp run`
TEMPERATURE = 330.0  # K
COUNTS = ("ghosts", "messages", "bytes")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", choices=("water", "copper"), default="water")
    parser.add_argument("--model", type=Path, help="model file of the case")
    parser.add_argument("--atoms", type=int, default=20000, help="at least; with --weak, for each core")
    parser.add_argument("--layouts", nargs="+", default=["1x1", "2x1", "1x2"], help="ranks x threads")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--precision", choices=("double", "mixed"), default="double")
    parser.add_argument("--wait", type=float, default=0.0, help="for other programs to be quiet, at most, s")
    parser.add_argument("--weak", action="store_true", help="as many atoms for each core")
    parser.add_argument("--mpirun", help="launcher with options, in one word; default: that of this Python")
    parser.add_argument("--output", type=Path, help="CSV file")
    parser.add_argument("--plot", type=Path, help="only plot this CSV file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def structure(case: str, atoms: int) -> Any:
    """Return at least `atoms` atoms, in a cell as near to a cube as copies allow."""
    from ase.build import bulk

    from fastdp.structure.ase_files import structure_from_atoms
    from fastdp.structure.read import read_structure

    if case == "water":
        unit = read_structure(ROOT / "inputs/water/start.extxyz")
    else:
        crystal = bulk("Cu", "fcc", a=3.615, cubic=True)
        unit = structure_from_atoms(crystal)
    copies = [1, 1, 1]
    while math.prod(copies) * unit.n_atoms < atoms:
        copies[copies.index(min(copies))] += 1
    return replace(unit.repeated(copies), velocities=None)


def worker(task: dict[str, Any]) -> None:
    """Do one run on this rank; rank 0 writes what came out."""
    from fastdp.dynamics.settings import VelocitySettings, VelocityVerletSettings
    from fastdp.dynamics.state import State
    from fastdp.dynamics.velocities import prepare_velocities
    from fastdp.model.readers.registry import read_model
    from fastdp.neighbours.verlet_list import VerletList
    from fastdp.parallel.decomposed_list import DecomposedList
    from fastdp.parallel.domain import deal_out
    from fastdp.parallel.launch import connect, launched
    from fastdp.parallel.threads import thread_limits
    from fastdp.potential.factory import make_potential
    from fastdp.simulation.settings import OutputSettings, RunSettings, StageSettings
    from fastdp.simulation.simulation import Simulation
    from fastdp.structure.types import match_types

    communicator = connect(launched())
    with thread_limits(task["threads"]):
        description = read_model(task["model"])
        small = structure(task["case"], 150)

        def potential_on_root() -> Any:
            return make_potential(description, small, precision=task["precision"]).state_arrays()

        arrays = communicator.broadcast(communicator.on_root(potential_on_root))
        potential = make_potential(description, small, precision=task["precision"], state=arrays)
        whole = None
        if communicator.is_root:
            atoms = structure(task["case"], task["atoms"])
            whole = State.from_structure(atoms, match_types(atoms.symbols, description.type_names))
            prepare_velocities(whole, VelocitySettings(temperature_K=TEMPERATURE, seed=1))
        domain = None
        if communicator.size > 1:
            state, domain, _ = deal_out(whole, communicator)
            neighbours: VerletList = DecomposedList(
                potential.cutoff,
                SKIN,
                state.cell,
                state.periodic,
                state.types,
                state.identifiers,
                communicator,
            )
        else:
            assert whole is not None
            state = whole
            neighbours = VerletList(potential.cutoff, SKIN, state.cell, state.periodic, state.types)
        with tempfile.TemporaryDirectory() as folder:
            settings = RunSettings(
                stages=(StageSettings(task["steps"], VelocityVerletSettings(timestep_fs=0.5)),),
                output=OutputSettings(Path(communicator.broadcast(folder)), trajectory=None, thermo=None),
            )
            summary = Simulation(state, potential, neighbours, settings, domain=domain).run()
        ghosts = neighbours.ghosts if isinstance(neighbours, DecomposedList) else None
        own = [0, 0, 0] if ghosts is None else [ghosts.n_ghosts, ghosts.n_messages, ghosts.bytes_per_step]
        counts = communicator.all_gather(np.array(own))
        # What is written at the start and at the end belongs to no step.
        loop = summary.loop_seconds - max(summary.seconds_by_rank["output"])
        row: dict[str, Any] = {
            "case": task["case"],
            "mode": task["mode"],
            "precision": task["precision"],
            "ranks": communicator.size,
            "threads": task["threads"],
            "grid": "x".join(map(str, domain.regions.shape if domain is not None else (1, 1, 1))),
            "atoms": state.n_total,
            "steps": summary.steps,
            "builds": summary.neighbour_builds,
            "seconds_per_step": loop / summary.steps,
            "us_per_atom_step": 1e6 * loop / summary.steps / state.n_total,
        }
        for name, values in summary.seconds_by_rank.items():
            if name != "output":
                per_step = np.array(values) / summary.steps
                row |= {
                    f"{name}_mean_s": per_step.mean(),
                    f"{name}_min_s": per_step.min(),
                    f"{name}_max_s": per_step.max(),
                }
        for column, name in enumerate(COUNTS):
            row |= {f"{name}_mean": counts[:, column].mean(), f"{name}_max": counts[:, column].max()}
        edges = np.linalg.norm(state.cell, axis=1)
        row |= {f"edge_{axis}_A": edge for axis, edge in zip("abc", edges, strict=True)}
        row["reach_A"] = potential.cutoff + SKIN
    if communicator.is_root:
        Path(task["result"]).write_text(json.dumps({key: _plain(value) for key, value in row.items()}))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def launch(task: dict[str, Any], ranks: int, mpirun: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        task = task | {"result": str(Path(folder) / "row.json")}
        command = [sys.executable, __file__, "--worker", json.dumps(task)]
        if ranks > 1:
            command = [*mpirun.split(), "-n", str(ranks), *command]
        subprocess.run(command, check=True)
        return json.loads(Path(task["result"]).read_text())


class Others:
    """How much of the processors' time other programs took, between `start` and `share` (Linux only)."""

    def start(self) -> None:
        """Begin to count."""
        self._busy, self._own = self._times()
        self._began = time.perf_counter()

    def share(self) -> float:
        """Return the part of one core."""
        busy, own = self._times()
        return max(busy - self._busy - (own - self._own), 0.0) / (time.perf_counter() - self._began)

    def wait(self, patience: float) -> None:
        """Wait until they are quiet, but not for ever."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            self.start()
            time.sleep(1.0)
            if self.share() < 0.1:
                return

    @staticmethod
    def _times() -> tuple[float, float]:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (sum(ticks[:3]) + sum(ticks[5:])) / os.sysconf("SC_CLK_TCK"), own.ru_utime + own.ru_stime


def plot(path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"{row['ranks']} × {row['threads']}" for row in rows]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    bottom = np.zeros(len(rows))
    for name in ("model", "neighbours", "motion", "communication", "waiting", "other"):
        heights = np.array([1e3 * float(row.get(f"{name}_mean_s") or 0.0) for row in rows])
        axes.bar(names, heights, bottom=bottom, label=name)
        bottom += heights
    axes.set(xlabel="ranks × threads", ylabel="ms a step")
    case = rows[0]
    axes.set_title(f"{case['case']}, {case['mode']} scaling, {case['atoms']} atoms at {names[0]}")
    axes.legend(frameon=False)
    figure.savefig(path.with_suffix(".png"), dpi=150)


def main() -> None:
    options = arguments()
    if options.worker:
        worker(json.loads(options.worker))
        return
    if options.plot:
        plot(options.plot)
        return
    own = Path(sys.executable).parent / "mpirun"
    mpirun = options.mpirun or (str(own) if own.exists() else shutil.which("mpirun"))
    if not mpirun:
        raise SystemExit("there is no mpirun: pip install 'fastdp[mpi]'")
    models = {
        "water": ROOT / "inputs/water/water.pb",
        "copper": ROOT.parent / "shared/models/third_party/copper.pb",
    }
    mode = "weak" if options.weak else "strong"
    best: dict[str, dict[str, Any]] = {}
    others = Others()
    for turn in range(options.repeat):
        for layout in options.layouts:
            ranks, threads = map(int, layout.split("x"))
            task = {
                "case": options.case,
                "model": str(options.model or models[options.case]),
                "atoms": options.atoms * (ranks * threads if options.weak else 1),
                "steps": options.steps,
                "threads": threads,
                "precision": options.precision,
                "mode": mode,
            }
            others.wait(options.wait)
            others.start()
            row = launch(task, ranks, mpirun)
            row["others_share"] = others.share()
            if layout not in best or row["seconds_per_step"] < best[layout]["seconds_per_step"]:
                best[layout] = row
            between = sum(row.get(f"{name}_mean_s", 0.0) for name in ("communication", "waiting"))
            print(
                f"turn {turn + 1}, {layout}: {1e3 * row['seconds_per_step']:.1f} ms a step, "
                f"{row['us_per_atom_step']:.2f} µs/atom/step, "
                f"communication {100 * row.get('communication_mean_s', 0) / row['seconds_per_step']:.1f} %, "
                f"with waiting {100 * between / row['seconds_per_step']:.1f} %, "
                f"other programs {100 * row['others_share']:.0f} % of a core",
                flush=True,
            )
    first = best[options.layouts[0]]
    for layout, row in best.items():
        row["speedup"] = (first["seconds_per_step"] / first["atoms"]) / (
            row["seconds_per_step"] / row["atoms"]
        )
        print(f"{layout}: {row['speedup']:.2f} times {options.layouts[0]}, for each atom")
    output = options.output or ROOT / f"benchmarks/results/scaling_{options.case}_{mode}.csv"
    columns = list(dict.fromkeys(key for row in best.values() for key in row))
    with open(output, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(best.values())
    print(f"written: {output}")


if __name__ == "__main__":
    main()
