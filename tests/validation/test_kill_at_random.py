"""kill -9 at random moments, many times: always a readable trajectory and a loadable checkpoint."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastdp
from fastdp.output.checkpoint import load_latest
from fastdp.output.trajectory import Trajectory

pytestmark = pytest.mark.validation

SCRIPT = Path(__file__).parents[1] / "argon.py"
KILLS = 100  # no failure in 100 bounds the rate at 3 %, with 95 % confidence


def test_kill_at_random(tmp_path: Path) -> None:
    clock = random.Random(0)
    steps_before = 0
    for attempt in range(KILLS):
        task = {
            "directory": str(tmp_path),
            "ensemble": "nvt",
            "steps": 10**9,
            "every": 1,
            "checkpoint_every": 5,
            "resume": attempt > 0,
        }
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(task)],
            env={**os.environ, "PYTHONPATH": str(Path(fastdp.__file__).parents[1])},
            stderr=subprocess.PIPE,
        )
        table = tmp_path / "thermo.csv"
        size = table.stat().st_size if table.exists() else 0
        while not table.exists() or table.stat().st_size <= size:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.01)
        time.sleep(clock.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Trajectory(tmp_path / "trajectory.h5") as trajectory:
            steps = [frame.step for frame in trajectory]
            assert np.isfinite(trajectory[-1].positions).all()
        assert steps == list(range(len(steps)))
        checkpoint = load_latest(tmp_path / "checkpoint.npz", pytest.fail)
        reached = int(checkpoint.sections["state"]["step"])
        # No older than the interval, and never behind where the last attempt had come.
        assert len(steps) - 1 - 6 <= reached
        assert reached >= steps_before
        steps_before = reached
