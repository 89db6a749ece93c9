"""Radial distribution of the oxygens in water: a run with the shipped model against DFT frames.

First make the run: fastdp run inputs/water/nvt_rdf.toml. Then, from the root of the project:

    python benchmarks/water_rdf.py

The run is divided into blocks, and the DFT frames, which are in random order, into groups; bands are the
standard error of the mean over blocks or groups. Both have the same cell, hence the same effects of its size.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np

from fastdp.output.trajectory import Trajectory
from fastdp.structure.read import read_structure

BIN_A = 0.08
BLOCKS = 6
GROUPS = 10
ELEMENT = "O"


def frames_of_run(path: Path, start_ps: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the oxygens' positions and the cell of each frame after `start_ps`."""
    with Trajectory(path) as trajectory:
        chosen = np.array(trajectory.symbols) == ELEMENT
        for frame in trajectory:
            if frame.time_ps > start_ps:
                yield frame.positions[chosen], frame.cell


def frames_of_data(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the oxygens' positions and the cell of each frame of all systems in a folder."""
    for system in sorted(folder.glob("data_*")):
        count = sum(len(np.load(energies)) for energies in system.glob("set.*/energy.npy"))
        for number in range(count):
            structure = read_structure(system, frame=number)
            yield structure.positions[np.array(structure.symbols) == ELEMENT], structure.cell


def distribution(positions: np.ndarray, cell: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return g(r) of one frame in a rectangular cell, for r up to half its shortest edge.

    Normalised by the number of pairs, so that an ideal gas of as many particles has g = 1.
    """
    lengths = np.diag(cell)
    n = len(positions)
    first, second = np.triu_indices(n, k=1)
    vector = positions[first] - positions[second]
    vector -= lengths * np.round(vector / lengths)
    counts, _ = np.histogram(np.linalg.norm(vector, axis=1), bins=edges)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    return counts / (len(first) * shells / lengths.prod())


def mean_and_error(frames: list[np.ndarray], parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over frames, and its standard error from the means of consecutive parts."""
    means = np.array([part.mean(axis=0) for part in np.array_split(np.array(frames), parts)])
    return np.mean(frames, axis=0), means.std(axis=0, ddof=1) / np.sqrt(parts)


def extremum(r: np.ndarray, g: np.ndarray, low: float, high: float, sign: float) -> tuple[float, float]:
    """Return place and height of the maximum (`sign` 1) or minimum (−1) of g between two distances.

    Between the bins, by a parabola through three of them.
    """
    inside = np.flatnonzero((r > low) & (r < high))
    top = inside[np.argmax(sign * g[inside])]
    near = slice(max(top - 1, 0), top + 2)
    a, b, c = np.polyfit(r[near] - r[top], g[near], 2)
    return float(r[top] - b / (2.0 * a)), float(c - b * b / (4.0 * a))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectory", type=Path, default=Path("inputs/water/results/nvt_rdf/trajectory.h5"))
    parser.add_argument("--start-ps", type=float, default=5.0, help="end of the equilibration")
    parser.add_argument("--data", type=Path, default=Path("../shared/water"))
    parser.add_argument("--figure", type=Path, default=Path("inputs/water/rdf.png"))
    arguments = parser.parse_args()

    sources = {
        "run": list(frames_of_run(arguments.trajectory, arguments.start_ps)),
        "dft": list(frames_of_data(arguments.data)),
    }
    half_cell = min(np.diag(cell).min() for frames in sources.values() for _, cell in frames) / 2.0
    edges = np.arange(2.0, half_cell, BIN_A)
    r = 0.5 * (edges[1:] + edges[:-1])
    curves = {}
    for name, parts in (("run", BLOCKS), ("dft", GROUPS)):
        each = [distribution(positions, cell, edges) for positions, cell in sources[name]]
        curves[name] = mean_and_error(each, parts)
        g = curves[name][0]
        peak, minimum, second = (
            extremum(r, g, 2.4, 3.2, 1.0),
            extremum(r, g, 3.0, 3.9, -1.0),
            extremum(r, g, 3.9, 5.2, 1.0),
        )
        print(
            f"{name}: {len(each)} frames; first maximum {peak[1]:.2f} at {peak[0]:.2f} Å, minimum"
            f" {minimum[1]:.2f} at {minimum[0]:.2f} Å, second maximum {second[1]:.2f} at {second[0]:.2f} Å;"
            f" largest standard error {curves[name][1].max():.3f}"
        )
    difference = curves["run"][0] - curves["dft"][0]
    error = np.hypot(curves["run"][1], curves["dft"][1])
    print(
        f"run - dft: rms {np.sqrt(np.mean(difference**2)):.3f} (expected of the noise alone"
        f" {np.sqrt(np.mean(error**2)):.3f}), largest {np.abs(difference).max():.3f}"
        f" at {r[np.abs(difference).argmax()]:.2f} Å"
    )
    plot(arguments.figure, r, curves, len(sources["dft"]))


def plot(path: Path, r: np.ndarray, curves: dict[str, tuple[np.ndarray, np.ndarray]], n_dft: int) -> None:
    """Draw both distributions with their bands."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = {
        "dft": (f"DFT, {n_dft} frames", "black", "--"),
        "run": ("fastdp with water.pb, NVT at 330 K", "tab:blue", "-"),
    }
    figure, axes = plt.subplots(figsize=(6.4, 4.0), constrained_layout=True)
    axes.axhline(1.0, color="0.8", linewidth=0.8)
    for name, (label, colour, style) in labels.items():
        g, error = curves[name]
        axes.fill_between(r, g - error, g + error, color=colour, alpha=0.25, linewidth=0)
        axes.plot(r, g, style, color=colour, linewidth=1.4, label=label)
    axes.set(xlabel="r (Å)", ylabel="g(r), O–O", xlim=(r[0], r[-1]), ylim=(0.0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
