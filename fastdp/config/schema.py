"""The schema of the input file: every table and key with its meaning, unit and limits.

The reference page of the documentation and the JSON schema are generated from these classes, so the
descriptions are written for users. Units stand in the names of keys.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fastdp.dynamics.settings import (
    IntegratorSettings,
    NoseHooverSettings,
    VelocitySettings,
    VelocityVerletSettings,
)
from fastdp.potential.options import LARGEST_TOLERANCE, SHORTEST, Precision
from fastdp.potential.terms.settings import D3
from fastdp.simulation.settings import (
    CheckpointSettings,
    GuardSettings,
    ThermoSettings,
    TrajectorySettings,
)

LARGEST_COUNT = 10**12
"""Steps; more than any run makes, and far from where counters overflow."""


HIGHEST_TEMPERATURE_K = 1e9
"""K; above what any nucleus stays whole at, and far from where squares of velocities overflow."""


class Table(BaseModel):
    """A table of the input file: unknown keys are refused, values are not converted silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=False
    )


def key(default: Any, description: str, *, unit: str | None = None, **limits: Any) -> Any:
    """Return a field of a table; `default` is `...` where the user must give a value."""
    return Field(
        default,
        description=description,
        json_schema_extra=None if unit is None else {"unit": unit},
        **limits,
    )


def table(kind: type[Table], description: str) -> Any:
    """Return a field for a table whose keys all have defaults."""
    return Field(default_factory=kind, description=description)


def _path(text: str) -> str:
    if not text or "\x00" in text:
        raise ValueError("must be a path")
    return text


PathText = Annotated[str, AfterValidator(_path)]


LONGEST_NAME = 200
"""Bytes of a file name: systems take 255, and some of what a run writes has a longer name."""


def _plain_file_name(name: str) -> str:
    if name in ("", ".", "..") or any(character in "/\\" or ord(character) < 32 for character in name):
        raise ValueError("must be a file name without folders; output.directory says where files go")
    if len(name.encode(errors="surrogateescape")) > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_NAME} bytes in UTF-8")
    return name


FileName = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_plain_file_name)]


class ZBLTable(Table):
    """The screened repulsion of nuclei at short distances (universal ZBL), added to the model."""

    inner_A: float = key(  # noqa: N815 - a unit in the name
        ..., "Radius from which on a polynomial brings the repulsion to zero.", unit="Å", gt=0, le=100
    )
    outer_A: float = key(  # noqa: N815 - a unit in the name
        ..., "Radius from which on there is no repulsion.", unit="Å", gt=0, le=100
    )
    nuclear_charges: dict[str, Annotated[float, Field(gt=0, le=200)]] = key(
        {}, "Nuclear charge of types that are no elements.", unit="e"
    )
    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = key(
        None, "The pairs of types that repel each other so; by default all.", max_length=10_000
    )


class PairTableTable(Table):
    """Energies of pairs from a file in the format of DeePMD-kit's `tab_file`, added to the model."""

    file: PathText = key(
        ...,
        "Text file: evenly spaced distances in Å, each with the energies of all pairs of types, in eV.",
    )
    elements: list[str] | None = key(
        None,
        "Types in the order of the file's columns; by default the model's, in its order.",
        min_length=1,
        max_length=1000,
    )
    cutoff_A: float | None = key(  # noqa: N815 - a unit in the name
        None,
        "Where the energy ends; by default the last distance of the table. Beyond it, the table is continued "
        "to zero as DeePMD-kit does.",
        unit="Å",
        gt=0,
        le=100,
    )


class D3Table(Table):
    """Grimme's D3 dispersion by the library s-dftd3 (`pip install 'fastdp[d3]'`), added to the model."""

    functional: str = key(
        ..., "Functional whose parameters are taken, such as `pbe`.", min_length=1, max_length=100
    )
    damping: Literal["bj", "zero", "bjm", "zerom"] = key(
        D3.damping, "Rational damping of Becke and Johnson or zero damping; with `m`, as modified by Smith."
    )
    three_body: bool = key(
        D3.three_body, "Whether the Axilrod–Teller–Muto term of triples is included, which takes much longer."
    )
    cutoff_A: float | None = key(  # noqa: N815 - a unit in the name
        D3.cutoff_A, "Where pairs end; by default at 60 bohr, 31.75 Å.", unit="Å", gt=1, le=200
    )


class PotentialTable(Table):
    """The model and how it is evaluated."""

    model: PathText = key(..., "Model file; relative paths count from the folder of the input file.")
    head: str | None = key(
        None, "Which of several models a PyTorch checkpoint of multi-task training holds.", min_length=1
    )
    fparam: list[float] | None = key(
        None, "The frame's parameters, where the model takes them and has no defaults.", max_length=1000
    )
    aparam: list[float] | None = key(
        None, "The atoms' parameters, the same for all, where the model takes them.", max_length=1000
    )
    backend: Literal["auto", "cpu", "cuda", "reference"] = key(
        "auto",
        "`cpu` is the compressed potential on threads, `cuda` the same on an NVIDIA GPU with everything else "
        "of a step, `reference` the model exactly as trained in plain NumPy (slow), `auto` the fastest that "
        "this machine has.",
    )
    precision: Precision = key(
        "double",
        "`mixed` evaluates the networks in float32 and sums energies, forces and the virial in float64.",
    )
    gpu_products: Literal["auto", "full", "tf32", "tf32x3"] = key(
        "auto",
        "Matrix products of `mixed` on a GPU: `full` in float32; `tf32x3`, three products of factors split "
        "into 11 bits each, with the accuracy of float32; `auto` the faster of these two by a trial on the "
        "card, which the log and the trajectory name; or `tf32` with factors rounded to 11 bits, which puts "
        "forces off by about 0.01 eV/Å (the run prints by how much).",
    )
    gpu_network: Literal["auto", "layers", "fused"] = key(
        "auto",
        "Fitting networks on a GPU: `layers` by cuBLAS and kernels between its products; `fused` each by one "
        "kernel on tensor cores, which keeps all that lies between moments and their gradients on the "
        "multiprocessor (compute capability 8.0 or later; tanh networks; `mixed` with `tf32x3` or `tf32`); "
        "`auto` the faster by a trial on the card, which also compares their numbers.",
    )
    tolerance: float = key(
        1e-5,
        "Rms error of the forces that the compressed potential may have against the reference, measured on "
        "the start structure.",
        unit="eV/Å",
        gt=0,
        le=LARGEST_TOLERANCE,
    )
    shortest_A: float | None = key(  # noqa: N815 - a unit in the name
        None,
        "Distance down to which the compressed potential reaches for all pairs, where 0.6 of the sum of "
        "covalent radii (the default, `fastdp check` shows it) is not enough: for collisions at high energy, "
        "with a repulsion such as `zbl`.",
        unit="Å",
        ge=SHORTEST[0],
        le=SHORTEST[1],
    )
    audit_atoms: int = key(
        8,
        "Atoms drawn at each frame of the trajectory whose energies and gradients are computed with the model"
        " as trained too, to tell when a run leaves what the compressed potential was made for; audits that"
        " would take more than 1 % of the time are left out. 0 for none.",
        ge=0,
        le=100_000,
    )
    zbl: ZBLTable | None = key(None, "A repulsion of nuclei that is added to the model.")
    table: Annotated[list[PairTableTable], Field(max_length=100)] = key(
        [], "Tables of pair energies that are added to the model, one `[[potential.table]]` for each."
    )
    d3: D3Table | None = key(None, "Dispersion that is added to the model.")


class StructureTable(Table):
    """The atoms to start from."""

    file: PathText = key(
        ...,
        "A file that ASE reads (extxyz, POSCAR, cif, …), a trajectory of fastdp, or a folder in DeePMD-kit's "
        "npy layout; relative paths count from the folder of the input file.",
    )
    format: str | None = key(
        None,
        "ASE's name of the file's format, such as `lammps-data`, where its name and content do not tell.",
    )
    frame: int = key(-1, "Frame of the file, counted from 0; negative numbers count from the end.")
    repeat: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=3, max_length=3)] = key(
        [1, 1, 1], "Copies along each cell vector."
    )
    masses_u: dict[str, Annotated[float, Field(ge=1e-4, le=1e12)]] = key(
        {},
        "Mass of each named element or type, where the standard atomic mass is not meant or the name is no "
        "element. Otherwise masses come from the structure's file if it has them, else from the elements.",
        unit="u",
    )


class VelocitiesTable(Table):
    """The velocities at the start."""

    temperature_K: float | None = key(  # noqa: N815 - a unit in the name
        VelocitySettings.temperature_K,
        "Draw velocities from the Maxwell–Boltzmann distribution at this temperature, in place of those of "
        "the structure; 0 starts at rest. Needed if the structure has no velocities.",
        unit="K",
        ge=0,
        le=HIGHEST_TEMPERATURE_K,
    )
    seed: int = key(
        VelocitySettings.seed,
        "Seed of the random numbers that velocities are drawn with.",
        ge=0,
        le=2**63 - 1,
    )
    exact_temperature: bool = key(
        VelocitySettings.exact_temperature,
        "Scale drawn velocities to have exactly this temperature, not only on average.",
    )
    remove_net_momentum: bool = key(
        VelocitySettings.remove_net_momentum,
        "Take out the velocity of the centre of mass, of drawn and of given velocities.",
    )


class StageTable(Table):
    """What every stage has."""

    name: str | None = key(None, "What messages call the stage; by default its number and ensemble.")
    steps: int = key(..., "Number of steps.", ge=0, le=LARGEST_COUNT)
    timestep_fs: float = key(..., "Time step.", unit="fs", gt=0, le=100)

    @abstractmethod
    def integrator(self) -> IntegratorSettings:
        """Return what the stage's integrator is told."""

    def describe(self) -> str:
        """Return what the stage does, in words."""
        name = "" if self.name is None else f"{self.name}, "
        return f"{name}{self.steps} steps of {self.timestep_fs:g} fs"


class NVEStage(StageTable):
    """Constant energy: velocity Verlet."""

    ensemble: Literal["nve"] = key(..., "Constant number of atoms, volume and energy.")

    def integrator(self) -> VelocityVerletSettings:
        """Return what velocity Verlet is told."""
        return VelocityVerletSettings(timestep_fs=self.timestep_fs)

    def describe(self) -> str:
        """Return what the stage does, in words."""
        return f"{super().describe()}, constant energy"


class NVTStage(StageTable):
    """Constant temperature: Nosé–Hoover chain."""

    ensemble: Literal["nvt"] = key(..., "Constant number of atoms, volume and temperature.")
    temperature_K: float = key(  # noqa: N815 - a unit in the name
        ..., "Temperature of the bath.", unit="K", gt=0, le=HIGHEST_TEMPERATURE_K
    )
    thermostat_time_fs: float = key(
        NoseHooverSettings.thermostat_time_fs,
        "Period τ that sets the masses of the thermostats: Q₁ = N_f k_B T τ².",
        unit="fs",
        gt=0,
        le=1e9,
    )
    chain_length: int = key(
        NoseHooverSettings.chain_length, "Number of thermostats in the chain.", ge=1, le=100
    )
    sub_steps: int = key(
        1, "Number of parts that each half step of the chain is divided into.", ge=1, le=1000
    )
    suzuki_yoshida_order: Literal[1, 3, 5, 7] = key(
        NoseHooverSettings.suzuki_yoshida_order,
        "Number of weights of the Suzuki–Yoshida factorisation of each part.",
    )

    def integrator(self) -> NoseHooverSettings:
        """Return what the Nosé–Hoover chain is told."""
        return NoseHooverSettings(
            timestep_fs=self.timestep_fs,
            temperature_K=self.temperature_K,
            thermostat_time_fs=self.thermostat_time_fs,
            chain_length=self.chain_length,
            sub_steps=self.sub_steps,
            suzuki_yoshida_order=self.suzuki_yoshida_order,
        )

    def describe(self) -> str:
        """Return what the stage does, in words."""
        return f"{super().describe()}, constant temperature {self.temperature_K:g} K"


STAGES: dict[str, type[StageTable]] = {"nve": NVEStage, "nvt": NVTStage}
"""The kinds of stage by their `ensemble`."""

Stage = Annotated[NVEStage | NVTStage, Field(discriminator="ensemble")]


class NeighboursTable(Table):
    """The neighbour list."""

    skin_A: float = key(  # noqa: N815 - a unit in the name
        1.0,
        "Margin beyond the model's cutoff; the list is made anew when an atom has moved half of it. A larger "
        "skin means fewer, but longer lists; results do not depend on it.",
        unit="Å",
        ge=0,
        le=10,
    )


class GuardsTable(Table):
    """When a run stops by itself. Numbers that are not finite always stop it."""

    maximum_temperature_K: float = key(  # noqa: N815 - a unit in the name
        GuardSettings.maximum_temperature_K,
        "Instantaneous temperature above which the run stops.",
        unit="K",
        gt=0,
    )


class TrajectoryTable(Table):
    """The H5MD trajectory."""

    file: FileName = key(TrajectorySettings.file, "File name within the output directory.")
    every: int = key(
        TrajectorySettings.every,
        "Steps between frames; the start of the run is always a frame.",
        ge=1,
        le=LARGEST_COUNT,
    )
    velocities: bool = key(TrajectorySettings.velocities, "Whether frames hold velocities.")


class ThermoTable(Table):
    """The table of thermodynamic quantities (CSV)."""

    file: FileName = key(ThermoSettings.file, "File name within the output directory.")
    every: int = key(
        ThermoSettings.every,
        "Steps between rows; the start of the run is always a row.",
        ge=1,
        le=LARGEST_COUNT,
    )


class CheckpointTable(Table):
    """The checkpoint, from which `--resume` continues; one is also written at the start and at the end."""

    file: FileName = key(CheckpointSettings.file, "File name within the output directory.")
    every: int = key(CheckpointSettings.every, "Steps between checkpoints.", ge=1, le=LARGEST_COUNT)


class OutputTable(Table):
    """What a run writes, and where."""

    directory: PathText = key(
        ".",
        "Where the files go; made if absent. Relative paths count from the folder of the input file, "
        "like all paths here.",
    )
    trajectory: TrajectoryTable = table(TrajectoryTable, "The H5MD trajectory.")
    thermo: ThermoTable = table(ThermoTable, "The table of thermodynamic quantities (CSV).")
    checkpoint: CheckpointTable = table(CheckpointTable, "The checkpoint.")


class CommitteeTable(Table):
    """Further models of the same system, to see where the one that drives the run can be trusted."""

    models: Annotated[list[PathText], Field(min_length=1, max_length=100)] = key(
        ..., "Model files, all but the one that drives; with the same atom types in the same order."
    )
    every: int = key(100, "Steps between evaluations.", ge=1, le=LARGEST_COUNT)
    file: FileName = key("model_devi.out", "Table of deviations, in the format that DP-GEN reads.")
    atomic: bool = key(False, "Whether the table holds each atom's deviation.")
    relative_force: float | None = key(
        None, "Divide deviations of forces by the force plus this level.", unit="eV/Å", gt=0
    )
    relative_virial: float | None = key(
        None, "Divide deviations of the virial by the virial plus this level.", unit="eV", gt=0
    )
    limit: float | None = key(
        None,
        "Largest deviation of a force (or relative deviation) above which a frame is saved, or the run "
        "pauses or stops.",
        unit="eV/Å",
        gt=0,
    )
    save_frames: FileName | None = key(
        None,
        "Folder, within the output directory, for frames above the limit, each a system in DeePMD-kit's npy "
        "layout without labels, written by dpdata (`pip install 'fastdp[dpdata]'`).",
    )
    above_limit: Literal["continue", "pause", "stop"] = key(
        "continue",
        "What the run does at a frame above the limit: `pause` ends it there with a checkpoint and exit code "
        "5, and `--resume` goes on to the next such frame; `stop` ends it as a failure, with exit code 3 and "
        "a crash frame.",
    )


class TensorTable(Table):
    """A model of something else than energies, evaluated while the run goes on."""

    model: PathText = key(..., "Model file: dipole, polarizability, density of states, property.")
    every: int = key(100, "Steps between rows.", ge=1, le=LARGEST_COUNT)
    file: FileName = key(..., "Table of the frame's values (CSV).")
    atomic: bool = key(
        False,
        "Whether the atoms' values are written too, an array for each row in a folder named as the file.",
    )
    fparam: list[float] | None = key(
        None, "The frame's parameters, where the model takes them.", max_length=1000
    )
    aparam: list[float] | None = key(
        None, "The atoms' parameters, the same for all, where the model takes them.", max_length=1000
    )


class ParallelTable(Table):
    """The processor cores that a run uses, and how space is divided among ranks."""

    threads: int | None = key(
        None,
        "Number of threads; by default every core that this process may run on (its CPU affinity). The "
        "command line's `--threads` goes before it.",
        ge=1,
        le=4096,
    )
    grid: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)] | None = key(
        None,
        "Ranks along each axis of the cell, for a run with MPI; by default those whose regions have the "
        "least surface. Without effect in a run of one process.",
    )
    balance: bool = key(
        True,
        "Whether the planes between ranks move when their work is uneven. It is measured, so that two runs "
        "of the same input then differ in the last digits; at the start all ranks get as many atoms.",
    )
    imbalance_limit: float = key(
        1.1,
        "Work of the busiest rank over the mean of all, above which planes move.",
        gt=1,
    )
    gpu_aware_mpi: Literal["auto", "yes", "no"] = key(
        "auto",
        "Whether MPI is given memory of the GPUs; otherwise messages pass through pinned memory of the host. "
        '"auto" asks the MPI library whether it takes such memory. Without effect without GPUs.',
    )


class Configuration(Table):
    """A run of fastdp."""

    version: Literal[1] = key(..., "Version of the input format; this is 1.")
    potential: PotentialTable = key(..., "The model and how it is evaluated.")
    structure: StructureTable = key(..., "The atoms to start from.")
    velocities: VelocitiesTable = table(VelocitiesTable, "The velocities at the start.")
    stage: Annotated[list[Stage], Field(min_length=1)] = key(
        ..., "What is run, in order: one `[[stage]]` for each. `ensemble` chooses the kind."
    )
    neighbours: NeighboursTable = table(NeighboursTable, "The neighbour list.")
    guards: GuardsTable = table(GuardsTable, "When a run stops by itself.")
    committee: CommitteeTable | None = key(
        None, "Further models, to see where the driving one can be trusted."
    )
    tensor: Annotated[list[TensorTable], Field(max_length=100)] = key(
        [], "Models of something else than energies, one `[[tensor]]` for each."
    )
    output: OutputTable = table(OutputTable, "What a run writes, and where.")
    parallel: ParallelTable = table(ParallelTable, "The processor cores that a run uses.")
