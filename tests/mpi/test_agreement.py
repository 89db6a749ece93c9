"""Any number of ranks on any grid does what one rank does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from jobs import job
from systems import SHAPES, STEPS, SYSTEMS

from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.trajectory import Trajectory
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Evaluation
from fastdp.simulation.simulation import Simulation

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 600.0  # seconds, for a machine that is busy with other things

ALL_SHAPES = [shape for shapes in SHAPES.values() for shape in shapes]
MOVING = [(name, shape) for name, system in SYSTEMS.items() for shape in system.moves_on]


def name_of(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, model_file) -> dict[str, tuple[Evaluation, Path]]:
    """What one rank finds: the evaluation at the start, and the folder of 200 steps."""
    os.environ["FASTDP_TEST_MODEL"] = str(model_file("two_sided"))
    found = {}
    with thread_limits(1):
        for name, system in SYSTEMS.items():
            state, potential = system.state(), system.potential()
            neighbours = VerletList(potential.cutoff, system.skin, state.cell, state.periodic, state.types)
            state.wrap()
            neighbours.build(state.positions)
            evaluation = Evaluation.empty(state.n_atoms)
            potential.evaluate(neighbours, evaluation)
            directory = tmp_path_factory.mktemp("serial") / name
            fresh = VerletList(potential.cutoff, system.skin, state.cell, state.periodic, state.types)
            Simulation(state, potential, fresh, system.settings(directory)).run()
            found[name] = (evaluation, directory)
    return found


@pytest.fixture(scope="module")
def together(mpirun: str, serial, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that 8 ranks have written; after `serial`, which fills the caches."""
    folder = tmp_path_factory.mktemp("together")
    process = job(mpirun, 8, [str(WORKER), str(folder)], folder=folder)
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, out + err
    return folder


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=name_of)
@pytest.mark.parametrize("name", SYSTEMS)
def test_energy_forces_and_virial_are_those_of_one_rank(
    name: str, shape: tuple[int, int, int], serial, together: Path
) -> None:
    expected, _ = serial[name]
    with np.load(together / f"{name} {name_of(shape)}.npz") as found:
        # Sums in another order, and nothing else.
        scale = np.abs(expected.forces).max()
        np.testing.assert_allclose(found["forces"], expected.forces, rtol=0, atol=1e-12 * scale)
        assert float(found["energy"]) == pytest.approx(expected.energy, rel=1e-12)
        scale = np.abs(expected.atomic_energies).max()
        np.testing.assert_allclose(
            found["atomic_energies"], expected.atomic_energies, rtol=0, atol=1e-12 * scale
        )
        scale = np.abs(expected.virial).max()
        np.testing.assert_allclose(found["virial"], expected.virial, rtol=0, atol=1e-12 * scale)
        atoms = found["counts"][:, 0]
    assert atoms.sum() == len(expected.forces)
    assert len(atoms) == np.prod(shape)


@pytest.mark.parametrize(
    ("name", "shape"), MOVING, ids=lambda value: value if isinstance(value, str) else name_of(value)
)
def test_200_steps_lead_to_the_same_place(
    name: str, shape: tuple[int, int, int], serial, together: Path
) -> None:
    _, directory = serial[name]
    with (
        Trajectory(directory / "trajectory.h5") as expected,
        Trajectory(together / f"{name} {name_of(shape)}" / "trajectory.h5") as found,
    ):
        assert len(found) == len(expected) == STEPS // 50 + 1
        assert found.symbols == expected.symbols
        np.testing.assert_array_equal(found.masses, expected.masses)
        for one, other in zip(expected, found, strict=True):
            assert one.step == other.step
            np.testing.assert_allclose(
                other.positions + other.images @ other.cell,
                one.positions + one.images @ one.cell,
                rtol=0,
                atol=1e-8,
            )
            np.testing.assert_allclose(other.velocities, one.velocities, rtol=0, atol=1e-6)
        # They did move, and across planes: a region of the crystal is some Å wide.
        assert np.abs(one.positions + one.images @ one.cell - expected[0].positions).max() > 0.3 or (
            name == "twelve atoms"
        )


@pytest.mark.parametrize("shape", SYSTEMS["water"].moves_on, ids=name_of)
def test_the_tables_are_the_same(shape: tuple[int, int, int], serial, together: Path) -> None:
    """NVT: the thermostat acts on the kinetic energy of all ranks, and its quantity is conserved alike."""
    _, directory = serial["water"]
    tables = [
        np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True)
        for folder in (directory, together / f"water {name_of(shape)}")
    ]
    for column in tables[0].dtype.names:
        expected, found = tables[0][column], tables[1][column]
        # Pressures are small differences of large numbers.
        scale = 1e5 if "pressure" in column else max(np.abs(expected).max(), 1.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * scale, err_msg=column)


@pytest.fixture(scope="module")
def report(together: Path) -> dict:
    return json.loads((together / "report.json").read_text())


def test_what_one_rank_finds_stops_all(report: dict, together: Path) -> None:
    kind, text, everywhere = report["too close"]
    assert kind == "PairTooCloseError"
    assert everywhere
    assert "step 19: atoms 3 and 7 are 0.1 Å apart" in text
    frame = ase.io.read(together / "too close" / "crash.extxyz")
    np.testing.assert_array_equal(np.flatnonzero(frame.arrays["culprit"]), [3, 7])
    assert len(frame) == 108


def test_a_lost_atom_is_noticed_when_atoms_change_ranks(report: dict, together: Path) -> None:
    kind, text, everywhere = report["lost"]
    assert kind == "LostAtomsError"
    assert everywhere
    assert "1 atoms are on no rank and 0 on several" in text
    frame = ase.io.read(together / "lost" / "crash.extxyz")
    (missing,) = np.flatnonzero(frame.arrays["culprit"])
    assert f"[{missing}]" in text
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(frame.positions).all(axis=1)), [missing])


def test_guards_name_the_atom_of_another_rank(report: dict) -> None:
    kind, text, _ = report["too hot"]
    assert kind == "RunawayTemperatureError"
    assert "with [40000.0, 40000.0, 40000.0]" in text
    kind, text, _ = report["nan"]
    assert kind == "NonFiniteError"
    assert "[nan, nan, nan]" in text


def test_planes_move_towards_the_work(report: dict, serial, together: Path) -> None:
    """All work is in the left quarter: the plane goes there, and the atoms go the same way as before."""
    assert report["moves"] >= 1
    assert report["imbalance"] < 1.5  # 2 at the start, where one of two ranks has all of it
    assert 0.05 < report["plane"] < 0.25
    with (
        Trajectory(serial["thin"][1] / "trajectory.h5") as expected,
        Trajectory(together / "balanced" / "trajectory.h5") as found,
    ):
        np.testing.assert_allclose(found[-1].positions, expected[-1].positions, rtol=0, atol=1e-8)
