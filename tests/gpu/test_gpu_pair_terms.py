"""Further terms of pairs on a GPU against their specification, alone, in runs, and as users ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import numpy as np
import pytest
from compressed import evaluate
from gpu_cases import at_random, compressed_case, run_settings, simulation, slab, state_of, tiny_cell
from term_cases import smooth_table

from fastdp.dynamics.settings import NoseHooverSettings, VelocityVerletSettings
from fastdp.errors import PairTooCloseError
from fastdp.gpu.device.base import Device
from fastdp.gpu.kernels.status import FOUND, begin_evaluation
from fastdp.gpu.kinds import Kinds, kind_start
from fastdp.gpu.neighbours import DeviceNeighbours
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.rooms import Rooms
from fastdp.gpu.system import Boundaries, DeviceSystem
from fastdp.model.readers.registry import read_model
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.factory import make_potential
from fastdp.potential.sum import SumPotential
from fastdp.potential.terms.base import PairTerm
from fastdp.potential.terms.pair_sum import FastPairSum, PairSum
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import ZBL, PairTable
from fastdp.simulation.settings import GuardSettings, RunSettings
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.types import match_types

SKIN = 0.6
NAMES = ("O", "H")


@pytest.fixture
def terms(tmp_path: Path) -> tuple[PairTerm, ...]:
    """A repulsion of some pairs of types, and two tables of all, one reaching farther than the model."""
    return make_terms(
        [
            ZBL(0.9, 2.8, pairs=[("O", "O"), ("H", "O")]),
            PairTable(smooth_table(tmp_path / "near.tab", 2)),
            PairTable(smooth_table(tmp_path / "far.tab", 2, end=5.1), ["H", "O"]),
        ],
        NAMES,
    )


def specified(model: CompressedModel, terms: Sequence[PairTerm]) -> SumPotential:
    return SumPotential(CompressedPotential(model), [PairSum(terms)])


def assert_alike(found: Evaluation, expected: Evaluation) -> None:
    """The same sums in another order."""
    largest = np.abs(expected.forces).max()
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-12 * largest)
    np.testing.assert_allclose(found.virial, expected.virial, atol=1e-11 * np.abs(expected.virial).max())
    np.testing.assert_allclose(found.atomic_energies, expected.atomic_energies, rtol=1e-12, atol=1e-12)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)


STRUCTURES = {
    "periodic": lambda: at_random(2, 6),
    "open": lambda: at_random(2, 6, periodic=False),
    "open along one direction": slab,
    "cell shorter than the cutoff": tiny_cell,
}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_terms_beside_a_model(device: Device, terms: tuple[PairTerm, ...], structure: str) -> None:
    _, _, model = compressed_case("open boundaries", 1e-4)
    atoms = STRUCTURES[structure]()
    gpu = CudaPotential(model, device, terms=terms)
    assert gpu.cutoff == terms[2].cutoff > model.cutoff
    expected = evaluate(specified(model, terms), atoms, SKIN)
    found = evaluate(gpu, atoms, SKIN)
    assert_alike(found, expected)
    alone = evaluate(CompressedPotential(model), atoms, SKIN)
    # Each would be missed.
    for term in terms:
        part = evaluate(specified(model, [term]), atoms, SKIN)
        assert abs(part.energy - alone.energy) > 1e-3


@pytest.mark.parametrize("which", [0, 1])
def test_terms_are_exact_in_any_precision(device: Device, terms: tuple[PairTerm, ...], which: int) -> None:
    """What a term of short reach adds, at positions that move on without a new list, without the virial."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    term = terms[which]
    alone, both = (CudaPotential(model, device, "mixed", terms=chosen) for chosen in ((), (term,)))
    assert both.cutoff == model.cutoff
    generator = np.random.default_rng(3)
    atoms = at_random(2, 6)
    neighbours = atoms.neighbours(model.cutoff, SKIN)
    for distance in (0.0, 0.1):
        neighbours.update(atoms.displaced(distance, generator).positions)
        results = [Evaluation.empty(len(atoms.types)) for _ in range(3)]
        without, found, expected = results
        alone.evaluate(neighbours, without, virial=False)
        both.evaluate(neighbours, found, virial=False)
        PairSum([term]).add(neighbours, expected, virial=False)
        assert not found.virial_is_current
        # Rounding of sums with what the model gives.
        np.testing.assert_allclose(found.forces - without.forces, expected.forces, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            found.atomic_energies - without.atomic_energies, expected.atomic_energies, rtol=0, atol=1e-12
        )


def test_rows_that_overflow_grow(
    device: Device, terms: tuple[PairTerm, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second time, and with the same bits as with rows that were long enough."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    atoms = tiny_cell()
    expected = evaluate(CudaPotential(model, device, terms=terms), atoms, SKIN)
    monkeypatch.setattr("fastdp.gpu.neighbours.expected_neighbours", lambda *_: 0)
    found = evaluate(CudaPotential(model, device, terms=terms), atoms, SKIN)
    np.testing.assert_array_equal(found.forces, expected.forces)
    np.testing.assert_array_equal(found.virial, expected.virial)
    np.testing.assert_array_equal(found.atomic_energies, expected.atomic_energies)


@pytest.mark.parametrize(
    ("structure", "first"), [(lambda: at_random(2, 3), 2), (tiny_cell, 3)], ids=["periodic", "short cell"]
)
def test_the_share_of_a_rank(
    device: Device, terms: tuple[PairTerm, ...], structure: Callable[[], Atoms], first: int
) -> None:
    """Images are ghosts, which pull at the atoms of the rank, and to which terms do nothing."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    atoms, terms = structure(), terms[:first]
    alone, both = CudaPotential(model, device), CudaPotential(model, device, terms=terms)
    neighbours = atoms.neighbours(both.cutoff, SKIN)
    found, without, expected = (Evaluation.empty(len(atoms.types)) for _ in range(3))
    both._evaluate_share(neighbours, found, True)
    specified(model, terms).evaluate(neighbours, expected)
    assert_alike(found, expected)
    alone._evaluate_share(neighbours, without, True)
    assert alone._share is not None
    assert both._share is not None
    systems = alone._share.system, both._share.system
    n = neighbours.n_atoms
    forces, same = (device.read(system.forces)[n:] for system in systems)
    assert np.abs(forces).max() > 0.0
    # The list of one reaches farther, so that its order is another.
    np.testing.assert_allclose(same, forces, rtol=0, atol=1e-13)
    assert not device.read(systems[1].energies)[n:].any()


def test_own_atoms_in_two_stages(device: Device, terms: tuple[PairTerm, ...]) -> None:
    """Each stage by itself, the later one first, as where one waits for ghosts."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    terms = terms[:2]
    atoms = at_random(2, 4, periodic=False)
    potential = CudaPotential(model, device, terms=terms)
    boundaries = Boundaries(atoms.types, atoms.cell, atoms.periodic, SKIN)
    whole = potential.make_system(boundaries, atoms.positions).neighbours
    stage = np.array([1, 0, 0, 1])
    kinds = (stage * 2 + atoms.types).astype(np.int32)
    neighbours = DeviceNeighbours(
        device,
        Rooms(device),
        Kinds(device.upload(kinds), kind_start(np.bincount(kinds, minlength=4)), 2, own_stages=2),
        whole.geometry,
        device.upload(atoms.positions),
        potential.cutoff,
        SKIN,
        len(kinds),
    )
    system = DeviceSystem(device, Rooms(device), potential.device_model, neighbours)
    for action in (
        device.launch(begin_evaluation, 1, 1, (neighbours.status,)),
        *neighbours.actions(),
        *system.energy_actions(0),
        *system.energy_actions(1),
        *system.force_actions(1, 2, virial=True),
        *system.force_actions(0, 1, virial=True),
        *system.virial_actions(),
    ):
        action()
    assert not device.read(neighbours.status)[FOUND]
    expected = evaluate(specified(model, terms), atoms)
    largest = np.abs(expected.forces).max()
    np.testing.assert_allclose(device.read(system.forces), expected.forces, rtol=0, atol=1e-12 * largest)
    np.testing.assert_allclose(device.read(system.energies), expected.atomic_energies, rtol=1e-12)
    np.testing.assert_allclose(device.read(system.virial).reshape(3, 3), expected.virial, rtol=0, atol=1e-11)


def test_a_pair_below_a_table_is_named(device: Device, tmp_path: Path) -> None:
    """Where the model covers it; below both, the model is."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    limit = model.bases[0][0].shortest
    start = limit + 0.3
    terms = make_terms(
        [
            ZBL(0.5, 1.0),
            PairTable(smooth_table(tmp_path / "near.tab", 2)),
            PairTable(smooth_table(tmp_path / "late.tab", 2, start=start)),
        ],
        NAMES,
    )
    gpu = CudaPotential(model, device, terms=terms)
    types = np.array([1, 0, 0], np.int32)
    for distance, message in (
        (
            limit + 0.2,
            rf"are {limit + 0.2:.4f} Å apart, and the table of pair energies late.tab begins at "
            rf"{start:.4f} Å",
        ),
        (0.9 * limit, rf"are {0.9 * limit:.4f} Å apart; the compressed potential begins at {limit:.4f} Å"),
    ):
        positions = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, distance, 0.0]])
        atoms = Atoms(positions, types, np.zeros((3, 3)), np.zeros(3, bool))
        for potential in (gpu, SumPotential(CompressedPotential(model), [FastPairSum(terms)])):
            with pytest.raises(PairTooCloseError, match=f"^atoms 1 and 2 {message}") as caught:
                evaluate(potential, atoms)
            assert caught.value.atoms == (1, 2)
    good = Atoms(3.0 * positions, types, np.zeros((3, 3)), np.zeros(3, bool))
    assert_alike(evaluate(gpu, good), evaluate(specified(model, terms), good))


def test_a_run_is_that_of_the_cpu(device: Device, terms: tuple[PairTerm, ...], tmp_path: Path) -> None:
    """Fast enough that the list is built several times."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    nvt = NoseHooverSettings(timestep_fs=0.5, temperature_K=300.0, thermostat_time_fs=20.0)
    states, summaries = [], []
    gpu, cpu = CudaPotential(model, device, terms=terms), specified(model, terms)
    for name, potential in (("gpu", gpu), ("cpu", cpu)):
        state = state_of(at_random(2, 4, seed=6), 3000.0)
        run = simulation(run_settings(tmp_path / name, (12, nvt), every=5), state, potential, 0.2)
        summaries.append(run.run())
        states.append(state)
    assert summaries[0].neighbour_builds == summaries[1].neighbour_builds >= 2
    # As in test_gpu_engine.py, with forces some ten times as large.
    first, second = states
    unwrapped = [state.positions + state.images @ state.cell for state in states]
    np.testing.assert_allclose(*unwrapped, rtol=0, atol=1e-10)
    np.testing.assert_allclose(first.velocities, second.velocities, rtol=0, atol=1e-8)
    tables = [
        np.genfromtxt(tmp_path / name / "thermo.csv", delimiter=",", names=True) for name in ("gpu", "cpu")
    ]
    for column in tables[1].dtype.names:
        np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-8, atol=1e-8)


def test_a_pair_too_close_for_a_term_stops_the_run_at_its_step(device: Device, tmp_path: Path) -> None:
    """The same step, atoms and words as on the CPU, in the middle of a chunk."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    table = smooth_table(tmp_path / "late.tab", 2, start=model.bases[0][0].shortest + 0.3)
    terms = make_terms([PairTable(table)], NAMES)
    atoms = Atoms(
        np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
        np.zeros(2, np.int32),
        np.zeros((3, 3)),
        np.zeros(3, bool),
    )
    errors = []
    for name, potential in (
        ("gpu", CudaPotential(model, device, terms=terms)),
        ("cpu", SumPotential(CompressedPotential(model), [FastPairSum(terms)])),
    ):
        state = state_of(atoms)
        state.velocities[:] = [[100.0, 0.0, 0.0], [-100.0, 0.0, 0.0]]
        settings = run_settings(tmp_path / name, (30, VelocityVerletSettings(timestep_fs=0.5)), every=20)
        settings = RunSettings(settings.stages, settings.output, GuardSettings(1e9))
        with pytest.raises(PairTooCloseError, match=r"table of pair energies late\.tab begins at") as caught:
            simulation(settings, state, potential).run()
        errors.append(caught.value)
        assert (tmp_path / name / "crash.extxyz").exists()
    gpu, cpu = errors
    assert 1 < gpu.step == cpu.step < 20
    assert gpu.atoms == cpu.atoms == (0, 1)
    assert gpu.reason.split(": give")[0] == cpu.reason.split(": give")[0]


def test_tables_that_a_model_adds(device: Device) -> None:
    """`linear_ener` with pairtab: terms like any other."""
    folder = Path(__file__).parents[1] / "pair_terms"
    frame = json.loads((folder / "answers.json").read_text())["bonds"]
    structure = structure_from_atoms(
        ase.Atoms(frame["symbols"], frame["positions"], cell=frame["cell"], pbc=True)
    )
    lines: list[str] = []
    results = []
    for backend in ("cuda", "cpu"):
        potential = make_potential(
            read_model(folder / "linear.pb"), structure, backend=backend, tolerance=1e-3, report=lines.append
        )
        assert potential.backend == backend
        types = match_types(structure.symbols, ("O", "H"))
        atoms = Atoms(structure.positions, types, structure.cell, structure.periodic)
        results.append(evaluate(potential, atoms))
    assert_alike(*results)
    said = [line for line in lines if line.startswith("further term: table linear.pb")]
    assert len(said) == 2
