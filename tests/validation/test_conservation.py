"""What must be conserved, in runs of the shipped water model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from water import N_ATOMS, read_table, water_input

pytestmark = pytest.mark.validation

Run = Callable[[str, dict[str, Any]], Path]

LARGEST_DRIFT = {"double": 1e-6, "mixed": 1e-5}
"""eV/atom/ps. Forces in float32 are wrong by 1e-5 eV/Å at random, which heats slowly."""

TIMESTEPS_FS = (0.5, 0.25, 0.125)


def drift(table: np.ndarray) -> float:
    """Return the least-squares slope of the conserved quantity, eV/atom/ps."""
    energy = table["conserved_quantity_eV"]
    return float(np.polyfit(table["time_ps"] - table["time_ps"][0], energy - energy[0], 1)[0]) / N_ATOMS


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_total_energy_does_not_drift(run: Run, publish: Callable[[str], None], precision: str) -> None:
    """20 ps at 0.5 fs.

    The slope itself is uncertain by some 1e-7 eV/atom/ps: the total energy scatters by 3e-5 eV/atom, in the
    rhythm of the vibrations, so that 20 ps hold some thousand independent values.
    """
    document = water_input("nve")
    document["potential"]["precision"] = precision
    table = read_table(run(f"nve-{precision}", document), stage=2)
    slope = drift(table)
    publish(
        f"NVE, water, {precision}: drift {slope:+.2e} eV/atom/ps over"
        f" {table['time_ps'][-1] - table['time_ps'][0]:.0f} ps at {table['temperature_K'].mean():.0f} K"
    )
    assert table["time_ps"][-1] - table["time_ps"][0] == pytest.approx(20.0, abs=0.01)
    assert abs(slope) <= LARGEST_DRIFT[precision]


def test_conserved_quantity_of_the_thermostat_does_not_drift(
    nvt_run: Path, publish: Callable[[str], None]
) -> None:
    table = read_table(nvt_run, stage=2)
    slope = drift(table)
    publish(f"NVT, water, double: drift of the conserved quantity {slope:+.2e} eV/atom/ps over 20 ps")
    assert abs(slope) <= LARGEST_DRIFT["double"]


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_error_falls_as_the_square_of_the_time_step(
    run: Run, start_file: Path, publish: Callable[[str], None], ensemble: str
) -> None:
    """The same 0.5 ps from the same start, with three time steps."""
    scatter = []
    for timestep_fs in TIMESTEPS_FS:
        document = water_input("nvt")
        del document["velocities"]
        document["structure"]["file"] = str(start_file)
        bath = {"temperature_K": 330.0} if ensemble == "nvt" else {}
        every = round(TIMESTEPS_FS[0] / timestep_fs)
        steps = round(500.0 / timestep_fs)
        document["stage"] = [{"ensemble": ensemble, "steps": steps, "timestep_fs": timestep_fs, **bath}]
        document["output"]["thermo"]["every"] = every
        document["output"]["trajectory"]["every"] = steps
        table = read_table(run(f"{ensemble}-{timestep_fs}", document), stage=1)
        assert len(table) == 1001
        scatter.append(float(table["conserved_quantity_eV"].std()) / N_ATOMS)
    first, second = scatter[0] / scatter[1], scatter[1] / scatter[2]
    publish(
        f"{ensemble.upper()}, water: scatter of the conserved quantity "
        + ", ".join(f"{s:.2e} at {dt} fs" for s, dt in zip(scatter, TIMESTEPS_FS, strict=True))
        + f" (eV/atom; ratios {first:.2f}, {second:.2f})"
    )
    # Second order gives 4. The stretching vibration of O-H, for which ω dt is 0.33 at 0.5 fs, adds terms of
    # fourth order of (ω dt)²/12 = 1 %; that the trajectories part, and with them the amplitudes of
    # vibrations, is worth some more.
    assert first == pytest.approx(4.0, rel=0.15)
    assert second == pytest.approx(4.0, rel=0.1)
