"""Forces for the integrator where other ranks have the other atoms."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fastdp.dynamics.state import State
from fastdp.errors import SimulationError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import Domain
from fastdp.potential.base import Evaluation, Potential
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.timers import Timers


class DecomposedForceField(NeighbourForceField):
    """A `NeighbourForceField` on one of several ranks; all call `compute` together.

    Each step: all agree whether an atom has moved too far since the list was built; positions of ghosts are
    sent; the interior is evaluated, positions of ghosts are received, the rest is evaluated; forces on ghosts
    are sent home and added; energy and virial are summed. Where the list has to be built, atoms go first to
    the ranks that own them.

    Parameters
    ----------
    potential : Potential
    neighbours : DecomposedList
        For the atoms of this rank.
    timers : Timers
        With the categories "communication" and "waiting".
    when_built : callable
    domain : Domain
    """

    def __init__(
        self,
        potential: Potential,
        neighbours: DecomposedList,
        timers: Timers,
        when_built: Callable[[VerletList], object],
        domain: Domain,
    ) -> None:
        super().__init__(potential, neighbours, timers, when_built)
        self.neighbours: DecomposedList = neighbours
        self.domain = domain
        self._communicator = domain.communicator
        self._communicator.measure = timers.measure
        self._sums = np.zeros(11)
        self._waiting_for_positions = False

    def compute(self, state: State) -> None:
        """Evaluate the positions of `state`, whose atoms may be other ones afterwards."""
        self.current = False
        neighbours, timers = self.neighbours, self._timers
        with timers.measure("neighbours"):
            built = neighbours.number_of_builds > 0
            moved = not built or neighbours.update(state.positions)
        # Building the list brings the positions of ghosts with it.
        self._waiting_for_positions = not self._communicator.any(moved)
        if self._waiting_for_positions:
            with timers.measure("communication"):
                neighbours.send_positions(state.positions)
        else:
            with timers.measure("neighbours"):
                self._rebuild(state, migrate=built)
        error = self._evaluate()
        self._return_forces()
        self._add_up(error)
        self.current = True

    def follow(self, state: State) -> None:
        """Take note of atoms that were moved, and of their evaluation that was made, elsewhere."""
        self.neighbours.adopt(state.types, state.identifiers)
        super().follow(state)

    def _rebuild(self, state: State, *, migrate: bool) -> None:
        self._communicator.together(state.wrap)
        neighbours = self.neighbours
        # At the start every atom is where it belongs.
        if migrate:
            self.domain.migrate(state)
            neighbours.adopt(state.types, state.identifiers)
        neighbours.build(state.positions)
        self.fit()
        self._when_built(neighbours)

    def fit(self) -> None:
        """Make the evaluation fit the atoms of the list."""
        n = self.neighbours.n_atoms
        if len(self.evaluation.forces) != n:
            fresh = Evaluation.empty(n)
            self.evaluation.forces = fresh.forces
            self.evaluation.atomic_energies = fresh.atomic_energies

    def _evaluate(self) -> SimulationError | None:
        """Evaluate the potential and return what it failed with."""
        failure = None
        began, waited = time.perf_counter(), self._timers.seconds["waiting"]
        with self._timers.measure("model"):
            try:
                self._potential.evaluate(
                    self.neighbours, self.evaluation, virial=self.virial, between=self._receive_positions
                )
            except SimulationError as error:
                failure = error
            # Whatever happened, others wait for what this rank owes them.
            self._receive_positions()
        waited = self._timers.seconds["waiting"] - waited
        self.domain.balancer.add(time.perf_counter() - began - waited)
        return failure

    def _receive_positions(self) -> None:
        if self._waiting_for_positions:
            with self._timers.measure("waiting"):
                self.neighbours.ghosts.receive_positions()
            self._waiting_for_positions = False

    def _return_forces(self) -> None:
        neighbours, ghosts = self.neighbours, self.neighbours.ghosts
        with self._timers.measure("communication"):
            if len(self.evaluation.ghost_forces) == ghosts.n_ghosts:
                neighbours.ghost_forces[:] = self.evaluation.ghost_forces
            ghosts.send_forces()
            with self._timers.measure("waiting"):
                ghosts.receive_forces()
            ghosts.add_forces(self.evaluation.forces)

    def _add_up(self, error: SimulationError | None) -> None:
        """Replace this rank's energy and virial by those of all, or raise what any of them failed with."""
        evaluation = self.evaluation
        self._sums[0] = evaluation.energy
        self._sums[1:10] = evaluation.virial.ravel() if evaluation.virial_is_current else 0.0
        self._sums[10] = error is not None
        total = self._communicator.sum(self._sums)
        if total[10]:
            self._communicator.raise_any(error)
        evaluation.energy = float(total[0])
        if evaluation.virial_is_current:
            evaluation.virial[:] = total[1:10].reshape(3, 3)
