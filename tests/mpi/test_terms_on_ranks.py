"""Pair terms and models with tables on two ranks: the same run as on one."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
import pytest
from cases import INPUT, run_fastdp, write_case
from jobs import job
from term_cases import thermo, write_terms_case

TABLES = Path(__file__).parents[1] / "pair_terms"
PATIENCE = 300.0  # seconds, for a machine that is busy with other things


def run(folder: Path, mpirun: str, ranks: int) -> np.ndarray:
    """Run the input file of a folder and return its thermo table."""
    if ranks == 1:
        result = run_fastdp("run", "input.toml", folder=folder)
        assert result.returncode == 0, result.stderr
    else:
        process = job(mpirun, ranks, ["-m", "fastdp", "run", "input.toml"], folder=folder)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
    return thermo(folder)


def write_terms(folder: Path, model_file) -> None:
    write_terms_case(folder, model_file("two_sided"))


def write_switch(folder: Path, model_file) -> None:
    """Bonds that lie between network and table, and begin to vibrate."""
    frame = json.loads((TABLES / "answers.json").read_text())["switching"]
    atoms = ase.Atoms(frame["symbols"], frame["positions"], cell=frame["cell"], pbc=True)
    text = INPUT.replace('"reference"', '"cpu"')
    text = text.replace("steps = 6\ntimestep_fs = 0.5", "steps = 60\ntimestep_fs = 0.02")
    text = text.replace("steps = 4", "steps = 0")
    write_case(folder, TABLES / "srtab.pb", text=text, atoms=atoms)


@pytest.mark.parametrize("write", [write_terms, write_switch])
def test_two_ranks_do_what_one_does(mpirun: str, tmp_path, model_file, write) -> None:
    tables = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write(folder, model_file)
        tables.append(run(folder, mpirun, ranks))
    one, two = tables
    assert np.ptp(one["kinetic_energy_eV"]) > 0.5
    # Rounding of sums in another order, over 20 fs of fast motion.
    for name in ("potential_energy_eV", "total_energy_eV"):
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-8)
    np.testing.assert_allclose(two["pressure_xy_bar"], one["pressure_xy_bar"], rtol=1e-7, atol=1e-2)
