"""What makes many steps at once, where the atoms are: the interface between a run and a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.state import State
from fastdp.errors import SimulationError
from fastdp.neighbours.selection import NeighbourLimit, Overflow
from fastdp.potential.base import Evaluation


@dataclass(frozen=True)
class StepLog:
    """What is known of each step that was made.

    Attributes
    ----------
    potential_energy, kinetic_energy, bath_energy : (n_steps,) float64
        eV.
    """

    potential_energy: NDArray[np.float64]
    kinetic_energy: NDArray[np.float64]
    bath_energy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.potential_energy)


class Engine(Protocol):
    """Holds the state of a run between the steps at which the host looks at it."""

    longest_chunk: int
    """Most steps of one `advance`."""

    @property
    def number_of_builds(self) -> int:
        """How often the neighbour list was built."""

    def supports(self, integrator: Integrator[Any]) -> bool:
        """Whether the engine can move atoms this way."""

    def count_neighbours(self, limits: Sequence[NeighbourLimit]) -> None:
        """Count neighbours beyond these limits wherever the list is built; to be called before `load`."""

    def neighbours_beyond(self) -> list[Overflow]:
        """Return, for each limit, the counts of pairs of types when they were first beyond it.

        Empty if there was nothing new since this was last asked for.
        """

    def load(
        self,
        state: State,
        evaluation: Evaluation,
        integrator: Integrator[Any],
        largest_temperature: float,
    ) -> None:
        """Take over a state, the forces on it, and the integrator with its own state.

        What follows depends on nothing else, so a run that is loaded where it is goes on as one that is
        resumed there.
        """

    def advance(self, steps: int, *, virial: bool) -> tuple[StepLog, bool]:
        """Make up to `longest_chunk` steps; `virial`: for the last of them.

        Returns
        -------
        log : StepLog
            Of the steps that were completed.
        halted : bool
            Whether something is wrong with the step after the last completed one, or with that one.
        """

    def fetch(self, state: State, evaluation: Evaluation, integrator: Integrator[Any]) -> None:
        """Bring the present state to the host. `state.step` and `state.time_ps` are the caller's."""

    def error(self, state: State) -> SimulationError | None:
        """Return why the last step, now in `state`, could not be evaluated; None if it could."""
