"""Whole steps on several devices: atoms stay there, and the host carries messages between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fastdp.dynamics.engine import StepLog
from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.state import State
from fastdp.errors import SimulationError
from fastdp.gpu.device.base import Action, DeviceArray
from fastdp.gpu.device_motion import Bodies, DeviceMotion
from fastdp.gpu.geometry import cell_geometry
from fastdp.gpu.kernels import motion as motion_kernels
from fastdp.gpu.kernels import ranks as kernels
from fastdp.gpu.kernels.cell_list import check_displacement
from fastdp.gpu.kernels.status import (
    BEYOND,
    FOUND,
    HALTED,
    LARGEST_ROW,
    OVERFLOW,
    REBUILD,
    SIZE,
    STEP,
    Reason,
    end_evaluation,
)
from fastdp.gpu.kinds import Kinds, kind_start
from fastdp.gpu.motions import MOTIONS
from fastdp.gpu.neighbours import DeviceNeighbours, neighbours_at_density
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.atoms import SPARE, ResidentAtoms
from fastdp.gpu.ranks.ghosts import DeviceGhosts
from fastdp.gpu.rooms import Rooms
from fastdp.gpu.selection import SelectionCounts
from fastdp.gpu.system import DeviceSystem
from fastdp.neighbours.selection import NeighbourLimit, Overflow
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import Domain
from fastdp.potential.base import Evaluation
from fastdp.units import BOLTZMANN_EV_PER_K

LONGEST_CHUNK = 50
"""Steps of one `advance`, as on a single device."""

INTERIOR, SEEN, GHOSTS = range(3)
"""Stages of atoms: own atoms that nobody else sees, own atoms that others have as ghosts, and ghosts."""

MOST_BUILDS = 8
"""Rows grow to what was found to be needed, so a second build is the rule."""


class RanksEngine:
    """Makes steps on the device of one of several ranks, all of which call all methods together.

    Atoms, their velocities and the neighbour list stay on the device. In each step the host carries three
    messages: positions of ghosts while atoms that see none are evaluated; forces on ghosts while those on
    own atoms are gathered; and sums over all atoms. Where the list has to be built, the few atoms that other
    ranks own now pass through the host, and the list of what to send is made on the device.

    Parameters
    ----------
    potential : CudaPotential
    state : State
        The atoms of this rank.
    domain : Domain
    skin : float
        Of the neighbour list, Å.
    direct : bool
        Whether MPI takes memory of the device; otherwise pinned memory of the host is in between.
    longest_chunk : int
        Most steps of one `advance`.
    """

    def __init__(
        self,
        potential: CudaPotential,
        state: State,
        domain: Domain,
        skin: float,
        *,
        direct: bool = False,
        longest_chunk: int = LONGEST_CHUNK,
    ) -> None:
        self.longest_chunk = longest_chunk
        self.number_of_builds = 0
        self._potential = potential
        self._device = device = potential.device
        self._domain = domain
        self._communicator = communicator = domain.communicator
        self._skin = skin
        self._reach = potential.cutoff + skin
        self._rooms = Rooms(device, SPARE)
        self._status = device.zeros(SIZE, np.int32)
        self._status_seen = device.staging((SIZE,), np.int32)
        self._totals = device.zeros(kernels.TOTALS, np.float64)
        self._totals_seen = device.staging((kernels.TOTALS,), np.float64)
        self._atoms = ResidentAtoms(device, Rooms(device, SPARE), domain.space, communicator)
        self._ghosts = DeviceGhosts(device, self._rooms, communicator, domain.space, direct)
        self._motion = DeviceMotion(device, longest_chunk)
        self._selection: SelectionCounts | None = None
        self._system: DeviceSystem
        self._bodies: Bodies
        self._longest = 0
        self._virial = np.zeros(9)
        self._reasons = Reason(0)
        self._found_here = Reason(0)
        self._integrator: Integrator[Any] | None = None
        self._largest_kinetic = 0.0
        self._beyond = 0
        self._kept: dict[str, list[Action]] = {}

    def supports(self, integrator: Integrator[Any]) -> bool:
        """Whether the engine can move atoms this way."""
        return type(integrator) in MOTIONS

    def count_neighbours(self, limits: Sequence[NeighbourLimit]) -> None:
        """Count neighbours beyond these limits wherever the list is built; to be called before `load`.

        Parameters
        ----------
        limits : sequence of NeighbourLimit
        """
        if limits:
            n_types = self._potential.device_model.n_types
            self._selection = SelectionCounts(self._device, limits, n_types)

    def neighbours_beyond(self) -> list[Overflow]:
        """Return, for each limit, the counts of pairs of types when they were first beyond it on each rank.

        Empty if there was nothing new since this was last asked for.
        """
        communicator = self._communicator
        if self._selection is None:
            return []
        now = int(self._device.read(self._status)[BEYOND])
        if not communicator.any(now != self._beyond):
            return []
        self._beyond = now
        return [
            Overflow(communicator.maximum(own.largest), communicator.sum(own.overflowing))
            for own in self._selection.read()
        ]

    def load(
        self,
        state: State,
        evaluation: Evaluation,
        integrator: Integrator[Any],
        largest_temperature: float,
    ) -> None:
        """Take over a state, the forces on it, and the integrator with its own state.

        The neighbour list is built there.

        Parameters
        ----------
        state : State
        evaluation : Evaluation
            Of `state`.
        integrator : Integrator
            One that `supports` says yes to.
        largest_temperature : float
            K; the engine halts above.
        """
        self._communicator.together(state.wrap)
        self._potential.release()
        largest_kinetic = largest_temperature * state.degrees_of_freedom * BOLTZMANN_EV_PER_K
        if (integrator, largest_kinetic) != (self._integrator, self._largest_kinetic):
            self._integrator, self._largest_kinetic = integrator, largest_kinetic
            self._motion.adopt(integrator, largest_kinetic)
        self._device.fill(self._status, 0)
        self._device.fill(self._totals, 0)
        self._beyond = 0
        if self._selection is not None:
            self._selection.clear()
        self._atoms.load({**state.atom_arrays(), "forces": evaluation.forces})
        self._motion.load(integrator)
        self._build()
        self.number_of_builds -= 1
        self._motion.measure(self._status, self._bodies)()
        self._add_up(virial=False)
        self._motion.store(1)()

    def advance(self, steps: int, *, virial: bool) -> tuple[StepLog, bool]:
        """Make up to `longest_chunk` steps; `virial`: for the last of them.

        Parameters
        ----------
        steps : int
        virial : bool

        Returns
        -------
        log : StepLog
            Of the completed steps, sums over all ranks.
        halted : bool

        Raises
        ------
        SimulationError
            If rows of the neighbour list grow without end.
        """
        device, steps = self._device, min(steps, self.longest_chunk)
        self._run([device.launch(motion_kernels.begin_chunk, 1, 1, (self._status,))])
        for number in range(steps):
            if not self._step(virial=virial and number == steps - 1):
                break
        word = device.read(self._status)
        self._reasons = Reason(int(word[HALTED]))
        unfinished = bool(self._reasons & (Reason.LOST | Reason.TOO_CLOSE))
        log = device.read(self._motion.log)[: int(word[STEP]) - unfinished]
        return (
            StepLog(
                potential_energy=log[:, motion_kernels.LOG_ENERGY].copy(),
                kinetic_energy=0.5 * log[:, motion_kernels.LOG_TWICE_KINETIC],
                bath_energy=log[:, motion_kernels.LOG_BATH].copy(),
            ),
            self._reasons != 0,
        )

    def fetch(self, state: State, evaluation: Evaluation, integrator: Integrator[Any]) -> None:
        """Bring the present state to the host.

        Parameters
        ----------
        state : State
            Given the atoms that this rank has now.
        evaluation : Evaluation
            Filled for these; the virial is that of the last step for which it was asked.
        integrator : Integrator
            Given its own state.
        """
        arrays, order = self._atoms.fetch()
        evaluation.forces = arrays.pop("forces")
        evaluation.atomic_energies = self._device.read(self._system.energies)[order]
        evaluation.virial[:] = self._virial.reshape(3, 3)
        state.adopt(arrays)
        self._domain.check_census(state)
        self._motion.fetch(integrator)
        if not (self._domain.space.transform == np.eye(3)).all():
            # They are in the reduced cell. What is lost is found by `error`.
            with suppress(SimulationError):
                state.wrap()

    def error(self, state: State) -> SimulationError | None:
        """Return why the last step could not be evaluated, the same on all ranks; None if it could.

        Parameters
        ----------
        state : State
            As fetched.
        """
        communicator = self._communicator
        try:
            if Reason.LOST in self._reasons:
                communicator.together(state.wrap)
            if Reason.TOO_CLOSE in self._reasons:
                neighbours = DecomposedList(
                    self._potential.cutoff,
                    0.0,
                    state.cell,
                    state.periodic,
                    state.types,
                    state.identifiers,
                    communicator,
                )
                neighbours.build(state.positions)
                own = None
                if Reason.TOO_CLOSE in self._found_here:
                    own = self._potential.too_close_error(neighbours)
                communicator.raise_any(own)
        except SimulationError as error:
            return error
        return None

    def _step(self, *, virial: bool) -> bool:
        """Make one step; return whether it was made, which it is not where the run is halted."""
        device, system, ghosts, status = self._device, self._system, self._ghosts, self._status
        self._run(self._motion.begin(status, self._bodies))
        self._run([self._check])
        ghosts.bring_positions()
        device.read_later(status, self._status_seen)
        brought = device.mark()
        marks = [device.mark()]
        self._evaluate_interior()
        marks.append(device.mark())
        device.wait(brought)
        ghosts.exchange_positions()
        seen = self._status_seen
        halted, lost, moved = self._communicator.maximum(
            np.array([seen[HALTED] != 0, seen[FOUND] != 0, seen[REBUILD] != 0], dtype=np.int32)
        )
        ghosts.deliver_positions()
        if halted:
            return False
        if not lost:
            if moved:
                self._build()
                system, marks = self._system, [device.mark()]
                self._evaluate_interior()
                marks.append(device.mark())
            marks.append(device.mark())
            self._run_kept(
                f"seen, ghosts {virial}",
                lambda: [
                    system.neighbours.place(system.neighbours.kinds.n_own),
                    *system.energy_actions(SEEN),
                    *system.force_actions(GHOSTS, GHOSTS + 1, virial=virial),
                ],
            )
            ghosts.bring_forces()
            brought = device.mark()
            self._run_kept(
                f"own {virial}",
                lambda: [
                    *system.force_actions(INTERIOR, GHOSTS, virial=virial),
                    *(system.virial_actions() if virial else ()),
                ],
            )
            marks.append(device.mark())
            device.wait(brought)
            ghosts.exchange_forces()
            self._run([self._motion.kick(status, self._bodies)])
        self._add_up(virial=virial)
        self._run(self._motion.end(status, self._bodies, rows=1))
        self._run([device.launch(end_evaluation, 1, 1, (status,))])
        if not lost:
            seconds = sum(device.elapsed(*marks[k : k + 2]) for k in (0, 2))
            self._domain.balancer.add(seconds)
        return True

    def _evaluate_interior(self) -> None:
        """Evaluate the atoms that see no ghosts."""
        system, neighbours = self._system, self._system.neighbours
        self._run_kept(
            "interior",
            lambda: [neighbours.place(0, neighbours.kinds.n_own), *system.energy_actions(INTERIOR)],
        )

    def _add_up(self, *, virial: bool) -> None:
        """Put sums over all ranks in the place of this rank's."""
        device, status, motion = self._device, self._status, self._motion
        rows = device.sums()
        self._run(
            [
                device.launch(
                    kernels.gather_totals,
                    1,
                    rows[1],
                    (
                        status,
                        rows[0],
                        motion.partial,
                        motion.trouble,
                        int(virial),
                        self._system.virial,
                        self._totals,
                    ),
                )
            ]
        )
        device.read_later(self._totals, self._totals_seen)
        device.wait(device.mark())
        here = self._totals_seen
        self._found_here = (Reason.TOO_CLOSE if here[kernels.TOTAL_TOO_CLOSE] > 0.0 else Reason(0)) | (
            Reason.LOST if here[kernels.TOTAL_LOST] > 0.0 else Reason(0)
        )
        here[:] = self._communicator.sum(here)
        if virial:
            self._virial[:] = here[kernels.TOTAL_VIRIAL : kernels.TOTAL_VIRIAL + 9]
        device.write_later(self._totals, here)
        self._run(
            [device.launch(kernels.take_totals, 1, 1, (status, self._totals, motion.partial, motion.trouble))]
        )

    def _build(self) -> None:
        """Send atoms where they belong, find ghosts, and build the neighbour list."""
        device, status, atoms, ghosts, domain = (
            self._device,
            self._status,
            self._atoms,
            self._ghosts,
            self._domain,
        )
        # They hold on to memory that may be needed.
        self._kept.clear()
        self._ask_for_list()
        atoms.bring_into_cell(status)
        domain.move_planes(atoms.coordinates)
        atoms.migrate(status, domain.regions)
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
        model = self._potential.device_model
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
        neighbours.selection = self._selection
        self._system = DeviceSystem(device, self._rooms, model, neighbours, forces)
        device.copy(neighbours.positions_at_build, positions)
        self._build_rows(neighbours)
        self._bodies = Bodies(
            atoms.n,
            positions,
            atoms.field("velocities"),
            forces,
            self._system.energies,
            atoms.masses("inverse_masses"),
            atoms.masses("energy_masses"),
        )
        self._check = device.launch(
            check_displacement,
            *device.elements(atoms.n),
            (status, atoms.n, positions, neighbours.positions_at_build, (0.5 * self._skin) ** 2),
        )
        self.number_of_builds += 1

    def _build_rows(self, neighbours: DeviceNeighbours) -> None:
        """Build the list, with rows that are long enough; ranks need not agree."""
        for _ in range(MOST_BUILDS):
            self._run(neighbours.build_actions())
            word = self._device.read(self._status)
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
        device, atoms, ghosts = self._device, self._atoms, self._ghosts
        n, n_types = atoms.n + ghosts.n_ghosts, self._potential.device_model.n_types
        of = self._rooms.empty("kinds", n, np.int32)
        population = self._rooms.zeros("population of kinds", 3 * n_types, np.int32)
        arguments = (atoms.field("types").reshape(atoms.n), ghosts.seen, ghosts.types, of, population)
        device.launch(
            kernels.name_kinds, *device.elements(n), (self._status, atoms.n, n, n_types, *arguments)
        )()
        return Kinds(of, kind_start(device.read(population)), n_types, own_stages=2)

    def _ask_for_list(self) -> None:
        self._run([self._device.launch(motion_kernels.ask_for_list, 1, 1, (self._status,))])

    def _run_kept(self, name: str, make: Callable[[], list[Action]]) -> None:
        """Do what is the same from build to build: to make a launch takes longer than to ask for it."""
        if name not in self._kept:
            self._kept[name] = make()
        self._run(self._kept[name])

    @staticmethod
    def _run(actions: Iterable[Action]) -> None:
        for action in actions:
            action()

    @property
    def bytes(self) -> int:
        """Memory on the device that grows with the number of atoms."""
        own: list[DeviceArray] = [self._atoms.field(name) for name in ("velocities", "images", "masses")]
        return self._system.bytes - self._system.fixed_bytes + sum(array.nbytes for array in own)
