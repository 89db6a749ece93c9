"""Models of something else than energies: dipoles, polarizabilities, densities of states, properties."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.model.description import Array, DeepPotential
from fastdp.model.fittings.registry import fitting_kind
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.batches import (
    PairBatch,
    Parameters,
    batches_of_list,
    batches_of_pairs,
    evaluate_batch,
)


@dataclass(frozen=True)
class AtomicTensors:
    """What a model gives for a frame, in the order of the input's atoms and the trainer's units.

    Attributes
    ----------
    atomic : (n_atoms, C) float64
        Zero for types that the model gives nothing for.
    total : (C,) float64
        Sum over the atoms, or their mean where the quantity is intensive.
    forces : (C, n_atoms, 3) float64 or None
        −∂total/∂r_i, by Å.
    virials : (C, 3, 3) float64 or None
        −∂total/∂strain.
    """

    atomic: Array
    total: Array
    forces: Array | None
    virials: Array | None


class TensorModel:
    """A model evaluated by its definition.

    Parameters
    ----------
    description : DeepPotential
        Of any kind of fitting.
    frame_parameters, atom_parameters : array, optional
        fparam and aparam where the model takes them.
    """

    def __init__(
        self,
        description: DeepPotential,
        *,
        frame_parameters: ArrayLike | None = None,
        atom_parameters: ArrayLike | None = None,
    ) -> None:
        self.description = description
        self._parameters = Parameters.for_model(description, frame_parameters, atom_parameters)
        self.n_components = fitting_kind(description.fitting).n_components(description.fitting)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.description.cutoff

    @property
    def is_intensive(self) -> bool:
        """Whether the frame's value is the mean of those of the atoms, not their sum."""
        return bool(getattr(self.description.fitting, "intensive", False))

    def evaluate(self, neighbours: VerletList, *, derivatives: bool = False) -> AtomicTensors:
        """Return the tensors at the positions that a neighbour list holds now.

        Parameters
        ----------
        neighbours : VerletList
            At least `cutoff` wide.
        derivatives : bool
            Whether `forces` and `virials` are wanted.
        """
        parameters = self._parameters.in_order(neighbours.order)
        sorted_atoms = self._evaluate(
            neighbours.n_atoms, batches_of_list(neighbours), derivatives, parameters
        )
        place = np.empty(neighbours.n_atoms, dtype=np.int64)
        place[neighbours.order] = np.arange(neighbours.n_atoms)
        forces = sorted_atoms.forces
        return replace(
            sorted_atoms,
            atomic=sorted_atoms.atomic[place],
            forces=None if forces is None else forces[:, place],
        )

    def evaluate_pairs(
        self,
        types: NDArray[np.integer],
        centre: NDArray[np.integer],
        neighbour: NDArray[np.integer],
        vectors: Array,
        *,
        derivatives: bool = False,
    ) -> AtomicTensors:
        """Return the tensors from a plain list of pairs; see `ReferencePotential.evaluate_pairs`."""
        return self._evaluate(
            len(types), batches_of_pairs(types, centre, neighbour, vectors), derivatives, self._parameters
        )

    def _evaluate(
        self, n_atoms: int, batches: Iterable[PairBatch], derivatives: bool, parameters: Parameters
    ) -> AtomicTensors:
        n = self.n_components
        atomic = np.zeros((n_atoms, n))
        forces = np.zeros((n, n_atoms, 3))
        virials = np.zeros((n, 3, 3))
        for batch in batches:
            for part in evaluate_batch(self.description, batch, parameters, truncate=True):
                atomic[part.atoms] = part.fitted.values
                for component in range(n) if derivatives else ():
                    seed = np.zeros_like(part.fitted.values)
                    seed[:, component] = 1.0
                    g = part.pair_gradients(seed)
                    np.add.at(forces[component], part.centre, g)
                    np.subtract.at(forces[component], part.neighbour, g)
                    virials[component] -= g.T @ part.vectors
        share = 1.0 / max(1, n_atoms) if self.is_intensive else 1.0
        total = share * atomic.sum(axis=0)
        if not derivatives:
            return AtomicTensors(atomic, total, None, None)
        return AtomicTensors(atomic, total, share * forces, share * virials)
