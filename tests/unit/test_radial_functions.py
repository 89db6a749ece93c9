import numpy as np
import pytest

from fastdp.model.description import SmoothSwitch
from fastdp.model.environment import Neighbourhood, environment_matrices
from fastdp.model.radial_functions import (
    empty_slot_term,
    radial_constant,
    radial_functions,
    switch_and_derivative,
)
from fastdp.model.readers.registry import read_model

SWITCH = SmoothSwitch(inner=2.0, cutoff=6.0, width=4.0)


def test_switch_has_the_values_of_the_formula():
    w, derivative = switch_and_derivative(SWITCH, np.array([0.5, 2.0, 4.0, 5.0, 6.0, 7.0]))
    np.testing.assert_allclose(w, [1.0, 1.0, 0.5, 0.103515625, 0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(derivative, [0, 0, -30 / 16 / 4, -30 * 9 / 256 / 4, 0, 0], atol=1e-15)


def test_switch_derivative_is_its_slope():
    r = np.linspace(1.5, 6.5, 101)
    h = 1e-6
    slope = (switch_and_derivative(SWITCH, r + h)[0] - switch_and_derivative(SWITCH, r - h)[0]) / (2 * h)
    np.testing.assert_allclose(switch_and_derivative(SWITCH, r)[1], slope, atol=1e-9)


def test_switch_is_zero_at_the_cutoff_although_the_width_was_rounded():
    rounded = SmoothSwitch(inner=2.0, cutoff=6.0, width=4.0 * (1 + 1e-7))
    assert switch_and_derivative(rounded, np.array([6.0]))[0][0] == 0.0


@pytest.mark.parametrize("name", ["two_sided", "one_sided", "davg_zero", "timesteps"])
def test_functions_vanish_at_the_cutoff_with_two_derivatives(model_file, name):
    description = read_model(model_file(name))
    for distance in (1e-2, 1e-3):
        r = np.array([description.cutoff - distance])
        for values in radial_functions(description, 0, 1, r):
            # They fall off with the cube of the distance from the cutoff; 3 bounds the prefactor.
            assert np.abs(values).max() < 3.0 * distance**3
    for values in radial_functions(description, 0, 1, np.array([description.cutoff, 9.0])):
        assert np.abs(values).max() < 1e-15


def test_sums_of_the_functions_give_the_environment_matrix(model_file, generator):
    description = read_model(model_file("excluded_two_sided"))
    vectors = generator.normal(size=(30, 3))
    vectors *= (generator.uniform(0.9, 4.1, 30) / np.linalg.norm(vectors, axis=1))[:, None]
    types = np.repeat([0, 1], 15)
    r = np.linalg.norm(vectors, axis=1)
    for alpha in (0, 1):
        neighbourhood = Neighbourhood(alpha, 1, np.zeros(30, dtype=int), types, vectors)
        matrix = environment_matrices(description.descriptor, neighbourhood)[0]
        expected = np.zeros_like(matrix)
        expected[:, 0] = radial_constant(description, alpha)
        for beta in (0, 1):
            a, b = radial_functions(description, alpha, beta, r[types == beta])
            unit = (vectors / r[:, None])[types == beta]
            expected[:, 0] += a.sum(axis=0) / description.descriptor.normaliser
            expected[:, 1:] += b.T @ unit / description.descriptor.normaliser
        np.testing.assert_allclose(matrix, expected, atol=1e-15)


def test_excluded_pairs_contribute_nothing(model_file):
    description = read_model(model_file("excluded_two_sided"))
    a, b = radial_functions(description, 0, 1, np.array([1.0, 2.0]))
    assert a.shape == b.shape == (2, description.descriptor.n_channels)
    assert not a.any()
    assert not b.any()
    assert not empty_slot_term(description.descriptor, 0, 1).any()
