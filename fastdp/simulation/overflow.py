"""Telling the user where atoms have more neighbours than the model was trained to see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        self._communicator = communicator
        self._names = description.type_names
        self._parts = getattr(description.descriptor, "parts", (description.descriptor,))
        self._consequence = (
            "the farthest are dropped, as the trainer does, and the energy jumps when they change"
            if truncates
            else "all are kept, unlike in DeePMD-kit, which drops the farthest"
        )
        n_types = description.n_types
        self._reported = [np.zeros((n_types, n_types), dtype=bool) for _ in self._parts]

    def warnings(self, neighbours: VerletList) -> list[str]:
        """Return one line for each pair of types that overflows for the first time.

        Parameters
        ----------
        neighbours : VerletList
            Just built.
        """
        lines = []
        for part, reported in zip(self._parts, self._reported, strict=True):
            if len(part.selection) == len(self._names):
                lines += self._by_type(neighbours, part, reported)
            else:
                lines += self._all_together(neighbours, part, reported)
        return lines

    def _by_type(self, neighbours: VerletList, part: Any, reported: NDArray[np.bool_]) -> list[str]:
        names, selection = self._names, part.selection
        own = count_overflow(neighbours, part.cutoff, selection)
        found = Overflow(self._communicator.maximum(own.largest), self._communicator.sum(own.overflowing))
        new = (found.overflowing > 0) & ~reported
        reported |= new
        return [
            f"{found.overflowing[centre, other]} {names[centre]} atoms have more {names[other]} neighbours "
            f"(up to {found.largest[centre, other]}) than the {selection[other]} of the model's training "
            f"(sel): {self._consequence}"
            for centre, other in np.argwhere(new)
        ]

    def _all_together(self, neighbours: VerletList, part: Any, reported: NDArray[np.bool_]) -> list[str]:
        """Judge by the most neighbours of each type: one atom need not have all of these at once."""
        names, limit = self._names, int(part.selection[0])
        none = np.zeros(len(names), dtype=np.int64)
        largest = self._communicator.maximum(count_overflow(neighbours, part.cutoff, none).largest)
        lines = []
        for centre, counts in enumerate(largest):
            if counts.sum() > limit and not reported[centre, centre]:
                reported[centre] = True
                lines.append(
                    f"{names[centre]} atoms may have up to {counts.sum()} neighbours of all types, and the "
                    f"model's training (sel) knew {limit}: {self._consequence}"
                )
        return lines
