"""Long runs against statistical mechanics (https://physical-validation.readthedocs.io)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from argon import NVE, NVT, SKIN, argon
from potentials import LennardJones

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import IntegratorSettings
from fastdp.dynamics.snapshot import Snapshot
from fastdp.neighbours.verlet_list import VerletList
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.timers import Timers
from fastdp.units import BOLTZMANN_EV_PER_K

pytestmark = pytest.mark.validation

physical_validation = pytest.importorskip("physical_validation")

ENERGY_TO_KJ_PER_MOL = 96.485332
UNITS = physical_validation.data.UnitData(
    kb=BOLTZMANN_EV_PER_K,
    energy_str="eV",
    energy_conversion=ENERGY_TO_KJ_PER_MOL,
    length_str="A",
    length_conversion=0.1,
    volume_str="A^3",
    volume_conversion=1e-3,
    temperature_str="K",
    temperature_conversion=1.0,
    pressure_str="bar",
    pressure_conversion=1.0,
    time_str="ps",
    time_conversion=1.0,
)


def sample(
    settings: IntegratorSettings,
    steps: int,
    *,
    every: int,
    equilibration: int = 0,
    temperature: float = 150.0,
) -> Any:
    """Run argon and return its energies for physical_validation."""
    state, potential = argon(temperature=temperature), LennardJones()
    neighbours = VerletList(potential.cutoff, SKIN, state.cell, state.periodic, state.types)
    force_field = NeighbourForceField(potential, neighbours, Timers())
    force_field.compute(state)
    integrator = make_integrator(settings)
    integrator.initialise(state)
    snapshot = Snapshot(state, force_field.evaluation)
    rows = []
    for step in range(1, equilibration + steps + 1):
        integrator.step(state, force_field)
        if step > equilibration and step % every == 0:
            snapshot.measure(1, integrator.bath_energy(state))
            rows.append((snapshot.kinetic_energy, snapshot.potential_energy, snapshot.conserved_quantity))
    kinetic, potential_energy, conserved = np.array(rows).T
    system = physical_validation.data.SystemData(
        natoms=state.n_atoms, nconstraints=0, ndof_reduction_tra=3, ndof_reduction_rot=0, mass=state.masses
    )
    is_nvt = hasattr(settings, "temperature_K")
    ensemble = physical_validation.data.EnsembleData(
        ensemble="NVT" if is_nvt else "NVE",
        natoms=state.n_atoms,
        volume=state.volume,
        temperature=getattr(settings, "temperature_K", None),
    )
    observables = physical_validation.data.ObservableData(
        kinetic_energy=kinetic,
        potential_energy=potential_energy,
        total_energy=kinetic + potential_energy,
        constant_of_motion=conserved,
    )
    return physical_validation.data.SimulationData(
        units=UNITS,
        dt=settings.timestep_fs * 1e-3,
        system=system,
        ensemble=ensemble,
        observables=observables,
    )


@pytest.mark.parametrize("settings", [NVE, NVT], ids=["nve", "nvt"])
def test_the_conserved_quantity_converges_with_the_square_of_the_time_step(
    settings: IntegratorSettings,
) -> None:
    runs = [
        sample(replace(settings, timestep_fs=timestep), round(10_000 / timestep), every=1)
        for timestep in (8.0, 4.0, 2.0)
    ]
    # The largest relative deviation from the expected ratio of fluctuations, which is the square of that of
    # time steps.
    deviation = physical_validation.integrator.convergence(runs, verbose=True)
    assert deviation < 0.15


@pytest.mark.parametrize("chain_length", [3, 5])
def test_nose_hoover_gives_canonical_kinetic_energies(chain_length: int) -> None:
    settings = replace(NVT, chain_length=chain_length)
    run = sample(settings, 200_000, every=20, equilibration=20_000)
    # In standard errors of mean and width, of decorrelated samples; the field warns at 2 and fails at 3.
    mean, width = physical_validation.kinetic_energy.distribution(run, strict=False, verbosity=2)
    assert abs(mean) < 3
    assert abs(width) < 3


def test_two_temperatures_have_the_ratio_of_boltzmann_factors() -> None:
    runs = [
        sample(
            replace(NVT, temperature_K=temperature),
            200_000,
            every=20,
            equilibration=20_000,
            temperature=2 * temperature,
        )
        for temperature in (110.0, 130.0)
    ]
    quantiles = physical_validation.ensemble.check(*runs, verbosity=2)
    assert np.abs(quantiles).max() < 3
