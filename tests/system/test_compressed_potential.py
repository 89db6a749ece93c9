"""The compressed potential against the reference, against finite differences, and against itself."""

import numba
import numpy as np
import pytest
from compressed import compressed, evaluate, frames, model_path, random_atoms, rms

from fastdp.errors import InputError, PairTooCloseError
from fastdp.model.readers.registry import read_model
from fastdp.parallel.threads import available_threads, thread_limits
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed import cache
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.prepare import prepare
from fastdp.potential.compressed.tuning import compress
from fastdp.potential.reference import ReferencePotential

TOLERANCE = 1e-5
MIXED = 5e-5

KINDS = [
    "two_sided",
    "one_sided",
    "one_type",
    "three_types",
    "excluded_two_sided",
    "excluded_one_sided",
    "excluded_altogether",
    "timesteps",
    "davg_zero",
    "vacuum",
    "narrow_selection",
    "generation_1.1_gelu",
]


def model_of(model_file, name, tolerance=TOLERANCE):
    path = model_file(name)
    n_types = read_model(path).n_types
    return compressed(path, name, tolerance, lambda: random_atoms(np.random.default_rng(3), n_types))


@pytest.mark.parametrize("name", KINDS)
def test_small_models_stay_within_the_tolerance(model_file, name):
    description, model, report = model_of(model_file, name)
    assert report.largest_error <= TOLERANCE
    atoms = random_atoms(np.random.default_rng(11), description.n_types, n_atoms=30)
    expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
    fast = evaluate(CompressedPotential(model), atoms, skin=0.7)
    mixed = evaluate(CompressedPotential(model, "mixed"), atoms, skin=0.7)
    # A structure of another kind than the one compressed on: ten times the tolerance.
    assert rms(fast.forces - expected.forces) <= 10 * TOLERANCE
    assert rms(mixed.forces - fast.forces) <= MIXED
    np.testing.assert_allclose(fast.virial, expected.virial, atol=100 * TOLERANCE)
    np.testing.assert_allclose(fast.atomic_energies, expected.atomic_energies, atol=1e-4)


@pytest.mark.parametrize("name", ["copper.pb", "water.pb"])
@pytest.mark.parametrize(("precision", "limit"), [("double", TOLERANCE), ("mixed", MIXED)])
def test_force_error_on_copper_and_water(shared, name, precision, limit):
    for key, atoms in frames(shared, name):
        description, model, _ = compressed(shared / model_path(name), key, TOLERANCE, lambda a=atoms: a)
        expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
        found = evaluate(CompressedPotential(model, precision), atoms, skin=1.0)
        assert rms(found.forces - expected.forces) <= limit, key
        assert abs(found.energy - expected.energy) / len(atoms.types) < 1e-5, key


@pytest.mark.parametrize(
    "name", ["ternary_twoside.pb", "sea_two_excl.pb", "sea_atomener.pb", "act_softplus.pb", "act_silu.pb"]
)
def test_force_error_on_other_models(shared, name):
    for key, atoms in frames(shared, name):
        description, model, _ = compressed(shared / model_path(name), key, TOLERANCE, lambda a=atoms: a)
        expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
        found = evaluate(CompressedPotential(model), atoms)
        assert rms(found.forces - expected.forces) <= TOLERANCE, key
        assert np.abs(found.virial - expected.virial).max() <= 1e-4 * len(atoms.types), key


def test_a_tolerance_out_of_reach_is_refused_with_what_can_be_had(model_file):
    """The functions of relu have kinks, which splines follow slowly."""
    description = read_model(model_file("activation_relu"))
    atoms = random_atoms(np.random.default_rng(3), description.n_types)
    with pytest.raises(InputError, match=r"the tolerance of 1e-09 eV/Å cannot be met: .* reach \d\.\de-\d\d"):
        compress(description, atoms, 1e-9)


@pytest.mark.parametrize("name", ["two_sided", "excluded_two_sided"])
@pytest.mark.parametrize("periodic", [True, False])
def test_forces_and_virial_are_the_gradient_of_the_energy(model_file, name, periodic):
    _, model, _ = model_of(model_file, name)
    potential = CompressedPotential(model)
    n_types = model.n_types
    atoms = random_atoms(np.random.default_rng(5), n_types, n_atoms=14, periodic=periodic)
    result = evaluate(potential, atoms)
    # Central differences of fourth order. h = 2e-3 Å: truncation ~h⁴ f⁽⁵⁾ and rounding ~1e-16 E/h are both
    # below 1e-7 of the largest force.
    h = 2e-3

    def energy_moved(change):
        return evaluate(potential, change).energy

    def difference(move):
        values = [energy_moved(move(k * h)) for k in (-2, -1, 1, 2)]
        return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)

    largest = np.abs(result.forces).max()
    for atom, axis in [(0, 0), (5, 1), (9, 2), (13, 0)]:

        def move(step, atom=atom, axis=axis):
            positions = atoms.positions.copy()
            positions[atom, axis] += step
            return Atoms(positions, atoms.types, atoms.cell, atoms.periodic)

        assert -difference(move) == pytest.approx(result.forces[atom, axis], abs=1e-7 * largest)

    virial = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):

            def strain(step, a=a, b=b):
                # x'_a = x_a + ε x_b; the row of the virial is the gradient's direction.
                deformation = np.eye(3)
                deformation[b, a] += step * 0.1
                return Atoms(
                    atoms.positions @ deformation, atoms.types, atoms.cell @ deformation, atoms.periodic
                )

            virial[a, b] = -difference(strain) / 0.1
    np.testing.assert_allclose(result.virial, virial, atol=1e-7 * np.abs(virial).max())


def test_momentum_is_conserved(model_file):
    description, model, _ = model_of(model_file, "two_sided")
    atoms = random_atoms(np.random.default_rng(8), description.n_types, n_atoms=60)
    for precision, limit in (("double", 1e-13), ("mixed", 1e-6)):
        forces = evaluate(CompressedPotential(model, precision), atoms).forces
        assert np.abs(forces.sum(axis=0)).max() <= limit * np.abs(forces).sum()


def test_cells_shorter_than_the_cutoff_equal_supercells(model_file):
    _, model, _ = model_of(model_file, "two_sided")
    potential = CompressedPotential(model)
    cell = np.array([[2.9, 0, 0], [0.4, 3.1, 0], [0.2, -0.3, 3.3]])
    small = Atoms(
        np.array([[0.1, 0.2, 0.1], [1.5, 1.4, 1.7]]), np.array([0, 1], np.int32), cell, np.ones(3, bool)
    )
    shifts = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)]) @ cell
    large = Atoms(
        (shifts[:, None] + small.positions).reshape(-1, 3), np.tile(small.types, 27), 3 * cell, small.periodic
    )
    one, many = evaluate(potential, small), evaluate(potential, large)
    assert many.energy == pytest.approx(27 * one.energy, rel=1e-13)
    np.testing.assert_allclose(many.forces[:2], one.forces, atol=1e-12)
    np.testing.assert_allclose(many.virial, 27 * one.virial, atol=1e-10)


@pytest.mark.skipif(min(available_threads(), numba.config.NUMBA_NUM_THREADS) < 2, reason="needs two threads")
def test_the_number_of_threads_changes_rounding_at_most(model_file):
    description, model, _ = model_of(model_file, "two_sided")
    atoms = random_atoms(np.random.default_rng(8), description.n_types, n_atoms=60)
    results = []
    for threads in (1, 2, 2):
        with thread_limits(threads):
            results.append(evaluate(CompressedPotential(model), atoms))
    np.testing.assert_allclose(results[0].forces, results[1].forces, atol=1e-13)
    np.testing.assert_array_equal(results[1].forces, results[2].forces)
    np.testing.assert_array_equal(results[1].virial, results[2].virial)


def test_results_do_not_depend_on_the_skin(model_file):
    description, model, _ = model_of(model_file, "two_sided")
    atoms = random_atoms(np.random.default_rng(8), description.n_types)
    narrow, wide = (evaluate(CompressedPotential(model), atoms, skin) for skin in (0.0, 2.0))
    np.testing.assert_allclose(narrow.forces, wide.forces, atol=1e-13)


def test_energy_is_continuous_where_a_neighbour_leaves(model_file):
    description, model, _ = model_of(model_file, "two_sided")
    potential = CompressedPotential(model)

    def energy(distance):
        atoms = Atoms(
            np.array([[0, 0, 0], [1.2, 0, 0], [0, distance, 0]]),
            np.array([0, 1, 0], np.int32),
            np.zeros((3, 3)),
            np.zeros(3, bool),
        )
        return evaluate(potential, atoms).energy

    inside = [energy(description.cutoff - x) - energy(description.cutoff + 1.0) for x in (0.1, 0.05)]
    # ∝ (r_c − r)³: twice as near, an eighth.
    assert inside[0] / inside[1] == pytest.approx(8.0, rel=0.3)


def test_a_pair_below_the_table_is_named(model_file):
    _, model, report = model_of(model_file, "two_sided")
    limit = report.shortest[0, 1]
    atoms = Atoms(
        np.array([[0, 0, 0], [3.0, 0, 0], [3.0 + 0.9 * limit, 0, 0]]),
        np.array([0, 0, 1], np.int32),
        np.zeros((3, 3)),
        np.zeros(3, bool),
    )
    with pytest.raises(PairTooCloseError, match=f"atoms 1 and 2 are {0.9 * limit:.4f} Å apart") as caught:
        evaluate(CompressedPotential(model), atoms)
    assert caught.value.atoms == (1, 2)


def test_the_same_potential_comes_back_from_its_arrays(model_file):
    description, model, _ = model_of(model_file, "timesteps")
    again = CompressedModel.from_arrays(CompressedPotential(model).state_arrays())
    atoms = random_atoms(np.random.default_rng(8), description.n_types)
    first, second = (evaluate(CompressedPotential(m), atoms) for m in (model, again))
    np.testing.assert_array_equal(first.forces, second.forces)
    assert first.energy == second.energy


def test_cache_gives_the_same_model_and_survives_damage(model_file, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDP_CACHE_DIR", str(tmp_path))
    description = read_model(model_file("one_sided"))
    atoms = random_atoms(np.random.default_rng(3), description.n_types)
    lines: list[str] = []
    made = prepare(description, atoms, 1e-3, lines.append)
    assert any("compressing" in line for line in lines)
    lines.clear()
    kept = prepare(description, atoms, 1e-3, lines.append)
    assert not any("compressing" in line for line in lines)
    assert any("force error" in line for line in lines)
    for name, array in made.arrays().items():
        np.testing.assert_array_equal(array, kept.arrays()[name])
    (entry,) = tmp_path.glob("*.npz")
    entry.write_bytes(entry.read_bytes()[:1000])
    assert cache.load(entry.stem) is None
    prepare(description, atoms, 1e-3, lines.append)
    assert cache.load(entry.stem) is not None


def test_no_memory_is_allocated_between_rebuilds(model_file):
    """Buffers are made for the list; evaluating again must reuse every one of them."""
    description, model, _ = model_of(model_file, "two_sided")
    potential = CompressedPotential(model)
    atoms = random_atoms(np.random.default_rng(8), description.n_types)
    neighbours = atoms.neighbours(potential.cutoff, 1.0)
    result = Evaluation.empty(len(atoms.types))
    potential.evaluate(neighbours, result)
    held = {name: id(value) for name, value in vars(potential).items()}
    neighbours.update(atoms.positions + 0.01)
    potential.evaluate(neighbours, result)
    assert held == {name: id(value) for name, value in vars(potential).items()}


def test_one_potential_serves_lists_of_other_types(model_file):
    """Same number of atoms, other elements: nothing may be left over from the list before."""
    _, model, _ = model_of(model_file, "two_sided")
    potential = CompressedPotential(model)

    def dimer(types):
        positions = np.array([[0.0, 0, 0], [1.3, 0, 0]])
        return Atoms(positions, np.array(types, np.int32), np.zeros((3, 3)), np.zeros(3, bool))

    for types in ([0, 0], [0, 1], [1, 1]):
        fresh = evaluate(CompressedPotential(model), dimer(types))
        assert evaluate(potential, dimer(types)).energy == fresh.energy
