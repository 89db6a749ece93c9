"""What a run is told: stages, guards and output, as plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastdp.dynamics.settings import IntegratorSettings


@dataclass(frozen=True)
class StageSettings:
    """One stage of a run.

    Attributes
    ----------
    steps : int
        Number of steps, at least 0.
    integrator : IntegratorSettings
        How the atoms move, with the time step.
    name : str
        What messages call the stage.
    """

    steps: int
    integrator: IntegratorSettings
    name: str = ""


@dataclass(frozen=True)
class GuardSettings:
    """When a run must stop by itself; non-finite numbers always stop it.

    Attributes
    ----------
    maximum_temperature_K : float
        Instantaneous temperature above which the run stops, K.
    """

    maximum_temperature_K: float = 10000.0  # noqa: N815 - a unit in the name


@dataclass(frozen=True)
class TrajectorySettings:
    """The H5MD trajectory.

    Attributes
    ----------
    file : str
        File name within the output directory.
    every : int
        Steps between frames, at least 1; the start of the run is always a frame.
    velocities : bool
        Whether frames hold velocities.
    """

    file: str = "trajectory.h5"
    every: int = 100
    velocities: bool = True


@dataclass(frozen=True)
class ThermoSettings:
    """The table of thermodynamic quantities (CSV).

    Attributes
    ----------
    file : str
        File name within the output directory.
    every : int
        Steps between rows, at least 1; the start of the run is always a row.
    """

    file: str = "thermo.csv"
    every: int = 100


@dataclass(frozen=True)
class CheckpointSettings:
    """The checkpoint; one is also written at the start, at the end and after a signal.

    Attributes
    ----------
    file : str
        File name within the output directory; the one before is kept beside it as `*_previous`.
    every : int
        Steps between checkpoints, at least 1.
    """

    file: str = "checkpoint.npz"
    every: int = 10000


@dataclass(frozen=True)
class OutputSettings:
    """What a run writes, and where.

    Attributes
    ----------
    directory : pathlib.Path
        Made if absent.
    trajectory : TrajectorySettings or None
        None writes no trajectory.
    thermo : ThermoSettings or None
        None writes no table.
    checkpoint : CheckpointSettings
        Always written.
    crash_file : str
        Where the frame goes that stopped a run, an extended XYZ file within the directory.
    further : tuple of str
        Names of the other files that a run writes there.
    folders : tuple of str
        Names of folders that a run makes there, and that a new run must not find.
    """

    directory: Path
    trajectory: TrajectorySettings | None = field(default_factory=TrajectorySettings)
    thermo: ThermoSettings | None = field(default_factory=ThermoSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    crash_file: str = "crash.extxyz"
    further: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunSettings:
    """Everything that a `Simulation` is told besides the atoms and the potential.

    Attributes
    ----------
    stages : tuple of StageSettings
        In order, at least one.
    output : OutputSettings
        What is written, and where.
    guards : GuardSettings
        When to stop.
    """

    stages: tuple[StageSettings, ...]
    output: OutputSettings
    guards: GuardSettings = field(default_factory=GuardSettings)


@dataclass(frozen=True)
class Provenance:
    """Where the run comes from; kept in the trajectory under `/parameters` and in checkpoints.

    Attributes
    ----------
    input_text : str
        The input file, resolved, as text.
    model_file : str
        Name of the model file.
    model_sha256 : str
        Checksum of the model file; a run is only resumed with the same.
    potential : str
        Backend, precision and tolerance in words; a run is only resumed with the same.
    structure : str
        Source of the atoms in words (file, frame, repetition); a run is only resumed with the same.
    seed : int
        Seed of the initial velocities.
    author : str
        Name for the trajectory's `author`.
    choices : mapping of str to str
        What was chosen automatically, as the input would ask for it.
    """

    input_text: str = ""
    model_file: str = ""
    model_sha256: str = ""
    potential: str = ""
    structure: str = ""
    seed: int = 0
    author: str = "unknown"
    choices: Mapping[str, str] = field(default_factory=dict)
