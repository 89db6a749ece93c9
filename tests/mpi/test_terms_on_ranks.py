"""Pair terms on two ranks: the same run as on one."""

from __future__ import annotations

import numpy as np
from cases import run_fastdp
from jobs import job
from term_cases import thermo, write_terms_case

PATIENCE = 300.0  # seconds, for a machine that is busy with other things


def test_two_ranks_do_what_one_does(mpirun: str, tmp_path, model_file) -> None:
    tables = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_terms_case(folder, model_file("two_sided"))
        if ranks == 1:
            assert run_fastdp("run", "input.toml", folder=folder).returncode == 0
        else:
            process = job(mpirun, 2, ["-m", "fastdp", "run", "input.toml"], folder=folder)
            out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, out + err
        tables.append(thermo(folder))
    one, two = tables
    # Rounding of sums in another order, over 20 fs of fast motion.
    for name in ("potential_energy_eV", "total_energy_eV"):
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-8)
    np.testing.assert_allclose(two["pressure_xy_bar"], one["pressure_xy_bar"], rtol=1e-7, atol=1e-2)
