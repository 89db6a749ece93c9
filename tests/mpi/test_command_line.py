"""`mpirun -n 2 fastdp run`: one run, whatever happens to one of the ranks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cases import run_fastdp, write_case
from jobs import job

from fastdp.output.checkpoint import load_latest
from fastdp.output.trajectory import Trajectory

PATIENCE = 300.0  # seconds, for a machine that is busy with other things

LONG = 100_000


@pytest.fixture
def jobs(mpirun: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Give a list of jobs to be ended after the test, with all their processes, come what may."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path, model_file) -> Path:
    """A folder with an input file for twelve atoms."""
    write_case(tmp_path, model_file("two_sided"))
    return tmp_path


def edit(folder: Path, **changes: str) -> None:
    path = folder / "input.toml"
    text = path.read_text()
    for key, value in changes.items():
        text, n = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert n
    path.write_text(text)


def table(folder: Path) -> np.ndarray:
    return np.genfromtxt(folder / "out" / "thermo.csv", delimiter=",", names=True)


def wait_for_rows(folder: Path, rows: int, process: subprocess.Popen[str]) -> None:
    path = folder / "out" / "thermo.csv"
    end = time.monotonic() + PATIENCE
    while not path.exists() or path.read_bytes().count(b"\n") <= rows:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def ranks_in(folder: Path) -> list[int]:
    """Return the processes of `fastdp run` that run in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"fastdp" in words and b"-n" not in words and (entry / "cwd").resolve() == folder.resolve():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_run_is_one_run_and_goes_on_with_another_number_of_ranks(folder: Path, mpirun: str, jobs) -> None:
    alone = folder / "alone"
    alone.mkdir()
    for name in ("input.toml", "model.pb", "start.extxyz"):
        shutil.copy(folder / name, alone)
    assert run_fastdp("run", "input.toml", folder=alone).returncode == 0

    # The first 6 of 10 steps on one rank, the rest on two.
    whole = (folder / "input.toml").read_text()
    before, after = whole.split('[[stage]]\nname = "warm"')
    (folder / "input.toml").write_text(before + "[output]" + after.split("[output]", 1)[1])
    assert run_fastdp("run", "input.toml", folder=folder).returncode == 0
    (folder / "input.toml").write_text(whole)
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml", "--resume"], folder=folder)
    jobs.append(process)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err

    assert out.count("ranks: 2, threads of each: 1") == 1
    assert out.count("time of 2 ranks") == 1
    assert re.search(r"communication +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+", out)
    assert "this is 0.1.0 on 2×1×1 ranks of 1 threads" in re.sub(r"\d×\d×\d", "2×1×1", out)
    with Trajectory(alone / "out/trajectory.h5") as one, Trajectory(folder / "out/trajectory.h5") as other:
        assert [frame.step for frame in one] == [frame.step for frame in other]
        np.testing.assert_allclose(other[-1].positions, one[-1].positions, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(other[-1].images, one[-1].images)
    for column in ("step", "time_ps", "temperature_K", "conserved_quantity_eV"):
        np.testing.assert_allclose(table(folder)[column], table(alone)[column], rtol=1e-11)
    # The other way round: a run on one rank continues what two have left.
    ended = load_latest(folder / "out" / "checkpoint.npz", pytest.fail)
    assert int(ended.sections["state"]["step"]) == 10
    edit(folder, steps="12")
    text = (folder / "input.toml").read_text().replace("steps = 12", "steps = 6", 1)
    (folder / "input.toml").write_text(text)
    assert run_fastdp("run", "input.toml", "--resume", folder=folder).returncode == 0
    assert table(folder)["step"][-1] == 18


def test_a_signal_to_one_rank_stops_all_with_a_checkpoint(folder: Path, mpirun: str, jobs) -> None:
    edit(folder, steps=str(LONG))
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml"], folder=folder)
    jobs.append(process)
    wait_for_rows(folder, 5, process)
    os.kill(max(ranks_in(folder)), signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, out + err
    assert err.count("stopped by SIGTERM after step") == 1
    step = int(re.findall(r"after step (\d+)", err)[0])
    checkpoint = load_latest(folder / "out" / "checkpoint.npz", pytest.fail)
    assert int(checkpoint.sections["state"]["step"]) == step
    assert table(folder)["step"][-1] == step


def test_a_killed_rank_ends_the_job_and_leaves_the_trajectory(folder: Path, mpirun: str, jobs) -> None:
    edit(folder, steps=str(LONG))
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml"], folder=folder)
    jobs.append(process)
    wait_for_rows(folder, 8, process)
    ranks = ranks_in(folder)
    assert len(ranks) == 2
    began = time.monotonic()
    os.kill(max(ranks), signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert time.monotonic() - began < 10.0
    assert ranks_in(folder) == []
    with Trajectory(folder / "out" / "trajectory.h5") as trajectory:
        assert len(trajectory) >= 4
        assert all(np.isfinite(frame.positions).all() for frame in trajectory)
    assert load_latest(folder / "out" / "checkpoint.npz", pytest.fail).sections["state"]["step"] >= 5


def test_bad_input_is_said_once(folder: Path, mpirun: str, jobs) -> None:
    edit(folder, model='"nowhere.pb"')
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml"], folder=folder)
    jobs.append(process)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, out + err
    assert err.count("no such file: nowhere.pb") == 1
    assert "Traceback" not in err
    assert not (folder / "out").exists()


def test_a_defect_on_one_rank_ends_all(folder: Path, mpirun: str, jobs) -> None:
    """Rank 1 fails in the midst of a step; rank 0 waits for what it will never send."""
    script = folder / "defect.py"
    script.write_text(
        "import sys\n"
        "import fastdp.parallel.decomposed_list as module\n"
        "from fastdp.cli.main import main\n"
        "original = module.DecomposedList.send_positions\n"
        "def send_positions(self, positions):\n"
        "    if self.communicator.rank == 1:\n"
        "        raise ZeroDivisionError('made up')\n"
        "    original(self, positions)\n"
        "module.DecomposedList.send_positions = send_positions\n"
        "sys.exit(main(['run', 'input.toml']))\n"
    )
    edit(folder, steps=str(LONG))
    process = job(mpirun, 2, [str(script)], folder=folder)
    jobs.append(process)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, out + err
    assert err.count("ZeroDivisionError: made up") == 1
    assert "rank 1: this is a defect in fastdp" in err


def test_ranks_without_mpi_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process sees that another MPI's launcher has started: each would do the whole run."""
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    refused = run_fastdp("run", "input.toml", folder=folder)
    assert refused.returncode == 2
    assert "mpirun of Open MPI started 2 processes, but" in refused.stderr
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert run_fastdp("run", "input.toml", folder=folder).stderr == ""


def test_one_process_does_not_start_mpi(folder: Path) -> None:
    script = folder / "alone.py"
    script.write_text(
        "import sys\n"
        "from fastdp.cli.main import main\n"
        "code = main(['run', 'input.toml', '--quiet'])\n"
        "sys.exit(code or int('mpi4py' in sys.modules))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI"))}
    assert subprocess.run([sys.executable, str(script)], cwd=folder, env=environment).returncode == 0
