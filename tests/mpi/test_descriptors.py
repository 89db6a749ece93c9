"""`mpirun -n 2 fastdp run` with descriptors other than se_e2_a does what one rank does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import INPUT, run_fastdp, write_case
from jobs import job

from fastdp.output.trajectory import Trajectory

PATIENCE = 300.0  # seconds, for a machine that is busy with other things

FAST = INPUT.replace('backend = "reference"', 'backend = "cpu"\naudit_atoms = 4')


def run_on(ranks: int, folder: Path, mpirun: str) -> Path:
    if ranks == 1:
        done = run_fastdp("run", "input.toml", folder=folder)
        assert done.returncode == 0, done.stderr
    else:
        process = job(mpirun, ranks, ["-m", "fastdp", "run", "input.toml"], folder=folder)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert process.returncode == 0, out + err
        assert "audit: force error" in out
    return folder / "out"


@pytest.mark.parametrize("name", ["se_e2_r", "se_e2_a and se_e3"])
def test_two_ranks_do_what_one_does(mpirun: str, native_file, tmp_path: Path, name: str) -> None:
    folders = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_case(folder, native_file(name), text=FAST)
        folders.append(run_on(ranks, folder, mpirun))
    one, two = (np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True) for folder in folders)
    for column in one.dtype.names:
        if "time" not in column or column == "time_ps":
            # Sums in another order, over ten steps.
            np.testing.assert_allclose(two[column], one[column], rtol=1e-9, atol=1e-9, err_msg=column)
    with (
        Trajectory(folders[0] / "trajectory.h5") as first,
        Trajectory(folders[1] / "trajectory.h5") as second,
    ):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_allclose(b.positions, a.positions, rtol=0, atol=1e-10)
