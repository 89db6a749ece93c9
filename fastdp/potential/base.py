"""What every potential is to the rest of fastdp: an object that evaluates a neighbour list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.options import Precision as Precision

if TYPE_CHECKING:
    from fastdp.dynamics.engine import Engine
    from fastdp.dynamics.state import State
    from fastdp.parallel.domain import Domain


@dataclass
class Evaluation:
    """Energy and its derivatives; the arrays are made once and filled by each evaluation.

    All arrays are in the order of the input's atoms.

    Attributes
    ----------
    atomic_energies : (n_atoms,) float64
        eV.
    forces : (n_atoms, 3) float64
        eV/Å.
    virial : (3, 3) float64
        eV, Ξ = −∂E/∂strain, row = gradient (DeePMD-kit's sign: stress = −Ξ/V).
    energy : float
        eV.
    virial_is_current : bool
        Whether the last evaluation computed `virial`.
    ghost_forces : (n_ghosts, 3) float64
        eV/Å, on the ghosts that other ranks own, from the energies of atoms of this one.
    """

    atomic_energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virial: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 3)))
    energy: float = 0.0
    virial_is_current: bool = False
    ghost_forces: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))

    @classmethod
    def empty(cls, n_atoms: int) -> Evaluation:
        """Return zeroed arrays for `n_atoms` atoms."""
        return cls(np.zeros(n_atoms), np.zeros((n_atoms, 3)))


class Potential(ABC):
    """A function of positions, evaluated over a neighbour list that is at least `cutoff` wide.

    Attributes
    ----------
    backend : str
        Name that it was made under, see `factory.py`; empty if it was made otherwise.
    """

    backend = ""

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""

    @property
    def drops_neighbours(self) -> bool:
        """Whether neighbours beyond the `sel` of a model are left out, as its trainer does."""
        return False

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint must hold for the very same potential to be made again.

        Empty if the model file alone determines the potential.
        """
        return {}

    def choices(self) -> dict[str, str]:
        """Return what was chosen for this machine and may matter to the last digit, by the input's keys."""
        return {}

    def make_engine(
        self, state: State, skin: float, domain: Domain | None = None, *, direct: bool = False
    ) -> Engine | None:
        """Return what makes many steps at once where this potential is evaluated, or None.

        Parameters
        ----------
        state : State
            The atoms of the run.
        skin : float
            Of the neighbour list, Å.
        domain : Domain, optional
            Which of several ranks owns what.
        direct : bool
            Whether MPI takes memory of a device.
        """
        return None

    def memory_lines(self) -> list[str]:
        """Return what a run takes of another memory than that of the process, in words."""
        return []

    def another(self) -> Potential | None:
        """Return the same potential with buffers of its own, or None if it is the model as trained."""
        return None

    @abstractmethod
    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Fill `result` for the positions that `neighbours` holds now.

        Parameters
        ----------
        neighbours : VerletList
            Built, and updated to the current positions.
        result : Evaluation
            Filled in place, in input order.
        virial : bool
            Whether the virial is wanted; without it `result.virial_is_current` is set to False.
        between : callable, optional
            Called once, when the atoms are through that see no ghost of another rank; ghosts of other ranks
            need not be in place before.

        Raises
        ------
        PairTooCloseError
            If a pair is closer than the potential covers.
        """
