"""Comparing a compressed potential with the model as trained while a run goes on."""

from types import SimpleNamespace

import numpy as np
import pytest
from compressed import compressed, random_atoms

from fastdp.neighbours.partial import rows_of
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.reference import ReferencePotential
from fastdp.simulation.audit import Audit, deviation

SKIN = 0.6


@pytest.fixture(scope="module")
def made(model_file):
    def atoms():
        return random_atoms(np.random.default_rng(3), 2)

    description, model, _ = compressed(model_file("two_sided"), "two_sided", 1e-5, atoms)
    return description, model, atoms()


def snapshot(step):
    return SimpleNamespace(state=SimpleNamespace(step=step, n_total=24))


def test_deviations_add_up_to_the_error_of_the_forces(made):
    """With all atoms drawn: Σ over centres of Δ∂E_i/∂r_j is the error of the force on j."""
    description, model, atoms = made
    neighbours = atoms.neighbours(description.cutoff, SKIN)
    centres = rows_of(neighbours, np.arange(neighbours.n_atoms))
    fast, exact = CompressedPotential(model), ReferencePotential(description, every_neighbour=True)
    found = deviation(CompressedPotential(model), description, centres)
    results = [Evaluation.empty(len(atoms.types)) for _ in range(2)]
    fast.evaluate(neighbours, results[0])
    exact.evaluate(atoms.neighbours(description.cutoff), results[1])
    error = results[0].forces - results[1].forces
    # Independent errors of centres would make these two alike; they are not quite independent.
    assert np.sqrt(np.mean(found.forces**2)) == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.7)
    differences = np.abs(results[0].atomic_energies - results[1].atomic_energies)
    np.testing.assert_allclose(np.sort(found.energies), np.sort(differences), atol=1e-12)


def test_a_run_within_the_tolerance_is_not_warned_of(made):
    description, model, atoms = made
    neighbours = atoms.neighbours(description.cutoff, SKIN)
    warnings = []
    audit = Audit(CompressedPotential(model), description, neighbours, 1e-5, 4, warnings.append)
    audit.act(snapshot(0))
    assert warnings == []
    (line,) = audit.lines()
    assert "over 4 atoms" in line


def test_a_potential_that_went_astray_is_warned_of_once(made):
    description, model, atoms = made
    neighbours = atoms.neighbours(description.cutoff, SKIN)
    warnings = []
    # As if far more had been asked for than was made.
    audit = Audit(CompressedPotential(model), description, neighbours, 1e-9, 4, warnings.append)
    for step in (0, 7):
        audit._started -= 1e6  # there is time for it
        audit.act(snapshot(step))
    assert len(warnings) == 1
    assert "step 0" in warnings[0]
    assert "times the tolerance" in warnings[0]


def test_audits_do_not_take_more_than_their_share_of_the_time(made):
    description, model, atoms = made
    neighbours = atoms.neighbours(description.cutoff, SKIN)
    audit = Audit(CompressedPotential(model), description, neighbours, 1e-5, 4, pytest.fail)
    for step in range(5):
        audit.act(snapshot(step))
    assert "over 4 atoms" in audit.lines()[0]
    assert "4 audits left out" in audit.lines()[0]


def test_the_deviation_of_an_atom_is_the_root_of_a_third_of_all_squares(made):
    description, _, atoms = made
    neighbours = atoms.neighbours(description.cutoff, SKIN)
    centres = rows_of(neighbours, np.array([0, 5, 17]))
    rng = np.random.default_rng(8)
    own, others = rng.normal(size=(3, 3)), rng.normal(size=(int(centres.first[3]), 3))
    shifts = np.array([0.5, -0.25, 0.125])

    class Shifted:
        """The model as trained, and known errors."""

        def evaluate(self, partial, result, *, virial):
            centre = np.repeat(np.arange(3), np.diff(partial.first))
            places = partial.extended_positions
            exact = ReferencePotential(description, every_neighbour=True).evaluate_pairs(
                partial.extended_types,
                centre,
                partial.neighbours,
                places[partial.neighbours] - places[centre],
                n_centres=3,
            )
            result.forces[:] = exact.forces[:3] + own
            result.ghost_forces = exact.forces[3:] + others
            result.atomic_energies[:] = exact.atomic_energies[:3] + shifts

    found = deviation(Shifted(), description, centres)
    for atom in range(3):
        of_neighbours = others[centres.first[atom] : centres.first[atom + 1]]
        expected = np.sqrt((np.sum(own[atom] ** 2) + np.sum(of_neighbours**2)) / 3.0)
        assert found.forces[atom] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found.energies, np.abs(shifts), atol=1e-12)
