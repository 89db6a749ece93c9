"""The kernels of several ranks on shadow memory, as `tests/gpu/test_gpu_checked.py` checks those of one."""

from __future__ import annotations

import re
from pathlib import Path

import ase
from cases import write_case
from jobs import TESTS, job

INPUT = """\
version = 1
[potential]
model = "model.pb"
backend = "cuda"
precision = "double"
tolerance = 1e-3
audit_atoms = 0
[structure]
file = "start.extxyz"
[velocities]
temperature_K = 4e4
seed = 5
[[stage]]
ensemble = "nve"
steps = 5
timestep_fs = 1.0
[guards]
maximum_temperature_K = 1e7
[neighbours]
skin_A = 0.2
[output]
directory = "out"
[parallel]
threads = 1
"""

MIGRATION = {
    "choose_ranks",
    "collect",
    "take_rows",
    "set_flags",
    "pack_positions",
    "add_returned",
}


def test_two_ranks_on_shadow_memory(tmp_path: Path, model_file, mpirun: str, monkeypatch) -> None:
    """Atoms so hot that some go to the other rank."""
    positions = [[0.2, 0.1, 0.0], [1.6, 0.4, 0.3], [2.9, 0.2, 2.2], [4.4, 0.1, 0.4], [5.8, 0.5, 1.8]]
    atoms = ase.Atoms("OHOHH", positions, cell=[7.5, 4.3, 5.0], pbc=True)
    write_case(tmp_path, model_file("two_sided"), text=INPUT, atoms=atoms)
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    process = job(mpirun, 2, [str(TESTS / "mpi/shadow_job.py")], folder=tmp_path)
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, printed + errors
    assert re.findall(r"reports: (\d+)", printed) == ["0", "0"], printed
    for names in re.findall(r"kernels: (.*)", printed):
        assert set(names.split()) >= MIGRATION
