"""From the input file's tables to what the parts of fastdp are told."""

from __future__ import annotations

from pathlib import Path

from fastdp.config.schema import Configuration, PotentialTable
from fastdp.dynamics.settings import VelocitySettings
from fastdp.potential.terms.settings import D3, ZBL, PairTable, TermSettings
from fastdp.simulation.settings import (
    CheckpointSettings,
    GuardSettings,
    OutputSettings,
    RunSettings,
    StageSettings,
    ThermoSettings,
    TrajectorySettings,
)


def run_settings(configuration: Configuration) -> RunSettings:
    """Return what a simulation is told besides atoms and potential.

    Parameters
    ----------
    configuration : Configuration

    Returns
    -------
    RunSettings
    """
    output = configuration.output
    return RunSettings(
        stages=tuple(
            StageSettings(
                steps=stage.steps,
                integrator=stage.integrator(),
                name=stage.name or f"stage {number} ({stage.ensemble})",
            )
            for number, stage in enumerate(configuration.stage, start=1)
        ),
        guards=GuardSettings(configuration.guards.maximum_temperature_K),
        output=OutputSettings(
            directory=Path(output.directory),
            trajectory=TrajectorySettings(
                output.trajectory.file, output.trajectory.every, output.trajectory.velocities
            ),
            thermo=ThermoSettings(output.thermo.file, output.thermo.every),
            checkpoint=CheckpointSettings(output.checkpoint.file, output.checkpoint.every),
            further=_further_files(configuration),
            folders=_folders(configuration),
        ),
    )


def velocity_settings(configuration: Configuration) -> VelocitySettings:
    """Return what happens to the velocities before the first step.

    Parameters
    ----------
    configuration : Configuration

    Returns
    -------
    VelocitySettings
    """
    table = configuration.velocities
    return VelocitySettings(
        temperature_K=table.temperature_K,
        seed=table.seed,
        exact_temperature=table.exact_temperature,
        remove_net_momentum=table.remove_net_momentum,
    )


def term_settings(table: PotentialTable) -> tuple[TermSettings, ...]:
    """Return what is added to the model.

    Parameters
    ----------
    table : PotentialTable

    Returns
    -------
    tuple of settings of terms
    """
    terms: list[TermSettings] = []
    if table.zbl is not None:
        zbl = table.zbl
        terms.append(ZBL(zbl.inner_A, zbl.outer_A, zbl.nuclear_charges, zbl.pairs))
    terms += [PairTable(entry.file, entry.elements, entry.cutoff_A) for entry in table.table]
    if table.d3 is not None:
        d3 = table.d3
        terms.append(D3(d3.functional, d3.damping, d3.three_body, d3.cutoff_A))
    return tuple(terms)


def _further_files(configuration: Configuration) -> tuple[str, ...]:
    committee = configuration.committee
    names = () if committee is None else (committee.file,)
    return (*names, *(entry.file for entry in configuration.tensor))


def _folders(configuration: Configuration) -> tuple[str, ...]:
    committee = configuration.committee
    return () if committee is None or committee.save_frames is None else (committee.save_frames,)
