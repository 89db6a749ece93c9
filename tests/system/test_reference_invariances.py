"""What any energy model must obey, on small random models of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from fastdp.errors import PairTooCloseError
from fastdp.model.fitting import fitting_constant
from fastdp.model.networks import forward
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.brute_force import all_pairs
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential import batches
from fastdp.potential.base import Evaluation
from fastdp.potential.reference import ReferencePotential

TRICLINIC = np.array([[6.1, 0.0, 0.0], [1.3, 5.7, 0.0], [-0.8, 1.1, 6.4]])
PERIODIC = np.ones(3, dtype=bool)

KINDS = [
    "two_sided",
    "one_sided",
    "three_types",
    "excluded_two_sided",
    "excluded_one_sided",
    "excluded_altogether",
    "timesteps",
    "no_timesteps",
    "davg_zero",
    "float32",
    "one_fitting_network",
    "vacuum",
    "output_shift",
    "adjusted_selection",
    "no_slots_for_a_type",
    "activation_gelu_tf",
    "activation_silu",
    "activation_silut",
    "activation_softplus",
    "activation_sigmoid",
    "generation_0.12",
    "generation_1.3_one_sided",
]


def make_frame(n_types, n_atoms=14, seed=5):
    """Atoms at random in a triclinic cell, none closer than 1 Å to another."""
    generator = np.random.default_rng(seed)
    positions = np.empty((0, 3))
    while len(positions) < n_atoms:
        candidate = np.vstack((positions, generator.uniform(size=3) @ TRICLINIC))
        if len(all_pairs(candidate, TRICLINIC, PERIODIC, 1.0).centre) == 0:
            positions = candidate
    return positions, np.arange(n_atoms) % n_types


def evaluate(potential, positions, types, cell=TRICLINIC, periodic=PERIODIC):
    pairs = all_pairs(positions, cell, periodic, potential.cutoff)
    return potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)


@pytest.fixture
def potential(model_file, request):
    return ReferencePotential(read_model(model_file(request.param)))


@pytest.mark.parametrize("potential", KINDS, indirect=True)
def test_forces_and_virial_are_derivatives_of_the_energy(potential):
    positions, types = make_frame(potential.description.n_types)
    result = evaluate(potential, positions, types)
    h = 1e-4
    generator = np.random.default_rng(7)
    direction = generator.normal(size=positions.shape)
    change = evaluate(potential, positions + h * direction, types).energy
    change -= evaluate(potential, positions - h * direction, types).energy
    # One random direction has all forces in it. h² times third derivatives, 1e-14 eV of rounding over h.
    scale = max(1.0, float(np.abs(result.forces).max()))
    assert np.sum(result.forces * direction) == pytest.approx(-change / (2 * h), abs=1e-6 * scale)
    for _ in range(3):
        strain = generator.normal(size=(3, 3))
        plus, minus = np.eye(3) + h * strain, np.eye(3) - h * strain
        change = evaluate(potential, positions @ plus.T, types, TRICLINIC @ plus.T).energy
        change -= evaluate(potential, positions @ minus.T, types, TRICLINIC @ minus.T).energy
        scale = max(1.0, float(np.abs(result.virial).max()))
        assert np.sum(result.virial * strain) == pytest.approx(-change / (2 * h), abs=2e-5 * scale)


@pytest.mark.parametrize("potential", ["two_sided"], indirect=True)
def test_each_component_of_force_and_virial(potential):
    positions, types = make_frame(2)
    result = evaluate(potential, positions, types)
    assert np.abs(result.forces).max() > 0.1
    h = 1e-4
    for atom in range(0, len(types), 5):
        for axis in range(3):
            step = np.zeros_like(positions)
            step[atom, axis] = h
            change = evaluate(potential, positions + step, types).energy
            change -= evaluate(potential, positions - step, types).energy
            assert result.forces[atom, axis] == pytest.approx(-change / (2 * h), abs=1e-7)
    for a in range(3):
        for b in range(3):
            plus, minus = np.eye(3), np.eye(3)
            plus[a, b] += h
            minus[a, b] -= h
            change = evaluate(potential, positions @ plus.T, types, TRICLINIC @ plus.T).energy
            change -= evaluate(potential, positions @ minus.T, types, TRICLINIC @ minus.T).energy
            assert result.virial[a, b] == pytest.approx(-change / (2 * h), abs=2e-6)


@pytest.mark.parametrize("potential", ["two_sided", "excluded_one_sided", "vacuum"], indirect=True)
def test_symmetries(potential, generator):
    positions, types = make_frame(2)
    result = evaluate(potential, positions, types)
    # Everything below is the same sum in another order or frame: only rounding differs.
    close = {"rtol": 0, "atol": 1e-11}
    np.testing.assert_allclose(result.forces.sum(axis=0), 0.0, **close)
    np.testing.assert_allclose(result.virial, result.virial.T, **close)

    moved = evaluate(potential, positions + generator.normal(size=3), types)
    np.testing.assert_allclose(moved.forces, result.forces, **close)
    assert moved.energy == pytest.approx(result.energy, abs=1e-11)

    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    turned = evaluate(potential, positions @ rotation, types, TRICLINIC @ rotation)
    np.testing.assert_allclose(turned.forces, result.forces @ rotation, **close)
    np.testing.assert_allclose(turned.virial, rotation.T @ result.virial @ rotation, **close)
    np.testing.assert_allclose(turned.atomic_energies, result.atomic_energies, **close)

    order = generator.permutation(len(types))
    shuffled = evaluate(potential, positions[order], types[order])
    np.testing.assert_allclose(shuffled.forces, result.forces[order], **close)
    np.testing.assert_allclose(shuffled.atomic_energies, result.atomic_energies[order], **close)

    doubled = evaluate(
        potential,
        np.vstack((positions, positions + TRICLINIC[0])),
        np.tile(types, 2),
        TRICLINIC * np.array([[2.0], [1.0], [1.0]]),
    )
    assert doubled.energy == pytest.approx(2 * result.energy, abs=1e-11)
    np.testing.assert_allclose(doubled.forces, np.tile(result.forces, (2, 1)), **close)
    np.testing.assert_allclose(doubled.virial, 2 * result.virial, **close)


@pytest.mark.parametrize("potential", ["two_sided", "narrow_selection"], indirect=True)
@pytest.mark.parametrize("periodic", [(True, True, True), (True, False, True), (False, False, False)])
def test_the_neighbour_list_gives_the_same_as_plain_pairs(potential, periodic):
    positions, types = make_frame(2)
    periodic = np.array(periodic)
    plain = evaluate(potential, positions, types, TRICLINIC, periodic)
    neighbours = VerletList(potential.cutoff, 0.6, TRICLINIC, periodic, types.astype(np.int32))
    neighbours.build(positions)
    result = Evaluation.empty(len(types))
    result.forces[:] = 7.0
    potential.evaluate(neighbours, result, virial=False)
    assert not result.virial_is_current
    potential.evaluate(neighbours, result)
    np.testing.assert_allclose(result.forces, plain.forces, atol=1e-12)
    np.testing.assert_allclose(result.virial, plain.virial, atol=1e-12)
    np.testing.assert_allclose(result.atomic_energies, plain.atomic_energies, atol=1e-12)
    assert result.energy == pytest.approx(plain.energy, abs=1e-12)


@pytest.mark.parametrize("potential", ["two_sided"], indirect=True)
def test_chunks_do_not_change_the_result(potential, monkeypatch):
    positions, types = make_frame(2)
    whole = evaluate(potential, positions, types)
    for size in (1, 100, 333):
        monkeypatch.setattr(batches, "PAIRS_AT_ONCE", size)
        parts = evaluate(potential, positions, types)
        np.testing.assert_allclose(parts.forces, whole.forces, atol=1e-12)
        np.testing.assert_allclose(parts.virial, whole.virial, atol=1e-12)


@pytest.mark.parametrize("potential", ["two_sided", "one_sided", "excluded_altogether"], indirect=True)
def test_an_isolated_atom_has_the_energy_of_empty_slots(potential):
    description = potential.description
    result = evaluate(potential, np.zeros((1, 3)), np.array([1]), periodic=np.zeros(3, dtype=bool))
    assert not result.forces.any()
    descriptor = description.descriptor
    column = np.zeros(descriptor.n_channels)
    for beta, network in enumerate(descriptor.embedding[1]):
        if network is not None:
            s0 = -descriptor.mean[1, beta, 0] / descriptor.spread[1, beta, 0]
            column += descriptor.selection[beta] * s0 * forward(network, np.array([[s0]]))[0]
    column /= descriptor.normaliser
    d = np.outer(column, column[: descriptor.axis_neurons]).ravel()
    expected = forward(description.fitting.networks[1], d[None])[0, 0] + fitting_constant(description, 1)
    assert result.energy == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("potential", ["one_type"], indirect=True)
def test_one_atom_sees_its_own_images(potential):
    cell = np.diag([2.1, 2.2, 2.3])
    result = evaluate(potential, np.array([[0.3, 0.1, 0.2]]), np.array([0]), cell)
    np.testing.assert_allclose(result.forces, 0.0, atol=1e-12)
    h = 1e-4
    stretched = [
        evaluate(potential, np.zeros((1, 3)), np.array([0]), cell * (1 + sign * h)).energy for sign in (1, -1)
    ]
    assert np.trace(result.virial) == pytest.approx(-(stretched[0] - stretched[1]) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("potential", ["narrow_selection"], indirect=True)
def test_too_many_neighbours_are_dropped_farthest_first(potential):
    """With three slots for the type, a fourth neighbour of this type that is farther changes nothing."""
    ring = np.array([[0.0, 0, 0], [1.2, 0, 0], [0, 1.3, 0], [0, 0, 1.4]])
    types = np.zeros(4, dtype=int)
    open_boundaries = np.zeros(3, dtype=bool)
    few = evaluate(potential, ring, types, periodic=open_boundaries)
    more = evaluate(
        potential, np.vstack((ring, [[-2.0, -2.0, -1.0]])), np.zeros(5, int), periodic=open_boundaries
    )
    assert more.atomic_energies[0] == pytest.approx(few.atomic_energies[0], abs=1e-13)
    nearer = evaluate(
        potential, np.vstack((ring, [[-0.7, -0.7, -0.5]])), np.zeros(5, int), periodic=open_boundaries
    )
    assert abs(nearer.atomic_energies[0] - few.atomic_energies[0]) > 1e-6


@pytest.mark.parametrize("potential", ["narrow_selection"], indirect=True)
def test_every_neighbour_can_be_kept(potential):
    """Then each counts by its radial functions, and the energy is continuous and has the forces as slope."""
    positions, types = make_frame(2)
    everything = ReferencePotential(potential.description, every_neighbour=True)
    result = evaluate(everything, positions, types)
    assert abs(result.energy - evaluate(potential, positions, types).energy) > 1e-3
    h = 1e-4
    direction = np.random.default_rng(7).normal(size=positions.shape)
    change = evaluate(everything, positions + h * direction, types).energy
    change -= evaluate(everything, positions - h * direction, types).energy
    scale = np.abs(result.forces).max()
    assert np.sum(result.forces * direction) == pytest.approx(-change / (2 * h), abs=1e-6 * scale)


@pytest.mark.parametrize("potential", ["two_sided"], indirect=True)
def test_energy_and_force_are_continuous_at_both_radii(potential):
    types = np.array([0, 1])
    open_boundaries = np.zeros(3, dtype=bool)
    for radius in (potential.description.descriptor.switch.inner, potential.cutoff):
        near = [
            evaluate(potential, np.array([[0, 0, 0], [radius + d, 0, 0]]), types, periodic=open_boundaries)
            for d in (-1e-6, 1e-6)
        ]
        # Over 2e-6 Å a force of order 1 eV/Å, and its slope of order 10 eV/Å².
        assert near[0].energy == pytest.approx(near[1].energy, abs=1e-5)
        np.testing.assert_allclose(near[0].forces, near[1].forces, atol=1e-4)


@pytest.mark.parametrize("potential", ["two_sided"], indirect=True)
def test_atoms_on_top_of_each_other_are_named(potential):
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [1.0, 0, 0]])
    with pytest.raises(PairTooCloseError, match="atoms 1 and 3 are on top of each other") as caught:
        evaluate(potential, positions, np.zeros(4, dtype=int))
    assert set(caught.value.atoms) == {1, 3}


@pytest.mark.parametrize("potential", ["two_sided"], indirect=True)
def test_no_atoms_of_a_type_and_no_atoms_at_all(potential):
    result = evaluate(potential, np.zeros((1, 3)), np.array([0]))
    assert np.isfinite(result.energy)
    empty = np.zeros(0, dtype=int)
    assert potential.evaluate_pairs(empty, empty, empty, np.zeros((0, 3))).energy == 0.0
