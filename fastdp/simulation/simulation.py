"""The run: stage after stage, step after step, with everything that happens in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numba
from numpy.typing import NDArray

import fastdp
from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import FastDPError, Interrupted, SimulationError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import Checkpoint, write_checkpoint
from fastdp.output.crash_frame import write_crash_frame
from fastdp.output.files import run_lock, writing
from fastdp.potential.base import Potential
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.guards import check_step
from fastdp.simulation.outputs import Outputs, check_outputs
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
from fastdp.simulation.timers import Timers
from fastdp.simulation.trigger import EverySeconds, EverySteps, Operation


class Simulation:
    """A run, new or continued.

    Parameters
    ----------
    state : State
        The atoms; of a continued run, `state_of(checkpoint)`. Changed in place.
    potential : Potential
        Gives the forces; of a continued run, made from `potential_state_of(checkpoint)`.
    neighbours : VerletList
        For these atoms, with at least the potential's cutoff; not yet built.
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
    ) -> None:
        self._state = state
        self._settings = settings
        self._provenance = provenance or Provenance()
        self._potential_state = potential_state or {}
        self._reporter = reporter or Reporter()
        self._checkpoint = checkpoint
        if checkpoint is not None:
            check_same_run(checkpoint, settings, self._provenance, neighbours)

        self._timers = Timers()
        self._force_field = NeighbourForceField(potential, neighbours, self._timers, when_built)
        self._snapshot = Snapshot(state, self._force_field.evaluation)
        # All stages are tried now, so that one that cannot work is found before the run.
        stages = [Stage(stage, number, state) for number, stage in enumerate(settings.stages, start=1)]
        self._stage = stages[0]
        self._completed: list[StageSummary] = []

        self._outputs = Outputs(settings.output, self._provenance)
        self._checkpoint_path = settings.output.directory / settings.output.checkpoint.file
        self._checkpoint_step = -1
        self._keep_checkpoint = True
        self._operations = [
            *self._outputs.operations,
            Operation(EverySteps(settings.output.checkpoint.every), self._save),
        ]
        self._steps_before = 0
        self._time_before = 0.0
        self._builds_before = 0
        self._loop_start = 0.0

    def run(self, *, overwrite: bool = False) -> RunSummary:
        """Run all stages, or what is left of them.

        Parameters
        ----------
        overwrite : bool
            Whether a new run may replace the files of an earlier one.

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
        FastDPError
            If a file cannot be written.
        """
        started = time.perf_counter()
        if self._checkpoint is None:
            check_outputs(self._settings.output, overwrite=overwrite)
            self._start()
        else:
            self._load(self._checkpoint)
        directory = self._settings.output.directory
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        with StopRequest() as stop, run_lock(directory / f".{self._checkpoint_path.name}.lock"):
            try:
                self._open(overwrite)
                self._begin_timing()
                self._reporter.started(self._progress())
                self._run_stages(stop)
            except SimulationError as error:
                raise self._crash(error) from error
            finally:
                self._reporter.stopped()
                self._outputs.close()
        summary = self._summary(self._loop_start - started)
        self._reporter.finished(summary)
        return summary

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
        load_evaluation(self._force_field.evaluation, sections["evaluation"])
        self._force_field.current = True
        self._measure()
        self._checkpoint_step = -1 if checkpoint.newest_is_damaged else self._state.step
        self._keep_checkpoint = not checkpoint.newest_is_damaged
        threads = numba.get_num_threads()
        if (header["fastdp_version"], header["threads"]) != (fastdp.__version__, threads):
            self._reporter.warning(
                f"the checkpoint was written by fastdp {header['fastdp_version']} on {header['threads']}"
                f" threads, this is {fastdp.__version__} on {threads}: the run continues, but not bit for bit"
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
                if stop.signal_name is not None:
                    self._save(self._snapshot)
                    raise Interrupted(
                        f"stopped by {stop.signal_name} after step {self._state.step} of {self._total_steps};"
                        f" {self._checkpoint_path} is written, continue with --resume"
                    )
                self._make_step()
            summary = self._stage.summary(self._state.n_atoms)
            self._reporter.stage_finished(summary)
            if self._stage.number == len(stages):
                self._save(self._snapshot)
                self._completed.append(summary)
                return
            self._completed.append(summary)
            self._stage = Stage(stages[self._stage.number], self._stage.number + 1, self._state)
            self._measure()
            self._stage.record(self._snapshot)

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
        write_checkpoint(self._checkpoint_path, self._record(), keep=self._keep_checkpoint)
        self._checkpoint_step = snapshot.state.step
        self._keep_checkpoint = True

    def _record(self) -> Checkpoint:
        neighbours = self._force_field.neighbours
        header = {
            "fastdp_version": fastdp.__version__,
            "threads": numba.get_num_threads(),
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
            "state": self._state.to_arrays(),
            "evaluation": evaluation_to_arrays(self._force_field.evaluation),
            "neighbours": {"positions_at_build": neighbours.positions_at_build},
            "potential": self._potential_state,
            **self._stage.sections(),
            **self._outputs.waiting(),
        }
        return Checkpoint(header, sections)

    def _crash(self, error: SimulationError) -> SimulationError:
        """Save the frame that stopped the run, and return the error that says so."""
        evaluation = self._force_field.evaluation if self._force_field.current else None
        path = self._settings.output.directory / self._settings.output.crash_file
        found = error.at_step(self._state.step)
        try:
            write_crash_frame(path, self._state, evaluation, found)
            note = f"the frame is in {path}"
        except FastDPError as failure:
            note = f"the frame is lost ({failure})"
        reason = f"{error.reason}; {note}, the last checkpoint is that of step {self._checkpoint_step}"
        return type(error)(reason, step=self._state.step, atoms=error.atoms)

    @property
    def _total_steps(self) -> int:
        return sum(stage.steps for stage in self._settings.stages)

    def _begin_timing(self) -> None:
        """Start the clocks: what comes before the first step counts neither for speed nor for progress."""
        self._operations.append(
            Operation(EverySeconds(self._reporter.interval_seconds), self._report_progress)
        )
        self._timers.reset()
        self._steps_before = self._state.step
        self._time_before = self._state.time_ps
        self._builds_before = self._force_field.neighbours.number_of_builds
        self._loop_start = time.perf_counter()

    def _speed(self) -> Speed:
        seconds = time.perf_counter() - self._loop_start
        steps = self._state.step - self._steps_before
        nanoseconds = (self._state.time_ps - self._time_before) * 1e-3
        return Speed(
            nanoseconds_per_day=nanoseconds / seconds * 86400.0,
            microseconds_per_atom_step=seconds / (steps * self._state.n_atoms) * 1e6
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
            seconds_left=steps_left * self._state.n_atoms * speed.microseconds_per_atom_step * 1e-6,
        )

    def _report_progress(self, snapshot: Snapshot) -> None:
        self._reporter.progress(self._progress())

    def _summary(self, start_seconds: float) -> RunSummary:
        loop_seconds = time.perf_counter() - self._loop_start
        seconds = dict(self._timers.seconds)
        seconds["other"] = loop_seconds - sum(seconds.values())
        return RunSummary(
            stages=tuple(self._completed),
            steps=self._state.step - self._steps_before,
            start_seconds=start_seconds,
            loop_seconds=loop_seconds,
            seconds=seconds,
            neighbour_builds=self._force_field.neighbours.number_of_builds - self._builds_before,
            speed=self._speed(),
            files=(*self._outputs.paths, self._checkpoint_path),
        )
