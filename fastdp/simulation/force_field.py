"""Forces for the integrator: a potential over a neighbour list that is kept up to date."""

from __future__ import annotations

from collections.abc import Callable

from fastdp.dynamics.state import State
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.simulation.timers import Timers


class NeighbourForceField:
    """Evaluates a potential, rebuilding the neighbour list when an atom has moved half the skin.

    Atoms are put back into the cell only when the list is built, so that a run that is resumed with
    the list it had takes the same decisions.

    Parameters
    ----------
    potential : Potential
        Gives energy and forces.
    neighbours : VerletList
        For the atoms of the state.
    timers : Timers
        Told where the time goes.
    when_built : callable, optional
        Given the neighbour list each time that it was built.

    Attributes
    ----------
    evaluation : Evaluation
        Of the last `compute`.
    virial : bool
        Whether the next `compute` is to include the virial.
    current : bool
        Whether `evaluation` is complete; not while, or after, `compute` fails.
    """

    def __init__(
        self,
        potential: Potential,
        neighbours: VerletList,
        timers: Timers,
        when_built: Callable[[VerletList], object] = lambda _: None,
    ) -> None:
        self._potential = potential
        self._timers = timers
        self._when_built = when_built
        self.neighbours = neighbours
        self.evaluation = Evaluation.empty(neighbours.n_atoms)
        self.virial = True
        self.current = False

    def follow(self, state: State) -> None:
        """Take note of atoms that were moved, and of their evaluation that was made, elsewhere.

        A run that is resumed here builds its list here.
        """
        self.neighbours.positions_at_build = state.positions.copy()

    def compute(self, state: State) -> None:
        """Evaluate the positions of `state`, which are wrapped if the list has to be built."""
        self.current = False
        with self._timers.measure("neighbours"):
            built = self.neighbours.number_of_builds > 0
            if not built or self.neighbours.update(state.positions):
                state.wrap()
                self.neighbours.build(state.positions)
                self._when_built(self.neighbours)
        with self._timers.measure("model"):
            self._potential.evaluate(self.neighbours, self.evaluation, virial=self.virial)
        self.current = True
