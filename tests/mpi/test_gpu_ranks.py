"""Several ranks that have a GPU each, or share one: here each is in Numba's simulator."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
from cases import run_fastdp, write_case
from gpu_rank_systems import SKIN, SYSTEMS, GpuSystem, compressed_model, narrow_watch
from jobs import job

from fastdp.dynamics.state import State
from fastdp.gpu.kernels import ranks as kernels
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.trajectory import Trajectory
from fastdp.parallel.threads import thread_limits
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.simulation.simulation import Simulation

WORKER = Path(__file__).with_name("gpu_worker.py")
AS_PTX = bool(os.environ.get("FASTDP_GPU_PTX"))
"""Whether kernels run as they are compiled for a card, on the processor (`tests/ptx`)."""

OF_RANKS = {
    name
    for name, value in vars(kernels).items()
    if hasattr(value, "targetoptions") and not value.targetoptions.get("device")
}
"""Kernels that several ranks need."""

ANGSTROM_PER_PS = 1e-3 / ase.units.fs
"""In the units of ASE."""

PATIENCE = 900.0  # seconds, for a machine that is busy with other things

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
[[stage]]
ensemble = "nve"
steps = 1
timestep_fs = 1.0
[[stage]]
ensemble = "nvt"
steps = 2
timestep_fs = 1.0
temperature_K = 2000
[guards]
maximum_temperature_K = 1e7
[neighbours]
skin_A = 2.0
[output]
directory = "out"
trajectory.every = 2
thermo.every = 1
checkpoint.every = 2
[parallel]
threads = 1
balance = false
"""


def table(folder: Path) -> np.ndarray:
    return np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True)


@pytest.fixture(scope="module")
def together(mpirun: str, model_file, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that 4 ranks have written."""
    folder = tmp_path_factory.mktemp("gpus")
    patch = pytest.MonkeyPatch()
    patch.setenv("FASTDP_TEST_MODEL", str(model_file("two_sided")))
    with thread_limits(1):
        # Fills the caches of compiled functions, for which ranks would wait.
        compressed_model()
    patch.setenv("NUMBA_ENABLE_CUDASIM", "0" if AS_PTX else "1")
    process = job(mpirun, 4, [str(WORKER), str(folder)], folder=folder)
    patch.delenv("NUMBA_ENABLE_CUDASIM")
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, out + err
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def report(together: Path) -> dict:
    return json.loads((together / "report.json").read_text())


def on_the_cpu(system: GpuSystem, directory: Path) -> tuple[State, int, list[str]]:
    """Return where a run on one processor ends, how often the list was built, and what it says of it."""
    state, potential = system.state(), CompressedPotential(compressed_model(), system.precision)
    neighbours = VerletList(potential.cutoff, SKIN, state.cell, state.periodic, state.types)
    watch, said = narrow_watch(potential.cutoff), []
    simulation = Simulation(
        state,
        potential,
        neighbours,
        system.settings(directory),
        when_built=lambda built: said.extend(watch.warnings(built)),
    )
    with thread_limits(1):
        summary = simulation.run()
    return state, summary.neighbour_builds, said


@pytest.mark.parametrize("name", SYSTEMS)
def test_atoms_that_stay_on_devices_go_as_on_one_processor(
    together: Path, report: dict, tmp_path: Path, name: str
) -> None:
    system = SYSTEMS[name]
    state, builds, said = on_the_cpu(system, tmp_path)
    # Differences of the order of sums, grown over a few steps; float32 has them at 1e-7.
    tolerance = 1e-11 if system.precision == "double" else 1e-5
    end = np.load(together / name / "end.npz")
    np.testing.assert_allclose(end["unwrapped"], state.positions + state.images @ state.cell, atol=tolerance)
    np.testing.assert_allclose(end["velocities"], state.velocities, atol=100 * tolerance)
    assert report[name]["builds"] == builds
    # As on ranks that are dealt the atoms of a checkpoint, so that both go on with the same bits.
    assert report[name]["ascending"]
    # What is beyond at the start is said too, with the same pairs of types.
    pairs = [
        sorted({tuple(re.findall(r"[OH] ", line)) for line in lines})
        for lines in (report[name]["said"], said)
    ]
    assert pairs[0] == pairs[1] != []
    found, expected = table(together / name), table(tmp_path)
    for column in expected.dtype.names:
        scale = max(1.0, np.nanmax(np.abs(expected[column]), initial=0.0))
        np.testing.assert_allclose(
            found[column], expected[column], rtol=0, atol=10 * tolerance * scale, err_msg=column
        )


def test_atoms_change_ranks_and_ranks_are_empty(report: dict) -> None:
    """So that the comparison is one of what it should be."""
    assert sum(report[name]["changed ranks"] for name in SYSTEMS) >= 3
    assert SYSTEMS["more ranks than atoms"].n_atoms < SYSTEMS["more ranks than atoms"].ranks


def test_kernels_of_several_ranks_are_clean(report: dict) -> None:
    assert report["found on shadow memory"] == [[]] * 4
    assert OF_RANKS
    assert set().union(*report["kernels"]) >= OF_RANKS


def test_messages_from_the_memory_of_the_device_make_no_difference(together: Path) -> None:
    for name in ("unwrapped", "velocities"):
        ends = [np.load(together / folder / "end.npz")[name] for folder in ("open", "direct")]
        np.testing.assert_array_equal(*ends)


def test_what_one_device_finds_stops_all(report: dict, together: Path) -> None:
    kind, text, everywhere = report["too close"]
    assert kind == "PairTooCloseError"
    assert everywhere
    assert re.search(r"step 2: atoms \d and \d are 0\.\d+ Å apart; the compressed potential begins at", text)
    assert (together / "too close/crash.extxyz").exists()
    kind, text, everywhere = report["lost"]
    assert kind == "NonFiniteError"
    assert everywhere
    assert re.search(r"step 1: position of atom \d \([OH]\) is \[\d+", text)
    kind, text, everywhere = report["too hot"]
    assert kind == "RunawayTemperatureError"
    assert everywhere
    assert re.search(r"the fastest atom is \d \([OH]\) with \[\d{5}\.", text)


@pytest.fixture
def folder(tmp_path: Path, model_file) -> Path:
    """Six atoms, periodic along one direction, three on each of two ranks.

    The third crosses the plane between them, x = 3.6 Å, in the second step, and the list is not built again.
    """
    positions = [
        [0.2, 0.1, 0.0],
        [1.6, 0.4, 0.3],
        [2.9, 0.2, 2.2],
        [4.3, 0.1, 0.4],
        [5.8, 0.5, 1.8],
        [7.2, 0.3, 0.2],
    ]
    atoms = ase.Atoms("OHOHHO", positions, cell=[0.0, 4.3, 0.0], pbc=(False, True, False))
    velocities = np.random.default_rng(5).normal(0.0, 20.0, (6, 3))
    velocities[2] = (400.0, 0.0, 0.0)
    atoms.set_velocities(velocities * ANGSTROM_PER_PS)
    write_case(tmp_path, model_file("two_sided"), text=INPUT, atoms=atoms)
    return tmp_path


@pytest.mark.skipif(AS_PTX, reason="the command line opens no device that is made for tests")
def test_two_ranks_are_as_one_processor(folder: Path, mpirun: str, monkeypatch) -> None:
    """From the command line, at one go and with a pause in the middle of the second stage."""

    def input_file(name: str, *changes: tuple[str, str]) -> None:
        text = (folder / "input.toml").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / name).write_text(text)

    def on_two_ranks(*arguments: str) -> str:
        process = job(mpirun, 2, ["-m", "fastdp", "run", *arguments], folder=folder)
        printed, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed + errors
        return printed

    input_file("cpu.toml", ('"cuda"', '"cpu"'), ('"out"', '"alone"'))
    done = run_fastdp("run", "cpu.toml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    printed = on_two_ranks("input.toml")
    found, expected = table(folder / "out"), table(folder / "alone")
    for column in expected.dtype.names:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-8, atol=1e-8, err_msg=column)
    with Trajectory(folder / "out/trajectory.h5") as a, Trajectory(folder / "alone/trajectory.h5") as b:
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one.positions, other.positions, atol=1e-6)
    assert "device: Numba's CUDA simulator" in printed
    assert "atoms stay on the GPUs; ghosts are exchanged through pinned memory of the host" in printed
    assert re.search(r"grid of ranks: .*, \d+ to \d+ atoms each", printed)
    assert re.search(r"GPU memory: about \d+ MiB .* for each of the \d+ atoms and ghosts of rank 0", printed)
    assert "audit: force error against the model as trained" in printed

    shorter = ("steps = 2", "steps = 1")
    # Step 2 is in the list that was built at the start of the second stage.
    assert re.search(r"neighbour list built 0 times", printed)
    input_file("part.toml", shorter, ('"out"', '"parts"'))
    input_file("rest.toml", ('"out"', '"parts"'))
    on_two_ranks("part.toml")
    on_two_ranks("rest.toml", "--resume")
    assert (folder / "parts/thermo.csv").read_text() == (folder / "out/thermo.csv").read_text()
