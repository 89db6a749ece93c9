"""Committees and tensors on several ranks: what one rank would have written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from cases import INPUT, run_fastdp, write_case
from jobs import job

from fastdp.output.checkpoint import load_latest
from fastdp.structure.read import read_structure

PATIENCE = 300.0  # seconds, for a machine that is busy with other things

COMMITTEE = """
[committee]
models = ["second.pb", "third.pb"]
every = 2
atomic = true
limit = {limit}
above_limit = "{above_limit}"
"""


@pytest.fixture
def folders(tmp_path: Path, model_file):
    """Return a function that makes a folder with an input file and three models of different cutoffs."""

    def make(name: str, further: str, *, driving: str = "two_sided", backend: str = "reference") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        text = INPUT.replace('"reference"', f'"{backend}"').replace(
            "[velocities]", f"{further}\n[velocities]"
        )
        path = write_case(folder, model_file(driving), text=text)
        # Compressed potentials are made for a tolerance that random models meet quickly.
        path.write_text(path.read_text().replace("[structure]", "tolerance = 1e-4\n[structure]"))
        for other, kind in (("second.pb", "one_sided"), ("third.pb", "two_sided_wide")):
            (folder / other).write_bytes(model_file(kind).read_bytes())
        return folder

    return make


def together(mpirun: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml", *options], folder=folder)
    out, err = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess("fastdp", process.returncode, out, err)


def deviations(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "out/model_devi.out")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_committee_is_that_of_one_rank(folders, mpirun, backend) -> None:
    further = COMMITTEE.format(limit=1000.0, above_limit="stop")
    one, two = (folders(name, further, backend=backend) for name in ("one", "two"))
    assert run_fastdp("run", "input.toml", folder=one).returncode == 0
    done = together(mpirun, two)
    assert done.returncode == 0, done.stdout + done.stderr
    header = (one / "out/model_devi.out").read_text().splitlines()[0]
    assert (two / "out/model_devi.out").read_text().splitlines()[0] == header
    expected, found = deviations(one), deviations(two)
    assert expected.shape == (6, 7 + 12)
    assert expected[:, 4].min() > 0.0
    # Seven digits are written; sums over ranks differ in the sixteenth.
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-15)


def test_a_pause_is_one_of_all_ranks_and_frames_are_saved_once(folders, mpirun) -> None:
    pytest.importorskip("dpdata")
    further = COMMITTEE.format(limit=1e-9, above_limit="pause") + 'save_frames = "candidates"\n'
    one, two = folders("one", further), folders("two", further)
    assert run_fastdp("run", "input.toml", folder=one).returncode == 5
    said = ""
    for step, options in ((0, ()), (2, ("--resume",))):
        done = together(mpirun, two, *options)
        assert done.returncode == 5, done.stdout + done.stderr
        assert done.stderr.count(f"paused after step {step} of 10") == 1
        said = said or done.stderr
        assert load_latest(two / "out/checkpoint.npz", pytest.fail).sections["state"]["step"] == step
    frames = sorted(path.name for path in (two / "out/candidates").iterdir())
    assert frames == ["step_0", "step_2"]
    expected, found = (read_structure(str(folder / "out/candidates/step_0")) for folder in (one, two))
    assert found.symbols == expected.symbols
    np.testing.assert_array_equal(found.positions, expected.positions)
    # The atom that is named is that with the largest deviation, by its number in the input.
    worst = int(np.argmax(np.atleast_2d(deviations(one))[0, 7:]))
    assert f"in the force on atom {worst}," in said


def test_a_stop_is_one_of_all_ranks(folders, mpirun) -> None:
    folder = folders("two", COMMITTEE.format(limit=1e-9, above_limit="stop"))
    done = together(mpirun, folder)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.count("above the limit of 1e-09") == 1
    assert (folder / "out/crash.extxyz").exists()


def test_a_committee_that_cannot_be_used_is_refused_by_all_ranks(folders, mpirun) -> None:
    folder = folders("two", COMMITTEE.format(limit=1e-9, above_limit="stop"))
    (folder / "third.pb").write_bytes(b"no model")
    done = together(mpirun, folder)
    assert done.returncode == 2
    assert done.stderr.count("third.pb") == 1
    assert not (folder / "out").exists()


def test_tensors_are_those_of_one_rank(folders, mpirun, shared) -> None:
    entry = '[[tensor]]\nmodel = "{}"\nfile = "{}.csv"\nevery = 5\natomic = true\n'
    models = ("third_party/deepdipole.pb", "third_party/deeppolar.pb")
    further = "".join(entry.format(shared / "models" / model, Path(model).stem) for model in models)
    one, two = folders("one", further), folders("two", further)
    assert run_fastdp("run", "input.toml", folder=one).returncode == 0
    done = together(mpirun, two)
    assert done.returncode == 0, done.stdout + done.stderr
    for model in models:
        name = Path(model).stem
        tables = [
            np.genfromtxt(folder / f"out/{name}.csv", delimiter=",", names=True) for folder in (one, two)
        ]
        assert len(tables[0]) == 3
        for column in tables[0].dtype.names:
            np.testing.assert_allclose(tables[1][column], tables[0][column], rtol=1e-9, atol=1e-9)
        atoms = [np.load(folder / f"out/{name}/step_10.npy") for folder in (one, two)]
        np.testing.assert_allclose(atoms[1], atoms[0], rtol=0, atol=1e-9)
