"""The run: stage after stage, step after step, with everything that happens in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

import fastdp
from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import FastDPError, InputError, Interrupted, Paused, SimulationError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import Checkpoint, lock_path, write_checkpoint
from fastdp.output.crash_frame import write_crash_frame
from fastdp.output.files import reason, run_lock
from fastdp.parallel.decomposed_list import DecomposedList
from fastdp.parallel.domain import Domain
from fastdp.potential.base import Potential
from fastdp.simulation.collected import CollectedSystem
from fastdp.simulation.decomposed_force_field import DecomposedForceField
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.guards import check_step
from fastdp.simulation.outputs import FurtherFile, Outputs, check_outputs, check_paths
from fastdp.simulation.record import (
    check_same_run,
    evaluation_to_arrays,
    identity,
    load_evaluation,
    stage_record,
)
from fastdp.simulation.reporter import Progress, Reporter, RunSummary, Speed, StageSummary
from fastdp.simulation.settings import Provenance, RunSettings
from fastdp.simulation.signals import StopRequest
from fastdp.simulation.stage import Stage
from fastdp.simulation.timers import BETWEEN_RANKS, CATEGORIES, Timers
from fastdp.simulation.trial import Trial, try_start_together
from fastdp.simulation.trigger import EverySeconds, EverySteps, Observer, Operation


class Simulation:
    """A run, new or continued.

    Parameters
    ----------
    state : State
        The atoms; of a continued run, `state_of(checkpoint)`. Changed in place.
    potential : Potential
        Gives the forces; of a continued run, made from `potential_state_of(checkpoint)`.
    neighbours : VerletList
        For these atoms, with at least the potential's cutoff; not yet built. A `DecomposedList` where other
        ranks have other atoms; all of them then call all methods together.
    settings : RunSettings
        Stages, guards and output.
    provenance : Provenance
        Where the run comes from.
    potential_state : mapping of str to array
        What is needed to make the same potential again, kept in checkpoints.
    reporter : Reporter
        Told how the run goes.
    checkpoint : Checkpoint or None
        Where to continue; None starts a new run.
    when_built : callable, optional
        Given the neighbour list each time that it was built.
    domain : Domain, optional
        Which rank owns what, with a `DecomposedList`.
    further : sequence of FurtherFile
        Files besides trajectory and table.
    observers : sequence of Observer
        Look on, and are asked for their lines when the run is through.

    Raises
    ------
    CheckpointError
        If `checkpoint` belongs to another run.
    StructureError
        If an integrator cannot move these atoms.

    Examples
    --------
    >>> simulation = Simulation(state, potential, neighbours, settings)  # doctest: +SKIP
    >>> summary = simulation.run()  # doctest: +SKIP
    """

    def __init__(
        self,
        state: State,
        potential: Potential,
        neighbours: VerletList,
        settings: RunSettings,
        *,
        provenance: Provenance | None = None,
        potential_state: Mapping[str, NDArray[Any]] | None = None,
        reporter: Reporter | None = None,
        checkpoint: Checkpoint | None = None,
        when_built: Callable[[VerletList], object] = lambda _: None,
        domain: Domain | None = None,
        observers: Sequence[Observer] = (),
        further: Sequence[FurtherFile] = (),
    ) -> None:
        self._state = state
        self._communicator = state.communicator
        self._settings = settings
        self._provenance = provenance or Provenance()
        self._potential_state = potential_state or {}
        self._reporter = reporter or Reporter()
        self._checkpoint = checkpoint
        if checkpoint is not None:
            check_same_run(checkpoint, settings, self._provenance, neighbours)

        self._domain = domain
        if domain is None:
            self._timers = Timers()
            self._force_field: NeighbourForceField = NeighbourForceField(
                potential, neighbours, self._timers, when_built
            )
        else:
            assert isinstance(neighbours, DecomposedList)
            self._timers = Timers((*CATEGORIES, *BETWEEN_RANKS))
            self._force_field = DecomposedForceField(potential, neighbours, self._timers, when_built, domain)
        self._snapshot = Snapshot(state, self._force_field.evaluation)
        # All stages are tried now, so that one that cannot work is found before the run.
        stages = [Stage(stage, number, state) for number, stage in enumerate(settings.stages, start=1)]
        self._stage = stages[0]
        self._completed: list[StageSummary] = []

        self._collected = CollectedSystem(state)
        self._outputs = Outputs(
            settings.output, self._provenance, self._collected, self._communicator, further
        )
        self._checkpoint_path = settings.output.directory / settings.output.checkpoint.file
        self._checkpoint_step = -1
        self._keep_checkpoint = True
        self._operations = [
            *self._outputs.operations,
            Operation(EverySteps(settings.output.checkpoint.every), self._save),
            *(observer.operation for observer in observers),
        ]
        self._observers = observers
        self._closing = [
            *(observer.closing for observer in observers),
            *(entry.closing for entry in further),
        ]
        self._further = further
        self._steps_before = 0
        self._time_before = 0.0
        self._builds_before = 0
        self._loop_start = 0.0

    def run(self, *, overwrite: bool = False, began: float | None = None) -> RunSummary:
        """Run all stages, or what is left of them.

        Parameters
        ----------
        overwrite : bool
            Whether a new run may replace the files of an earlier one.
        began : float, optional
            When preparations for it began, by `time.perf_counter()`; default: now.

        Returns
        -------
        RunSummary

        Raises
        ------
        OutputExistsError
            If files exist and `overwrite` is not set; nothing has been changed.
        CheckpointError
            If the files do not hold what the checkpoint continues; nothing has been changed.
        SimulationError
            If the run had to stop; a crash frame has been written, and all files can be read.
        Interrupted
            After a signal; the run can be resumed.
        Paused
            Where a committee disagrees and the input says so; the run can be resumed.
        FastDPError
            If a file cannot be written.
        """
        started = time.perf_counter() if began is None else began
        if self._checkpoint is None:
            self._communicator.on_root(lambda: check_outputs(self._settings.output, overwrite=overwrite))
            self._start()
        else:
            self._communicator.on_root(lambda: check_paths(self._settings.output))
            self._load(self._checkpoint)
        with ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            self._communicator.on_root(lambda: self._lock_directory(stack))
            try:
                self._open(overwrite)
                self._begin_timing()
                self._reporter.started(self._progress())
                self._run_stages(stop)
            except SimulationError as error:
                # Only together can ranks write a frame.
                if self._communicator.size > 1 and not error.on_all_ranks:
                    raise
                raise self._crash(error) from error
            finally:
                self._reporter.stopped()
                self._outputs.close()
        summary = self._summary(self._loop_start - started)
        for closing in self._closing:
            for line in closing():
                self._reporter.message(line)
        self._reporter.finished(summary)
        return summary

    def try_start(self) -> Trial:
        """Evaluate the start of a run on several ranks and take the time; all of them call this together.

        Raises
        ------
        StructureError
            On all ranks, if it cannot be evaluated.
        """
        assert isinstance(self._force_field, DecomposedForceField)
        return try_start_together(self._force_field, self._state)

    def _lock_directory(self, stack: ExitStack) -> None:
        """Make the directory of the output, and keep other runs out of it."""
        directory = self._settings.output.directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the output directory {directory} cannot be made: {reason(error)}; choose another one"
            ) from error
        stack.enter_context(run_lock(lock_path(self._checkpoint_path)))

    def _start(self) -> None:
        """Get the forces at the start of a new run."""
        try:
            self._force_field.compute(self._state)
            self._measure()
        except SimulationError as error:
            raise error.at_step(self._state.step) from error
        self._stage.record(self._snapshot)

    def _load(self, checkpoint: Checkpoint) -> None:
        """Get everything back that the next step depends on."""
        header, sections = checkpoint.header, checkpoint.sections
        number = header["stage"] + 1
        self._stage = Stage(self._settings.stages[number - 1], number, self._state)
        self._stage.load(header["stage_step"], header["stage_start_time_ps"], sections)
        self._completed = [StageSummary(**summary) for summary in header["completed"]]
        neighbours = self._force_field.neighbours
        neighbours.build(sections["neighbours"]["positions_at_build"])
        neighbours.update(self._state.positions)
        if isinstance(self._force_field, DecomposedForceField):
            self._force_field.fit()
        load_evaluation(self._force_field.evaluation, sections["evaluation"])
        self._force_field.current = True
        self._measure()
        self._checkpoint_step = -1 if checkpoint.newest_is_damaged else self._state.step
        self._keep_checkpoint = not checkpoint.newest_is_damaged
        before = (header["fastdp_version"], _machine(header.get("grid", [1, 1, 1]), header["threads"]))
        now = (fastdp.__version__, _machine(self._grid, numba.get_num_threads()))
        if before != now:
            self._reporter.warning(
                f"the checkpoint was written by fastdp {before[0]} on {before[1]}, this is {now[0]} on"
                f" {now[1]}: the run continues, but not bit for bit"
            )

    def _open(self, overwrite: bool) -> None:
        """Open the output files; a new run writes its start to them."""
        if self._checkpoint is None:
            self._outputs.create(self._snapshot, overwrite=overwrite)
            self._operate()
            return
        new = self._outputs.resume(self._snapshot, self._checkpoint)
        for name in new:
            self._reporter.message(f"{name} is new and starts after step {self._state.step}")

    def _run_stages(self, stop: StopRequest) -> None:
        stages = self._settings.stages
        while True:
            while self._stage.step < self._stage.settings.steps:
                # A signal may come to some ranks only, but all stop after the same step.
                if self._communicator.any(stop.signal_name is not None):
                    self._save(self._snapshot)
                    names = self._communicator.gather_objects(stop.signal_name)
                    interruption = Interrupted(
                        f"stopped by {next(name for name in names if name)} after step {self._state.step} of"
                        f" {self._total_steps}; {self._checkpoint_path} is written, continue with --resume"
                    )
                    interruption.on_all_ranks = True
                    raise interruption
                self._pause_if_asked()
                self._make_step()
            summary = self._stage.summary(self._state.n_total)
            self._reporter.stage_finished(summary)
            if self._stage.number == len(stages):
                self._save(self._snapshot)
                self._completed.append(summary)
                return
            self._completed.append(summary)
            self._stage = Stage(stages[self._stage.number], self._stage.number + 1, self._state)
            self._measure()
            self._stage.record(self._snapshot)

    def _pause_if_asked(self) -> None:
        """End the run with a checkpoint where something that was written asks for it."""
        reasons = [reason for entry in self._further if (reason := entry.reason_to_pause()) is not None]
        if not reasons:
            return
        self._save(self._snapshot)
        pause = Paused(
            f"paused after step {self._state.step} of {self._total_steps}: {'; '.join(reasons)}. "
            f"{self._checkpoint_path} is written; --resume goes on from here"
        )
        pause.on_all_ranks = True
        raise pause

    def _make_step(self) -> None:
        stage, state = self._stage, self._state
        stage.step += 1
        state.step += 1
        state.time_ps = stage.time_ps
        self._force_field.virial = stage.integrator.needs_virial or any(
            operation.needs_virial and operation.trigger.due(state.step) for operation in self._operations
        )
        with self._timers.measure("motion"):
            stage.integrator.step(state, self._force_field)
            self._measure()
            stage.record(self._snapshot)
        self._operate()

    def _measure(self) -> None:
        """Take in the present step, and stop if something is wrong with it."""
        stage = self._stage
        self._snapshot.measure(stage.number, stage.integrator.bath_energy(self._state))
        check_step(self._snapshot, self._settings.guards)

    def _operate(self) -> None:
        for operation in self._operations:
            if operation.trigger.due(self._state.step):
                with self._timers.measure("output"):
                    operation.act(self._snapshot)

    def _save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint of the present step, unless that was done already."""
        if self._checkpoint_step == snapshot.state.step:
            return
        # The files first: a checkpoint must never count frames that a loss of power can take back.
        self._outputs.sync()
        record = self._record()
        if record is not None:
            write_checkpoint(self._checkpoint_path, record, keep=self._keep_checkpoint)
        self._checkpoint_step = snapshot.state.step
        self._keep_checkpoint = True

    def _record(self) -> Checkpoint | None:
        """Return the checkpoint of the present step, None on ranks that do not write it."""
        neighbours = self._force_field.neighbours
        state = self._collected.state(self._state)
        evaluation = self._collected.evaluation(self._force_field.evaluation, self._state)
        built_at = self._collected.rows("positions_at_build", neighbours.positions_at_build, self._state)
        if state is None or evaluation is None or built_at is None:
            return None
        header = {
            "fastdp_version": fastdp.__version__,
            "threads": numba.get_num_threads(),
            "grid": self._grid,
            "input": self._provenance.input_text,
            "seed": self._provenance.seed,
            "identity": identity(self._provenance, neighbours),
            "stages": [stage_record(stage) for stage in self._settings.stages],
            "stage": self._stage.number - 1,
            "stage_step": self._stage.step,
            "stage_start_time_ps": self._stage.start_time_ps,
            "completed": [asdict(summary) for summary in self._completed],
            "outputs": self._outputs.positions(),
        }
        sections = {
            "state": state.to_arrays(),
            "evaluation": evaluation_to_arrays(evaluation),
            "neighbours": {"positions_at_build": built_at},
            "planes": {} if self._domain is None else self._domain.regions.to_arrays(),
            "potential": self._potential_state,
            **self._stage.sections(),
            **self._outputs.waiting(),
        }
        return Checkpoint(header, sections)

    def _crash(self, error: SimulationError) -> SimulationError:
        """Save the frame that stopped the run, and return the error that says so."""
        evaluation = None
        if self._force_field.current:
            evaluation = self._collected.evaluation(self._force_field.evaluation, self._state)
        state = self._collected.state(self._state)
        path = self._settings.output.directory / self._settings.output.crash_file
        found = error.at_step(self._state.step)
        note = ""
        if state is not None:
            try:
                write_crash_frame(path, state, evaluation, found)
                note = f"; the frame is in {path}"
            except FastDPError as failure:
                note = f"; the frame is lost ({failure})"
        # A rank that leaves early may make the launcher end the others.
        self._communicator.wait_for_root()
        reason = f"{error.reason}{note}, the last checkpoint is that of step {self._checkpoint_step}"
        return error.with_reason(reason, self._state.step)

    @property
    def _grid(self) -> list[int]:
        """Ranks along each axis."""
        return [1, 1, 1] if self._domain is None else list(self._domain.regions.shape)

    @property
    def _number_of_builds(self) -> int:
        """How often the neighbour list was built that the steps go by."""
        return self._force_field.neighbours.number_of_builds

    @property
    def _total_steps(self) -> int:
        return sum(stage.steps for stage in self._settings.stages)

    def _begin_timing(self) -> None:
        """Start the clocks: what comes before the first step counts neither for speed nor for progress."""
        self._operations.append(
            Operation(EverySeconds(self._reporter.interval_seconds), self._report_progress)
        )
        self._timers.reset()
        if self._domain is not None:
            # What was compiled meanwhile says nothing about the work of a step.
            self._domain.balancer.reset()
        self._steps_before = self._state.step
        self._time_before = self._state.time_ps
        self._builds_before = self._number_of_builds
        self._loop_start = time.perf_counter()

    def _speed(self) -> Speed:
        seconds = time.perf_counter() - self._loop_start
        steps = self._state.step - self._steps_before
        nanoseconds = (self._state.time_ps - self._time_before) * 1e-3
        return Speed(
            nanoseconds_per_day=nanoseconds / seconds * 86400.0,
            microseconds_per_atom_step=seconds / (steps * self._state.n_total) * 1e6
            if steps
            else float("nan"),
        )

    def _progress(self) -> Progress:
        speed = self._speed()
        steps_left = self._total_steps - self._state.step
        return Progress(
            stage=self._stage.name,
            step=self._state.step,
            total_steps=self._total_steps,
            time_ps=self._state.time_ps,
            temperature=self._snapshot.temperature,
            speed=speed,
            seconds_left=steps_left * self._state.n_total * speed.microseconds_per_atom_step * 1e-6,
        )

    def _report_progress(self, snapshot: Snapshot) -> None:
        self._reporter.progress(self._progress())

    def _summary(self, start_seconds: float) -> RunSummary:
        loop_seconds = time.perf_counter() - self._loop_start
        seconds = dict(self._timers.seconds)
        seconds["other"] = loop_seconds - sum(seconds.values())
        by_rank = self._communicator.all_gather(np.array(list(seconds.values())))
        return RunSummary(
            stages=tuple(self._completed),
            steps=self._state.step - self._steps_before,
            start_seconds=start_seconds,
            loop_seconds=loop_seconds,
            seconds=dict(zip(seconds, by_rank.mean(axis=0).tolist(), strict=True)),
            seconds_by_rank=dict(zip(seconds, by_rank.T.tolist(), strict=True)),
            neighbour_builds=self._number_of_builds - self._builds_before,
            speed=self._speed(),
            files=(*self._outputs.paths, self._checkpoint_path),
        )


def _machine(grid: Sequence[int], threads: int) -> str:
    """Say what a run goes on; as much of it as decides about the last bits of its results."""
    ranks = "" if list(grid) == [1, 1, 1] else f"{'×'.join(map(str, grid))} ranks of "
    return f"{ranks}{threads} threads"
