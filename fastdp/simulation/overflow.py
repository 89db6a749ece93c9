"""Telling the user where atoms have more neighbours than the model was trained to see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import DeepPotential
from fastdp.neighbours.selection import NeighbourLimit, Overflow, count_overflow
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

    @property
    def limits(self) -> tuple[NeighbourLimit, ...]:
        """What the parts of the model's descriptor were trained to see."""
        return tuple(
            # Partners of spins are as many as their atoms, and stand behind them.
            NeighbourLimit(part.cutoff, np.array(part.selection[: len(self._names)], dtype=np.int64))
            for part in self._parts
        )

    def warnings(self, neighbours: VerletList) -> list[str]:
        """Return one line for each pair of types that overflows for the first time.

        Parameters
        ----------
        neighbours : VerletList
            Just built.
        """
        n_types, counts = len(self._names), []
        for limit in self.limits:
            own = count_overflow(neighbours, limit.cutoff, limit.by_type(n_types))
            counts.append(
                Overflow(self._communicator.maximum(own.largest), self._communicator.sum(own.overflowing))
            )
        return self.warnings_of(counts)

    def warnings_of(self, counts: Sequence[Overflow]) -> list[str]:
        """Return one line for each pair of types that overflows for the first time.

        Parameters
        ----------
        counts : sequence of Overflow
            Of all atoms, for each of `limits`.
        """
        lines = []
        for limit, found, reported in zip(self.limits, counts, self._reported, strict=True):
            say = self._all_together if limit.is_of_all_types(len(self._names)) else self._by_type
            lines += say(limit.selection, found, reported)
        return lines

    def _by_type(
        self, selection: NDArray[np.int64], found: Overflow, reported: NDArray[np.bool_]
    ) -> list[str]:
        names = self._names
        new = (found.overflowing > 0) & ~reported
        reported |= new
        return [
            f"{found.overflowing[centre, other]} {names[centre]} atoms have more {names[other]} neighbours "
            f"(up to {found.largest[centre, other]}) than the {selection[other]} of the model's training "
            f"(sel): {self._consequence}"
            for centre, other in np.argwhere(new)
        ]

    def _all_together(
        self, selection: NDArray[np.int64], found: Overflow, reported: NDArray[np.bool_]
    ) -> list[str]:
        """Judge by the most neighbours of each type: one atom need not have all of these at once."""
        names, limit = self._names, int(selection[0])
        lines = []
        for centre, counts in enumerate(found.largest):
            if counts.sum() > limit and not reported[centre, centre]:
                reported[centre] = True
                lines.append(
                    f"{names[centre]} atoms may have up to {counts.sum()} neighbours of all types, and the "
                    f"model's training (sel) knew {limit}: {self._consequence}"
                )
        return lines
