"""A new run starts from a frame of an earlier one: `structure.file` is its trajectory."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from cases import write_case

from fastdp.cli.main import main
from fastdp.errors import StructureError
from fastdp.output.trajectory import Trajectory
from fastdp.structure.read import read_structure
from fastdp.structure.trajectory_file import is_own_trajectory

ModelFile = Callable[[str], Path]


@pytest.fixture
def run(tmp_path: Path, model_file: ModelFile) -> Path:
    """Return the input file of a run of ten steps that has ended; frames are every second step."""
    case = write_case(tmp_path, model_file("two_sided"))
    assert main(["run", str(case), "--quiet"]) == 0
    return case


def rows_of(table: Path) -> np.ndarray:
    return np.genfromtxt(table, delimiter=",", names=True)


def test_the_next_run_has_the_same_atoms_and_velocities(run: Path) -> None:
    text = run.read_text().replace('file = "start.extxyz"', 'file = "out/trajectory.h5"')
    text = text.replace("[velocities]\ntemperature_K = 300\nseed = 5\n", "")
    second = run.with_name("second.toml")
    second.write_text(text.replace('directory = "out"', 'directory = "second"'))
    assert main(["run", str(second), "--quiet"]) == 0
    before, after = rows_of(run.parent / "out/thermo.csv")[-1], rows_of(run.parent / "second/thermo.csv")[0]
    assert (before["step"], after["step"], after["time_ps"]) == (10, 0, 0.0)
    # Sums of energies around 1e3 eV in another order; the momentum that rounding has made is taken out.
    for name in ("kinetic_energy_eV", "potential_energy_eV"):
        assert after[name] == pytest.approx(before[name], rel=1e-12)


@pytest.mark.parametrize("frame", [0, 2, -1])
def test_every_frame_can_be_taken(run: Path, frame: int) -> None:
    path = run.parent / "out" / "trajectory.h5"
    structure = read_structure(path, frame=frame)
    with Trajectory(path) as trajectory:
        np.testing.assert_array_equal(structure.positions, trajectory[frame].positions)
        np.testing.assert_array_equal(structure.velocities, trajectory[frame].velocities)
        np.testing.assert_array_equal(structure.cell, trajectory[frame].cell)
        np.testing.assert_array_equal(structure.masses, trajectory.masses)
        assert structure.symbols == trajectory.symbols
    assert structure.periodic.all()


def test_masses_of_the_input_go_first(run: Path) -> None:
    structure = read_structure(run.parent / "out" / "trajectory.h5", masses={"H": 2.014})
    assert set(structure.masses[1:3]) == {2.014}
    assert structure.masses[0] == pytest.approx(15.999)


def test_without_velocities_there_are_none(run: Path) -> None:
    run.write_text(run.read_text().replace("every = 2", "every = 2\nvelocities = false"))
    assert main(["run", str(run), "--quiet", "--overwrite"]) == 0
    assert read_structure(run.parent / "out" / "trajectory.h5").velocities is None


@pytest.mark.parametrize("frame", [6, -7])
def test_a_frame_that_is_not_there(run: Path, frame: int) -> None:
    with pytest.raises(StructureError, match=f"there is no frame {frame}.*has 6 frames"):
        read_structure(run.parent / "out" / "trajectory.h5", frame=frame)


def test_a_damaged_trajectory_is_named(run: Path) -> None:
    path = run.parent / "out" / "trajectory.h5"
    with h5py.File(path, "r+") as file:
        del file["particles/all/position"]
    with pytest.raises(StructureError, match=r"trajectory\.h5: .*damaged"):
        read_structure(path)


def test_a_trajectory_that_was_cut_short_is_named(run: Path) -> None:
    path = run.parent / "out" / "trajectory.h5"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StructureError, match=r"trajectory\.h5: not a trajectory, or damaged .*truncated"):
        read_structure(path)


def test_what_other_programs_write_is_not_taken_for_our_own(run: Path) -> None:
    """Their velocities may have any unit."""
    path = run.parent / "out" / "trajectory.h5"
    assert is_own_trajectory(path)
    with h5py.File(path, "r+") as file:
        file["h5md/creator"].attrs["name"] = np.bytes_("another")
    assert not is_own_trajectory(path)
    assert not is_own_trajectory(run)
    assert not is_own_trajectory(run.parent)
