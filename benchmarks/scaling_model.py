r"""Predict strong and weak scaling to many ranks from what was measured on few; check it on those few.

The model of a step on a rank with n atoms in a brick of a periodic box:

    t = a·n·f + g·G + exposed transfer + forces home + collectives + rebuild / interval
    G                ghosts: density × (volume of the brick grown by the reach − what of it are own images)
    exposed transfer of positions: what is left of (messages × latency + bytes / bandwidth) after the interior
                     atoms (those farther than the reach from the surface) have been evaluated
    forces home      messages × latency + bytes / bandwidth
    collectives      4 sums over ranks a step (rebuild?, energy and virial, kinetic energy, stop?), each
                     2·log₂(ranks)·latency
    rebuild          12 numbers of each rank gathered on all, 2 × counts for each rank, 3 more sums

a (work for each atom) is measured on one rank; g (packing, searching, adding for each ghost) is what the
communication of the measured rows with several ranks costs for each ghost; f is the busiest rank over the
mean. Latency and bandwidth are those of the machine that is asked about, and are given on the command line:

    python benchmarks/scaling_model.py benchmarks/results/scaling_water_strong.csv \
        --latency-us 2 --bandwidth-GBps 10 --cores-per-rank 1

What it leaves out: the model's kernels are a little slower for a few hundred atoms than for many, ranks on
one node share memory and network, systems interrupt, atoms come in whole numbers: it is a bound from above.
Numbers beyond the measured ranks are a prediction, of this model and for that machine, not a measurement.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

PUBLISHED = {"copper": 13_500_000, "water": 4_100_000}
"""Atoms of the strong scaling of the record runs of 2022 (Z. Guo et al., PPoPP '22: 205–218)."""

DENSITY = {"copper": 4 / 3.615**3, "water": 192 / 12.4447**3}
"""Atoms per Å³."""

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 10_000)
SUMS_PER_STEP = 4
STEPS_BETWEEN_BUILDS = 20


@dataclass(frozen=True)
class Machine:
    """What messages cost."""

    latency: float  # s
    bandwidth: float  # bytes/s


@dataclass(frozen=True)
class Work:
    """What was measured on few ranks."""

    per_atom: float  # s for each atom and step, rebuilds included
    per_ghost: float  # s for each ghost and step
    imbalance: float  # busiest rank over the mean


@dataclass(frozen=True)
class Brick:
    """What a rank has, from geometry alone."""

    atoms: float
    ghosts: float
    interior: float
    messages: int


def shape_of(n_ranks: int, box: np.ndarray) -> tuple[int, int, int]:
    """Return the grid that fastdp chooses."""
    from fastdp.parallel.grid import choose_shape

    return choose_shape(n_ranks, box, np.array([True] * 3))


def brick(shape: tuple[int, int, int], box: np.ndarray, density: float, reach: float) -> Brick:
    """Count atoms and ghosts of a rank; images of its own atoms, along axes that are not cut, stay."""
    counts = np.array(shape)
    edges = box / counts
    cut = counts > 1
    grown = edges + 2.0 * reach
    own = edges + np.where(cut, 0.0, 2.0 * reach)
    inner = np.maximum(edges - np.where(cut, 2.0 * reach, 0.0), 0.0)
    hops = np.ceil(reach / edges).astype(int)
    others = [
        len({k % n for k in range(-h, h + 1)}) if n > 1 else 1 for h, n in zip(hops, counts, strict=True)
    ]
    return Brick(
        atoms=density * float(np.prod(edges)),
        ghosts=density * float(np.prod(grown) - np.prod(own)),
        interior=float(np.prod(inner / edges)),
        messages=math.prod(others) - 1,
    )


def step_seconds(part: Brick, n_ranks: int, work: Work, machine: Machine) -> dict[str, float]:
    """Return where the time of a step goes, by the model."""
    compute = work.per_atom * part.atoms
    transfer = part.messages * machine.latency + 24.0 * part.ghosts / machine.bandwidth
    hidden = compute * part.interior
    one_sum = 2.0 * math.ceil(math.log2(n_ranks)) * machine.latency if n_ranks > 1 else 0.0
    rebuild = 3 * one_sum
    if n_ranks > 1:
        rebuild += (96.0 + 16.0) * n_ranks / machine.bandwidth + 3 * math.log2(n_ranks) * machine.latency
    return {
        "work": compute,
        "waiting for the busiest": compute * (work.imbalance - 1.0) if n_ranks > 1 else 0.0,
        "ghosts": work.per_ghost * part.ghosts,
        "positions": max(transfer - hidden, 0.0),
        "forces": transfer,
        "sums": SUMS_PER_STEP * one_sum + rebuild / STEPS_BETWEEN_BUILDS,
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def calibrate(rows: list[dict[str, str]]) -> Work:
    """Return the costs that the measured rows tell."""
    single = next(row for row in rows if row["ranks"] == "1" and row["threads"] == "1")
    several = [row for row in rows if int(row["ranks"]) > 1 and row["threads"] == "1"]
    per_ghost = [float(row["communication_mean_s"]) / float(row["ghosts_mean"]) for row in several]
    # The time of the model alone: waiting shows what it does to the others.
    uneven = [float(row["model_max_s"]) / float(row["model_mean_s"]) for row in several]
    return Work(
        per_atom=float(single["seconds_per_step"]) / float(single["atoms"]),
        per_ghost=float(np.mean(per_ghost)) if per_ghost else 0.0,
        imbalance=float(np.mean(uneven)) if uneven else 1.0,
    )


def check(rows: list[dict[str, str]], work: Work, machine: Machine, cores: int) -> None:
    """Print prediction beside measurement, of ghosts, messages and times."""
    print("check against what was measured (ranks × 1 thread):")
    print("  ranks  grid     atoms     ghosts, counted / geometry   messages     ms a step, measured / model")
    for row in rows:
        if row["threads"] != "1":
            continue
        box = np.array([float(row[f"edge_{axis}_A"]) for axis in "abc"])
        shape = tuple(int(n) for n in row["grid"].split("x"))
        density = float(row["atoms"]) / float(np.prod(box))
        part = brick(shape, box, density, float(row["reach_A"]))  # type: ignore[arg-type]
        seconds = sum(step_seconds(part, int(row["ranks"]), work, machine).values())
        seconds *= max(1.0, int(row["ranks"]) / cores)
        print(
            f"  {row['ranks']:>5}  {row['grid']:<7} {row['atoms']:>7}   {float(row['ghosts_mean']):>10.0f} / "
            f"{part.ghosts:<10.0f}   {float(row['messages_mean']) / 2:>8.1f} / {part.messages:<4}"
            f"   {1e3 * float(row['seconds_per_step']):>12.2f} / {1e3 * seconds:.2f}"
        )


def predict(
    case: str, n_atoms: int, reach: float, work: Work, machine: Machine, *, weak: bool
) -> list[dict[str, float]]:
    """Return a row for each number of ranks; `n_atoms` is that of each rank if `weak`."""
    rows = []
    for n_ranks in RANKS:
        total = n_atoms * (n_ranks if weak else 1)
        box = np.full(3, (total / DENSITY[case]) ** (1.0 / 3.0))
        part = brick(shape_of(n_ranks, box), box, DENSITY[case], reach)
        parts = step_seconds(part, n_ranks, work, machine)
        seconds = sum(parts.values())
        rows.append(
            {
                "ranks": n_ranks,
                "atoms": total,
                "atoms_per_rank": part.atoms,
                "ghosts_per_rank": part.ghosts,
                "messages": 2 * part.messages,
                "megabytes": 48e-6 * part.ghosts,
                "ms_per_step": 1e3 * seconds,
                "efficiency": parts["work"] / seconds,
                **{f"{name} (ms)": 1e3 * value for name, value in parts.items()},
            }
        )
    return rows


def show(title: str, rows: list[dict[str, float]]) -> None:
    print(f"\nPREDICTION, {title}:")
    print("   ranks      atoms  atoms/rank  ghosts/rank  messages  MB/step   ms/step  efficiency")
    for row in rows:
        print(
            f"  {row['ranks']:>6}  {row['atoms']:>9}  {row['atoms_per_rank']:>10.0f}  "
            f"{row['ghosts_per_rank']:>11.0f}  {row['messages']:>8}  {row['megabytes']:>7.2f}  "
            f"{row['ms_per_step']:>8.2f}  {100 * row['efficiency']:>8.1f} %"
        )


def save(path: Path, rows: list[dict[str, float]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot(path: Path, strong: list[dict[str, float]], weak: list[dict[str, float]], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    ranks = [row["ranks"] for row in strong]
    left.loglog(ranks, [row["ms_per_step"] for row in strong], "o-", label="predicted")
    left.loglog(ranks, [strong[0]["ms_per_step"] / n for n in ranks], "--", label="ideal")
    left.set(xlabel="ranks", ylabel="ms a step", title=f"strong, {strong[0]['atoms']} atoms")
    left.legend(frameon=False)
    right.semilogx(ranks, [100 * row["efficiency"] for row in strong], "o-", label="strong")
    right.semilogx(ranks, [100 * row["efficiency"] for row in weak], "s-", label="weak")
    right.set(xlabel="ranks", ylabel="efficiency (%)", ylim=(0, 105), title=title)
    right.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("measured", type=Path, help="CSV file of scaling_mpi.py, with a row for 1x1")
    parser.add_argument("--latency-us", type=float, default=2.0, help="of a message, µs")
    parser.add_argument(
        "--bandwidth-GBps", type=float, default=10.0, help="of a rank, GB/s", dest="bandwidth"
    )
    parser.add_argument(
        "--measured-cores", type=int, default=os.cpu_count(), help="of the machine that was measured"
    )
    parser.add_argument("--atoms", type=int, help="for strong scaling; default: the published case")
    parser.add_argument("--weak-atoms", type=int, default=20_000, help="of each rank, for weak scaling")
    parser.add_argument("--cores-per-rank", type=int, default=1, help="that share a rank's work perfectly")
    parser.add_argument("--output", type=Path, help="CSV files and plot begin with this name")
    options = parser.parse_args()
    rows = read_rows(options.measured)
    case, reach = rows[0]["case"], float(rows[0]["reach_A"])
    machine = Machine(1e-6 * options.latency_us, 1e9 * options.bandwidth)
    measured = calibrate(rows)
    print(
        f"{case}: {1e6 * measured.per_atom:.2f} µs an atom and step, {1e9 * measured.per_ghost:.1f} ns a"
        f" ghost, busiest rank {measured.imbalance:.3f} times the mean; {options.latency_us:g} µs latency,"
        f" {options.bandwidth:g} GB/s"
    )
    check(rows, measured, machine, options.measured_cores)
    cores = options.cores_per_rank
    work = Work(measured.per_atom / cores, measured.per_ghost / cores, measured.imbalance)
    strong = predict(case, options.atoms or PUBLISHED[case], reach, work, machine, weak=False)
    weak = predict(case, options.weak_atoms, reach, work, machine, weak=True)
    show(f"strong scaling, {cores} cores a rank", strong)
    show(f"weak scaling, {options.weak_atoms} atoms a rank, {cores} cores a rank", weak)
    stem = options.output or options.measured.with_name(f"scaling_model_{case}")
    save(stem.with_name(f"{stem.name}_strong.csv"), strong)
    save(stem.with_name(f"{stem.name}_weak.csv"), weak)
    plot(stem.with_suffix(".png"), strong, weak, f"{case}, predicted by a model")


if __name__ == "__main__":
    main()
