"""Runs that go wrong stop at the step, say why, and leave everything readable."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from argon import NVE, NVT, SKIN, argon, resume, settings, simulation
from ase import units
from potentials import LennardJones, Sabotaged, nan_force_at, too_close_at

from fastdp.errors import (
    FastDPError,
    InputError,
    NonFiniteError,
    PairTooCloseError,
    RunawayTemperatureError,
    SimulationError,
)
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import read_checkpoint
from fastdp.output.files import run_lock
from fastdp.output.h5md import ROOM_AT_ONCE
from fastdp.output.trajectory import Trajectory
from fastdp.potential.base import Evaluation
from fastdp.simulation.reporter import Progress, Reporter, RunSummary, StageSummary
from fastdp.simulation.settings import GuardSettings, OutputSettings, RunSettings, StageSettings
from fastdp.simulation.signals import SIGNALS, StopRequest


def steps_written(directory: Path) -> tuple[list[int], list[int]]:
    with Trajectory(directory / "trajectory.h5") as trajectory:
        frames = [frame.step for frame in trajectory]
    rows = np.genfromtxt(directory / "thermo.csv", delimiter=",", names=True)
    return frames, [int(step) for step in rows["step"]]


def test_nan_stops_at_its_step_and_leaves_everything_readable(tmp_path: Path) -> None:
    run = settings(tmp_path, (100, NVE), checkpoint_every=20)
    # Evaluation 35 is that of step 34: the first is that of the start.
    potential = Sabotaged(LennardJones(), nan_force_at(35, atom=5))
    with pytest.raises(NonFiniteError, match=r"step 34: the force on atom 5 \(Ar\).*crash\.extxyz") as caught:
        simulation(run, potential=potential).run()
    assert caught.value.step == 34
    assert caught.value.atoms == (5,)
    assert caught.value.exit_code == 3
    assert steps_written(tmp_path) == ([0, 10, 20, 30], [0, 10, 20, 30])
    crash = ase.io.read(tmp_path / "crash.extxyz")
    assert crash.info["step"] == 34
    assert crash.info["time_ps"] == pytest.approx(0.17)
    assert "force on atom 5" in crash.info["reason"]
    assert np.flatnonzero(crash.arrays["culprit"]).tolist() == [5]
    assert np.isnan(crash.get_forces()[5, 1])
    assert np.isfinite(np.delete(crash.get_forces(), 5, axis=0)).all()
    assert np.isfinite(crash.get_velocities()[0]).all()
    # The last good checkpoint still leads on: the same run without the sabotage.
    assert read_checkpoint(tmp_path / "checkpoint.npz").header["stage_step"] == 20
    resume(run).run()
    assert steps_written(tmp_path)[0] == list(range(0, 101, 10))


def test_the_crash_frame_has_positions_velocities_and_forces_in_units_of_ase(tmp_path: Path) -> None:
    state = argon()

    def heat(number: int, result: Evaluation) -> None:
        if number == 4:
            result.energy = np.inf

    with pytest.raises(NonFiniteError, match="step 3: the potential energy is inf"):
        simulation(
            settings(tmp_path, (10, NVE)), state=state, potential=Sabotaged(LennardJones(), heat)
        ).run()
    crash = ase.io.read(tmp_path / "crash.extxyz")
    # Extended XYZ has 8 decimals.
    np.testing.assert_allclose(crash.positions, state.positions, atol=1e-8)
    np.testing.assert_allclose(
        crash.get_velocities() * 1000 * units.fs / units.Angstrom, state.velocities, atol=1e-6
    )
    neighbours = VerletList(6.0, SKIN, state.cell, state.periodic, state.types)
    neighbours.build(state.positions)
    evaluation = Evaluation.empty(state.n_atoms)
    LennardJones().evaluate(neighbours, evaluation)
    np.testing.assert_allclose(crash.get_forces(), evaluation.forces, atol=1e-8)


def test_a_pair_too_close_keeps_its_kind_and_atoms(tmp_path: Path) -> None:
    potential = Sabotaged(LennardJones(), too_close_at(13, (3, 8)))
    with pytest.raises(PairTooCloseError, match=r"step 12: atoms 3 and 8 are 0\.1 Å apart") as caught:
        simulation(settings(tmp_path, (50, NVT)), potential=potential).run()
    assert caught.value.atoms == (3, 8)
    crash = ase.io.read(tmp_path / "crash.extxyz")
    assert np.flatnonzero(crash.arrays["culprit"]).tolist() == [3, 8]
    # No forces belong to this frame.
    assert crash.calc is None
    assert steps_written(tmp_path)[0] == [0, 10]


def test_a_lost_atom_is_a_simulation_error(tmp_path: Path) -> None:
    def kick(number: int, result: Evaluation) -> None:
        if number == 6:
            result.forces[7] = 1e300

    with pytest.raises(SimulationError, match=r"step [56]: ") as caught:
        simulation(settings(tmp_path, (50, NVE)), potential=Sabotaged(LennardJones(), kick)).run()
    assert 7 in caught.value.atoms


def test_runaway_temperature_names_the_fastest_atom(tmp_path: Path) -> None:
    def kick(number: int, result: Evaluation) -> None:
        if number == 21:
            result.forces[17] = 300.0

    with pytest.raises(RunawayTemperatureError, match=r"step 20: the temperature is .* atom is 17") as caught:
        simulation(settings(tmp_path, (50, NVE)), potential=Sabotaged(LennardJones(), kick)).run()
    assert caught.value.atoms == (17,)


def test_the_limit_of_temperature_is_the_users(tmp_path: Path) -> None:
    run = settings(tmp_path, (50, NVE))
    limited = RunSettings(run.stages, run.output, GuardSettings(maximum_temperature_K=149.0))
    with pytest.raises(RunawayTemperatureError, match=r"step 0: the temperature is 150 K.*limit of 149 K"):
        simulation(limited).run()


def test_a_bad_start_writes_nothing_and_overwrites_nothing(tmp_path: Path) -> None:
    run = settings(tmp_path / "out", (50, NVE))
    with pytest.raises(NonFiniteError, match="step 0"):
        simulation(run, potential=Sabotaged(LennardJones(), nan_force_at(1, 0))).run()
    assert not (tmp_path / "out").exists()
    simulation(run).run()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(NonFiniteError, match="step 0"):
        simulation(run, potential=Sabotaged(LennardJones(), nan_force_at(1, 0))).run(overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Limit how large a file may grow, as a full disk does.

    Only within the context: pytest's own output may be a file too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_named_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    run = settings(tmp_path, (800, NVE), every=2, checkpoint_every=10)
    with (
        small_files(2_000_000),
        pytest.raises(FastDPError, match=r"cannot write .*trajectory\.h5.*File too large"),
    ):
        simulation(run).run()
    # Not even now: HDF5 would lose the whole file, and crash the process at the next use of it.
    frames, rows = steps_written(tmp_path)
    assert frames == rows == list(range(0, 2 * len(frames), 2))
    reached = read_checkpoint(tmp_path / "checkpoint.npz").header["outputs"]["trajectory.h5"]
    assert 10 < reached["frames"] <= len(frames) < 400
    resume(run).run()
    assert steps_written(tmp_path)[0] == list(range(0, 801, 2))


def test_a_full_disk_at_the_start(tmp_path: Path) -> None:
    with small_files(5_000), pytest.raises(FastDPError, match=r"cannot write .*trajectory\.h5"):
        simulation(settings(tmp_path, (10, NVE))).run()


def test_a_second_run_beside_the_first_is_refused(tmp_path: Path) -> None:
    run = settings(tmp_path, (10, NVE))
    with (
        run_lock(tmp_path / ".checkpoint.npz.lock"),
        pytest.raises(InputError, match="another run is writing"),
    ):
        simulation(run).run()
    assert list(tmp_path.iterdir()) == []
    simulation(run).run()
    assert not (tmp_path / ".checkpoint.npz.lock").exists()


def test_files_need_different_names(tmp_path: Path) -> None:
    run = settings(tmp_path, (10, NVE))
    output = OutputSettings(tmp_path, crash_file="thermo.csv")
    with pytest.raises(InputError, match=r"same name: thermo\.csv"):
        simulation(RunSettings(run.stages, output)).run()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another output directory"):
        simulation(settings(tmp_path / "file" / "out", (10, NVE))).run()


def test_a_run_in_a_thread_of_another_program(tmp_path: Path) -> None:
    run = simulation(settings(tmp_path, (20, NVE)))
    thread = threading.Thread(target=run.run)
    thread.start()
    thread.join()
    assert steps_written(tmp_path)[0] == [0, 10, 20]


def test_files_are_closed_while_the_simulation_is_still_there(tmp_path: Path) -> None:
    run = simulation(settings(tmp_path, (5, NVE)))
    run.run()
    # What was reserved is given back, and HDF5 lets others write.
    assert (tmp_path / "trajectory.h5").stat().st_size < ROOM_AT_ONCE
    with h5py.File(tmp_path / "trajectory.h5", "r+"):
        pass
    del run


def test_signal_handlers_come_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    simulation(settings(tmp_path, (5, NVE))).run()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_run_that_was_started_with_nohup_goes_on_without_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal_name is None
            signal.raise_signal(signal.SIGUSR1)
            assert stop.signal_name == "SIGUSR1"
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal_name == "SIGHUP"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_trajectory_and_table(tmp_path: Path) -> None:
    output = OutputSettings(tmp_path, trajectory=None, thermo=None)
    simulation(RunSettings((StageSettings(20, NVE),), output)).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.npz", "checkpoint_previous.npz"]


class Listener(Reporter):
    interval_seconds = 0.0

    def __init__(self) -> None:
        self.events: list[object] = []

    def started(self, progress: Progress) -> None:
        self.events.append(("started", progress.step))

    def progress(self, progress: Progress) -> None:
        self.events.append(progress)

    def stopped(self) -> None:
        self.events.append("stopped")

    def stage_finished(self, summary: StageSummary) -> None:
        self.events.append(summary)

    def finished(self, summary: RunSummary) -> None:
        self.events.append(summary)


def test_the_reporter_hears_everything_in_order(tmp_path: Path) -> None:
    listener = Listener()
    state = argon()
    summary = simulation(settings(tmp_path, (20, NVE), (30, NVT)), state=state, reporter=listener).run()
    kinds = [event if isinstance(event, str | tuple) else type(event).__name__ for event in listener.events]
    assert kinds == [
        ("started", 0),
        *["Progress"] * 20,
        "StageSummary",
        *["Progress"] * 30,
        "StageSummary",
        "stopped",
        "RunSummary",
    ]
    last = listener.events[-4]
    assert isinstance(last, Progress)
    assert (last.stage, last.step, last.total_steps, last.seconds_left) == ("stage 2", 50, 50, 0.0)
    assert last.time_ps == state.time_ps == pytest.approx(0.25, rel=1e-12)
    assert summary.steps == 50
    # The parts are the whole, and the speeds follow from it.
    assert sum(summary.seconds.values()) == pytest.approx(summary.loop_seconds, rel=1e-9)
    assert set(summary.seconds) == {"neighbours", "model", "motion", "output", "other"}
    assert all(seconds > 0 for seconds in summary.seconds.values())
    speed = summary.speed
    # Taken a moment apart.
    assert speed.microseconds_per_atom_step == pytest.approx(summary.loop_seconds / 50 / 108 * 1e6, rel=0.05)
    assert speed.nanoseconds_per_day == pytest.approx(0.25e-3 / summary.loop_seconds * 86400, rel=0.05)


def test_mean_temperature_and_drift_are_those_of_the_table(tmp_path: Path) -> None:
    summary = simulation(settings(tmp_path, (200, NVE), every=1)).run()
    rows = np.genfromtxt(tmp_path / "thermo.csv", delimiter=",", names=True)
    (stage,) = summary.stages
    assert stage.mean_temperature == pytest.approx(rows["temperature_K"].mean(), rel=1e-12)
    energy = rows["conserved_quantity_eV"] - rows["conserved_quantity_eV"][0]
    slope, offset = np.polyfit(rows["time_ps"], energy, 1)
    # Differences of nearly equal energies.
    assert stage.drift == pytest.approx(slope / 108, rel=1e-6)
    residual = energy - slope * rows["time_ps"] - offset
    assert stage.scatter == pytest.approx(np.sqrt((residual**2).mean()) / 108, rel=1e-6)


def test_a_potential_that_needs_no_virial_is_not_asked_for_it(tmp_path: Path) -> None:
    asked: list[bool] = []

    class Recorder(LennardJones):
        def evaluate(self, neighbours, result, *, virial=True):
            asked.append(virial)
            super().evaluate(neighbours, result, virial=virial)

    simulation(settings(tmp_path, (20, NVE), every=10), potential=Recorder()).run()
    assert [step for step, virial in enumerate(asked) if virial] == [0, 10, 20]
