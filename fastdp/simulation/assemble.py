"""From a validated input file to a simulation that is ready to run: the one place where the parts meet."""

from __future__ import annotations

import getpass
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fastdp.config.render import resolved_text
from fastdp.config.schema import Configuration, PotentialTable
from fastdp.config.settings import run_settings, velocity_settings
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.model.description import DeepPotential
from fastdp.neighbours.selection import Overflow
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import Checkpoint
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.potential.base import Potential
from fastdp.potential.factory import make_potential
from fastdp.simulation.audit import Audit
from fastdp.simulation.device_simulation import DeviceSimulation
from fastdp.simulation.further import further_files, make_further_models, read_further_models
from fastdp.simulation.inputs import Inputs
from fastdp.simulation.overflow import OverflowWatch
from fastdp.simulation.record import potential_state_of, state_of
from fastdp.simulation.reporter import Reporter
from fastdp.simulation.settings import Provenance
from fastdp.simulation.simulation import Simulation
from fastdp.simulation.trial import forecast, try_start
from fastdp.simulation.trigger import EverySteps, Observer, Operation
from fastdp.structure.checks import untrained_distance
from fastdp.structure.structure import Structure


def make_ready(
    inputs: Inputs,
    threads: int,
    reporter: Reporter,
    *,
    checkpoint: Checkpoint | None = None,
    ranks: int = 1,
) -> Potential:
    """Say what is going to be run, make the potential, and forecast what a new run will take.

    With several ranks this is for rank 0, and `forecast_together` forecasts.

    Parameters
    ----------
    inputs : Inputs
    threads : int
        In use.
    reporter : Reporter
        Told everything.
    checkpoint : Checkpoint, optional
        Of a run that is continued: its potential is made again.
    ranks : int
        That the run is for.

    Returns
    -------
    Potential
        Made to the tolerance that the input asks for, on the start structure.

    Raises
    ------
    StructureError
        If the potential cannot be evaluated at the start structure.
    """
    configuration = inputs.configuration
    for line in _summary_lines(inputs, threads, ranks):
        reporter.message(line)
    for note in inputs.structure.notes:
        reporter.warning(note)
    if checkpoint is None:
        close = untrained_distance(inputs.structure, inputs.description.shortest_trained_distance)
        if close is not None:
            reporter.warning(close)
    table = configuration.potential
    potential = make_potential(
        inputs.description,
        inputs.structure,
        backend=table.backend,
        precision=table.precision,
        tolerance=table.tolerance,
        shortest=table.shortest_A,
        gpu_products=table.gpu_products,
        gpu_network=table.gpu_network,
        report=reporter.message,
        state=None if checkpoint is None else potential_state_of(checkpoint),
        terms=inputs.terms,
        ranks=ranks,
    )
    if checkpoint is None and ranks == 1:
        skin = configuration.neighbours.skin_A
        trial = try_start(potential, inputs.structure, inputs.types, skin)
        for line in overflow_watch(inputs, potential).warnings(trial.neighbours):
            reporter.warning(line)
        for line in (
            *forecast(trial, initial_state(inputs), run_settings(configuration), skin),
            *potential.memory_lines(),
        ):
            reporter.message(line)
    return potential


def initial_state(inputs: Inputs) -> State:
    """Return the atoms at the start of a new run, with the velocities that the input asks for.

    Parameters
    ----------
    inputs : Inputs

    Returns
    -------
    State
    """
    state = State.from_structure(inputs.structure, inputs.types)
    prepare_velocities(state, velocity_settings(inputs.configuration))
    return state


def build_simulation(
    inputs: Inputs, potential: Potential, *, reporter: Reporter, checkpoint: Checkpoint | None = None
) -> Simulation:
    """Put a run together.

    Parameters
    ----------
    inputs : Inputs
    potential : Potential
    reporter : Reporter
        Told how the run goes.
    checkpoint : Checkpoint, optional
        Where to continue; by default a new run starts.

    Returns
    -------
    Simulation

    Raises
    ------
    CheckpointError
        If `checkpoint` belongs to another run.
    """
    state = initial_state(inputs) if checkpoint is None else state_of(checkpoint)
    models = make_further_models(
        read_further_models(inputs, reporter), inputs.configuration, inputs.structure, reporter=reporter
    )
    neighbours = VerletList(
        max(potential.cutoff, models.cutoff),
        inputs.configuration.neighbours.skin_A,
        state.cell,
        state.periodic,
        state.types,
    )
    watch = overflow_watch(inputs, potential)
    started = False

    def warn_of_overflow(built: VerletList) -> None:
        nonlocal started
        lines = watch.warnings(built)
        # `make_ready` has said what is true of the start structure.
        for line in lines if started or checkpoint is not None else ():
            reporter.warning(line)
        started = True

    def warn_of_counts(counts: Sequence[Overflow]) -> None:
        for line in watch.warnings_of(counts):
            reporter.warning(line)

    engine = potential.make_engine(state, neighbours.skin)
    kind: Callable[..., Simulation] = Simulation
    if engine is not None:
        engine.count_neighbours(watch.limits)
        kind = partial(DeviceSimulation, engine=engine, when_beyond=warn_of_counts)
    return kind(
        state,
        potential,
        neighbours,
        run_settings(inputs.configuration),
        provenance=provenance(inputs, potential),
        potential_state=potential.state_arrays(),
        reporter=reporter,
        checkpoint=checkpoint,
        when_built=warn_of_overflow,
        observers=audits(inputs.configuration, inputs.description, potential, neighbours, reporter),
        further=further_files(inputs.configuration, models, neighbours, state.n_total, reporter),
    )


def audits(
    configuration: Configuration,
    description: DeepPotential,
    potential: Potential,
    neighbours: VerletList,
    reporter: Reporter,
    communicator: Communicator = SERIAL,
) -> list[Observer]:
    """Return what compares a compressed potential with the model as trained, at the steps of the trajectory.

    Parameters
    ----------
    configuration : Configuration
    description : DeepPotential
    potential : Potential
    neighbours : VerletList
        Of the run.
    reporter : Reporter
    communicator : Communicator
        Ranks that have other atoms.

    Returns
    -------
    list of Observer
        Empty if no atoms are to be drawn, or the potential is the model as trained.
    """
    table = configuration.potential
    second = potential.another() if table.audit_atoms > 0 else None
    if second is None:
        return []
    audit = Audit(
        second, description, neighbours, table.tolerance, table.audit_atoms, reporter.warning, communicator
    )
    when = EverySteps(configuration.output.trajectory.every)
    return [Observer(Operation(when, audit.act, needs_neighbours=True), audit.lines)]


def overflow_watch(inputs: Inputs, potential: Potential) -> OverflowWatch:
    """Return what counts neighbours beyond the model's `sel` in this run.

    Parameters
    ----------
    inputs : Inputs
    potential : Potential
    """
    return OverflowWatch(inputs.description, truncates=potential.drops_neighbours)


def provenance(inputs: Inputs, potential: Potential) -> Provenance:
    """Return what trajectory and checkpoints say about where the run comes from.

    Parameters
    ----------
    inputs : Inputs
    potential : Potential

    Returns
    -------
    Provenance
    """
    configuration = inputs.configuration
    table = configuration.potential
    products = "" if table.gpu_products == "auto" else f", products {table.gpu_products}"
    products += "" if table.gpu_network == "auto" else f", network {table.gpu_network}"
    return Provenance(
        input_text=resolved_text(configuration),
        model_file=Path(table.model).name,
        model_sha256=inputs.description.origin.sha256,
        potential=(
            f"{table.backend}, {table.precision}, tolerance {table.tolerance!r} eV/Å{products}"
            f"{_choices(table)}{''.join(f', {term.describe()}' for term in inputs.terms)}"
        ),
        structure=f"{Path(configuration.structure.file).name} (sha256 {_fingerprint(inputs.structure)})",
        seed=configuration.velocities.seed,
        author=_user(),
        choices=potential.choices(),
    )


def _choices(table: PotentialTable) -> str:
    """Return what the input chose of the model, where it chose something."""
    chosen = {
        "shortest_A": table.shortest_A,
        "head": table.head,
        "fparam": table.fparam,
        "aparam": table.aparam,
    }
    return "".join(f", {name} {value}" for name, value in chosen.items() if value is not None)


def _summary_lines(inputs: Inputs, threads: int, ranks: int) -> list[str]:
    configuration, structure = inputs.configuration, inputs.structure
    counts = ", ".join(f"{count} {name}" for name, count in Counter(structure.symbols).items())
    output = configuration.output
    table = configuration.velocities
    if table.temperature_K is None:
        velocities = "from the structure"
    else:
        velocities = f"drawn at {table.temperature_K:g} K, seed {table.seed}"
    return [
        f"model: {configuration.potential.model}",
        f"structure: {configuration.structure.file}, {structure.n_atoms} atoms ({counts})",
        f"cell: {_cell_text(structure)}",
        f"velocities: {velocities}",
        *(f"stage {number}: {stage.describe()}" for number, stage in enumerate(configuration.stage, start=1)),
        f"threads: {threads}" if ranks == 1 else f"ranks: {ranks}, threads of each: {threads}",
        f"output: {output.directory}: {output.trajectory.file} every {output.trajectory.every} steps, "
        f"{output.thermo.file} every {output.thermo.every}, "
        f"{output.checkpoint.file} every {output.checkpoint.every}",
    ]


def _cell_text(structure: Structure) -> str:
    periodic = [axis for axis, repeats in zip("abc", structure.periodic, strict=True) if repeats]
    if not periodic:
        return "none, open boundaries"
    lengths = " × ".join(f"{length:.4g}" for length in np.linalg.norm(structure.cell, axis=1))
    return f"{lengths} Å, periodic along {', '.join(periodic)}"


def _fingerprint(structure: Structure) -> str:
    """Return a hash of what the potential is made from, so that a run is not resumed with another."""
    digest = hashlib.sha256(" ".join(structure.symbols).encode())
    for array in (structure.positions, structure.cell, structure.periodic):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user: common in containers
        return "unknown"
