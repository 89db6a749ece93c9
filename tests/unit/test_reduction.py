"""Thin factors for the layers of the fitting network."""

import itertools

import numpy as np
import pytest

from fastdp.potential.compressed.compressed_model import FactoredLayer
from fastdp.potential.compressed.reduction import gather_statistics, input_features, input_tangents, thin


def chain(generator, sizes=(30, 40, 40, 1)):
    """A fitting network with a residual layer."""
    layers = []
    for k, (a, b) in enumerate(itertools.pairwise(sizes)):
        last = k == len(sizes) - 2
        layers.append(
            FactoredLayer(
                generator.normal(0, a**-0.5, (a, b)),
                None,
                generator.normal(0, 0.3, b),
                None if last or a != b else generator.normal(1.0, 0.1, b),
                "linear" if last else "tanh",
                "identity" if a == b else "none",
            )
        )
    return tuple(layers)


def run(layers, x):
    """Evaluate a chain of layers."""
    for layer in layers:
        z = x @ layer.left if layer.right is None else x @ layer.left @ layer.right
        z = z + layer.bias
        y = np.tanh(z) if layer.activation == "tanh" else z
        y = y * (1.0 if layer.timestep is None else layer.timestep)
        x = x + y if layer.shortcut == "identity" else y
    return x[:, 0]


def ensemble(generator, n=400, moves=3, hidden=6, width=30):
    """Inputs that vary in few directions, as descriptors do, with their tangents."""
    directions = generator.normal(size=(hidden, width)) * 0.5 ** np.arange(hidden)[:, None]
    mean = generator.normal(size=width)
    features = mean + generator.normal(size=(n, hidden)) @ directions
    owner = np.repeat(np.arange(n), moves)
    tangents = generator.normal(size=(n * moves, hidden)) @ directions
    return features, np.ones(n), tangents, owner, np.ones(n * moves)


def test_full_rank_changes_nothing(generator):
    layers = chain(generator)
    data = ensemble(generator, hidden=30)
    statistics = gather_statistics(layers, *data)
    for layer, found in zip(layers, statistics, strict=False):
        np.testing.assert_allclose(found.left @ found.right, layer.left, atol=1e-6)


def test_truncation_leaves_out_about_the_force_that_it_says(generator):
    layers = chain(generator)
    features, weights, tangents, owner, moves = ensemble(generator)
    statistics = gather_statistics(layers, features, weights, tangents, owner, moves)
    h = 1e-4

    def forces(network):
        return (
            run(network, features[owner] + h * tangents) - run(network, features[owner] - h * tangents)
        ) / (2 * h)

    exact = forces(layers)
    for threshold in (1e-2, 1e-3, 1e-4):
        reduced = thin(layers, statistics, threshold)
        assert any(layer.right is not None for layer in reduced)
        error = np.sqrt(np.sum((forces(reduced) - exact) ** 2) / len(features))
        # Two layers of independent error; the estimate assumes g and ẋ independent, hence the factor.
        assert error <= 4.0 * threshold
    assert [found.rank(1e-4) >= found.rank(1e-2) for found in statistics] == [True, True]


def test_the_mean_goes_into_the_bias(generator):
    """Inputs that do not vary at all are reproduced exactly at any rank."""
    layers = chain(generator)
    features = np.tile(generator.normal(size=30), (20, 1))
    statistics = gather_statistics(
        layers, features, np.ones(20), np.zeros((1, 30)), np.zeros(1, int), np.ones(1)
    )
    reduced = thin(layers, statistics, 1e3)
    np.testing.assert_allclose(run(reduced, features), run(layers, features), atol=1e-10)


@pytest.mark.parametrize("gram", [True, False])
def test_tangents_of_the_input_are_its_derivative(generator, gram):
    tau, change = generator.normal(size=(5, 4, 7)), generator.normal(size=(5, 4, 7))
    axis = None if gram else generator.normal(size=(7, 3))
    h = 1e-6
    numeric = (input_features(tau + h * change, axis) - input_features(tau - h * change, axis)) / (2 * h)
    np.testing.assert_allclose(input_tangents(tau, change, axis), numeric, atol=1e-8)
