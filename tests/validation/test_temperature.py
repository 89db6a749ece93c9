"""What the thermostat must sample, in a run of the shipped water model at 330 K."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from water import N_ATOMS, read_table

from fastdp.dynamics.kinetic import Kinetics, temperature
from fastdp.output.trajectory import Trajectory
from fastdp.units import BOLTZMANN_EV_PER_K

pytestmark = pytest.mark.validation

TEMPERATURE_K = 330.0
EQUILIBRATION_PS = 5.0
KJ_PER_MOL_PER_EV = 96.485332
BLOCKS = 20
"""Of 1 ps, ten periods of the thermostat."""


def statistical_inefficiency(values: np.ndarray) -> float:
    """Return how many successive values count as one independent one: 1 + 2 Σ of the autocorrelation."""
    x = values - values.mean()
    spectrum = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(x)] / np.arange(len(x), 0, -1)
    correlation /= correlation[0]
    first_negative = int(np.argmax(correlation < 0.0))
    return 1.0 + 2.0 * float(correlation[1:first_negative].sum())


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and, from blocks, its standard error."""
    means = np.array([block.mean() for block in np.array_split(values, BLOCKS)])
    return float(values.mean()), float(means.std(ddof=1) / np.sqrt(BLOCKS))


def test_mean_temperature_is_that_of_the_bath(nvt_run: Path, publish: Callable[[str], None]) -> None:
    mean, error = mean_and_error(read_table(nvt_run, stage=2)["temperature_K"])
    publish(f"NVT, water: mean temperature {mean:.2f} ± {error:.2f} K, bath {TEMPERATURE_K:.0f} K")
    assert abs(mean - TEMPERATURE_K) <= 3.0 * error
    # Single values scatter by T √(2/573) = 19.5 K; a mean that is not known to 1 % would prove nothing.
    assert error < 0.01 * TEMPERATURE_K


def test_both_elements_have_the_temperature(nvt_run: Path, publish: Callable[[str], None]) -> None:
    """Energy is shared between oxygens and hydrogens, as it is not where a thermostat heats one mode only."""
    with Trajectory(nvt_run / "trajectory.h5") as trajectory:
        symbols, masses = np.array(trajectory.symbols), trajectory.masses
        frames = [
            f.velocities for f in trajectory if f.time_ps > EQUILIBRATION_PS and f.velocities is not None
        ]
    for element in ("O", "H"):
        chosen = symbols == element
        # Without net momentum each atom lacks the share of its mass in the three degrees of freedom.
        freedom = 3.0 * chosen.sum() - 3.0 * masses[chosen].sum() / masses.sum()
        kinetics = Kinetics(np.ascontiguousarray(masses[chosen]))
        energies = [kinetics.energy(np.ascontiguousarray(v[chosen], dtype=np.float64)) for v in frames]
        mean, error = mean_and_error(2.0 * np.array(energies) / (freedom * BOLTZMANN_EV_PER_K))
        publish(f"NVT, water: temperature of {element} {mean:.2f} ± {error:.2f} K")
        # Velocity Verlet's velocities make a vibration colder by (ω dt)²/6, 1.8 % for the stretching of O-H.
        # That is a third of the hydrogens' motion: they are 0.7 K below the mean, the oxygens 1.3 K above.
        assert abs(mean - TEMPERATURE_K) <= 3.0 * error + 1.5


def test_kinetic_energy_has_the_canonical_distribution(nvt_run: Path, publish: Callable[[str], None]) -> None:
    """Mean and width, by physical_validation (P. T. Merz, M. R. Shirts, doi:10.1371/journal.pone.0202764)."""
    physical_validation = pytest.importorskip("physical_validation")
    data = physical_validation.data
    full = read_table(nvt_run, stage=2)
    # Left to itself, physical_validation picks one decorrelated subset of the rows and cuts its tails, which
    # made its width wrong by 11 % (3 of its standard errors) where that of all rows was right to 1 %.
    stride = round(statistical_inefficiency(full["kinetic_energy_eV"]))
    table = full[::stride]
    simulation = data.SimulationData(
        units=data.UnitData.units("GROMACS"),
        dt=float(table["time_ps"][1] - table["time_ps"][0]),
        system=data.SystemData(natoms=N_ATOMS, nconstraints=0, ndof_reduction_tra=3, ndof_reduction_rot=0),
        ensemble=data.EnsembleData(
            "NVT", natoms=N_ATOMS, volume=1e-3 * float(table["volume_A3"][0]), temperature=TEMPERATURE_K
        ),
        observables=data.ObservableData(
            kinetic_energy=table["kinetic_energy_eV"] * KJ_PER_MOL_PER_EV,
            potential_energy=table["potential_energy_eV"] * KJ_PER_MOL_PER_EV,
            total_energy=table["total_energy_eV"] * KJ_PER_MOL_PER_EV,
        ),
    )
    mean, width = physical_validation.kinetic_energy.distribution(
        simulation, strict=False, verbosity=0, bootstrap_seed=1
    )
    canonical = TEMPERATURE_K * np.sqrt(2 / (3 * N_ATOMS - 3))
    publish(
        f"NVT, water: kinetic energy against the canonical distribution, mean off by {mean:.2f} and width by"
        f" {width:.2f} standard errors; standard deviation of the temperature"
        f" {full['temperature_K'].std():.2f} K, canonical {canonical:.2f} K"
    )
    assert abs(mean) < 3.0
    assert abs(width) < 3.0
    # Of n independent rows, the standard deviation is known to 1/√(2n).
    assert abs(full["temperature_K"].std() / canonical - 1.0) < 3.0 / np.sqrt(2.0 * len(table))


def test_temperature_in_the_table_is_that_of_the_velocities(nvt_run: Path) -> None:
    """So that the other tests of this file look at the motion, not at a column."""
    table = read_table(nvt_run, stage=2)
    with Trajectory(nvt_run / "trajectory.h5") as trajectory:
        kinetics = Kinetics(trajectory.masses)
        frame = trajectory[-1]
        assert frame.velocities is not None
        found = temperature(kinetics.energy(frame.velocities.astype(np.float64)), 3 * N_ATOMS - 3)
    # Trajectories hold float32.
    assert found == pytest.approx(table["temperature_K"][-1], rel=1e-5)
