"""A model of atoms with spins, evaluated for spins that stay as they are (`fastdp.model.spin`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdp.errors import StructureError
from fastdp.model.description import Array, DeepPotential
from fastdp.model.spin import with_partner_types
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.reference import ReferencePotential
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

SPINS = "spins"
"""Name of the array in a checkpoint."""


class SpinPotential(Potential):
    """The reference for models with spins.

    Forces and virial are those at constant spins, with the positions of the atoms: Ξ = −∂E/∂strain where
    strain moves the atoms, and the partners with them as they are.

    Parameters
    ----------
    description : DeepPotential
        With a `spin`.
    spins : (n_atoms, 3) float64
        In the order of the input, in the model's unit (μ_B in DeePMD-kit's training data); rows of atoms of
        other types do not matter.

    Attributes
    ----------
    magnetic_forces : (n_atoms, 3) float64
        −∂E/∂S of the last evaluation, eV by unit of spin, in the order of the input; zero for other types.
        With several ranks, of the atoms of this rank, without what other ranks' atoms add.
    """

    def __init__(self, description: DeepPotential, spins: ArrayLike) -> None:
        self.description = description
        self.spins: Array = np.array(spins, dtype=np.float64)
        if self.spins.ndim != 2 or self.spins.shape[1] != 3 or not np.isfinite(self.spins).all():
            raise StructureError(
                f"spins have the shape {self.spins.shape}, and are to be finite, (n_atoms, 3)"
            )
        self._reference = ReferencePotential(with_partner_types(description))
        n_types = description.n_types
        self._scale = np.append(description.spin.scale, np.zeros(n_types - description.spin.n_magnetic))
        self._reach = float(np.linalg.norm(self.spins, axis=1).max(initial=0.0) * self._scale.max())
        self.magnetic_forces = np.zeros_like(self.spins)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other or each other's partners, Å."""
        return self.description.cutoff + self._reach

    @property
    def drops_neighbours(self) -> bool:
        """Whether the nearest `sel` are kept only."""
        return True

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the spins."""
        return {SPINS: self.spins}

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Fill `result`; see `Potential.evaluate`.

        Raises
        ------
        StructureError
            If a magnetic atom has no spin, or there is another number of atoms than spins.
        PairTooCloseError
            If two atoms are on top of each other.
        """
        if between is not None:
            between()
        n_atoms, n_rows = neighbours.n_atoms, neighbours.n_rows
        names = neighbours.row_identifiers
        if len(names) and names.max() >= len(self.spins):
            raise StructureError(f"{len(self.spins)} spins are given, and there are more atoms")
        types = neighbours.extended_types[:n_rows].astype(np.int64)
        shift = self._scale[types][:, None] * self.spins[names]
        magnetic = types < self.description.spin.n_magnetic
        alone = np.flatnonzero(magnetic & ~shift.any(axis=1))
        if len(alone):
            raise StructureError(
                f"atom {names[alone[0]]} is of the magnetic type "
                f"{self.description.type_names[types[alone[0]]]} and has no spin: its partner would be on it"
            )
        centre = np.repeat(np.arange(n_atoms), np.diff(neighbours.first))
        column = neighbours.neighbours[: neighbours.first[-1]]
        owner = neighbours.owner[column].astype(np.int64)
        vectors = neighbours.extended_positions[column] - neighbours.extended_positions[centre]
        seen = np.flatnonzero(magnetic[owner])
        own = np.flatnonzero(magnetic[:n_atoms])
        found = self._reference.evaluate_pairs(
            np.concatenate((types, types + self.description.n_types)),
            np.concatenate((centre, centre[seen], own)),
            np.concatenate((owner, owner[seen] + n_rows, own + n_rows)),
            np.concatenate((vectors, vectors[seen] + shift[owner[seen]], shift[own])),
            n_centres=n_atoms,
        )
        on_partners = found.forces[n_rows:]
        forces = found.forces[:n_rows] + on_partners
        order = neighbours.order
        result.atomic_energies[order] = found.atomic_energies[:n_atoms]
        result.forces[order] = forces[:n_atoms]
        result.ghost_forces = forces[n_atoms:]
        # The pairs' vectors end at partners, and strain moves atoms.
        result.virial[:] = found.virial - on_partners.T @ shift
        result.energy = float(np.sum(result.atomic_energies))
        result.virial_is_current = virial
        self.magnetic_forces = np.zeros((n_atoms, 3))
        self.magnetic_forces[order] = (self._scale[types][:, None] * on_partners)[:n_atoms]


def spin_potential(
    description: DeepPotential, structure: Structure | None, state: Mapping[str, NDArray[Any]] | None
) -> SpinPotential:
    """Return the potential of a model with spins, for those of a structure or of a checkpoint.

    Parameters
    ----------
    description : DeepPotential
    structure : Structure or None
    state : mapping of str to array or None
        `state_arrays()` of the potential to make again.

    Raises
    ------
    StructureError
        If the structure has no spins.
    """
    if state:
        return SpinPotential(description, state[SPINS])
    assert structure is not None
    if structure.spins is None:
        magnetic = ", ".join(description.type_names[: description.spin.n_magnetic])
        raise StructureError(
            f"{description.origin.path}: is a model with spins of {magnetic}, and the structure has none: "
            "give a column initial_magmoms of three numbers in an extxyz file, or spin.npy in a DeePMD-kit "
            "folder"
        )
    types = match_types(structure.symbols, description.type_names)
    missing = np.flatnonzero((types < description.spin.n_magnetic) & ~structure.spins.any(axis=1))
    if len(missing):
        raise StructureError(
            f"atom {missing[0]} ({structure.symbols[missing[0]]}) has no spin: the model is of spins "
            "that are not zero"
        )
    return SpinPotential(description, structure.spins)
