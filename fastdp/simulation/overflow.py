"""Telling the user where atoms have more neighbours than the model was trained to see."""

from __future__ import annotations

import numpy as np

from fastdp.model.description import DeepPotential
from fastdp.neighbours.selection import Overflow, count_overflow
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.communicator import SERIAL, Communicator


class OverflowWatch:
    """Counts neighbours beyond `sel` whenever the list is built, and speaks once for each pair of types.

    Parameters
    ----------
    description : DeepPotential
    truncates : bool
        Whether the potential drops the farthest as the trainer does; otherwise it keeps all.
    communicator : Communicator
        Ranks that have other atoms, and call `warnings` together.
    """

    def __init__(
        self, description: DeepPotential, *, truncates: bool, communicator: Communicator = SERIAL
    ) -> None:
        self._description = description
        self._communicator = communicator
        self._consequence = (
            "the farthest are dropped, as the trainer does, and the energy jumps when they change"
            if truncates
            else "all are kept, unlike in DeePMD-kit, which drops the farthest"
        )
        self._reported = np.zeros((description.n_types, description.n_types), dtype=bool)

    def warnings(self, neighbours: VerletList) -> list[str]:
        """Return one line for each pair of types that overflows for the first time.

        Parameters
        ----------
        neighbours : VerletList
            Just built.
        """
        selection, names = self._description.descriptor.selection, self._description.type_names
        own = count_overflow(neighbours, self._description.cutoff, selection)
        found = Overflow(self._communicator.maximum(own.largest), self._communicator.sum(own.overflowing))
        new = (found.overflowing > 0) & ~self._reported
        self._reported |= new
        return [
            f"{found.overflowing[centre, other]} {names[centre]} atoms have more {names[other]} neighbours "
            f"(up to {found.largest[centre, other]}) than the {selection[other]} of the model's training "
            f"(sel): {self._consequence}"
            for centre, other in np.argwhere(new)
        ]
