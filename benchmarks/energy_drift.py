"""Total energy of runs at constant energy: drift, scatter, and a plot.

First make the run: fastdp run inputs/water/nve.toml. Then, from the root of the project:

    python benchmarks/energy_drift.py

Further tables are given as name=path, such as double=inputs/water/results/nve/thermo.csv.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

BLOCK_PS = 0.1
N_ATOMS = 192


@dataclass(frozen=True)
class Series:
    """Conserved quantity of one stage: times in ps, deviations from its mean in µeV/atom."""

    time: np.ndarray
    deviation: np.ndarray
    temperature: float


def read_series(path: Path, stage: int) -> Series:
    """Read one stage of a thermo table."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    table = table[table["stage"] == stage]
    energy = table["conserved_quantity_eV"]
    return Series(
        time=table["time_ps"] - table["time_ps"][0],
        deviation=(energy - energy.mean()) / N_ATOMS * 1e6,
        temperature=float(table["temperature_K"].mean()),
    )


def slope_and_error(series: Series, blocks: int = 10) -> tuple[float, float]:
    """Return the least-squares slope, µeV/atom/ps, and its standard error.

    The error is that of a line through the means of blocks, from their distances to it: unlike the single
    points, which follow the vibrations, block means are nearly independent.
    """
    slope = float(np.polyfit(series.time, series.deviation, 1)[0])
    t = np.array([part.mean() for part in np.array_split(series.time, blocks)])
    y = np.array([part.mean() for part in np.array_split(series.deviation, blocks)])
    residual = y - np.polyval(np.polyfit(t, y, 1), t)
    error = np.sqrt((residual**2).sum() / (blocks - 2) / ((t - t.mean()) ** 2).sum())
    return slope, float(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=["double=inputs/water/results/nve/thermo.csv"])
    parser.add_argument("--stage", type=int, default=2)
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/nve_water.png"))
    arguments = parser.parse_args()
    all_series = {}
    for text in arguments.tables:
        name, _, path = text.partition("=")
        series = all_series[name] = read_series(Path(path), arguments.stage)
        slope, error = slope_and_error(series)
        scatter = (
            series.deviation - np.polyval(np.polyfit(series.time, series.deviation, 1), series.time)
        ).std()
        print(
            f"{name}: {series.time[-1]:.1f} ps at {series.temperature:.1f} K, drift"
            f" ({slope:+.3f} ± {error:.3f}) µeV/atom/ps, scatter {scatter:.1f} µeV/atom"
        )
    plot(arguments.figure, all_series)


def plot(path: Path, all_series: dict[str, Series]) -> None:
    """Draw each series: every point, means of blocks, and the bound of 1 µeV/atom/ps."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(all_series), figsize=(6.4, 2.9 * len(all_series)), squeeze=False, constrained_layout=True
    )
    for axis, (name, series) in zip(axes[:, 0], all_series.items(), strict=True):
        slope, error = slope_and_error(series)
        length = series.time[-1]
        blocks = max(round(length / BLOCK_PS), 1)
        axis.plot(series.time, series.deviation, ",", color="0.75", rasterized=True)
        axis.plot(
            [part.mean() for part in np.array_split(series.time, blocks)],
            [part.mean() for part in np.array_split(series.deviation, blocks)],
            color="tab:blue",
            linewidth=1.0,
            label=f"means over {BLOCK_PS:g} ps",
        )
        middle = length / 2.0
        axis.plot(
            [0.0, length], [-slope * middle, slope * middle], "k-", linewidth=1.2,
            label=f"drift ({slope:+.2f} ± {error:.2f}) µeV/atom/ps",
        )  # fmt: skip
        for sign in (-1.0, 1.0):
            label = "±1 µeV/atom/ps" if sign > 0 else None
            axis.plot([0.0, length], [-sign * middle, sign * middle], "r:", linewidth=1.0, label=label)
        axis.set(ylabel="E − ⟨E⟩ (µeV/atom)", xlim=(0.0, length), title=name)
        axis.legend(fontsize=8, ncols=3, loc="upper center")
    axes[-1, 0].set_xlabel("time (ps)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
