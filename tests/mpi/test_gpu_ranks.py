"""Several ranks that have a GPU each, or share one: here each is in Numba's simulator."""

from __future__ import annotations

import re
from pathlib import Path

import ase
import numpy as np
import pytest
from cases import run_fastdp, write_case
from jobs import job
from term_cases import smooth_table

from fastdp.output.trajectory import Trajectory

INPUT = """\
version = 1
[potential]
model = "model.pb"
backend = "cuda"
precision = "double"
tolerance = 1e-3
audit_atoms = 2
[structure]
file = "start.extxyz"
[velocities]
temperature_K = 2000
seed = 5
[[stage]]
ensemble = "nve"
steps = 3
timestep_fs = 1.0
[[stage]]
ensemble = "nvt"
steps = 1
timestep_fs = 1.0
temperature_K = 2000
[neighbours]
skin_A = 0.2
[output]
directory = "out"
trajectory.every = 2
thermo.every = 1
[parallel]
threads = 1
"""

TERMS = """\
[potential.zbl]
inner_A = 0.8
outer_A = 2.4
[[potential.table]]
file = "far.tab"
elements = ["H", "O"]
[structure]"""


@pytest.fixture
def folder(tmp_path: Path, model_file) -> Path:
    """Five atoms, periodic along one direction, that are wider than the reach of the list along another."""
    positions = [[0.2, 0.1, 0.0], [1.6, 0.4, 0.3], [2.9, 0.2, 2.2], [4.4, 0.1, 0.4], [5.8, 0.5, 1.8]]
    atoms = ase.Atoms("OHOHH", positions, cell=[0.0, 4.3, 0.0], pbc=(False, True, False))
    write_case(tmp_path, model_file("two_sided"), text=INPUT, atoms=atoms)
    return tmp_path


def table(folder: Path, name: str) -> np.ndarray:
    return np.genfromtxt(folder / name / "thermo.csv", delimiter=",", names=True)


def test_two_ranks_are_as_one_processor(folder: Path, mpirun: str, monkeypatch) -> None:
    text = (folder / "input.toml").read_text()
    (folder / "cpu.toml").write_text(text.replace('"cuda"', '"cpu"').replace('"out"', '"alone"'))
    done = run_fastdp("run", "cpu.toml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml"], folder=folder)
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, printed + errors
    found, expected = table(folder, "out"), table(folder, "alone")
    for column in expected.dtype.names:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-8, atol=1e-8, err_msg=column)
    with Trajectory(folder / "out/trajectory.h5") as a, Trajectory(folder / "alone/trajectory.h5") as b:
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one.positions, other.positions, atol=1e-6)
    assert "device: Numba's CUDA simulator" in printed
    assert re.search(r"grid of ranks: .*, \d+ to \d+ atoms each", printed)
    assert "audit: force error against the model as trained" in printed
    builds = int(re.search(r"neighbour list built (\d+) times", printed)[1])
    # Some steps use a list that was built before.
    assert 1 < builds < 5


def test_further_terms_on_two_ranks(folder: Path, mpirun: str, monkeypatch) -> None:
    """A repulsion, and a table that reaches farther than the model, so that ghosts come from farther away."""
    smooth_table(folder / "far.tab", 2, end=4.4)
    text = (folder / "input.toml").read_text()
    text = text.replace("[structure]", TERMS).replace("steps = 3", "steps = 1")
    (folder / "input.toml").write_text(text)
    (folder / "cpu.toml").write_text(text.replace('"cuda"', '"cpu"').replace('"out"', '"alone"'))
    done = run_fastdp("run", "cpu.toml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml"], folder=folder)
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, printed + errors
    assert "further term: table far.tab" in printed
    found, expected = table(folder, "out"), table(folder, "alone")
    for column in expected.dtype.names:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-8, atol=1e-8, err_msg=column)
