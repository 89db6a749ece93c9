"""Neighbours beyond what the model was trained to see, counted on the device wherever the list is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastdp.gpu.device.base import Action, Device
from fastdp.gpu.kernels.selection import COUNT_COLUMNS, LARGEST, OVERFLOWING, count_neighbours, note_beyond
from fastdp.neighbours.selection import NeighbourLimit, Overflow

if TYPE_CHECKING:
    from fastdp.gpu.neighbours import DeviceNeighbours


class SelectionCounts:
    """Counts of a run: of each pair of types, as they were when it was first beyond its limit.

    Parameters
    ----------
    device : Device
    limits : sequence of NeighbourLimit
        One or more.
    n_types : int
        Of the model.

    Attributes
    ----------
    noted : (n_limits, n_types, n_types, COUNT_COLUMNS) int32
        What is known at present; belongs to the state of the run.
    """

    def __init__(self, device: Device, limits: Sequence[NeighbourLimit], n_types: int) -> None:
        self._device = device
        self._n_types = n_types
        together = [limit.is_of_all_types(n_types) for limit in limits]
        alone = [
            int(limit.selection[0]) if all_ else -1 for limit, all_ in zip(limits, together, strict=True)
        ]
        by_type = np.array([limit.by_type(n_types) for limit in limits], dtype=np.int32)
        self._squared_cutoffs = device.upload(np.array([limit.cutoff**2 for limit in limits]))
        self._limits = device.upload(by_type)
        self._limits_of_all = device.upload(np.array(alone, dtype=np.int32))
        shape = (len(limits), n_types, n_types, COUNT_COLUMNS)
        self._counts = device.zeros(shape, np.int32)
        self.noted = device.zeros(shape, np.int32)

    def clear(self) -> None:
        """Forget what was noted."""
        self._device.fill(self._counts, 0)
        self._device.fill(self.noted, 0)

    def actions(self, neighbours: DeviceNeighbours) -> list[Action]:
        """Return what counts after the list was built, if it was.

        Parameters
        ----------
        neighbours : DeviceNeighbours
        """
        geometry = neighbours.geometry
        n_own = neighbours.kinds.n_own
        grid, block = self._device.elements(n_own)
        return [
            self._device.launch(
                count_neighbours,
                grid,
                block,
                (
                    neighbours.status,
                    n_own,
                    self._n_types,
                    geometry.index_mask,
                    geometry.index_bits,
                    neighbours.kinds.of,
                    neighbours.order,
                    neighbours.translations,
                    neighbours.sorted_positions,
                    neighbours.rows,
                    neighbours.row_counts,
                    self._squared_cutoffs,
                    self._limits,
                    self._counts,
                ),
            ),
            self._device.launch(
                note_beyond,
                1,
                1,
                (
                    neighbours.status,
                    self._squared_cutoffs.shape[0],
                    self._n_types,
                    self._limits_of_all,
                    self._counts,
                    self.noted,
                ),
            ),
        ]

    def read(self) -> list[Overflow]:
        """Return what was noted, for each limit: zeros for pairs that were never beyond it."""
        noted = self._device.read(self.noted).astype(np.int64)
        return [Overflow(part[..., LARGEST].copy(), part[..., OVERFLOWING].copy()) for part in noted]
