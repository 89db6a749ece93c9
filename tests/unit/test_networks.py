from itertools import pairwise

import numpy as np
import pytest

from fastdp.model.description import DenseLayer, Network
from fastdp.model.networks import forward, forward_with_gradient, forward_with_tangent


def make_network(generator, widths, activation="tanh", timestep=True):
    layers = []
    for n_in, n_out in pairwise(widths):
        shortcut = "identity" if n_in == n_out else "doubling" if n_out == 2 * n_in else "none"
        layers.append(
            DenseLayer(
                generator.normal(size=(n_in, n_out)),
                generator.normal(size=n_out),
                generator.uniform(0.5, 1.5, n_out) if timestep and shortcut != "none" else None,
                activation,
                shortcut,
            )
        )
    return Network(tuple(layers))


def test_forward_by_hand():
    layers = (
        DenseLayer(np.array([[1.0, -2.0]]), np.array([0.5, 0.0]), np.array([2.0, 3.0]), "relu", "doubling"),
        DenseLayer(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([-1.0, 0.0]), None, "linear", "identity"),
        DenseLayer(np.array([[2.0], [-1.0]]), np.array([0.25]), None, "linear", "none"),
    )
    # x = 1: relu(1.5, -2) = (1.5, 0), · t = (3, 0), + (1, 1) = (4, 1);
    # (4 + 1 - 1, 1) = (4, 1), + (4, 1) = (8, 2); 16 - 2 + 0.25.
    np.testing.assert_allclose(forward(Network(layers), np.array([[1.0]])), [[14.25]])


@pytest.mark.parametrize("timestep", [False, True])
@pytest.mark.parametrize("widths", [(1, 1, 2, 4, 7), (1, 5, 5, 10), (3, 4, 8, 8, 2)])
def test_tangent_is_the_directional_derivative(generator, widths, timestep):
    network = make_network(generator, widths, timestep=timestep)
    x, direction = generator.normal(size=(2, 6, widths[0]))
    y, tangent = forward_with_tangent(network, x, direction)
    h = 1e-5
    slope = (forward(network, x + h * direction) - forward(network, x - h * direction)) / (2 * h)
    np.testing.assert_allclose(y, forward(network, x), atol=1e-14)
    # Truncation of order h² times third derivatives of order 10, and rounding over h.
    np.testing.assert_allclose(tangent, slope, atol=1e-7)


@pytest.mark.parametrize("widths", [(5, 4, 8, 8, 1), (2, 2, 4, 1), (6, 1)])
def test_gradient_is_the_derivative(generator, widths):
    network = make_network(generator, widths)
    x = generator.normal(size=(4, widths[0]))
    y, gradient = forward_with_gradient(network, x)
    np.testing.assert_allclose(y, forward(network, x)[:, 0], atol=1e-14)
    h = 1e-5
    for axis in range(widths[0]):
        step = h * np.eye(widths[0])[axis]
        slope = (forward(network, x + step) - forward(network, x - step))[:, 0] / (2 * h)
        np.testing.assert_allclose(gradient[:, axis], slope, atol=1e-7)


def test_tangent_and_gradient_agree_to_rounding(generator):
    network = make_network(generator, (7, 6, 12, 12, 1), activation="gelu")
    x, direction = generator.normal(size=(2, 5, 7))
    _, tangent = forward_with_tangent(network, x, direction)
    _, gradient = forward_with_gradient(network, x)
    np.testing.assert_allclose(tangent[:, 0], np.sum(gradient * direction, axis=1), rtol=1e-12)
