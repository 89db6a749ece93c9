"""The atoms of one of several ranks on its device, their ghosts, and the list of neighbours of both."""

from __future__ import annotations

import numpy as np

from fastdp.errors import SimulationError
from fastdp.gpu.device.base import Action
from fastdp.gpu.device_motion import Bodies
from fastdp.gpu.geometry import cell_geometry
from fastdp.gpu.kernels import ranks as kernels
from fastdp.gpu.kernels.cell_list import check_displacement
from fastdp.gpu.kernels.motion import ask_for_list
from fastdp.gpu.kernels.status import FOUND, LARGEST_ROW, OVERFLOW, SIZE
from fastdp.gpu.kinds import Kinds, kind_start
from fastdp.gpu.neighbours import DeviceNeighbours, neighbours_at_density
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.atoms import ResidentAtoms
from fastdp.gpu.ranks.ghosts import DeviceGhosts
from fastdp.gpu.ranks.launches import Launches
from fastdp.gpu.rooms import SPARE, Rooms
from fastdp.gpu.selection import SelectionCounts
from fastdp.gpu.system import DeviceSystem
from fastdp.parallel.domain import Domain

INTERIOR, SEEN, GHOSTS = range(3)
"""Stages of atoms: own atoms that nobody else sees, own atoms that others have as ghosts, and ghosts."""

MOST_BUILDS = 8
"""Rows grow to what was found to be needed, so a second build is the rule."""


class RankSystem:
    """What `DeviceSystem` is of all atoms, of those of one rank; made anew with each neighbour list.

    Parameters
    ----------
    potential : CudaPotential
    domain : Domain
    skin : float
        Of the neighbour list, Å.
    direct : bool
        Whether MPI takes memory of the device.

    Attributes
    ----------
    status : (SIZE,) int32
        The error word.
    atoms : ResidentAtoms
    ghosts : DeviceGhosts
    system : DeviceSystem
        Of atoms and ghosts, since the list was built last.
    bodies : Bodies
        The atoms, likewise.
    launches : Launches
        Forgotten when the list is built.
    selection : SelectionCounts or None
        Counts neighbours beyond what the model was trained to see, in lists that are built from now on.
    number_of_builds : int
    """

    def __init__(self, potential: CudaPotential, domain: Domain, skin: float, direct: bool) -> None:
        self._potential = potential
        self._device = device = potential.device
        self._domain = domain
        self._skin = skin
        self._reach = potential.cutoff + skin
        self._rooms = Rooms(device, SPARE)
        self._longest = 0
        self.status = device.zeros(SIZE, np.int32)
        self.atoms = ResidentAtoms(device, Rooms(device, SPARE), domain.space, domain.communicator)
        self.ghosts = DeviceGhosts(device, self._rooms, domain.communicator, domain.space, direct)
        self.system: DeviceSystem
        self.bodies: Bodies
        self.launches = Launches()
        self.selection: SelectionCounts | None = None
        self.number_of_builds = 0

    @property
    def bytes(self) -> int:
        """Memory on the device that grows with the number of atoms."""
        own = [self.atoms.field(name) for name in ("velocities", "images", "masses")]
        return self.system.bytes - self.system.fixed_bytes + sum(array.nbytes for array in own)

    def build(self) -> None:
        """Send atoms where they belong, find ghosts, and build the neighbour list; all ranks together."""
        device, status, atoms, ghosts = self._device, self.status, self.atoms, self.ghosts
        # What is made anew holds memory that may be needed.
        self.launches.forget()
        self.ghosts.forget()
        for name in ("system", "bodies"):
            self.__dict__.pop(name, None)
        self._ask_for_list()
        atoms.bring_into_cell(status)
        self._domain.move_planes(atoms.coordinates)
        atoms.migrate(status, self._domain.regions)
        ghosts.plan(status, atoms, self._reach)
        n_all = atoms.n + ghosts.n_ghosts
        positions, forces = atoms.field("positions", n_all), atoms.field("forces", n_all)
        ghosts.connect(positions, forces)
        ghosts.bring_positions()
        device.wait(device.mark())
        ghosts.exchange_positions()
        ghosts.deliver_positions()
        kinds = self._kinds()
        low, high = ghosts.box
        corners = np.stack([low, high]) if atoms.n else np.zeros((2, 3))
        corners += np.array([[-self._reach], [self._reach]])
        density = n_all / float(np.prod(corners[1] - corners[0]))
        self._longest = max(self._longest, min(n_all, neighbours_at_density(density, self._reach)))
        neighbours = DeviceNeighbours(
            device,
            self._rooms,
            kinds,
            cell_geometry(np.zeros((3, 3)), np.zeros(3, dtype=bool), corners, self._reach, n_all),
            positions,
            self._potential.cutoff,
            self._skin,
            self._longest,
            status,
        )
        neighbours.selection = self.selection
        self.system = DeviceSystem(device, self._rooms, self._potential.device_model, neighbours, forces)
        device.copy(neighbours.positions_at_build, positions)
        self._build_rows(neighbours)
        self.bodies = Bodies(
            atoms.n,
            positions,
            atoms.field("velocities"),
            forces,
            self.system.energies,
            atoms.masses("inverse_masses"),
            atoms.masses("energy_masses"),
        )
        self.number_of_builds += 1

    def check(self) -> Action:
        """Return what asks for a new list where an atom has moved too far."""
        n, neighbours = self.atoms.n, self.system.neighbours
        return self._device.launch(
            check_displacement,
            *self._device.elements(n),
            (self.status, n, neighbours.positions, neighbours.positions_at_build, (0.5 * self._skin) ** 2),
        )

    def _build_rows(self, neighbours: DeviceNeighbours) -> None:
        """Build the list, with rows that are long enough; ranks need not agree."""
        for _ in range(MOST_BUILDS):
            for action in neighbours.build_actions():
                action()
            word = self._device.read(self.status)
            self._longest = max(self._longest, int(word[LARGEST_ROW]))
            if not word[FOUND] & OVERFLOW:
                return
            neighbours.reserve(int(word[LARGEST_ROW]))
            self._ask_for_list()
        raise SimulationError(
            f"the neighbour list overflowed {MOST_BUILDS} times in a row, with {neighbours.capacity} places "
            "for each atom; the structure collapses"
        )

    def _kinds(self) -> Kinds:
        """Return the kinds of this rank's atoms and ghosts."""
        device, atoms, ghosts = self._device, self.atoms, self.ghosts
        n, n_types = atoms.n + ghosts.n_ghosts, self._potential.device_model.n_types
        of = self._rooms.empty("kinds", n, np.int32)
        population = self._rooms.zeros("population of kinds", 3 * n_types, np.int32)
        arguments = (atoms.field("types").reshape(atoms.n), ghosts.seen, ghosts.types, of, population)
        device.launch(
            kernels.name_kinds, *device.elements(n), (self.status, atoms.n, n, n_types, *arguments)
        )()
        return Kinds(of, kind_start(device.read(population)), n_types, own_stages=2)

    def _ask_for_list(self) -> None:
        self._device.launch(ask_for_list, 1, 1, (self.status,))()
