"""What the atoms on a device are sorted by before their place: own or ghost, and type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import DeviceArray


@dataclass(frozen=True)
class Group:
    """Sorted atoms `start` to `stop`, all of one type and stage."""

    start: int
    stop: int
    type: int
    stage: int


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of atoms and where each begins in the sorted order.

    A kind is a stage and a type, numbered stage · n_types + type. The first stages are own atoms; those of
    the last own stage may see ghosts, those before do not. The last stage, where there are any, are ghosts:
    forces act on them, but they have no energy of their own here.

    Attributes
    ----------
    of : (n_atoms,) int32
        Kind of each atom, in the input's order.
    start : (n_kinds + 1,) int64
        Sorted atoms of kind k are start[k] … start[k + 1]. On the host.
    n_types : int
    own_stages : int
    """

    of: DeviceArray
    start: NDArray[np.int64]
    n_types: int
    own_stages: int = 1

    @property
    def n_atoms(self) -> int:
        """Own atoms and ghosts."""
        return int(self.start[-1])

    @property
    def n_own(self) -> int:
        """Sorted atoms from here on are ghosts."""
        return int(self.start[self.own_stages * self.n_types])

    @property
    def stages(self) -> int:
        """Stages of own atoms, and that of ghosts where there are any."""
        return (len(self.start) - 1) // self.n_types

    def own_groups(self) -> Iterator[Group]:
        """Return the groups of own atoms."""
        return self.groups(0, self.own_stages)

    def groups(self, first: int = 0, last: int | None = None) -> Iterator[Group]:
        """Return the groups of stages first … last − 1 that have atoms; by default all."""
        for kind in range(len(self.start) - 1):
            start, stop = int(self.start[kind]), int(self.start[kind + 1])
            stage = kind // self.n_types
            if start < stop and first <= stage and (last is None or stage < last):
                yield Group(start, stop, kind % self.n_types, stage)


def one_stage(counts: Sequence[int]) -> list[Group]:
    """Return the groups of atoms that are all of one stage, from how many there are of each type."""
    start = kind_start(np.asarray(counts)).tolist()
    return [Group(start[t], start[t + 1], t, 0) for t in range(len(counts)) if counts[t] > 0]


def kind_start(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each kind begins, from how many atoms it has."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
