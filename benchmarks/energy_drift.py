r"""Drift of the conserved quantity of runs of water, from their trajectory and thermo table, and a plot.

First make the runs: fastdp run inputs/water/nve.toml, and nvt_rdf.toml. Then, from the root of the project:

    python benchmarks/energy_drift.py NVE=inputs/water/results/nve NVT=inputs/water/results/nvt_rdf

Velocity Verlet does not conserve the energy H but, up to terms of order Δt⁴, the shadow energy

.. math::

    \tilde H = H + \Delta t^2 \left( \tfrac{1}{12} v^T \Phi v - \tfrac{1}{24} F^T M^{-1} F \right), \qquad
    \Phi = \partial^2 U / \partial x^2

(R. D. Engle, R. D. Skeel, M. Drees, J. Comput. Phys. 206, 432 (2005), doi:10.1016/j.jcp.2004.12.009). H
differs from it by an amount that follows the energy in the stiffest vibrations, the stretching of O-H. That
energy changes over picoseconds, and with it H, by tens of µeV/atom and without any drift; so the slope of H
over 20 ps is uncertain by about 0.5 µeV/atom/ps. The slope of the shadow energy is known thirty times better.

Scaling velocities, the thermostat changes vᵀΦv, and with it the shadow energy, at the rate
−Δt²/6 v_ξ₁ vᵀΦv, while the velocity Verlet step conserves it; this is summed up and taken out. The
positions ξ₁ of the thermostat follow from the work −2K dξ₁ that it does on the atoms.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import ase
import matplotlib
import numpy as np

from fastdp.ase import FastDP
from fastdp.output.trajectory import Frame, Trajectory
from fastdp.units import A_PER_PS2_FROM_EV_PER_A_U, PS_PER_FS

BLOCK_PS = 0.25


@dataclass(frozen=True)
class Series:
    """Conserved quantity of one stage.

    Attributes
    ----------
    time, energy : (n_rows,) float64
        Of the thermo table, ps and µeV/atom, from the start of the stage.
    frame_time, shadow : (n_frames,) float64
        Of the trajectory: the same for the shadow energy.
    temperature : float
        Mean, K.
    """

    time: np.ndarray
    energy: np.ndarray
    frame_time: np.ndarray
    shadow: np.ndarray
    temperature: float


def read_series(folder: Path, calculator: FastDP, *, stage: int = 2, timestep_fs: float = 0.5) -> Series:
    """Read one stage of a run, and evaluate the shadow energy at its frames that have a row in the table."""
    table = np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True)
    table = table[table["stage"] == stage]
    row_of = {int(step): row for row, step in enumerate(table["step"])}
    timestep = timestep_fs * PS_PER_FS
    with Trajectory(folder / "trajectory.h5") as trajectory:
        frames = [frame for frame in trajectory if frame.step in row_of]
        terms = np.array([_terms(trajectory, frame, calculator, timestep) for frame in frames])
    rows = np.array([row_of[frame.step] for frame in frames])
    curvature, force = timestep**2 * terms.T

    shadow = table["conserved_quantity_eV"][rows] + curvature / 12.0 - force / 24.0
    if np.ptp(table["conserved_quantity_eV"] - table["total_energy_eV"]) > 0.0:
        kinetic = table["kinetic_energy_eV"]
        steps_of_chain = -np.diff(table["total_energy_eV"]) / (kinetic[1:] + kinetic[:-1])
        chain = np.concatenate([[0.0], np.cumsum(steps_of_chain)])[rows]
        shadow[1:] += np.cumsum(np.diff(chain) * (curvature[1:] + curvature[:-1]) / 12.0)
    to_micro = 1e6 / len(trajectory.symbols)
    start = table["time_ps"][0]
    return Series(
        time=table["time_ps"] - start,
        energy=(table["conserved_quantity_eV"] - table["conserved_quantity_eV"].mean()) * to_micro,
        frame_time=table["time_ps"][rows] - start,
        shadow=(shadow - shadow.mean()) * to_micro,
        temperature=float(table["temperature_K"].mean()),
    )


def _terms(trajectory: Trajectory, frame: Frame, calculator: FastDP, timestep: float) -> tuple[float, float]:
    """Return vᵀΦv, by differences over a time step, and FᵀM⁻¹F, both eV/ps²."""
    assert frame.velocities is not None
    velocities = frame.velocities.astype(np.float64)

    def forces(time: float) -> np.ndarray:
        positions = frame.positions + time * velocities
        atoms = ase.Atoms(trajectory.symbols, positions, cell=frame.cell, pbc=trajectory.periodic)
        return calculator.get_forces(atoms)

    change = (forces(timestep) - forces(-timestep)) / (2.0 * timestep)
    squares = forces(0.0) ** 2 / trajectory.masses[:, None]
    return -float((velocities * change).sum()), float(squares.sum()) * A_PER_PS2_FROM_EV_PER_A_U


def slope_and_error(time: np.ndarray, energy: np.ndarray, blocks: int = 10) -> tuple[float, float]:
    """Return the least-squares slope, µeV/atom/ps, and its standard error.

    The error is that of a line through the means of blocks, from their distances to it: unlike single
    points, which follow the vibrations, block means are nearly independent.
    """
    slope = float(np.polyfit(time, energy, 1)[0])
    t = np.array([part.mean() for part in np.array_split(time, blocks)])
    y = np.array([part.mean() for part in np.array_split(energy, blocks)])
    residual = y - np.polyval(np.polyfit(t, y, 1), t)
    return slope, float(np.sqrt((residual**2).sum() / (blocks - 2) / ((t - t.mean()) ** 2).sum()))


def scatter(time: np.ndarray, energy: np.ndarray) -> float:
    """Return the root mean square distance from the line, µeV/atom."""
    return float((energy - np.polyval(np.polyfit(time, energy, 1), time)).std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", default=["NVE=inputs/water/results/nve"], help="name=folder")
    parser.add_argument("--model", type=Path, default=Path("inputs/water/water.pb"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/energy_drift.png"))
    arguments = parser.parse_args()
    calculator = FastDP(arguments.model)
    all_series = {}
    for text in arguments.runs:
        name, _, folder = text.partition("=")
        series = all_series[name] = read_series(Path(folder), calculator)
        print(f"{name}: {series.time[-1]:.1f} ps at {series.temperature:.1f} K")
        for what, time, energy in (
            ("conserved quantity", series.time, series.energy),
            ("shadow energy", series.frame_time, series.shadow),
        ):
            slope, error = slope_and_error(time, energy)
            print(
                f"  {what}: drift ({slope:+.3f} ± {error:.3f}) µeV/atom/ps,"
                f" scatter {scatter(time, energy):.2f} µeV/atom"
            )
    plot(arguments.figure, all_series)


def plot(path: Path, all_series: dict[str, Series]) -> None:
    """Draw each series: every row, means of blocks, the shadow energy, and a drift of 1 µeV/atom/ps."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(all_series), figsize=(6.4, 2.9 * len(all_series)), squeeze=False, constrained_layout=True
    )
    for axis, (name, series) in zip(axes[:, 0], all_series.items(), strict=True):
        length = series.time[-1]
        blocks = max(round(length / BLOCK_PS), 1)
        slope, error = slope_and_error(series.frame_time, series.shadow)
        axis.plot(series.time, series.energy, ",", color="0.75", rasterized=True)
        axis.plot(
            [part.mean() for part in np.array_split(series.time, blocks)],
            [part.mean() for part in np.array_split(series.energy, blocks)],
            color="tab:blue",
            linewidth=1.0,
            label=f"conserved quantity (dots), its means over {BLOCK_PS:g} ps",
        )
        label = f"shadow energy: ({slope:+.2f} ± {error:.2f}) µeV/atom/ps"
        axis.plot(series.frame_time, series.shadow, color="black", linewidth=1.4, label=label)
        for sign in (-1.0, 1.0):
            label = "±1 µeV/atom/ps" if sign > 0.0 else None
            axis.plot(
                [0.0, length], [-sign * length / 2.0, sign * length / 2.0], "r:", linewidth=1.0, label=label
            )
        axis.set(ylabel="deviation (µeV/atom)", xlim=(0.0, length), ylim=(-120.0, 150.0), title=name)
        axis.legend(fontsize=8, ncols=2, loc="upper center", frameon=False)
    axes[-1, 0].set_xlabel("time (ps)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
