"""A model and further terms as one potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.terms.base import Addend


class SumPotential(Potential):
    """A potential, and what is added to it: E = E_model + Σ E_term.

    Parameters
    ----------
    driving : Potential
        Evaluated first; sees only its own cutoff.
    addends : sequence of Addend
    """

    def __init__(self, driving: Potential, addends: Sequence[Addend]) -> None:
        self.driving = driving
        self.addends = tuple(addends)

    @property
    def cutoff(self) -> float:
        """The largest radius of the model and all terms, Å."""
        return max(self.driving.cutoff, *(addend.cutoff for addend in self.addends))

    @property
    def drops_neighbours(self) -> bool:
        """Whether the model keeps only as many neighbours as its trainer."""
        return self.driving.drops_neighbours

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return those of the model; terms follow from the input."""
        return self.driving.state_arrays()

    def memory_lines(self) -> list[str]:
        """Return those of the model."""
        return self.driving.memory_lines()

    def another(self) -> Potential | None:
        """Return the model alone with buffers of its own: terms are exact, and not compared with anything."""
        return self.driving.another()

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Fill `result` with the sum; see `Potential.evaluate`."""
        self.driving.evaluate(neighbours, result, virial=virial, between=between)
        for addend in self.addends:
            addend.add(neighbours, result, virial=virial)


def with_addends(potential: Potential, addends: Sequence[Addend]) -> Potential:
    """Return a potential with terms added, or itself if there are none.

    Parameters
    ----------
    potential : Potential
    addends : sequence of Addend
    """
    return SumPotential(potential, addends) if addends else potential
