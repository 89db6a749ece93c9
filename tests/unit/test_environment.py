from dataclasses import replace

import numpy as np
import pytest

from fastdp.model.environment import (
    Neighbourhood,
    environment_matrices,
    pair_blocks,
    pair_gradients,
)
from fastdp.model.fitting import fitting_energy_and_gradient
from fastdp.model.neighbourhood import nearest
from fastdp.model.networks import forward
from fastdp.model.radial_functions import switch_and_derivative
from fastdp.model.readers.registry import read_model


def random_neighbourhood(generator, alpha, counts, cutoff):
    """Neighbours at random for several centres; counts[i][beta] of each type."""
    centre = np.repeat(np.arange(len(counts)), [sum(row) for row in counts])
    types = np.concatenate([np.repeat(np.arange(len(row)), row) for row in counts])
    vectors = generator.normal(size=(len(centre), 3))
    vectors *= (generator.uniform(0.8, cutoff, len(centre)) / np.linalg.norm(vectors, axis=1))[:, None]
    return Neighbourhood(alpha, len(counts), centre, types, vectors)


def test_sum_over_neighbours_equals_the_sum_over_all_slots(model_file, generator):
    """The closed form for empty slots, against slots that are filled in one by one."""
    description = read_model(model_file("two_sided"))
    descriptor = description.descriptor
    counts = [[3, 11], [0, 0], [24, 1]]
    neighbourhood = random_neighbourhood(generator, 1, counts, description.cutoff)
    matrices = environment_matrices(description.descriptor, neighbourhood)
    for i in range(len(counts)):
        total = np.zeros((descriptor.n_channels, 4))
        for beta in (0, 1):
            mine = (neighbourhood.centre == i) & (neighbourhood.neighbour_types == beta)
            vectors = neighbourhood.vectors[mine]
            r = np.linalg.norm(vectors, axis=1)
            s = switch_and_derivative(descriptor.switch, r)[0] / r
            rows = np.zeros((descriptor.selection[beta], 4))
            rows[: len(r), 0] = s
            rows[: len(r), 1:] = s[:, None] * vectors / r[:, None]
            rows = (rows - descriptor.mean[1, beta]) / descriptor.spread[1, beta]
            total += forward(descriptor.embedding[1][beta], rows[:, :1]).T @ rows
        np.testing.assert_allclose(matrices[i], total / descriptor.normaliser, atol=1e-14)


@pytest.mark.parametrize("name", ["two_sided", "timesteps", "excluded_one_sided"])
def test_pair_gradients_are_derivatives_of_the_energy(model_file, generator, name):
    description = read_model(model_file(name))
    alpha = 1
    neighbourhood = random_neighbourhood(generator, alpha, [[4, 5], [2, 0]], description.cutoff)

    def energies(vectors):
        moved = replace(neighbourhood, vectors=vectors)
        return fitting_energy_and_gradient(
            description, alpha, environment_matrices(description.descriptor, moved)
        )[0]

    blocks = list(pair_blocks(description.descriptor, neighbourhood))
    matrices = environment_matrices(description.descriptor, neighbourhood)
    _, gradient = fitting_energy_and_gradient(description, alpha, matrices)
    g = pair_gradients(description.descriptor, neighbourhood, blocks, gradient)
    h = 1e-5
    for pair in range(len(g)):
        for axis in range(3):
            step = np.zeros_like(neighbourhood.vectors)
            step[pair, axis] = h
            change = energies(neighbourhood.vectors + step) - energies(neighbourhood.vectors - step)
            # Rounding of energies of a few eV over 2h, and h² times third derivatives.
            np.testing.assert_allclose(g[pair, axis], change.sum() / (2 * h), atol=2e-9)


def test_fitting_gradient_is_the_derivative(model_file, generator):
    description = read_model(model_file("vacuum"))
    shape = (2, description.descriptor.n_channels, 4)
    matrices = 0.3 * generator.normal(size=shape)
    _, gradient = fitting_energy_and_gradient(description, 0, matrices)
    direction = generator.normal(size=shape)
    h = 1e-5
    plus, _ = fitting_energy_and_gradient(description, 0, matrices + h * direction)
    minus, _ = fitting_energy_and_gradient(description, 0, matrices - h * direction)
    np.testing.assert_allclose(
        np.sum(gradient * direction, axis=(1, 2)), (plus - minus) / (2 * h), rtol=1e-7, atol=1e-8
    )


def test_energy_in_vacuum_is_the_bias(model_file):
    description = read_model(model_file("vacuum"))
    nothing = np.zeros((1, description.descriptor.n_channels, 4))
    energies, _ = fitting_energy_and_gradient(description, 0, nothing)
    assert energies[0] == pytest.approx(description.fitting.bias[0], abs=1e-14)
    energies, _ = fitting_energy_and_gradient(description, 1, nothing)
    assert abs(energies[0] - description.fitting.bias[1]) > 1e-3


def test_the_nearest_of_each_type_are_kept():
    selection = np.array([3, 5])
    r = np.array([2.0, 1.0, 3.0, 1.5, 1.2, 1.1, 1.9, 1.8, 1.7, 1.6, 1.3])
    centre = np.array([0] * 5 + [1] * 6)
    types = np.array([0] * 5 + [1] * 6)
    vectors = np.column_stack((r, 0 * r, 0 * r))
    keep = nearest("nearest_of_each_type", selection, centre, types, vectors)
    np.testing.assert_array_equal(keep[:5], [False, True, False, True, True])
    np.testing.assert_array_equal(keep[5:], [True, False, True, True, True, True])


def test_equal_distances_are_decided_by_order():
    zeros = np.zeros(4, int)
    keep = nearest("nearest_of_each_type", np.array([3, 5]), zeros, zeros, np.eye(3)[[0, 1, 2, 0]])
    np.testing.assert_array_equal(keep, [True, True, True, False])


def test_the_nearest_of_all_types_are_kept_first():
    r = np.linspace(1.0, 2.0, 10)
    types = np.array([1] * 7 + [0] * 3)
    vectors = np.column_stack((r, 0 * r, 0 * r))
    keep = nearest("nearest_of_all_types", np.array([3, 5]), np.zeros(10, int), types, vectors)
    # Eight slots in all: seven of type 1 and one of type 0 are nearest, of which five and one have a slot.
    np.testing.assert_array_equal(keep, [True] * 5 + [False] * 2 + [True] + [False] * 2)
