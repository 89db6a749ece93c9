"""From a validated input file to a simulation on several ranks: rank 0 reads, and each gets its part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.config.schema import Configuration
from fastdp.config.settings import run_settings
from fastdp.dynamics.state import State
from fastdp.model.description import DeepPotential
from fastdp.neighbours.selection import Overflow
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import Checkpoint
from fastdp.parallel.balance import BalanceSettings
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.device_memory import mpi_takes_device_memory
from fastdp.parallel.domain import Domain, deal_out
from fastdp.parallel.grid import Shape
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Potential
from fastdp.potential.factory import make_potential
from fastdp.potential.terms.base import Term
from fastdp.simulation.assemble import audits, initial_state, make_ready, provenance
from fastdp.simulation.device_simulation import DeviceSimulation
from fastdp.simulation.further import further_files, make_further_models_together
from fastdp.simulation.inputs import Inputs
from fastdp.simulation.overflow import OverflowWatch
from fastdp.simulation.record import state_of
from fastdp.simulation.reporter import Reporter
from fastdp.simulation.simulation import Simulation
from fastdp.simulation.trial import forecast

FURTHER: dict[str, NDArray[Any]] = {
    "positions_at_build": np.zeros((0, 3)),
    "atomic_energies": np.zeros(0),
    "forces": np.zeros((0, 3)),
}
"""What a checkpoint has for each atom besides the state."""


def build_together(
    inputs: Inputs | None,
    configuration: Configuration,
    threads: int,
    *,
    communicator: Communicator,
    reporter: Reporter,
    checkpoint: Checkpoint | None = None,
    resumed: bool = False,
) -> Simulation:
    """Put a run on several ranks together, and say what it will take; all ranks call this together.

    Parameters
    ----------
    inputs : Inputs or None
        On rank 0; None elsewhere. Nothing of it is kept but the model.
    configuration : Configuration
        On all ranks.
    threads : int
        Of each rank.
    communicator : Communicator
    reporter : Reporter
        Of rank 0 told how the run goes; others are to be silent.
    checkpoint : Checkpoint or None
        On rank 0, where to continue.
    resumed : bool
        On all ranks, whether there is a checkpoint.

    Returns
    -------
    Simulation

    Raises
    ------
    FastDPError
        On all ranks, what the run cannot start with.
    """

    def prepare() -> tuple[Potential, Any]:
        assert inputs is not None
        # The cores of the other ranks, which wait, are free.
        with thread_limits():
            made = make_ready(inputs, threads, reporter, checkpoint=checkpoint, ranks=communicator.size)
        about = (
            inputs.description,
            provenance(inputs, made),
            made.state_arrays(),
            made.backend,
            inputs.terms,
        )
        return made, about

    prepared = communicator.on_root(prepare)
    potential_of_root, shared = prepared if prepared is not None else (None, None)
    description, origin, potential_state, backend, terms = communicator.broadcast(shared)
    # A rank may lack the GPU that rank 0 has.
    potential = communicator.together(
        lambda: (
            potential_of_root
            or _potential_from(description, configuration, potential_state, backend, terms, communicator.size)
        )
    )

    # The cores of the other ranks, which wait, are free.
    models = make_further_models_together(inputs, configuration, communicator, reporter, thread_limits)

    state, domain, further = _deal_out(inputs, configuration, communicator, checkpoint, resumed)
    own_checkpoint = _own_checkpoint(checkpoint, further, communicator) if resumed else None
    neighbours = DecomposedList(
        max(potential.cutoff, models.cutoff),
        configuration.neighbours.skin_A,
        state.cell,
        state.periodic,
        state.types,
        state.identifiers,
        communicator,
    )
    watch = OverflowWatch(description, truncates=potential.drops_neighbours, communicator=communicator)

    def warn_of_overflow(built: VerletList) -> None:
        for line in watch.warnings(built):
            reporter.warning(line)

    kind = _kind_of_simulation(potential, state, domain, configuration, watch, reporter)
    simulation = kind(
        state,
        potential,
        neighbours,
        run_settings(configuration),
        provenance=origin,
        potential_state=potential_state,
        reporter=reporter,
        checkpoint=own_checkpoint,
        when_built=warn_of_overflow,
        domain=domain,
        observers=audits(configuration, description, potential, neighbours, reporter, communicator),
        further=further_files(configuration, models, neighbours, state.n_total, reporter, communicator),
    )
    grid = " × ".join(map(str, domain.regions.shape))
    counts = communicator.all_gather(np.array([state.n_atoms]))[:, 0]
    reporter.message(f"grid of ranks: {grid}, {counts.min()} to {counts.max()} atoms each")
    if not resumed:
        trial = simulation.try_start()
        for line in (
            *forecast(trial, state, run_settings(configuration), configuration.neighbours.skin_A),
            *potential.memory_lines(),
        ):
            reporter.message(line)
    return simulation


def _kind_of_simulation(
    potential: Potential,
    state: State,
    domain: Domain,
    configuration: Configuration,
    watch: OverflowWatch,
    reporter: Reporter,
) -> Callable[..., Simulation]:
    """Return what makes the simulation: one whose steps are made on devices, where the potential has them."""
    wanted = configuration.parallel.gpu_aware_mpi
    # All ranks do the same: a message has two ends.
    takes = mpi_takes_device_memory() if wanted == "auto" else wanted == "yes"
    direct = not domain.communicator.any(not takes)
    engine = potential.make_engine(state, configuration.neighbours.skin_A, domain, direct=direct)
    if engine is None:
        return Simulation
    reporter.message(
        "atoms stay on the GPUs; ghosts are exchanged "
        + ("by MPI from their memory" if direct else "through pinned memory of the host")
    )
    engine.count_neighbours(watch.limits)

    def warn_of_counts(counts: Sequence[Overflow]) -> None:
        for line in watch.warnings_of(counts):
            reporter.warning(line)

    return partial(DeviceSimulation, engine=engine, when_beyond=warn_of_counts)


def balance_settings(configuration: Configuration) -> BalanceSettings:
    """Return what decides whether planes between ranks move.

    Parameters
    ----------
    configuration : Configuration
    """
    return BalanceSettings(configuration.parallel.balance, configuration.parallel.imbalance_limit)


def _potential_from(
    description: DeepPotential,
    configuration: Configuration,
    state: Mapping[str, NDArray[Any]],
    backend: str,
    terms: tuple[Term, ...],
    ranks: int,
) -> Potential:
    """Return the potential that rank 0 has made."""
    table = configuration.potential
    return make_potential(
        description,
        # Only a potential without a state is made from atoms, and then does not look at them.
        None,  # type: ignore[arg-type]
        backend=backend,
        precision=table.precision,
        tolerance=table.tolerance,
        gpu_products=table.gpu_products,
        gpu_network=table.gpu_network,
        state=state,
        terms=terms,
        ranks=ranks,
    )


def _deal_out(
    inputs: Inputs | None,
    configuration: Configuration,
    communicator: Communicator,
    checkpoint: Checkpoint | None,
    resumed: bool,
) -> tuple[State, Domain, dict[str, NDArray[Any]]]:
    wanted = configuration.parallel.grid
    grid: Shape | None = None if wanted is None else (wanted[0], wanted[1], wanted[2])
    balance = balance_settings(configuration)
    if not resumed:
        whole = None if inputs is None else initial_state(inputs)
        return deal_out(whole, communicator, grid=grid, balance=balance)
    if checkpoint is None:
        return deal_out(None, communicator, grid=grid, balance=balance, further_like=FURTHER)
    sections = checkpoint.sections
    built_at = sections["neighbours"]["positions_at_build"]
    return deal_out(
        state_of(checkpoint),
        communicator,
        grid=grid,
        balance=balance,
        placed_at=built_at,
        planes=sections.get("planes") or None,
        further={
            "positions_at_build": built_at,
            "atomic_energies": sections["evaluation"]["atomic_energies"],
            "forces": sections["evaluation"]["forces"],
        },
        further_like=FURTHER,
    )


def _own_checkpoint(
    checkpoint: Checkpoint | None, further: Mapping[str, NDArray[Any]], communicator: Communicator
) -> Checkpoint:
    """Return the checkpoint with the rows of this rank's atoms in place of all."""
    about = None
    if checkpoint is not None:
        sections = {
            name: arrays
            for name, arrays in checkpoint.sections.items()
            if name in ("integrator", "conserved_quantity", "temperature")
        }
        evaluation = {
            name: array for name, array in checkpoint.sections["evaluation"].items() if name not in FURTHER
        }
        about = (checkpoint.header, sections, evaluation, checkpoint.newest_is_damaged)
    header, sections, evaluation, damaged = communicator.broadcast(about)
    own = {
        **sections,
        "evaluation": {
            **evaluation,
            "atomic_energies": further["atomic_energies"],
            "forces": further["forces"],
        },
        "neighbours": {"positions_at_build": further["positions_at_build"]},
    }
    # What waits to be written is of all atoms, and only rank 0 has it.
    for name, arrays in checkpoint.sections.items() if checkpoint is not None else ():
        if name.startswith("waiting for "):
            own[name] = arrays
    return Checkpoint(header, own, damaged)
