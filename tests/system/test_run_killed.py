"""Runs in a process of their own that are interrupted, killed, or read while they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from argon import NVE, NVT, resume, settings, simulation

import fastdp
from fastdp.output.checkpoint import load_latest, read_checkpoint
from fastdp.output.trajectory import Trajectory

SCRIPT = Path(__file__).parents[1] / "argon.py"
INSTALLED = Path(fastdp.__file__).parents[1]
PATIENCE = 60.0  # seconds for a process to get where it should, compilation included


def launch(directory: Path, **task) -> subprocess.Popen:
    task = {"directory": str(directory), "ensemble": "nve", "steps": 100_000, "every": 1} | task
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps({"checkpoint_every": 20} | task)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(INSTALLED), os.environ.get("PYTHONPATH", "")])},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(directory: Path, rows: int, process: subprocess.Popen) -> None:
    path = directory / "thermo.csv"
    end = time.monotonic() + PATIENCE
    while not path.exists() or path.read_bytes().count(b"\n") <= rows:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen]]:
    """Give a list of processes to be ended after the test, come what may."""
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_killed_run_leaves_everything_readable_and_goes_on(tmp_path: Path, processes) -> None:
    run = settings(tmp_path / "parts", (400, NVT), every=1, checkpoint_every=20)
    for attempt in range(4):
        before = 0
        if attempt:
            before = load_latest(run.output.directory / "checkpoint.npz", pytest.fail).header["outputs"][
                "thermo.csv"
            ]["rows"]
        process = launch(run.output.directory, ensemble="nvt", steps=400, resume=attempt > 0)
        processes.append(process)
        wait_for_rows(run.output.directory, before + 30 + 7 * attempt, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Trajectory(run.output.directory / "trajectory.h5") as trajectory:
            steps = [frame.step for frame in trajectory]
            assert all(np.isfinite(frame.positions).all() for frame in trajectory)
        assert steps == list(range(len(steps)))
        rows = np.genfromtxt(run.output.directory / "thermo.csv", delimiter=",", names=True)
        np.testing.assert_array_equal(rows["step"], np.arange(len(rows)))
        # A frame comes before its row, and both before the checkpoint that counts them.
        checkpoint = load_latest(run.output.directory / "checkpoint.npz", pytest.fail)
        reached = int(checkpoint.sections["state"]["step"])
        assert reached < len(rows) <= len(steps) <= len(rows) + 1
        assert reached >= len(rows) - 21
    resume(run).run()
    simulation(settings(tmp_path / "whole", (400, NVT), every=1, checkpoint_every=20)).run()
    with (
        h5py.File(tmp_path / "whole" / "trajectory.h5") as a,
        h5py.File(tmp_path / "parts" / "trajectory.h5") as b,
    ):
        for name in ("step", "time", "value"):
            path = f"particles/all/position/{name}"
            np.testing.assert_array_equal(a[path][()], b[path][()])
        np.testing.assert_array_equal(a["particles/all/velocity/value"], b["particles/all/velocity/value"])
    whole, parts = (tmp_path / name / "thermo.csv" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.fixture
def _hang_ups_arrive() -> Iterator[None]:
    """Under nohup, processes that are started here would ignore SIGHUP, as fastdp then should."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_hang_ups_arrive")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGXCPU]
)
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(tmp_path: Path, processes, number) -> None:
    process = launch(tmp_path, checkpoint_every=100_000)
    processes.append(process)
    wait_for_rows(tmp_path, 10, process)
    process.send_signal(number)
    _, message = process.communicate(timeout=PATIENCE)
    assert f"Interrupted: stopped by {signal.Signals(number).name} after step" in message
    with Trajectory(tmp_path / "trajectory.h5") as trajectory:
        last = trajectory[-1].step
        assert len(trajectory) == last + 1
    assert read_checkpoint(tmp_path / "checkpoint.npz").header["stage_step"] == last
    assert f"after step {last} of 100000" in message
    assert not (tmp_path / ".checkpoint.npz.lock").exists()
    resume(settings(tmp_path, (last + 5, NVE), every=1)).run()
    with Trajectory(tmp_path / "trajectory.h5") as trajectory:
        assert [frame.step for frame in trajectory] == list(range(last + 6))


def open_as_others_do(path: Path) -> h5py.File:
    """Open `path` like a program that knows nothing of fastdp: with HDF5's lock, which does not wait."""
    while True:
        try:
            return h5py.File(path, "r")
        except BlockingIOError:
            # A frame is being written, which takes a millisecond; here every third.
            time.sleep(0.001)


def test_files_can_be_read_while_the_run_goes_on(tmp_path: Path, processes) -> None:
    process = launch(tmp_path, seconds_per_step=0.002)
    processes.append(process)
    wait_for_rows(tmp_path, 3, process)
    lengths = []
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        with open_as_others_do(tmp_path / "trajectory.h5") as file:
            group = file["particles/all"]
            steps = group["position/step"][()]
            np.testing.assert_array_equal(steps, np.arange(len(steps)))
            for name in ("position", "velocity", "image", "species", "mass", "id", "box/edges"):
                assert len(group[f"{name}/value"]) == len(steps)
            # Frame by frame and slowly: what the index says must stay true meanwhile. Where it does
            # not, HDF5 gives zeros.
            for i in range(0, len(steps), max(len(steps) // 10, 1)):
                assert np.abs(group["position/value"][i]).max() > 1.0
                assert group["species/value"][i].min() == 18
                time.sleep(0.002)
        with Trajectory(tmp_path / "trajectory.h5") as trajectory:
            assert np.abs(trajectory[-1].positions).max() > 1.0
        rows = np.genfromtxt(tmp_path / "thermo.csv", delimiter=",", names=True)
        np.testing.assert_array_equal(rows["step"], np.arange(len(rows)))
        load_latest(tmp_path / "checkpoint.npz", pytest.fail)
        lengths.append(len(steps))
    assert process.poll() is None
    assert len(set(lengths)) > 5
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    with Trajectory(tmp_path / "trajectory.h5") as trajectory:
        assert len(trajectory) >= lengths[-1]


def test_a_second_process_is_kept_out(tmp_path: Path, processes) -> None:
    first = launch(tmp_path, seconds_per_step=0.01)
    processes.append(first)
    wait_for_rows(tmp_path, 3, first)
    second = launch(tmp_path, resume=True)
    processes.append(second)
    _, message = second.communicate(timeout=PATIENCE)
    assert "another run is writing" in message
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    _, message = first.communicate(timeout=PATIENCE)
    assert "Interrupted" in message
