"""The exchange of ghosts between devices: what goes where, their positions each step, and the forces back.

As `fastdp.parallel.ghosts`, with the lists and the numbers on the device. Periodic images of a rank's own
atoms are ghosts as well, whose way is a copy on the device.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.kernels import ranks as kernels
from fastdp.gpu.ranks.atoms import ResidentAtoms
from fastdp.gpu.ranks.line import Line
from fastdp.gpu.ranks.lists import AtomLists
from fastdp.gpu.rooms import Rooms
from fastdp.parallel.candidates import Candidate, candidates
from fastdp.parallel.communicator import SERIAL, Channel, Communicator
from fastdp.parallel.ghosts import FORCES, POSITIONS, messages
from fastdp.parallel.space import Space

_OF_A_PLAN = (
    "_all_positions",
    "_all_forces",
    "_packed",
    "_returned",
    "_returned_array",
    "_arrived",
    "_on_ghosts",
    "_pack",
    "_add",
)
"""Attributes that hold memory of the device until the next plan."""


class DeviceGhosts:
    """Ghosts that this rank gets from others, gives to others, and makes of its own atoms.

    Behind the rank's atoms stand ghosts that others own, by rank, then images of its own.

    Parameters
    ----------
    device : Device
    rooms : Rooms
    communicator : Communicator
    space : Space
    direct : bool
        Whether MPI takes memory of the device.

    Attributes
    ----------
    n_ghosts : int
        Of others' atoms and of own ones.
    box : (2, 3) float64
        Lowest and highest positions of this rank's atoms when that was planned, Å.
    seen : (n_atoms,) int32
        On the device: 1 for atoms that there are ghosts of.
    types : (n_ghosts,) int32
        On the device.
    """

    def __init__(
        self, device: Device, rooms: Rooms, communicator: Communicator, space: Space, direct: bool
    ) -> None:
        self._device = device
        self._rooms = rooms
        self._communicator = communicator
        self._space = space
        self._direct = direct
        self._positions: Channel = SERIAL.channel((), (), POSITIONS)
        self._forces: Channel = SERIAL.channel((), (), FORCES)
        self._capacity = 0

    def forget(self) -> None:
        """Give back the messages of the last plan, and let go of what they are made of."""
        self._positions.close()
        self._forces.close()
        for name in _OF_A_PLAN:
            self.__dict__.pop(name, None)

    def plan(self, status: DeviceArray, atoms: ResidentAtoms, reach: float) -> None:
        """Find out what goes where, and tell the others the types; all ranks together, after `forget`.

        Parameters
        ----------
        status : (SIZE,) int32
            Asks for the neighbour list.
        atoms : ResidentAtoms
            In the reduced cell.
        reach : float
            Å, up to which atoms must see each other.
        """
        communicator, rooms, device = self._communicator, self._rooms, self._device
        self._status, self._atoms = status, atoms
        boxes = communicator.all_gather(self._box())
        self.box = boxes[communicator.rank, 6:].reshape(2, 3)
        found = list(candidates(self._space, reach, boxes, communicator.rank, itself=True))
        chosen, ends = self._choose(found)
        self._ends = ends
        self._n_sent = ends[-1]
        remote = sum(candidate.rank != communicator.rank for candidate in found)
        self._n_remote = ends[remote]
        self._remote_lists = remote
        self._chosen = chosen[: self._n_sent]
        self._named = rooms.empty("candidates of places", self._n_sent, np.int32)
        for number, (start, stop) in enumerate(pairwise(ends)):
            arguments = (status, stop - start, start, number, self._named)
            device.launch(kernels.name_candidates, *device.elements(stop - start), arguments)()
        self._sent_counts = np.zeros(communicator.size, np.int64)
        for candidate, (start, stop) in zip(found[:remote], pairwise(ends[: remote + 1]), strict=True):
            self._sent_counts[candidate.rank] += stop - start
        self._tell_types()
        flags = rooms.zeros("seen", atoms.n, np.int32)
        grid = device.elements(self._n_sent)
        device.launch(kernels.set_flags, *grid, (status, self._n_sent, self._chosen, flags))()
        self.seen = flags

    def connect(self, positions: DeviceArray, forces: DeviceArray) -> None:
        """Set up the messages of each step.

        Parameters
        ----------
        positions, forces : (n_atoms + n_ghosts, 3) float64
            Of this rank's atoms and ghosts.
        """
        n, sent, arriving = self._atoms.n, self._n_remote, self._n_arriving
        self._all_positions, self._all_forces = positions, forces
        packed = self._rooms.empty("packed", (sent, 3), np.float64)
        self._packed = self._line("packed", packed)
        self._returned_array = self._rooms.empty("returned", (sent, 3), np.float64)
        self._returned = self._line("returned", self._returned_array)
        self._arrived = self._line("arrived", positions[n : n + arriving])
        self._on_ghosts = self._line("on ghosts", forces[n : n + arriving])
        self._positions = self._communicator.channel(
            messages(self._packed.message, self._sent_counts),
            messages(self._arrived.message, self._counts),
            POSITIONS,
        )
        self._forces = self._communicator.channel(
            messages(self._on_ghosts.message, self._counts),
            messages(self._returned.message, self._sent_counts),
            FORCES,
        )
        self._pack = self._pack_action(packed)
        self._add = self._add_actions()

    def bring_positions(self) -> None:
        """Ask the device for the positions that others need, and put images of own atoms in their places."""
        self._pack()
        self._packed.bring()

    def exchange_positions(self) -> None:
        """Begin to send positions, which must have been brought, and to receive those of ghosts."""
        self._positions.start()

    def deliver_positions(self) -> None:
        """Wait for the positions of ghosts, and give them to the device."""
        with self._communicator.measure("waiting"):
            self._positions.finish()
        self._arrived.deliver()

    def bring_forces(self) -> None:
        """Ask the device for the forces on ghosts."""
        self._on_ghosts.bring()

    def exchange_forces(self) -> None:
        """Send the forces on ghosts home, which must have been brought, and add what others found here."""
        self._forces.start()
        with self._communicator.measure("waiting"):
            self._forces.finish()
        self._returned.deliver()
        for action in self._add:
            action()

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends each step: positions there and forces back."""
        return 24 * (self._n_remote + self._n_arriving)

    def _line(self, name: str, array: DeviceArray) -> Line:
        return Line(self._device, self._rooms, name, array, self._direct)

    def _box(self) -> NDArray[np.float64]:
        """Return the box of this rank's atoms, as `box_of_atoms`."""
        grid, block = self._device.sums()
        partial = self._rooms.empty("bounds", (grid, kernels.BOUNDS_COLUMNS), np.float64)
        atoms = self._atoms
        arguments = (self._status, atoms.n, atoms.space_table, atoms.field("positions"), partial)
        self._device.launch(kernels.find_bounds, grid, block, arguments)()
        least = self._device.read(partial).min(axis=0)
        least[3:6] *= -1.0
        least[9:12] *= -1.0
        return least

    def _choose(self, found: list[Candidate]) -> tuple[DeviceArray, list[int]]:
        """Return the atoms of all candidates, and where those of each begin."""
        atoms, device = self._atoms, self._device
        rows = np.zeros((len(found), kernels.CANDIDATE_COLUMNS))
        for row, candidate in zip(rows, found, strict=True):
            row[kernels.STEPS : kernels.STEPS + 3] = candidate.steps
            row[kernels.TRANSLATION : kernels.TRANSLATION + 3] = candidate.translation
            row[kernels.COORDINATE_LOW : kernels.COORDINATE_LOW + 3] = candidate.coordinate_low
            row[kernels.COORDINATE_HIGH : kernels.COORDINATE_HIGH + 3] = candidate.coordinate_high
            row[kernels.LOW : kernels.LOW + 3] = candidate.low
            row[kernels.HIGH : kernels.HIGH + 3] = candidate.high
        self._table = self._rooms.holding("candidates", rows)
        while True:
            capacity = max(self._capacity, 1)
            lists = AtomLists(device, self._rooms, self._status, atoms.n, len(found), capacity)
            for number in range(len(found)):
                arguments = (self._status, atoms.n, atoms.space_table, self._table, number)
                device.launch(
                    kernels.mark_inside,
                    *device.elements(atoms.n),
                    (*arguments, atoms.field("positions"), lists.flags),
                )()
                lists.add()
            ends = lists.ends()
            if ends[-1] <= capacity:
                return lists.chosen, ends
            self._capacity = ends[-1] + ends[-1] // 8

    def _tell_types(self) -> None:
        """Exchange the types of ghosts."""
        device, n_sent = self._device, self._n_sent
        types = self._rooms.empty("types of sent atoms", (n_sent, 1), np.int32)
        arguments = (self._status, n_sent, 1, self._chosen, self._atoms.field("types"), types)
        device.launch(kernels.take_rows, *device.elements(n_sent), arguments)()
        sent = device.read(types)[:, 0] if n_sent else np.zeros(0, np.int32)
        arrived, self._counts = self._communicator.exchange(sent[: self._n_remote], self._sent_counts)
        self._n_arriving = len(arrived)
        self.n_ghosts = self._n_arriving + n_sent - self._n_remote
        self.types = self._rooms.holding(
            "types of ghosts", np.concatenate([arrived, sent[self._n_remote :]]).astype(np.int32)
        )

    def _pack_action(self, packed: DeviceArray) -> Action:
        first_image = self._atoms.n + self._n_arriving
        return self._device.launch(
            kernels.pack_positions,
            *self._device.elements(self._n_sent),
            (
                self._status,
                self._n_sent,
                self._n_remote,
                first_image,
                self._table,
                self._chosen,
                self._named,
                self._all_positions,
                packed,
            ),
        )

    def _add_actions(self) -> list[Action]:
        """Return what adds forces on ghosts, list by list: within a list no atom occurs twice."""
        first_image = self._atoms.n + self._n_arriving
        actions = []
        for number, (start, stop) in enumerate(pairwise(self._ends)):
            remote = number < self._remote_lists
            source = self._returned_array if remote else self._all_forces
            shift = 0 if remote else first_image - self._n_remote
            actions.append(
                self._device.launch(
                    kernels.add_returned,
                    *self._device.elements(stop - start),
                    (self._status, stop - start, start, self._chosen, shift, source, self._all_forces),
                )
            )
        return actions
