"""The shipped example, with fewer steps: what its README promises works."""

import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from water import WATER

from fastdp.cli.main import main
from fastdp.config.load import load_input
from fastdp.output.trajectory import Trajectory

pytestmark = pytest.mark.skipif(not WATER.is_dir(), reason="needs the folder inputs of the source tree")

STEPS = 40


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example that makes few steps, run through the command line."""
    folder = tmp_path_factory.mktemp("water")
    for name in ("water.pb", "start.extxyz"):
        shutil.copy(WATER / name, folder)
    text = (WATER / "nvt.toml").read_text()
    assert "steps = 2000\n" in text
    (folder / "nvt.toml").write_text(text.replace("steps = 2000\n", f"steps = {STEPS}\n"))
    assert main(["run", str(folder / "nvt.toml"), "--quiet"]) == 0
    return folder


def test_the_start_is_64_molecules_of_water() -> None:
    atoms = ase.io.read(WATER / "start.extxyz")
    assert atoms.get_chemical_formula() == "H128O64"
    assert atoms.pbc.all()
    distances = atoms.get_all_distances(mic=True)
    hydrogen = atoms.symbols == "H"
    # Every hydrogen has one oxygen at the length of a bond, and every oxygen two such hydrogens.
    bonds = distances[np.ix_(~hydrogen, hydrogen)] < 1.25
    assert (bonds.sum(axis=0) == 1).all()
    assert (bonds.sum(axis=1) == 2).all()


def test_the_thermo_table_is_water_at_330_K(example: Path) -> None:
    table = np.genfromtxt(example / "results" / "nvt" / "thermo.csv", delimiter=",", names=True)
    assert table["step"].tolist() == list(range(0, STEPS + 1, 10))
    assert table["time_ps"][-1] == pytest.approx(0.02)
    assert table["temperature_K"][0] == pytest.approx(330.0)
    # The DFT energies of this system, -155.956 eV/atom, to several of the model's errors.
    assert table["potential_energy_eV"] / 192 == pytest.approx(-155.956, abs=0.02)
    # Fluctuations of the conserved quantity at 0.5 fs are some 1e-4 eV/atom at most.
    assert np.ptp(table["conserved_quantity_eV"]) / 192 < 5e-4


def test_the_trajectory_starts_at_the_dft_frame(example: Path) -> None:
    start = ase.io.read(WATER / "start.extxyz")
    with Trajectory(example / "results" / "nvt" / "trajectory.h5") as trajectory:
        assert [frame.step for frame in trajectory] == [0, 20, 40]
        assert trajectory.symbols == tuple(start.get_chemical_symbols())
        first, last = trajectory[0], trajectory[-1]
    difference = (first.positions - start.positions) / np.diag(start.cell)
    # Positions are kept in float32.
    np.testing.assert_allclose(difference, np.round(difference), atol=1e-7)
    moved = last.positions + last.images @ last.cell - first.positions - first.images @ first.cell
    # In 20 fs at thermal speed: hydrogen moves 0.3 Å, and nothing has flown away.
    assert 0.05 < np.linalg.norm(moved, axis=1).max() < 1.5


@pytest.mark.parametrize("name", ["nvt", "nvt_rdf", "nve"])
def test_every_input_file_is_valid_and_keeps_to_its_folder(name: str) -> None:
    configuration = load_input(WATER / f"{name}.toml").configuration
    assert Path(configuration.output.directory) == WATER / "results" / name
