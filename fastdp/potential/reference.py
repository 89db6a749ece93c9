"""The model exactly as it was trained, in readable float64 NumPy: the specification of every fast path.

Where an atom has more neighbours of a type than the model's `selection`, the nearest are kept and the
rest dropped, as the trainer does; the energy is then not continuous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import PairTooCloseError, UnsupportedModelError
from fastdp.model.description import Array, DeepPotential, EnergyFitting
from fastdp.model.pair_part import PairPartValues, evaluate_pair_part
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.batches import (
    VIRTUAL,
    PairBatch,
    Parameters,
    batches_of_list,
    batches_of_pairs,
    evaluate_batch,
    renumbered,
    too_close,
)


class ReferencePotential(Potential):
    """A Deep Potential evaluated by its definition.

        E = Σ_i E_i,   F_i = Σ_j g_ij − Σ_j g_ji,   Ξ_ab = −Σ_ij (g_ij)_a (r_ij)_b,   g_ij = ∂E_i/∂r_ij

    Parameters
    ----------
    description : DeepPotential
    every_neighbour : bool
        Keep all neighbours instead of the nearest `selection`: what fast paths compute, and what they are
        compared to.
    frame_parameters : (n,) float64, optional
        fparam where the model takes them and has no defaults.
    atom_parameters : (m,) or (n_atoms, m) float64, optional
        aparam, of all atoms alike or of each.

    Raises
    ------
    UnsupportedModelError
        If the model does not give energies.
    InputError
        If parameters are missing.
    """

    def __init__(
        self,
        description: DeepPotential,
        *,
        every_neighbour: bool = False,
        frame_parameters: ArrayLike | None = None,
        atom_parameters: ArrayLike | None = None,
    ) -> None:
        if not isinstance(description.fitting, EnergyFitting):
            raise UnsupportedModelError(
                f"{description.origin.path}: gives no energies, but {description.fitting.kind}; such a model "
                "cannot drive a run"
            )
        if description.spin is not None:
            raise UnsupportedModelError(
                f"{description.origin.path}: is a model with spins, and cannot be evaluated without them; "
                "make_potential and runs take those of the structure (fastdp.potential.spins)"
            )
        self.description = description
        self.every_neighbour = every_neighbour
        self._parameters = Parameters.for_model(description, frame_parameters, atom_parameters)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.description.cutoff

    @property
    def drops_neighbours(self) -> bool:
        """Whether the nearest `selection` are kept only."""
        return not self.every_neighbour

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
            Whether the virial is wanted.
        between : callable, optional
            Called when the atoms are through that see no ghost of another rank.

        Raises
        ------
        PairTooCloseError
            If two atoms are on top of each other.
        """
        if neighbours.n_rows > neighbours.n_atoms and getattr(
            self.description.descriptor, "depends_on_first_atom", False
        ):
            raise UnsupportedModelError(
                f"{self.description.origin.path}: its empty slots have the type of the first atom (dpa1 "
                f"of DeePMD-kit "
                "without set_davg_zero), which only one rank has; run on one rank"
            )
        # In the order of the rows that forces act on: sorted atoms, then ghosts that other ranks own.
        found = Evaluation.empty(neighbours.n_rows)
        segments = neighbours.segments
        parameters = self._parameters.in_order(neighbours.order)
        for turn in (0, 1):
            if turn == 1 and between is not None:
                between()
            for start, stop, _, _ in segments[segments[:, 3] == turn]:
                try:
                    self._add(found, batches_of_list(neighbours, int(start), int(stop)), parameters)
                except PairTooCloseError as error:
                    raise renumbered(error, neighbours.row_identifiers) from None
        n_atoms, order = neighbours.n_atoms, neighbours.order
        result.atomic_energies[order] = found.atomic_energies[:n_atoms]
        result.forces[order] = found.forces[:n_atoms]
        result.ghost_forces = found.forces[n_atoms:]
        result.virial[:] = found.virial
        result.energy = float(np.sum(result.atomic_energies))
        result.virial_is_current = virial

    def evaluate_pairs(
        self,
        types: NDArray[np.integer],
        centre: NDArray[np.integer],
        neighbour: NDArray[np.integer],
        vectors: Array,
        n_centres: int | None = None,
    ) -> Evaluation:
        """Return energy, forces and virial from a plain list of pairs.

        Parameters
        ----------
        types : (n_atoms,) int
            Type of each atom; atoms of type −1 are left out.
        centre, neighbour : (n_pairs,) int
            Atoms of each pair; each pair occurs in both directions, and once for every periodic image.
        vectors : (n_pairs, 3) float64
            From the centre to the neighbour (image), Å; pairs beyond the cutoff may be there.
        n_centres : int, optional
            Atoms from this one on are neighbours only, and have no energy; by default all have.

        Returns
        -------
        Evaluation

        Raises
        ------
        PairTooCloseError
            If two atoms are on top of each other.
        """
        result = Evaluation.empty(len(types))
        self._add(result, batches_of_pairs(types, centre, neighbour, vectors, n_centres), self._parameters)
        result.energy = float(np.sum(result.atomic_energies))
        result.virial_is_current = True
        return result

    def _add(self, result: Evaluation, batches: Iterable[PairBatch], parameters: Parameters) -> None:
        for batch in batches:
            tables = self._tables(batch)
            shares = np.ones(len(batch.atoms)) if tables is None else tables.network_weights
            # Of the pairs of the batch with the row that its atoms have.
            first = batch.atoms[0] if len(batch.atoms) else 0
            for part in evaluate_batch(
                self.description, batch, parameters, truncate=not self.every_neighbour
            ):
                g = part.pair_gradients(shares[part.atoms - first][:, None])
                result.atomic_energies[part.atoms] = part.fitted.values[:, 0]
                _book(result, part.centre, part.neighbour, g, part.vectors)
            if tables is None:
                continue
            real = batch.atom_types != VIRTUAL
            energies = result.atomic_energies[batch.atoms]
            mixed, pull = tables.combined(energies, batch.centre)
            result.atomic_energies[batch.atoms[real]] = mixed[real]
            r = np.linalg.norm(batch.vectors, axis=1, keepdims=True)
            g = pull[:, None] * batch.vectors / r
            _book(result, batch.atoms[batch.centre], batch.neighbour, g, batch.vectors)

    def _tables(self, batch: PairBatch) -> PairPartValues | None:
        """Return the values of the tables that belong to the model, if it has any."""
        part = self.description.pair_part
        if part is None:
            return None
        r = np.linalg.norm(batch.vectors, axis=1)
        if r.min(initial=np.inf) < part.shortest:
            pair = int(np.argmin(r))
            i, j = int(batch.atoms[batch.centre[pair]]), int(batch.neighbour[pair])
            raise too_close(
                i,
                j,
                f"are {r[pair]:.4f} Å apart, and the model's table of pair energies begins at "
                f"{part.shortest:.4f} Å",
            )
        return evaluate_pair_part(
            part,
            batch.atom_types,
            batch.centre,
            batch.neighbour_types,
            batch.vectors,
            truncate=not self.every_neighbour,
        )


def _book(
    result: Evaluation,
    centre: NDArray[np.integer],
    neighbour: NDArray[np.integer],
    gradients: Array,
    vectors: Array,
) -> None:
    """Add gradients ∂E/∂r_ij of pairs to forces and virial."""
    np.add.at(result.forces, centre, gradients)
    np.subtract.at(result.forces, neighbour, gradients)
    result.virial -= gradients.T @ vectors
