"""A compressed network that gives way to a table of pairs where atoms come close (`use_srtab`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.pair_part import PairPart, PairPartValues, evaluate_pair_part
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.batches import too_close
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.terms.short_list import ShortList

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Close:
    """Atoms that a table has a part in, with all their pairs.

    Attributes
    ----------
    atoms : (k,) int
        Sorted atoms.
    centre : (n_pairs,) int
        Within `atoms`.
    columns : (n_pairs,) int
        Extended atoms.
    vectors : (n_pairs, 3) float64
        Å.
    values : PairPartValues
    """

    atoms: NDArray[np.integer]
    centre: NDArray[np.integer]
    columns: NDArray[np.integer]
    vectors: Array
    values: PairPartValues


class SwitchedPotential(Potential):
    """E_i = (1 − w_i) E_i^network + w_i T_i, the network by kernels, as in `fastdp.model.pair_part`.

    An atom has no w if no neighbour is nearer than the switch begins, and few have one that is. For these,
    tables and weights are evaluated as specified, in NumPy; the kernels multiply their gradients by 1 − w_i,
    and leave out those where nothing is left.

    Parameters
    ----------
    network : CompressedPotential
    part : PairPart
        With a switch.
    """

    def __init__(self, network: CompressedPotential, part: PairPart) -> None:
        assert part.switch is not None
        self.network = network
        self.part = part
        self._outer = part.switch.outer
        self._short = ShortList()
        n_types = len(part.bias)
        self._reach = np.full((n_types, n_types), self._outer)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return max(self.network.cutoff, self.part.cutoff)

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return those of the network; tables follow from the model."""
        return self.network.state_arrays()

    def another(self) -> Potential | None:
        """Return the network alone with buffers of its own."""
        return self.network.another()

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Fill `result` for the positions that `neighbours` holds now; see `Potential.evaluate`.

        Raises
        ------
        PairTooCloseError
            If a pair is closer than the table begins, or than the network's tables where it has a share.
        """
        self._short.prepare(neighbours, self._reach)
        shares = np.ones(neighbours.n_atoms)
        found = [self._find(neighbours, 0, shares)]

        def then() -> None:
            if between is not None:
                between()
            found.append(self._find(neighbours, 1, shares))

        self.network.evaluate(neighbours, result, virial=virial, between=then, shares=shares)
        if any(len(close.atoms) for close in found):
            self._mix(neighbours, found, result, virial)

    def _find(self, neighbours: VerletList, stage: int, shares: Array) -> _Close:
        """Evaluate tables and weights of atoms of one stage, and write down what is left to the network."""
        nearest = np.full(neighbours.n_atoms, np.inf)
        for start, stop, _, _ in neighbours.segments[neighbours.segments[:, 3] == stage]:
            self._short.nearest_squared(neighbours, int(start), int(stop), nearest)
        # In a crystal at rest there are none.
        atoms = np.flatnonzero(nearest < self._outer**2)
        first, positions, types = neighbours.first, neighbours.extended_positions, neighbours.extended_types
        rows = [neighbours.neighbours[first[i] : first[i + 1]] for i in atoms]
        columns = np.concatenate([np.zeros(0, np.int32), *rows])
        centre = np.repeat(np.arange(len(atoms)), np.array([len(row) for row in rows], dtype=np.int64))
        vectors = positions[columns] - positions[atoms[centre]]
        self._check(neighbours, atoms[centre], columns, vectors)
        values = evaluate_pair_part(self.part, types[atoms], centre, types[columns], vectors, truncate=False)
        shares[atoms] = values.network_weights
        return _Close(atoms, centre, columns, vectors, values)

    def _check(
        self, neighbours: VerletList, i: NDArray[np.integer], columns: NDArray[np.integer], vectors: Array
    ) -> None:
        r = np.linalg.norm(vectors, axis=1)
        if r.min(initial=np.inf) >= self.part.shortest:
            return
        pair = int(np.argmin(r))
        identifiers = neighbours.row_identifiers
        raise too_close(
            int(identifiers[i[pair]]),
            int(identifiers[neighbours.owner[columns[pair]]]),
            f"are {r[pair]:.4f} Å apart, and the model's table of pair energies begins at "
            f"{self.part.shortest:.4f} Å",
        )

    def _mix(self, neighbours: VerletList, found: list[_Close], result: Evaluation, virial: bool) -> None:
        """Put in the tables' part, and the weights' gradient."""
        n, order = neighbours.n_atoms, neighbours.order
        forces = np.zeros((neighbours.n_rows, 3))
        for close in found:
            places = order[close.atoms]
            energies, slopes = close.values.combined(result.atomic_energies[places], close.centre)
            result.atomic_energies[places] = energies
            r = np.linalg.norm(close.vectors, axis=1, keepdims=True)
            gradients = slopes[:, None] * close.vectors / r
            np.add.at(forces, close.atoms[close.centre], gradients)
            np.subtract.at(forces, neighbours.owner[close.columns], gradients)
            if virial:
                result.virial -= gradients.T @ close.vectors
        result.forces[order] += forces[:n]
        result.ghost_forces += forces[n:]
        result.energy = float(result.atomic_energies[order].sum())
