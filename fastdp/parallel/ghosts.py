"""The exchange of ghosts: which atoms go where, their positions each step, and the forces on them back.

A rank announces the box that its atoms fill, and every other rank sends it what lies within reach of that
box, directly, however far away it is in the grid. Compared with passing atoms on from neighbour to neighbour
along one axis after the other, there are more messages (26 instead of 6 where regions are bricks), but no
message waits for another one, so that all of them travel while interior atoms are evaluated; a region
thinner than the reach needs no special case; boxes without atoms get nothing; and regions need not be a grid.
"""

from __future__ import annotations

import fastdp_ext.exchange as exchange
import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.candidates import box_of_atoms, candidates
from fastdp.parallel.communicator import SERIAL, Channel, Communicator
from fastdp.parallel.space import Space

POSITIONS, FORCES = 0, 1
"""Tags of the two channels."""


class GhostExchange:
    """Ghosts that this rank gets from others and gives to others.

    Parameters
    ----------
    communicator : Communicator

    Attributes
    ----------
    sent_atoms : (n_sent,) int32
        Atom, in the order of the state, of each ghost that others have of it.
    n_ghosts : int
        Ghosts that this rank gets.
    n_messages : int
        Messages that this rank sends each step, there and back.
    ghost_types : (n_ghosts,) int32
    ghost_identifiers : (n_ghosts,) int64
    """

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self.sent_atoms = np.zeros(0, dtype=np.int32)
        self._sent_images = np.zeros((0, 3), dtype=np.int32)
        self._sent_counts = np.zeros(communicator.size, dtype=np.int64)
        self._counts = np.zeros(communicator.size, dtype=np.int64)
        self._packed = np.zeros((0, 3))
        self._returned = np.zeros((0, 3))
        self._positions: Channel = SERIAL.channel((), (), POSITIONS)
        self._forces: Channel = SERIAL.channel((), (), FORCES)
        self.n_ghosts = 0
        self.n_messages = 0
        self.ghost_types = np.zeros(0, dtype=np.int32)
        self.ghost_identifiers = np.zeros(0, dtype=np.int64)

    def plan(
        self,
        space: Space,
        reach: float,
        images: NDArray[np.int32],
        wrapped: NDArray[np.float64],
        types: NDArray[np.int32],
        identifiers: NDArray[np.int64],
    ) -> None:
        """Find out what goes where, and tell the others types and identifiers.

        Parameters
        ----------
        space : Space
        reach : float
            Å, up to which atoms must see each other.
        images, wrapped
            What `space.wrapped` returns for the atoms of this rank.
        types : (n_atoms,) int32
        identifiers : (n_atoms,) int64
        """
        self._positions.close()
        self._forces.close()
        coordinates = wrapped @ space.reduced.reciprocal
        boxes = self._communicator.all_gather(box_of_atoms(coordinates, wrapped))
        atoms, sent_images, counts = self._find_sent(space, reach, images, wrapped, coordinates, boxes)
        self.sent_atoms, self._sent_images, self._sent_counts = atoms, sent_images, counts
        labels = np.empty((len(atoms), 2), dtype=np.int64)
        labels[:, 0] = identifiers[atoms]
        labels[:, 1] = types[atoms]
        received, self._counts = self._communicator.exchange(labels, counts)
        self.n_ghosts = len(received)
        self.ghost_identifiers = np.ascontiguousarray(received[:, 0])
        self.ghost_types = received[:, 1].astype(np.int32)
        if len(atoms) > len(self._packed):
            capacity = len(atoms) + len(atoms) // 8
            self._packed = np.zeros((capacity, 3))
            self._returned = np.zeros((capacity, 3))
        self.n_messages = int(np.count_nonzero(counts) + np.count_nonzero(self._counts))

    def connect(self, ghost_positions: NDArray[np.float64], ghost_forces: NDArray[np.float64]) -> None:
        """Set up the messages of each step.

        Parameters
        ----------
        ghost_positions : (n_ghosts, 3) float64
            Where positions arrive, without another copy.
        ghost_forces : (n_ghosts, 3) float64
            From where forces are sent home.
        """
        self._positions = self._communicator.channel(
            messages(self._packed, self._sent_counts), messages(ghost_positions, self._counts), POSITIONS
        )
        self._forces = self._communicator.channel(
            messages(ghost_forces, self._counts), messages(self._returned, self._sent_counts), FORCES
        )

    def send_positions(self, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> None:
        """Begin to send the positions, (n_atoms, 3) Å in the order of the state, that others need."""
        exchange.pack_positions(
            positions, cell, self.sent_atoms, self._sent_images, self._packed[: len(self.sent_atoms)]
        )
        self._positions.start()

    def receive_positions(self) -> None:
        """Wait until the positions of all ghosts are there."""
        self._positions.finish()

    def send_forces(self) -> None:
        """Begin to send the forces on ghosts home."""
        self._forces.start()

    def receive_forces(self) -> None:
        """Wait until what others found for this rank's atoms is there."""
        self._forces.finish()

    def add_forces(self, forces: NDArray[np.float64]) -> None:
        """Add what others found to `forces`, (n_atoms, 3) in the order of the state."""
        exchange.add_forces(self.sent_atoms, self._returned, forces)

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends each step: positions there and forces back."""
        return 24 * (len(self.sent_atoms) + self.n_ghosts)

    def _find_sent(
        self,
        space: Space,
        reach: float,
        images: NDArray[np.int32],
        wrapped: NDArray[np.float64],
        coordinates: NDArray[np.float64],
        boxes: NDArray[np.float64],
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Return atoms and images to send, by rank, and how many for each rank."""
        counts = np.zeros(self._communicator.size, dtype=np.int64)
        atoms: list[NDArray[np.int32]] = []
        sent_images: list[NDArray[np.int32]] = []
        chosen = np.empty(len(wrapped), dtype=np.int32)
        for candidate in candidates(space, reach, boxes, self._communicator.rank):
            n = exchange.select_inside(
                coordinates,
                wrapped,
                candidate.steps,
                candidate.translation,
                candidate.coordinate_low,
                candidate.coordinate_high,
                candidate.low,
                candidate.high,
                chosen,
            )
            found = chosen[:n].copy()
            atoms.append(found)
            sent_images.append(images[found] + (candidate.steps @ space.transform).astype(np.int32))
            counts[candidate.rank] += n
        if not atoms:
            return np.zeros(0, dtype=np.int32), np.zeros((0, 3), dtype=np.int32), counts
        return np.concatenate(atoms), np.concatenate(sent_images), counts


def messages(array: NDArray[np.float64], counts: NDArray[np.int64]) -> list[tuple[int, NDArray[np.float64]]]:
    """Return the part of `array` that belongs to each rank, where there is one."""
    stop = np.cumsum(counts)
    return [(rank, array[stop[rank] - counts[rank] : stop[rank]]) for rank in np.flatnonzero(counts).tolist()]
