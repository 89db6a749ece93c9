"""The compressed potential of descriptors other than se_e2_a: against the reference, and against itself."""

import ase
import ase.md.verlet
import ase.units
import numba
import numpy as np
import pytest
from compressed import evaluate, frames, random_atoms, rms

from fastdp.ase import FastDP
from fastdp.errors import InputError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.partial import rows_of
from fastdp.parallel.threads import available_threads, thread_limits
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.prepare import prepare
from fastdp.potential.compressed.tuning import compress
from fastdp.potential.factory import with_parameters
from fastdp.potential.reference import ReferencePotential
from fastdp.simulation.audit import deviation

# Tighter than by default: the forces of these models are small, some 0.1 eV/Å.
TOLERANCE = 1e-6
MIXED = 2e-5

KINDS = [
    "se_e2_r",
    "se_e2_r two-sided",
    "se_e2_r of one type",
    "se_e2_r with a shortcut",
    "se_e2_r without O-H",
    "se_e2_r with parameters",
    "two of se_e2_a",
    "se_e2_a and se_e2_r",
    "two of se_e2_r",
    "hybrid without O-H",
    "se_e2_a without O-H",
    "se_e3",
    "se_e3 of three types",
    "se_e3 with protection",
    "se_e3 without O-H",
    "se_e2_a and se_e3",
    "se_e2_r and se_e3",
]
SOME = ["se_e2_r", "se_e2_a and se_e2_r", "se_e3", "se_e2_a and se_e3"]

_MADE: dict = {}


@pytest.fixture
def model_of(native_file):
    """Give description, compressed model and report by the name in `native_models.NATIVE`."""

    def made(name):
        if name not in _MADE:
            description = with_parameters(read_model(native_file(name)), None, None)
            atoms = random_atoms(np.random.default_rng(3), description.n_types)
            _MADE[name] = (description, *compress(description, atoms, TOLERANCE))
        return _MADE[name]

    return made


def some_atoms(n_types, n_atoms=30, seed=11, **options):
    return random_atoms(np.random.default_rng(seed), n_types, n_atoms=n_atoms, **options)


@pytest.mark.parametrize("name", KINDS)
def test_small_models_stay_within_the_tolerance(model_of, name):
    description, model, report = model_of(name)
    assert report.largest_error <= TOLERANCE
    atoms = some_atoms(description.n_types)
    expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
    fast = evaluate(CompressedPotential(model), atoms, skin=0.7)
    mixed = evaluate(CompressedPotential(model, "mixed"), atoms, skin=0.7)
    # Forces that a wrong sum would not reproduce by being small.
    assert rms(expected.forces) > 1000 * TOLERANCE
    # A structure of another kind than the one compressed on: ten times the tolerance.
    assert rms(fast.forces - expected.forces) <= 10 * TOLERANCE
    assert rms(mixed.forces - fast.forces) <= MIXED
    np.testing.assert_allclose(fast.virial, expected.virial, atol=1000 * TOLERANCE)
    np.testing.assert_allclose(fast.atomic_energies, expected.atomic_energies, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "water_se_e2_r.pb",
        "ser.pb",
        "ser__compressed.pb",
        "native_ser.dp",
        "water_hybrid.pb",
        "native_hyb.dp",
        "water_se_e3.pb",
        "set.pb",
        "set__compressed.pb",
        "native_set.dp",
        "hybrid.pb",
    ],
)
def test_force_error_on_files_of_the_trainer(shared, name):
    description = read_model(shared / "models/own" / name)
    # The last frame is the largest.
    for key, atoms in list(frames(shared, name))[-1:]:
        # Some of these models make forces of 1e-4 eV/Å; the others need not be as close.
        tolerance = 1e-7 if description.descriptor.kind == "se_e2_r" else 10 * TOLERANCE
        model, _ = compress(description, atoms, tolerance)
        expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
        found = evaluate(CompressedPotential(model), atoms, skin=0.5)
        assert rms(expected.forces) > 100 * tolerance
        assert rms(found.forces - expected.forces) <= tolerance, key
        assert np.abs(found.virial - expected.virial).max() <= 10 * tolerance * len(atoms.types), key


@pytest.mark.parametrize("name", ["se_e2_a without O-H", "se_e2_a and se_e2_r", "se_e3"])
def test_a_type_without_neighbours_and_a_structure_without_any(native_file, name):
    description = read_model(native_file(name))
    open_space = np.zeros((3, 3)), np.zeros(3, bool)
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 30.0, 0]])
    atoms = Atoms(positions, np.array([1, 1, 0], np.int32), *open_space)
    model, _ = compress(description, atoms, 1e-5)
    expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
    found = evaluate(CompressedPotential(model), atoms)
    assert rms(found.forces - expected.forces) <= 1e-5
    np.testing.assert_allclose(found.atomic_energies, expected.atomic_energies, atol=1e-4)
    apart = Atoms(30.0 * np.eye(3), np.array([0, 1, 1], np.int32), *open_space)
    with pytest.raises(InputError, match="no two atoms of the structure are within"):
        compress(description, apart, 1e-5)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("periodic", [True, False])
def test_forces_and_virial_are_the_gradient_of_the_energy(model_of, name, periodic):
    description, model, _ = model_of(name)
    potential = CompressedPotential(model)
    atoms = some_atoms(description.n_types, 14, seed=5, periodic=periodic)
    result = evaluate(potential, atoms)
    # Central differences of fourth order: truncation and rounding are both below 1e-7 of the largest force.
    h = 2e-3

    def difference(move):
        values = [evaluate(potential, move(k * h)).energy for k in (-2, -1, 1, 2)]
        return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)

    generator = np.random.default_rng(7)
    largest = np.abs(result.forces).max()
    for _ in range(3):
        direction = generator.normal(size=atoms.positions.shape)

        def move(step, direction=direction):
            return Atoms(atoms.positions + step * direction, atoms.types, atoms.cell, atoms.periodic)

        expected = np.sum(result.forces * direction)
        assert -difference(move) == pytest.approx(expected, abs=2e-6 * largest)

    strain = 0.1 * generator.normal(size=(3, 3))

    def deform(step):
        # x'_a = x_a + ε_ab x_b; the row of the virial is the gradient's direction.
        deformation = np.eye(3) + step * strain.T
        return Atoms(atoms.positions @ deformation, atoms.types, atoms.cell @ deformation, atoms.periodic)

    assert -difference(deform) == pytest.approx(np.sum(result.virial * strain), abs=1e-6 * largest)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.skipif(min(available_threads(), numba.config.NUMBA_NUM_THREADS) < 2, reason="needs two threads")
def test_the_number_of_threads_changes_rounding_at_most(model_of, name):
    description, model, _ = model_of(name)
    atoms = some_atoms(description.n_types, 60)
    results = []
    for threads in (1, 2, 2):
        with thread_limits(threads):
            results.append(evaluate(CompressedPotential(model), atoms))
    np.testing.assert_allclose(results[0].forces, results[1].forces, atol=1e-13)
    np.testing.assert_array_equal(results[1].forces, results[2].forces)
    np.testing.assert_array_equal(results[1].virial, results[2].virial)


@pytest.mark.parametrize("name", SOME)
def test_energy_is_continuous_where_a_neighbour_leaves(model_of, name):
    description, model, _ = model_of(name)
    potential = CompressedPotential(model)

    def energy(distance):
        positions = np.array([[0, 0, 0], [1.2, 0, 0], [-0.6 * distance, 0.8 * distance, 0]])
        atoms = Atoms(positions, np.array([0, 1, 0], np.int32), np.zeros((3, 3)), np.zeros(3, bool))
        return evaluate(potential, atoms).energy

    inside = [energy(description.cutoff - x) - energy(description.cutoff + 1.0) for x in (0.1, 0.05)]
    # ∝ (r_c − r)³: twice as near, an eighth.
    assert inside[0] / inside[1] == pytest.approx(8.0, rel=0.3)


@pytest.mark.parametrize("name", SOME)
def test_the_audit_sees_the_model_as_trained(model_of, name):
    description, model, _ = model_of(name)
    atoms = some_atoms(description.n_types)
    centres = rows_of(atoms.neighbours(description.cutoff, 0.5), np.array([3, 8, 20]))
    found = deviation(CompressedPotential(model), description, centres)
    assert 0.0 < rms(found.forces) <= 20 * TOLERANCE
    assert found.energies.max() <= 1e-5


@pytest.mark.parametrize("name", ["se_e2_r", "se_e2_a and se_e3"])
def test_arrays_and_cache_give_the_same_potential(model_of, name, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDP_CACHE_DIR", str(tmp_path))
    description, model, _ = model_of(name)
    atoms = some_atoms(description.n_types)
    again = CompressedModel.from_arrays(CompressedPotential(model).state_arrays())
    first, second = (evaluate(CompressedPotential(m), atoms) for m in (model, again))
    np.testing.assert_array_equal(first.forces, second.forces)
    lines: list[str] = []
    made, kept = (prepare(description, atoms, 1e-4, lines.append) for _ in range(2))
    assert sum("compressing" in line for line in lines) == 1
    np.testing.assert_array_equal(
        evaluate(CompressedPotential(made), atoms).forces, evaluate(CompressedPotential(kept), atoms).forces
    )


@pytest.mark.parametrize("name", SOME)
def test_energy_is_conserved(native_file, name):
    """The error of velocity Verlet is of second order in the time step, and there is no other."""
    largest = []
    for fs in (0.4, 0.2):
        found = random_atoms(np.random.default_rng(4), 2, 24, density=0.05, shortest=1.6)
        atoms = ase.Atoms(np.array(["O", "H"])[found.types], found.positions, cell=found.cell, pbc=True)
        atoms.calc = FastDP(native_file(name), tolerance=TOLERANCE)
        momenta = np.random.default_rng(2).normal(size=(len(atoms), 3))
        atoms.set_momenta(momenta * np.sqrt(50.0 * ase.units.kB * atoms.get_masses())[:, None])
        energies = []
        motion = ase.md.verlet.VelocityVerlet(atoms, fs * ase.units.fs)
        motion.attach(lambda atoms=atoms, energies=energies: energies.append(atoms.get_total_energy()))
        motion.run(int(10.0 / fs))
        largest.append(np.abs(np.array(energies) - energies[0]).max())
    assert largest[0] / largest[1] == pytest.approx(4.0, rel=0.25)
    assert largest[1] < 1e-3
