"""Started by mpirun on 8 ranks: runs every system on groups of 2 to 8 of them and writes what came out.

One start of Python on each rank is the dear part, so one job does everything; what it wrote is judged by
`test_agreement.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI
from systems import SHAPES, SYSTEMS, System

from fastdp.dynamics.state import State
from fastdp.errors import FastDPError, PairTooCloseError
from fastdp.parallel.balance import BalanceSettings
from fastdp.parallel.communicator import Communicator
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import Domain, deal_out
from fastdp.parallel.mpi import MPICommunicator
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Evaluation, Potential
from fastdp.simulation.collected import CollectedSystem
from fastdp.simulation.decomposed_force_field import DecomposedForceField
from fastdp.simulation.simulation import Simulation
from fastdp.simulation.timers import BETWEEN_RANKS, CATEGORIES, Timers


def name_of(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def place(
    system: System,
    communicator: Communicator,
    shape: tuple[int, int, int],
    balance: BalanceSettings | None = None,
) -> tuple[State, Domain]:
    whole = system.state() if communicator.is_root else None
    state, domain, _ = deal_out(whole, communicator, grid=shape, balance=balance)
    return state, domain


def list_for(state: State, potential: Potential, skin: float) -> DecomposedList:
    return DecomposedList(
        potential.cutoff, skin, state.cell, state.periodic, state.types, state.identifiers, state.communicator
    )


def evaluate(
    system: System, potential: Potential, communicator: Communicator, shape: tuple[int, int, int]
) -> dict[str, np.ndarray] | None:
    """Return energy, forces and virial at the start, from rank 0."""
    state, domain = place(system, communicator, shape)
    force_field = DecomposedForceField(
        potential,
        list_for(state, potential, system.skin),
        Timers((*CATEGORIES, *BETWEEN_RANKS)),
        lambda _: None,
        domain,
    )
    force_field.compute(state)
    # A second time from the same list: positions of ghosts come by the messages of a step.
    force_field.compute(state)
    whole = CollectedSystem(state).evaluation(force_field.evaluation, state)
    counts = communicator.all_gather(np.array([state.n_atoms, force_field.neighbours.ghosts.n_ghosts]))
    if whole is None:
        return None
    return {
        "energy": np.array(whole.energy),
        "atomic_energies": whole.atomic_energies,
        "forces": whole.forces,
        "virial": whole.virial,
        "counts": counts,
    }


def move(
    system: System,
    potential: Potential,
    communicator: Communicator,
    shape: tuple[int, int, int],
    directory: Path,
    balance: BalanceSettings | None = None,
) -> Domain:
    state, domain = place(system, communicator, shape, balance)
    if isinstance(potential, CostlyLeft):
        potential.charge(domain)
    neighbours = list_for(state, potential, system.skin)
    Simulation(state, potential, neighbours, system.settings(directory), domain=domain).run()
    return domain


class TooCloseOnOneRank(Potential):
    """Finds a pair too close in one evaluation of one rank, before its ghosts have arrived."""

    def __init__(self, potential: Potential, communicator: Communicator) -> None:
        self.potential, self.communicator, self.evaluations = potential, communicator, 0

    @property
    def cutoff(self) -> float:
        return self.potential.cutoff

    def evaluate(self, neighbours, result: Evaluation, *, virial=True, between=None) -> None:
        self.evaluations += 1
        if self.evaluations == 20 and self.communicator.rank == 1:
            raise PairTooCloseError("atoms 3 and 7 are 0.1 Å apart", atoms=(3, 7))
        self.potential.evaluate(neighbours, result, virial=virial, between=between)


class CostlyLeft(Potential):
    """Says that it takes time for each atom in the left quarter of the cell, and for no other."""

    def __init__(self, potential: Potential, edge: float) -> None:
        self.potential, self.edge, self.seconds = potential, edge, 0.0

    def charge(self, domain: Domain) -> None:
        """Put what it says in the place of the clock, which other programs disturb."""
        add = domain.balancer.add
        domain.balancer.add = lambda seconds: add(self.seconds)  # type: ignore[method-assign]

    @property
    def cutoff(self) -> float:
        return self.potential.cutoff

    def evaluate(self, neighbours, result: Evaluation, *, virial=True, between=None) -> None:
        self.potential.evaluate(neighbours, result, virial=virial, between=between)
        left = neighbours.extended_positions[: neighbours.n_atoms, 0] % (4 * self.edge) < self.edge
        self.seconds = 1e-4 * np.count_nonzero(left)


def failures(communicator: Communicator, folder: Path, potential: Potential) -> dict[str, object]:
    """Return what runs say that must fail."""
    system = SYSTEMS["thin"]
    found: dict[str, object] = {}

    def attempt(name: str, sabotage) -> None:
        state, domain = place(system, communicator, (2, 1, 1))
        chosen = sabotage(state, domain) or potential
        run = system.settings(folder / name)
        try:
            Simulation(state, chosen, list_for(state, chosen, system.skin), run, domain=domain).run()
        except FastDPError as error:
            found[name] = [type(error).__name__, str(error), error.on_all_ranks]

    def lose(state: State, domain: Domain) -> None:
        before = domain.migrate

        def migrate(moved: State) -> None:
            if communicator.rank == 1:
                moved.adopt({key: array[1:].copy() for key, array in moved.atom_arrays().items()})
            before(moved)

        domain.migrate = migrate  # type: ignore[method-assign]

    def too_hot(state: State, domain: Domain) -> None:
        if communicator.rank == 1:
            state.velocities[0] = 4e4

    def unplaced(state: State, domain: Domain) -> None:
        if communicator.rank == 1:
            state.positions[0] = np.nan

    attempt("too close", lambda state, domain: TooCloseOnOneRank(potential, communicator))
    attempt("lost", lose)
    attempt("too hot", too_hot)
    attempt("nan", unplaced)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    world = MPI.COMM_WORLD
    everybody = MPICommunicator(world.Dup(), patient=True)
    report: dict[str, object] = {}
    with thread_limits(1):
        # Made on one rank at a time, the first of which fills the caches.
        potentials = None
        for turn in range(2):
            if (world.rank > 0) == bool(turn):
                potentials = {name: system.potential() for name, system in SYSTEMS.items()}
            everybody.wait_for_root()
        assert potentials is not None
        for size, shapes in SHAPES.items():
            group = world.Split(0 if world.rank < size else MPI.UNDEFINED)
            if group != MPI.COMM_NULL:
                communicator = MPICommunicator(group, patient=True)
                for name, system in SYSTEMS.items():
                    for shape in shapes:
                        arrays = evaluate(system, potentials[name], communicator, shape)
                        if arrays is not None:
                            np.savez(folder / f"{name} {name_of(shape)}.npz", **arrays)
                        if shape in system.moves_on:
                            directory = folder / f"{name} {name_of(shape)}"
                            move(system, potentials[name], communicator, shape, directory)
                if size == 2:
                    report |= failures(communicator, folder, potentials["thin"])
                    costly = CostlyLeft(potentials["thin"], float(SYSTEMS["thin"].state().cell[0, 0]) / 4)
                    settings = BalanceSettings(limit=1.05)
                    domain = move(
                        SYSTEMS["thin"], costly, communicator, (2, 1, 1), folder / "balanced", settings
                    )
                    report["moves"] = domain.balancer.n_moves
                    report["imbalance"] = domain.balancer.imbalance
                    report["plane"] = float(domain.regions.first[0])
            everybody.wait_for_root()
    if world.rank == 0:
        (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
