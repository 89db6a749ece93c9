"""Whole steps on several devices: atoms stay there, and the host carries messages between them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fastdp.dynamics.engine import StepLog
from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.state import State
from fastdp.errors import SimulationError
from fastdp.gpu.device_motion import DeviceMotion
from fastdp.gpu.kernels import motion as motion_kernels
from fastdp.gpu.kernels import ranks as kernels
from fastdp.gpu.kernels.status import BEYOND, FOUND, HALTED, REBUILD, SIZE, STEP, Reason, end_evaluation
from fastdp.gpu.motions import MOTIONS
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.system import GHOSTS, INTERIOR, SEEN, RankSystem
from fastdp.gpu.selection import SelectionCounts
from fastdp.neighbours.selection import NeighbourLimit, Overflow
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import Domain
from fastdp.parallel.migration import migrate
from fastdp.potential.base import Evaluation
from fastdp.units import BOLTZMANN_EV_PER_K

LONGEST_CHUNK = 50
"""Steps of one `advance`, as on a single device."""

LARGEST_CHUNK = 5_000_000
"""Steps times atoms of a rank: the host looks for signals between chunks, and is in every step anyway."""


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
        per_rank = max(1, state.n_total // domain.communicator.size)
        self.longest_chunk = longest_chunk = max(1, min(longest_chunk, LARGEST_CHUNK // per_rank))
        self._potential = potential
        self._device = device = potential.device
        self._domain = domain
        self._communicator = domain.communicator
        self._here = RankSystem(potential, domain, skin, direct)
        self._status_seen = device.staging((SIZE,), np.int32)
        self._totals = device.zeros(kernels.TOTALS, np.float64)
        self._totals_seen = device.staging((kernels.TOTALS,), np.float64)
        self._motion = DeviceMotion(device, longest_chunk)
        self._virial = np.zeros(9)
        self._reasons = Reason(0)
        self._found_here = Reason(0)
        self._integrator: Integrator[Any] | None = None
        self._largest_kinetic = 0.0
        self._beyond = 0

    @property
    def number_of_builds(self) -> int:
        """How often the neighbour list was built in steps."""
        return self._here.number_of_builds

    @property
    def bytes(self) -> int:
        """Memory on the device that grows with the number of atoms."""
        return self._here.bytes

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
            self._here.selection = SelectionCounts(self._device, limits, n_types)

    def neighbours_beyond(self) -> list[Overflow]:
        """Return, for each limit, the counts of pairs of types when they were first beyond it on each rank.

        Empty if there was nothing new since this was last asked for.
        """
        communicator = self._communicator
        if self._here.selection is None:
            return []
        now = int(self._device.read(self._here.status)[BEYOND])
        if not communicator.any(now != self._beyond):
            return []
        self._beyond = now
        return [
            Overflow(communicator.maximum(own.largest), communicator.sum(own.overflowing))
            for own in self._here.selection.read()
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
        arrays = {**state.atom_arrays(), "forces": evaluation.forces}
        # To where a run that is resumed here puts its atoms, so that both have them in the same order.
        coordinates = self._domain.space.wrapped(state.positions)[1] @ self._domain.space.axes
        owners = self._domain.regions.ranks_of(coordinates)
        self._communicator.together(state.wrap)
        self._potential.release()
        largest_kinetic = largest_temperature * state.degrees_of_freedom * BOLTZMANN_EV_PER_K
        if (integrator, largest_kinetic) != (self._integrator, self._largest_kinetic):
            self._integrator, self._largest_kinetic = integrator, largest_kinetic
            self._motion.adopt(integrator, largest_kinetic)
        here = self._here
        self._device.fill(here.status, 0)
        self._device.fill(self._totals, 0)
        self._beyond = 0
        if here.selection is not None:
            here.selection.clear()
        here.atoms.load(migrate(arrays, owners, self._communicator))
        self._motion.load(integrator)
        here.build()
        # That was no build of a step.
        here.number_of_builds -= 1
        self._motion.measure(here.status, here.bodies)()
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
        device, steps, status = self._device, min(steps, self.longest_chunk), self._here.status
        device.launch(motion_kernels.begin_chunk, 1, 1, (status,))()
        for number in range(steps):
            if not self._step(virial=virial and number == steps - 1):
                break
        word = device.read(status)
        # Each card judges by the same sums; should they differ in a last bit, all stop where one does.
        agreed = self._communicator.maximum(np.array([word[HALTED], -word[STEP]], dtype=np.int64))
        word[HALTED], word[STEP] = agreed[0], -agreed[1]
        log, self._reasons = self._motion.read_log(word)
        return log, self._reasons != 0

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
        arrays, order = self._here.atoms.fetch()
        evaluation.forces = arrays.pop("forces")
        evaluation.atomic_energies = self._device.read(self._here.system.energies)[order]
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
        device, here, ghosts, launches = self._device, self._here, self._here.ghosts, self._here.launches
        status, motion = here.status, self._motion
        launches.run("begin", lambda: [*motion.begin(status, here.bodies), here.check()])
        ghosts.bring_positions()
        device.read_later(status, self._status_seen)
        brought = device.mark()
        marks = self._evaluate_interior()
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
                here.build()
                marks = self._evaluate_interior()
            marks += self._evaluate_rest(virial=virial)
            launches.run("kick", lambda: [motion.kick(status, here.bodies)])
        self._add_up(virial=virial)
        launches.run(
            "end",
            lambda: [
                *motion.end(status, here.bodies, rows=1),
                device.launch(end_evaluation, 1, 1, (status,)),
            ],
        )
        if not lost and not moved:
            self._domain.balancer.add(device.elapsed(*marks[:2]) + device.elapsed(*marks[2:]))
        return True

    def _evaluate_interior(self) -> list[Any]:
        """Evaluate the atoms that see no ghosts; return marks before and after."""
        system, neighbours = self._here.system, self._here.system.neighbours
        before = self._device.mark()
        self._here.launches.run(
            "interior",
            lambda: [neighbours.place(0, neighbours.kinds.n_own), *system.energy_actions(INTERIOR)],
        )
        return [before, self._device.mark()]

    def _evaluate_rest(self, *, virial: bool) -> list[Any]:
        """Evaluate the other atoms, and make all forces; return marks before and after."""
        device, system, ghosts, launches = (
            self._device,
            self._here.system,
            self._here.ghosts,
            self._here.launches,
        )
        before = device.mark()
        launches.run(
            f"seen, ghosts {virial}",
            lambda: [
                system.neighbours.place(system.neighbours.kinds.n_own),
                *system.energy_actions(SEEN),
                *system.force_actions(GHOSTS, GHOSTS + 1, virial=virial),
            ],
        )
        ghosts.bring_forces()
        brought = device.mark()
        launches.run(
            f"own {virial}",
            lambda: [
                *system.force_actions(INTERIOR, GHOSTS, virial=virial),
                *(system.virial_actions() if virial else ()),
            ],
        )
        after = device.mark()
        device.wait(brought)
        ghosts.exchange_forces()
        return [before, after]

    def _add_up(self, *, virial: bool) -> None:
        """Put sums over all ranks in the place of this rank's."""
        device, here, motion = self._device, self._here, self._motion
        blocks, block = device.sums()
        here.launches.run(
            f"gather {virial}",
            lambda: [
                device.launch(
                    kernels.gather_totals,
                    1,
                    block,
                    (
                        here.status,
                        blocks,
                        motion.partial,
                        motion.trouble,
                        int(virial),
                        here.system.virial,
                        self._totals,
                    ),
                )
            ],
        )
        device.read_later(self._totals, self._totals_seen)
        device.wait(device.mark())
        totals = self._totals_seen
        self._found_here = (Reason.TOO_CLOSE if totals[kernels.TOTAL_TOO_CLOSE] > 0.0 else Reason(0)) | (
            Reason.LOST if totals[kernels.TOTAL_LOST] > 0.0 else Reason(0)
        )
        totals[:] = self._communicator.sum(totals)
        if virial:
            self._virial[:] = totals[kernels.TOTAL_VIRIAL : kernels.TOTAL_VIRIAL + 9]
        device.write_later(self._totals, totals)
        arguments = (here.status, self._totals, motion.partial, motion.trouble)
        here.launches.run("take", lambda: [device.launch(kernels.take_totals, 1, 1, arguments)])
