"""A run of a model with spins on two ranks: that of one."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from cases import run_fastdp, write_case
from jobs import job

PATIENCE = 300.0  # seconds, for a machine that is busy with other things


def chain() -> Atoms:
    """Two rows of nickel and oxygen with spins that turn, longer than the model's reach."""
    n = 12
    places = [(2.1 * k, 2.1 * row, 0.0) for k in range(n) for row in range(2)]
    symbols = ["O" if (k + row) % 2 else "Ni" for k in range(n) for row in range(2)]
    atoms = Atoms(symbols, places, cell=[2.1 * n, 4.2, 4.2], pbc=True)
    angle = np.linspace(0.0, 5.0, len(atoms))
    moments = 1.2 * np.column_stack((np.cos(angle), np.sin(angle), 0.3 * angle))
    moments[np.array(atoms.get_chemical_symbols()) == "O"] = 0.0
    atoms.set_initial_magnetic_moments(moments)
    atoms.rattle(0.05, seed=2)
    return atoms


def test_two_ranks_do_what_one_does(tmp_path, mpirun, shared) -> None:
    tables = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_case(folder, shared / "models/third_party/deepspin.pb", atoms=chain())
        if ranks == 1:
            done = run_fastdp("run", "input.toml", folder=folder)
            assert done.returncode == 0, done.stderr
        else:
            process = job(mpirun, ranks, ["-m", "fastdp", "run", "input.toml"], folder=folder)
            out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, out + err
        tables.append(np.genfromtxt(folder / "out/thermo.csv", delimiter=",", names=True))
    assert np.ptp(tables[0]["potential_energy_eV"]) > 1e-4
    for column in ("potential_energy_eV", "temperature_K", "pressure_bar"):
        np.testing.assert_allclose(tables[1][column], tables[0][column], rtol=1e-9, atol=1e-7)
