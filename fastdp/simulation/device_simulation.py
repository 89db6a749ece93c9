"""A run whose steps are made on a device, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastdp.dynamics.engine import Engine
from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import NonFiniteError, SimulationError, UnsupportedModelError
from fastdp.neighbours.selection import Overflow
from fastdp.simulation.guards import check_step
from fastdp.simulation.simulation import Simulation
from fastdp.simulation.trigger import EverySteps


class DeviceSimulation(Simulation):
    """A `Simulation` that asks an engine for chunks of steps, and looks at the atoms when something is due.

    Statistics take in every step, from the engine's log. After a checkpoint the engine is loaded anew, so
    that a run that is resumed there continues bit for bit.

    Parameters
    ----------
    engine : Engine
        For the atoms of the state.
    when_beyond : callable, optional
        Given the counts of neighbours beyond the engine's limits when there is something new.
    **others
        As `Simulation`.

    Raises
    ------
    UnsupportedModelError
        If the engine cannot make the steps of a stage.
    """

    def __init__(
        self,
        *arguments: Any,
        engine: Engine,
        when_beyond: Callable[[Sequence[Overflow]], object] = lambda _: None,
        **others: Any,
    ) -> None:
        super().__init__(*arguments, **others)
        self._engine = engine
        self._when_beyond = when_beyond
        self._loaded: Integrator[Any] | None = None
        self._on_host = True
        self._builds_on_device = 0
        for stage in self._settings.stages:
            if not engine.supports(make_integrator(stage.integrator)):
                raise UnsupportedModelError(
                    f'{stage.name}: there are no kernels for the integrator "{stage.integrator.name}"; use '
                    'backend = "cpu"'
                )

    def _make_step(self) -> None:
        """Make as many steps as nobody has to look at, and the one that somebody has to."""
        stage, state = self._stage, self._state
        if self._loaded is not stage.integrator:
            with self._timers.measure("neighbours"):
                self._engine.load(
                    state,
                    self._force_field.evaluation,
                    stage.integrator,
                    self._settings.guards.maximum_temperature_K,
                )
            self._loaded = stage.integrator
        steps = min(self._engine.longest_chunk, stage.settings.steps - stage.step, self._steps_until_due())
        virial = any(
            operation.needs_virial and operation.trigger.due(state.step + steps)
            for operation in self._operations
            if isinstance(operation.trigger, EverySteps)
        )
        before = self._engine.number_of_builds
        with self._timers.measure("model"):
            log, halted = self._engine.advance(steps, virial=virial)
        self._builds_on_device += self._engine.number_of_builds - before
        self._on_host = False
        beyond = self._engine.neighbours_beyond()
        if beyond:
            self._when_beyond(beyond)
        for energies in zip(log.potential_energy, log.kinetic_energy, log.bath_energy, strict=True):
            stage.step += 1
            state.step += 1
            state.time_ps = stage.time_ps
            self._snapshot.take(stage.number, *(float(energy) for energy in energies))
            if not halted:
                stage.record(self._snapshot)
        if halted:
            self._stop()
        self._force_field.evaluation.virial_is_current = virial
        if stage.step == stage.settings.steps or self._steps_until_due(0) == 0:
            with self._timers.measure("output"):
                self._fetch()
                self._snapshot.take_arrays()
                self._prepare_observers()
        self._operate()

    @property
    def _number_of_builds(self) -> int:
        """How often the list was built that the steps go by, which is the device's."""
        return self._builds_on_device

    def _steps_until_due(self, least: int = 1) -> int:
        """Return the number of steps, at least `least`, until an operation has to look at the atoms."""
        step = self._state.step + least
        periods = [o.trigger.period for o in self._operations if isinstance(o.trigger, EverySteps)]
        return min((least + -step % period for period in periods), default=self._engine.longest_chunk)

    def _prepare_observers(self) -> None:
        """Build the list of the host, if somebody is to look at the atoms through it."""
        if any(o.needs_neighbours and o.trigger.due(self._state.step) for o in self._operations):
            self._force_field.neighbours.build(self._state.positions)

    def _fetch(self) -> None:
        """Bring the present state to the host, if it is not there."""
        if self._on_host:
            return
        # Where that fails, once is enough.
        self._on_host = True
        self._engine.fetch(self._state, self._force_field.evaluation, self._stage.integrator)
        self._force_field.follow(self._state)

    def _stop(self) -> None:
        """Raise the error that the engine is halted for."""
        self._force_field.current = False
        self._fetch()
        error = self._engine.error(self._state)
        if error is not None:
            # The step could not be evaluated, and is not in the log.
            self._stage.step += 1
            self._state.step += 1
            self._state.time_ps = self._stage.time_ps
            raise error
        self._force_field.current = True
        self._snapshot.take_arrays()
        check_step(self._snapshot, self._settings.guards)
        refusal = NonFiniteError("the device halted the run, but the state does not show why")
        refusal.on_all_ranks = True
        raise refusal

    def _save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint of the present step, unless that was done already."""
        self._fetch()
        if self._checkpoint_step != snapshot.state.step:
            # The list of the device is not kept: it is built anew here, now and by a run that is resumed.
            self._force_field.neighbours.positions_at_build[:] = self._state.positions
            self._loaded = None
        super()._save(snapshot)

    def _crash(self, error: SimulationError) -> SimulationError:
        """Save the frame that stopped the run, and return the error that says so."""
        if not self._on_host:
            self._force_field.current = False
            self._fetch()
        return super()._crash(error)
