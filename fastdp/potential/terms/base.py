"""What a further term of the potential energy is to the rest of fastdp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation

Array = NDArray[np.float64]


class Addend(Protocol):
    """Evaluates one or more terms, and adds them to what is there."""

    @property
    def cutoff(self) -> float:
        """Radius that the neighbour list must reach, Å; 0 for terms that need none."""

    def add(self, neighbours: VerletList, result: Evaluation, *, virial: bool) -> None:
        """Add to energies, forces and, if wanted, the virial of `result`."""


class Term(ABC):
    """A term, made for the types of a model: numbers only, sent to other ranks as it is.

    Attributes
    ----------
    on_gpu : bool
        Whether there are kernels of it for a GPU.
    """

    on_gpu = False

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Radius that the neighbour list must reach, Å; 0 for a term that needs none."""

    @abstractmethod
    def describe(self) -> str:
        """Return what the term is, in one line that tells it from any other."""

    def addend(self, ranks: int) -> Addend:
        """Return what evaluates the term, unless it is evaluated together with others of its kind.

        Parameters
        ----------
        ranks : int
            That share the atoms.

        Raises
        ------
        BackendError
            If the term cannot be shared.
        """
        raise NotImplementedError


class PairTerm(Term):
    """E = ½ Σ_i Σ_j≠i φ_αβ(r_ij), for the types α and β of the atoms."""

    on_gpu = True

    @abstractmethod
    def energy_and_slope(
        self, centre: NDArray[np.integer], neighbour: NDArray[np.integer], r: Array
    ) -> tuple[Array, Array]:
        """Return φ and dφ/dr: the specification of the kernels.

        Parameters
        ----------
        centre, neighbour : (n,) int
            Types of the two atoms.
        r : (n,) float64
            Å, any distance above `shortest`; both are zero from the cutoff on.

        Returns
        -------
        (n,) float64, (n,) float64
            eV and eV/Å.
        """

    @property
    @abstractmethod
    def reach(self) -> Array:
        """Distance from which on a pair of types has no interaction, Å, (n_types, n_types); 0 for none."""

    @property
    def shortest(self) -> float:
        """Distance below which the term says nothing, Å."""
        return 0.0

    @property
    def label(self) -> str:
        """What the term is called where it begins at a distance."""
        return "term"

    @property
    @abstractmethod
    def kind(self) -> int:
        """Which function of `scalar` the kernels take, a number of `scalar`."""

    @abstractmethod
    def packed(self) -> Array:
        """Return the numbers of that function, (n_types, n_types, m)."""

    @property
    def cutoff(self) -> float:
        """Radius that the neighbour list must reach, Å."""
        return float(self.reach.max(initial=0.0))
