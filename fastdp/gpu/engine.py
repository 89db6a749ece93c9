"""Whole chunks of steps on the device; the host reads one error word and a short log for each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdp.dynamics.engine import StepLog
from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.state import State
from fastdp.errors import SimulationError
from fastdp.gpu.device.base import Action, DeviceArray, run_all
from fastdp.gpu.device_motion import Bodies, DeviceMotion, energy_masses, inverse_masses
from fastdp.gpu.kernels import motion as kernels
from fastdp.gpu.kernels.status import BEYOND, BUILDS, Reason, end_evaluation
from fastdp.gpu.motions import MOTIONS
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.selection import SelectionCounts
from fastdp.gpu.system import Boundaries, DeviceSystem
from fastdp.neighbours.selection import NeighbourLimit, Overflow
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.units import BOLTZMANN_EV_PER_K

LONGEST_CHUNK = 50
"""Steps between two looks at the error word: long enough that the look costs nothing, short enough that a
replay does not matter."""

MOST_REPLAYS = 8
"""Rows grow to what was found to be needed, so one replay is the rule; many mean a collapse."""


class DeviceEngine:
    """Makes steps on the device.

    Every step is the same sequence of launches, whether or not the neighbour list is built in it: the
    kernels that build it look at a flag on the device. Nothing is read back within a chunk.

    Parameters
    ----------
    potential : CudaPotential
    state : State
        The atoms of the run.
    skin : float
        Of the neighbour list, Å.
    longest_chunk : int
        Most steps between two looks at the error word.
    """

    def __init__(
        self, potential: CudaPotential, state: State, skin: float, longest_chunk: int = LONGEST_CHUNK
    ) -> None:
        self.longest_chunk = longest_chunk
        self.number_of_builds = 0
        self._potential = potential
        self._device = device = potential.device
        self._boundaries = Boundaries(state.types, state.cell, state.periodic, skin)
        self._motion = DeviceMotion(device, longest_chunk)
        self._limits: Sequence[NeighbourLimit] = ()
        self._system: DeviceSystem
        self._bodies: Bodies
        self._reasons = Reason(0)
        self._steps: dict[bool, Action] = {}
        self._integrator: Integrator[Any] | None = None
        self._largest_kinetic = 0.0
        self._builds = 0
        self._beyond = self._reported_beyond = 0

    def supports(self, integrator: Integrator[Any]) -> bool:
        """Whether the engine can move atoms this way."""
        return type(integrator) in MOTIONS

    def count_neighbours(self, limits: Sequence[NeighbourLimit]) -> None:
        """Count neighbours beyond these limits wherever the list is built; to be called before `load`.

        Parameters
        ----------
        limits : sequence of NeighbourLimit
        """
        self._limits = limits

    def neighbours_beyond(self) -> list[Overflow]:
        """Return, for each limit, the counts of pairs of types when they were first beyond it.

        Empty if there was nothing new since this was last asked for, which costs no look at the device.
        """
        selection = self._system.neighbours.selection
        if selection is None or self._beyond == self._reported_beyond:
            return []
        self._reported_beyond = self._beyond
        return selection.read()

    @property
    def bytes(self) -> int:
        """Memory on the device that grows with the number of atoms, once an integrator is loaded."""
        copies = sum(array.nbytes for array in self._saved)
        bodies = self._bodies
        own = (bodies.velocities, bodies.inverse_masses, bodies.energy_masses)
        moving = self._motion.bytes + sum(array.nbytes for array in own)
        return self._system.bytes - self._system.fixed_bytes + moving + copies

    def load(
        self,
        state: State,
        evaluation: Evaluation,
        integrator: Integrator[Any],
        largest_temperature: float,
    ) -> None:
        """Take over a state, the forces on it, and the integrator with its own state.

        The atoms of `state` are put into the cell, and the neighbour list is built there.

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
        if not hasattr(self, "_system"):
            self.hold(state)
        device, system = self._device, self._system
        largest_kinetic = largest_temperature * state.degrees_of_freedom * BOLTZMANN_EV_PER_K
        if (integrator, largest_kinetic) != (self._integrator, self._largest_kinetic):
            self._prepare(integrator, largest_kinetic)
        state.wrap()
        device.write(system.neighbours.positions, state.positions)
        device.write(system.neighbours.positions_at_build, state.positions)
        device.write(system.neighbours.images, state.images)
        device.write(system.forces, evaluation.forces)
        device.fill(system.neighbours.status, 0)
        if system.neighbours.selection is not None:
            system.neighbours.selection.clear()
        device.write(self._bodies.velocities, state.velocities)
        self._motion.load(integrator)
        self._motion.measure(system.neighbours.status, self._bodies)()
        self._motion.store(device.sums()[0])()
        self._builds = 0
        self._beyond = self._reported_beyond = 0
        self._build_list()

    def hold(self, state: State) -> None:
        """Take the memory for the atoms of `state`; `load` does it where it was not done before.

        Not earlier than that, for the potential has memory of its own until the first step.
        """
        device = self._device
        self._system = self._potential.make_system(self._boundaries, state.positions)
        if self._limits:
            n_types = self._potential.device_model.n_types
            self._system.neighbours.selection = SelectionCounts(device, self._limits, n_types)
        self._bodies = Bodies(
            state.n_atoms,
            self._system.neighbours.positions,
            device.empty((state.n_atoms, 3), np.float64),
            self._system.forces,
            self._system.energies,
            device.upload(inverse_masses(state.masses)),
            device.upload(energy_masses(state.masses)),
        )

    def step_actions(self, virial: bool) -> list[Action]:
        """Return the launches of a whole step, with the virial if that is wanted."""
        status = self._system.neighbours.status
        return [
            *self._motion.begin(status, self._bodies),
            *self._system.actions(virial=virial),
            self._motion.kick(status, self._bodies),
            *self._motion.end(status, self._bodies),
            self._device.launch(end_evaluation, 1, 1, (status,)),
        ]

    def advance(self, steps: int, *, virial: bool) -> tuple[StepLog, bool]:
        """Make up to `longest_chunk` steps; `virial`: for the last of them.

        Parameters
        ----------
        steps : int
        virial : bool

        Returns
        -------
        log : StepLog
            Of the completed steps.
        halted : bool

        Raises
        ------
        SimulationError
            If the neighbour list overflows again and again.
        """
        device, status = self._device, self._system.neighbours.status
        steps = min(steps, self.longest_chunk)
        for _ in range(MOST_REPLAYS):
            self._run(kernels.begin_chunk, (status,))
            self._copy(self._saved, self._moving)
            device.reads_forbidden = True
            try:
                for number in range(steps):
                    self._step(virial and number == steps - 1)()
            finally:
                device.reads_forbidden = False
            word = device.read(status)
            if not self._system.lacks_room(word):
                break
            # What was recorded holds on to the rows that were too short.
            self._steps = {}
            self._system.make_room(word)
            # Back to the start, and the very same list again, with longer rows.
            self._copy(self._moving, self._saved)
            self._build_list()
        else:
            raise SimulationError(
                f"the neighbour list overflowed {MOST_REPLAYS} times in a row, with "
                f"{self._system.neighbours.capacity} places for each atom; the structure collapses"
            )
        self.number_of_builds += int(word[BUILDS]) - self._builds
        self._builds = int(word[BUILDS])
        self._beyond = int(word[BEYOND])
        log, self._reasons = self._motion.read_log(word)
        return log, self._reasons != 0

    def fetch(self, state: State, evaluation: Evaluation, integrator: Integrator[Any]) -> None:
        """Bring the present state to the host.

        Parameters
        ----------
        state : State
            Positions, velocities and images are filled.
        evaluation : Evaluation
            Filled; the virial is that of the last step for which it was asked.
        integrator : Integrator
            Given its own state.
        """
        device, system = self._device, self._system
        state.positions[:] = device.read(system.neighbours.positions)
        state.images[:] = device.read(system.neighbours.images)
        state.velocities[:] = device.read(self._bodies.velocities)
        self._motion.fetch(integrator)
        evaluation.forces[:] = device.read(system.forces)
        evaluation.atomic_energies[:] = device.read(system.energies)
        evaluation.virial[:] = device.read(system.virial).reshape(3, 3)

    def error(self, state: State) -> SimulationError | None:
        """Return why the last step could not be evaluated; None if it could.

        Parameters
        ----------
        state : State
            As fetched.
        """
        if Reason.LOST in self._reasons:
            try:
                state.wrap()
            except SimulationError as error:
                return error
        if Reason.TOO_CLOSE in self._reasons:
            neighbours = VerletList(self._potential.cutoff, 0.0, state.cell, state.periodic, state.types)
            neighbours.build(state.positions)
            return self._potential.too_close_error(neighbours)
        return None

    def _prepare(self, integrator: Integrator[Any], largest_kinetic: float) -> None:
        """Get ready for another integrator: its constants, and what a chunk starts from."""
        device, system = self._device, self._system
        self._integrator = integrator
        self._largest_kinetic = largest_kinetic
        self._motion.adopt(integrator, largest_kinetic)
        selection = system.neighbours.selection
        self._moving: tuple[DeviceArray, ...] = (
            system.neighbours.status,
            *(() if selection is None else (selection.noted,)),
            system.neighbours.positions,
            system.neighbours.positions_at_build,
            system.neighbours.images,
            system.forces,
            self._bodies.velocities,
            *self._motion.changing,
        )
        self._saved = tuple(device.empty(array.shape, array.dtype) for array in self._moving)
        self._steps = {}

    def _build_list(self) -> None:
        """Build the list at the positions where it was built last, with rows that are long enough."""
        neighbours = self._system.neighbours
        while True:
            self._run(kernels.ask_for_list, (neighbours.status,))
            run_all(neighbours.build_actions())
            self._run(end_evaluation, (neighbours.status,))
            word = self._device.read(neighbours.status)
            if not self._system.lacks_room(word):
                # That was no build of a step.
                self._builds += 1
                return
            self._steps = {}
            self._system.make_room(word)
            self._run(kernels.begin_chunk, (neighbours.status,))

    def _step(self, virial: bool) -> Action:
        """Return the action of a whole step, captured when it is first asked for."""
        if virial not in self._steps:
            self._steps[virial] = self._device.capture(self.step_actions(virial))
        return self._steps[virial]

    def _run(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        self._device.launch(kernel, 1, 1, arguments)()

    def _copy(self, targets: tuple[DeviceArray, ...], sources: tuple[DeviceArray, ...]) -> None:
        for target, source in zip(targets, sources, strict=True):
            self._device.copy(target, source)
