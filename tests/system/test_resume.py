"""A run that is stopped and resumed is, bit for bit, the run that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from argon import NVE, NVT, PROVENANCE, argon, resume, settings, simulation
from potentials import LennardJones, Sabotaged

from fastdp.errors import CheckpointError, Interrupted, OutputExistsError
from fastdp.output.checkpoint import previous_path, read_checkpoint
from fastdp.output.trajectory import Trajectory
from fastdp.potential.base import Evaluation
from fastdp.simulation.reporter import Reporter, RunSummary


def signal_at(evaluation: int):
    """Return a sabotage that sends this process SIGTERM during an evaluation."""

    def sabotage(number: int, result: Evaluation) -> None:
        if number == evaluation:
            os.kill(os.getpid(), signal.SIGTERM)

    return sabotage


def stopped_after(step: int) -> Sabotaged:
    # The first evaluation is that of the start.
    return Sabotaged(LennardJones(), signal_at(step + 1))


def assert_same_outputs(a: Path, b: Path) -> None:
    """Compare trajectories data set by data set, tables byte by byte, and checkpoints."""
    with h5py.File(a / "trajectory.h5") as x, h5py.File(b / "trajectory.h5") as y:
        names: list[str] = []
        x.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert any("velocity" in name for name in names)
        for name in names:
            np.testing.assert_array_equal(x[name][()], y[name][()], err_msg=name)
    assert (a / "thermo.csv").read_bytes() == (b / "thermo.csv").read_bytes()
    first, second = read_checkpoint(a / "checkpoint.npz"), read_checkpoint(b / "checkpoint.npz")
    assert json.dumps(first.header) == json.dumps(second.header)
    for section, arrays in first.sections.items():
        for name, array in arrays.items():
            # Bytes, since the waiting blocks of the averages are NaN where there are none.
            assert np.asarray(array).tobytes() == np.asarray(second.sections[section][name]).tobytes(), name


def run_whole(directory: Path, *stages, **options) -> RunSummary:
    return simulation(settings(directory, *stages, **options)).run()


@pytest.mark.parametrize("integrator", [NVE, NVT], ids=["nve", "nvt"])
def test_100_and_100_steps_are_200(tmp_path: Path, integrator) -> None:
    whole = run_whole(tmp_path / "whole", (200, integrator))
    # The list must be built, and atoms wrapped, for this to mean anything.
    assert whole.neighbour_builds > 5
    with Trajectory(tmp_path / "whole" / "trajectory.h5") as trajectory:
        assert np.abs(trajectory[-1].images).max() > 0
    parts = settings(tmp_path / "parts", (200, integrator))
    with pytest.raises(Interrupted, match="SIGTERM after step 100 of 200"):
        simulation(parts, potential=stopped_after(100)).run()
    rest = resume(parts).run()
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")
    assert rest.steps == 100
    assert rest.stages == whole.stages


@pytest.mark.parametrize("stop", [1, 37, 60, 61, 110, 119, 120, 133, 179])
def test_several_stages(tmp_path: Path, stop: int) -> None:
    stages = (60, NVT), (60, NVE), (0, NVE), (60, replace(NVT, temperature_K=80.0, chain_length=5))
    whole = run_whole(tmp_path / "whole", *stages, every=7)
    parts = settings(tmp_path / "parts", *stages, every=7)
    with pytest.raises(Interrupted):
        simulation(parts, potential=stopped_after(stop)).run()
    # As text, in which NaN (the drift of no steps) equals itself.
    assert repr(resume(parts).run().stages) == repr(whole.stages)
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")


def test_checkpoints_do_not_change_the_run(tmp_path: Path) -> None:
    run_whole(tmp_path / "few", (100, NVT))
    run_whole(tmp_path / "many", (100, NVT), checkpoint_every=3)
    assert_same_outputs(tmp_path / "few", tmp_path / "many")


def test_a_run_can_be_made_longer(tmp_path: Path) -> None:
    stages = (60, NVE), (40, NVT)
    run_whole(tmp_path / "whole", (60, NVE), (90, NVT), (30, NVE))
    simulation(settings(tmp_path / "parts", *stages)).run()
    resume(settings(tmp_path / "parts", (60, NVE), (90, NVT), (30, NVE))).run()
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = settings(tmp_path, (20, NVT))
    first = simulation(run).run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = resume(run).run()
    assert again.steps == 0
    assert again.stages == first.stages
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # HDF5 may touch its own bookkeeping when a file is opened for writing.
    for name in ("thermo.csv", "checkpoint.npz", "checkpoint_previous.npz"):
        assert after[name] == before[name]


def test_output_after_the_checkpoint_is_replaced_not_doubled(tmp_path: Path) -> None:
    """As after kill -9: files are ahead of the newest checkpoint."""
    run_whole(tmp_path / "whole", (100, NVE), checkpoint_every=40)
    run = settings(tmp_path / "parts", (100, NVE), checkpoint_every=40)

    class Killed(BaseException):
        pass

    def kill(number: int, result: Evaluation) -> None:
        if number == 76:
            raise Killed

    with pytest.raises(Killed):
        simulation(run, potential=Sabotaged(LennardJones(), kill)).run()
    with Trajectory(tmp_path / "parts" / "trajectory.h5") as trajectory:
        assert trajectory[-1].step == 70
    assert read_checkpoint(tmp_path / "parts" / "checkpoint.npz").header["stage_step"] == 40
    resume(run).run()
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    run_whole(tmp_path / "whole", (100, NVT), checkpoint_every=40)
    run = settings(tmp_path / "parts", (100, NVT), checkpoint_every=40)
    with pytest.raises(Interrupted):
        simulation(run, potential=stopped_after(90)).run()
    newest = tmp_path / "parts" / "checkpoint.npz"
    newest.write_bytes(newest.read_bytes()[:-1])
    warnings: list[str] = []
    continued = resume(run, warnings=warnings, potential=stopped_after(5))
    assert "checkpoint_previous.npz" in warnings[0]
    with pytest.raises(Interrupted, match="after step 86"):
        continued.run()
    # The damaged one was not kept.
    assert read_checkpoint(tmp_path / "parts" / "checkpoint_previous.npz").header["stage_step"] == 80
    resume(run).run()
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")


def test_frames_that_waited_for_a_reader_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_whole(tmp_path / "whole", (100, NVE), checkpoint_every=20)
    run = settings(tmp_path / "parts", (100, NVE), checkpoint_every=20)
    reader: list[Trajectory] = []

    class Killed(BaseException):
        pass

    def read_and_kill(number: int, result: Evaluation) -> None:
        if number == 36:
            reader.append(Trajectory(tmp_path / "parts" / "trajectory.h5"))
        if number == 76:
            raise Killed

    # What is left in memory is lost with the process.
    monkeypatch.setattr("fastdp.output.h5md.TrajectoryFile.close", lambda self: self._file.close())
    with pytest.raises(Killed):
        simulation(run, potential=Sabotaged(LennardJones(), read_and_kill)).run()
    monkeypatch.undo()
    reader[0].close()
    with Trajectory(tmp_path / "parts" / "trajectory.h5") as trajectory:
        assert trajectory[-1].step == 30
    resume(run).run()
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Give the directory of a run that was stopped after 50 of 100 steps."""
    with pytest.raises(Interrupted):
        simulation(settings(tmp_path, (30, NVE), (70, NVT)), potential=stopped_after(50)).run()
    return tmp_path


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (((31, NVE), (70, NVT)), "steps of stage 1 was 30, and is 31"),
        (((30, replace(NVE, timestep_fs=4.0)), (70, NVT)), "timestep_fs of stage 1 was 5.0, and is 4.0"),
        (((30, NVE), (70, replace(NVT, temperature_K=121.0))), "temperature_K of stage 2"),
        (((30, NVE), (70, NVE)), "integrator of stage 2 was 'nose_hoover', and is 'velocity_verlet'"),
        (((30, NVE), (19, NVT)), "steps of stage 2 was 70, and is 19"),
        (((30, NVE),), "in stage 2, but the input has 1"),
    ],
)
def test_another_course_is_refused(stopped: Path, stages, message: str) -> None:
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    with pytest.raises(CheckpointError, match=message):
        resume(settings(stopped, *stages))
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_sha256": "1" * 64}, "model"),
        ({"potential": "mixed"}, "potential was 'lj', and is 'mixed'"),
        ({"structure": "ice.cif"}, "structure"),
    ],
)
def test_another_model_is_refused(stopped: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        resume(settings(stopped, (30, NVE), (70, NVT)), provenance=replace(PROVENANCE, **change))


@pytest.mark.parametrize("name", ["trajectory.h5", "thermo.csv"])
def test_missing_or_foreign_output_is_refused_and_nothing_touched(stopped: Path, name: str) -> None:
    (stopped / name).unlink()
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    with pytest.raises(CheckpointError, match=name):
        resume(settings(stopped, (30, NVE), (70, NVT))).run()
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_output_with_a_new_name_starts_at_the_checkpoint(stopped: Path) -> None:
    run = settings(stopped, (30, NVE), (70, NVT))
    output = replace(run.output, trajectory=replace(run.output.trajectory, file="second.h5"))

    class Listener(Reporter):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def message(self, text: str) -> None:
            self.texts.append(text)

    listener = Listener()
    resume(replace(run, output=output), reporter=listener).run()
    assert listener.texts == ["second.h5 is new and starts after step 50"]
    with Trajectory(stopped / "second.h5") as second, Trajectory(stopped / "trajectory.h5") as first:
        assert [frame.step for frame in first] == [0, 10, 20, 30, 40, 50]
        assert [frame.step for frame in second] == [60, 70, 80, 90, 100]


def test_another_number_of_threads_is_mentioned(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.get_num_threads", lambda: 77)

    class Listener(Reporter):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warning(self, text: str) -> None:
            self.warnings.append(text)

    listener = Listener()
    resume(settings(stopped, (30, NVE), (70, NVT)), reporter=listener).run()
    assert "on 77 threads: the run continues, but not bit for bit" in listener.warnings[0]


def test_existing_output_is_refused_unless_told(tmp_path: Path) -> None:
    run = settings(tmp_path, (20, NVE))
    simulation(run).run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputExistsError, match=r"trajectory\.h5.*--resume.*--overwrite"):
        simulation(run).run()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    simulation(settings(tmp_path, (10, NVE)), state=argon(temperature=90.0)).run(overwrite=True)
    with Trajectory(tmp_path / "trajectory.h5") as trajectory:
        assert [frame.step for frame in trajectory] == [0, 10]
    assert read_checkpoint(tmp_path / "checkpoint_previous.npz").header["stage_step"] == 0


def test_triclinic_cells_resume_too(tmp_path: Path) -> None:
    def state():
        return argon(5, triclinic=True)

    simulation(settings(tmp_path / "whole", (120, NVT)), state=state()).run()
    parts = settings(tmp_path / "parts", (120, NVT))
    with pytest.raises(Interrupted):
        simulation(parts, state=state(), potential=stopped_after(77)).run()
    resume(parts).run()
    assert_same_outputs(tmp_path / "whole", tmp_path / "parts")


def test_a_damaged_newest_checkpoint_is_written_anew_though_no_step_is_left(tmp_path: Path) -> None:
    run = settings(tmp_path, (20, NVE))
    simulation(run).run()
    newest = tmp_path / "checkpoint.npz"
    shutil.copy(newest, previous_path(newest))
    newest.write_bytes(newest.read_bytes()[:-5])
    resume(run).run()
    assert read_checkpoint(newest).header["stage_step"] == 20
    # The damaged one was not kept.
    assert read_checkpoint(previous_path(newest)).header["stage_step"] == 20
